//! Sets of states: one, a tuple, or a struct.

use std::hash::Hash;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Slot, State};
use crate::state::Access;

/// What a key must be: hashed, compared and stored. Implemented for every type that is.
///
/// ```
/// use millstream::prelude::*;
/// use millstream::state::StateKey;
///
/// /// How often each key is there, in any job.
/// fn counted<T, K>(records: DataStream<T>, id: &str, key: fn(&T) -> K) -> DataStream<(K, u64)>
/// where
///     T: Send + 'static,
///     K: StateKey + Clone,
/// {
///     records.key_by(key).fold(id, 0, |count, _| *count += 1)
/// }
///
/// let env = StreamEnvironment::new("parity");
/// let numbers = env.source("numbers", SequenceSource::new(0..100));
/// counted(numbers, "even-and-odd", |n| n % 2).for_each("out", |(parity, count)| println!("{parity}: {count}"));
/// # env.explain().unwrap();
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a key",
    label = "is not hashed, compared and stored",
    note = "a type of your own needs #[derive(Hash, PartialEq, Eq, Clone, serde::Serialize, serde::Deserialize)]",
    note = "a key that is borrowed from the record, such as a `&str`, is for `key_by_ref`: key_by_ref(|r| r.name.as_str())",
    note = "a floating-point number is no key: choose its bits, or a number of its units"
)]
pub trait StateKey: Hash + Eq + Serialize + DeserializeOwned + Send + 'static {}

#[diagnostic::do_not_recommend]
impl<K: Hash + Eq + Serialize + DeserializeOwned + Send + 'static> StateKey for K {}

/// The states of one function: a single [`State`], a tuple of up to eight, or a struct by
/// [`state_set!`](crate::state_set).
///
/// The engine keeps one row per key with one slot per state, and lends the function handles that change the slots in
/// place. All states of a key cost one look-up.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a set of states",
    label = "is not a declared state",
    note = "a set is one state, such as `ValueState<u64>`, a tuple of up to eight states, or a struct by `state_set!`",
    note = "values of a state are `Serialize + DeserializeOwned + Send + 'static`: derive the first two from serde, and use no `Rc`"
)]
pub trait StateSet: Send + 'static {
    /// Whether values of any of them expire.
    const EXPIRES: bool;
    /// Whether one of them holds timers.
    const HAS_TIMERS: bool;
    /// Whether slots of one of them may lie in pages of their own.
    #[doc(hidden)]
    const HAS_PAGES: bool;

    /// The slots of one key, never set by default.
    type Row: Default + Send + 'static;
    /// The handles of one key's slots, in the order of declaration. Disjoint: all can be held at once.
    type Handles<'a>;

    /// Lends a row.
    fn handles<'a>(&'a self, row: &'a mut Self::Row, access: Access) -> Self::Handles<'a>;

    /// Shows the visitor each state with its slot, in the order of declaration.
    fn visit<V: StateVisitor>(&self, row: &mut Self::Row, visitor: &mut V);

    /// Shows the visitor each slot.
    fn visit_slots<V: SlotVisitor>(row: &Self::Row, visitor: &mut V);
}

/// What is done with each state of a set and its slot.
pub trait StateVisitor {
    /// `index` is the place of the state in the order of declaration.
    fn visit<S: State>(&mut self, index: usize, state: &S, slot: &mut S::Slot);
}

/// What is read from each slot of a row.
pub trait SlotVisitor {
    /// Reads a slot.
    fn visit(&mut self, slot: &impl Slot);
}

#[diagnostic::do_not_recommend]
impl<S: State> StateSet for S {
    const EXPIRES: bool = <S as State>::EXPIRES;
    const HAS_TIMERS: bool = <S as State>::HAS_TIMERS;
    const HAS_PAGES: bool = <S as State>::HAS_PAGES;

    type Row = S::Slot;
    type Handles<'a> = S::Handle<'a>;

    #[inline]
    fn handles<'a>(&'a self, row: &'a mut Self::Row, access: Access) -> Self::Handles<'a> {
        self.handle(row, access)
    }

    #[inline]
    fn visit<V: StateVisitor>(&self, row: &mut Self::Row, visitor: &mut V) {
        visitor.visit(0, self, row);
    }

    #[inline]
    fn visit_slots<V: SlotVisitor>(row: &Self::Row, visitor: &mut V) {
        visitor.visit(row);
    }
}

macro_rules! state_tuples {
    ($(($($state:ident $index:tt),+))*) => {$(
        impl<$($state: State),+> StateSet for ($($state,)+) {
            const EXPIRES: bool = $(<$state as State>::EXPIRES)||+;
            const HAS_TIMERS: bool = $(<$state as State>::HAS_TIMERS)||+;
            const HAS_PAGES: bool = $(<$state as State>::HAS_PAGES)||+;

            type Row = ($($state::Slot,)+);
            type Handles<'a> = ($($state::Handle<'a>,)+);

            #[inline]
            fn handles<'a>(&'a self, row: &'a mut Self::Row, access: Access) -> Self::Handles<'a> {
                ($(self.$index.handle(&mut row.$index, access),)+)
            }

            #[inline]
            fn visit<V: StateVisitor>(&self, row: &mut Self::Row, visitor: &mut V) {
                $(visitor.visit($index, &self.$index, &mut row.$index);)+
            }

            #[inline]
            fn visit_slots<V: SlotVisitor>(row: &Self::Row, visitor: &mut V) {
                $(visitor.visit(&row.$index);)+
            }
        }
    )*};
}

state_tuples! {
    (A 0)
    (A 0, B 1)
    (A 0, B 1, C 2)
    (A 0, B 1, C 2, D 3)
    (A 0, B 1, C 2, D 3, E 4)
    (A 0, B 1, C 2, D 3, E 4, F 5)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7)
}
