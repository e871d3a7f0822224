//! The greatest records of each key, as they change.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{KeyedContext, KeyedProcessFunction, Row};
use crate::aggregates::TopN;
use crate::operator::Emitter;
use crate::state::ValueState;

/// Gives a key with its greatest records, whenever these change.
pub(crate) struct Top<In, F>(TopN<In, F>);

impl<In, F> Top<In, F> {
    pub(crate) fn new(top: TopN<In, F>) -> Self {
        Self(top)
    }
}

impl<In, F: Clone> Clone for Top<In, F> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K, In, F, V> KeyedProcessFunction<K, In> for Top<In, F>
where
    K: Clone + Send + 'static,
    In: Clone + Serialize + DeserializeOwned + Send + 'static,
    F: Fn(&In) -> V + Clone + Send + 'static,
    V: PartialOrd,
{
    type Out = (K, Vec<In>);
    type State = ValueState<Vec<In>>;

    fn state(&self) -> Self::State {
        ValueState::new("top")
    }

    fn process(
        &mut self,
        record: In,
        mut top: Row<'_, Self, K, In>,
        ctx: &mut KeyedContext<'_, K>,
        out: &mut Emitter<'_, Self::Out>,
    ) {
        // A record that changes nothing is no change of the state either.
        let kept = top.get().map_or(&[][..], Vec::as_slice);
        let Some(place) = self.0.place(kept, &record) else { return };
        let kept = top.get_or_insert_with(Vec::new);
        self.0.insert(kept, place, record);
        out.emit((ctx.key().clone(), kept.clone()));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::operator::ByValue;
    use crate::testing::OperatorHarness;

    #[test]
    fn the_top_is_given_whenever_it_changes_in_every_way_of_running() {
        let value = |n: &u64| n * 37 % 101;
        let (mut tops, mut expected) = (BTreeMap::<u64, Vec<u64>>::new(), Vec::new());
        for n in 0..400u64 {
            let top = tops.entry(n % 7).or_default();
            let mut next: Vec<u64> = top.iter().copied().chain([n]).collect();
            next.sort_by_key(|n| std::cmp::Reverse(value(n)));
            next.truncate(3);
            if next != *top {
                expected.push((n % 7, next.clone()));
                *top = next;
            }
        }
        let top = Top::new(TopN::of(3, value));
        OperatorHarness::keyed(ByValue::new(|n: &u64| n % 7), top).batch(0..400).check_by(|(key, _)| *key, expected);
    }
}
