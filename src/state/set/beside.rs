//! Sets compose: what an operator keeps for each key, beside what the user's function keeps.

use super::{SlotVisitor, State, StateRows, StateSet, StateVisitor};
use crate::state::Access;

/// Two sets as one. An operator that keeps something of its own for each key (windows, timers, the other side of a join)
/// declares it beside the states of the function that it runs: all of a key's states have one row, and cost one look-up.
#[derive(Clone, Debug)]
pub struct Beside<Own, Of> {
    own: Own,
    of: Of,
    /// States of `own`.
    own_states: usize,
}

impl<Own: StateSet, Of: StateSet> Beside<Own, Of> {
    /// The states of `own`, and then those of `of`. Their names must differ; the graph refuses them otherwise.
    pub fn new(own: Own, of: Of) -> Self {
        let own_states = own.names().len();
        Self { own, of, own_states }
    }
}

impl<Own: StateSet, Of: StateSet> StateSet for Beside<Own, Of> {
    const EXPIRES: bool = Own::EXPIRES || Of::EXPIRES;
    const HAS_TIMERS: bool = Own::HAS_TIMERS || Of::HAS_TIMERS;
    const HAS_PAGES: bool = Own::HAS_PAGES || Of::HAS_PAGES;

    type Row = (Own::Row, Of::Row);
    type Handles<'a> = (Own::Handles<'a>, Of::Handles<'a>);

    #[inline]
    fn handles<'a>(&'a self, (own, of): &'a mut Self::Row, access: Access) -> Self::Handles<'a> {
        (self.own.handles(own, access), self.of.handles(of, access))
    }

    #[inline]
    fn visit<V: StateVisitor>(&self, (own, of): &mut Self::Row, visitor: &mut V) {
        self.own.visit(own, visitor);
        self.of.visit(of, &mut Behind { states: self.own_states, visitor });
    }

    #[inline]
    fn visit_slots<V: SlotVisitor>((own, of): &Self::Row, visitor: &mut V) {
        Own::visit_slots(own, visitor);
        Of::visit_slots(of, visitor);
    }
}

/// Shows a visitor states that come behind others.
struct Behind<'a, V> {
    states: usize,
    visitor: &'a mut V,
}

impl<V: StateVisitor> StateVisitor for Behind<'_, V> {
    #[inline]
    fn visit<S: State>(&mut self, index: usize, state: &S, slot: &mut S::Slot) {
        self.visitor.visit(self.states + index, state, slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyed::{KeyedContext, KeyedProcessFunction, Row};
    use crate::operator::{ByValue, Emitter};
    use crate::state::{ListState, MapState, ValueState};
    use crate::testing::OperatorHarness;

    type Own = (ValueState<u64>, ListState<u64>);
    type Of = (ListState<String>, MapState<u64, u64>, ValueState<String>);

    /// Changes every state of both sets, some of them now and then.
    #[derive(Clone)]
    struct Mixed;

    impl KeyedProcessFunction<u64, u64> for Mixed {
        type Out = (u64, String);
        type State = Beside<Own, Of>;

        fn state(&self) -> Self::State {
            let of = (ListState::new("lines"), MapState::new("counts"), ValueState::new("last"));
            Beside::new((ValueState::new("own count"), ListState::new("own list")), of)
        }

        fn process(
            &mut self,
            n: u64,
            ((mut count, mut list), (mut lines, mut counts, mut last)): Row<'_, Self, u64, u64>,
            ctx: &mut KeyedContext<'_, u64>,
            out: &mut Emitter<'_, Self::Out>,
        ) {
            *count.get_or_insert_with(|| 0) += 1;
            if n.is_multiple_of(5) {
                list.push(n);
            }
            if n.is_multiple_of(3) {
                lines.push(format!("line {n}"));
            }
            *counts.get_or_insert_with(n % 4, || 0) += n;
            if n.is_multiple_of(11) {
                count.clear();
            }
            last.set(format!("{n}"));
            let seen = (count.get(), list.iter().sum::<u64>(), lines.iter().count(), counts.get(&(n % 4)), last.get());
            out.emit((*ctx.key(), format!("{seen:?}")));
        }
    }

    #[test]
    fn states_of_both_sets_come_back_from_snapshots_of_every_kind() {
        let expected = {
            type Kept = (Option<u64>, u64, usize, std::collections::BTreeMap<u64, u64>);
            let mut kept: std::collections::BTreeMap<u64, Kept> = Default::default();
            let emitted = (0..600u64).map(|n| {
                let (count, list, lines, counts) = kept.entry(n % 17).or_default();
                *count = Some(count.unwrap_or(0) + 1);
                *list += if n.is_multiple_of(5) { n } else { 0 };
                *lines += usize::from(n.is_multiple_of(3));
                *counts.entry(n % 4).or_default() += n;
                if n.is_multiple_of(11) {
                    *count = None;
                }
                let seen = (count.as_ref(), *list, *lines, counts.get(&(n % 4)), Some(format!("{n}")));
                (n % 17, format!("{seen:?}"))
            });
            emitted.collect::<Vec<_>>()
        };
        OperatorHarness::keyed(ByValue::new(|n: &u64| n % 17), Mixed).batch(0..600).check_by(|out| out.0, expected);
        assert_eq!(
            Mixed.state().names().iter().map(|name| &**name).collect::<Vec<_>>(),
            ["own count", "own list", "lines", "counts", "last"]
        );
    }
}
