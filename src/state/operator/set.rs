//! Declared states of functions that are not keyed, and sets of them.

use std::sync::Arc;

use super::{BroadcastState, CopyError, Share, StoredCopy};
use millstream_actors::contract::SectionWriter;

/// One kind of operator state, as declared: [`OperatorListState`](super::OperatorListState) and
/// [`BroadcastState`](super::BroadcastState).
pub trait OperatorState: Send + 'static {
    /// What a subtask holds of it: nothing by default.
    type Held: Default + Send + 'static;
    /// Access to it.
    type Handle<'a>;

    /// The name, under which the state is found again in a snapshot.
    fn name(&self) -> &Arc<str>;

    /// The names that it had in older checkpoints.
    fn former_names(&self) -> &[Arc<str>] {
        &[]
    }

    /// The version of what it stores.
    fn version(&self) -> u32;

    /// Whether versions and migrations fit together.
    ///
    /// # Errors
    /// What does not fit.
    fn check(&self) -> Result<(), String>;

    /// Lends what the subtask holds.
    fn handle<'a>(&'a self, held: &'a mut Self::Held) -> Self::Handle<'a>;

    /// Writes what the subtask holds into a section that has been started.
    ///
    /// # Errors
    /// What the serializer says, or why an item would not read back.
    fn write(&self, held: &Self::Held, section: &mut SectionWriter) -> Result<(), String>;

    /// Takes the subtask's share of what all subtasks had stored: `copies` are in the order of subtasks, one of each,
    /// at least one.
    ///
    /// # Errors
    /// Where the bytes are not what the type expects. What is held is undefined then.
    fn load(&self, held: &mut Self::Held, copies: &[StoredCopy<'_>], share: Share) -> Result<(), CopyError>;
}

/// The states of a [`ProcessFunction`](crate::operator::ProcessFunction): none as `()`, one, or a tuple of up to eight.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a set of operator states",
    note = "a function that is not keyed has `()`, an `OperatorListState`, a `BroadcastState`, or a tuple of up to eight; \
            states of each key, such as `ValueState`, need `key_by` and a `KeyedProcessFunction`"
)]
pub trait OperatorStateSet: Send + 'static {
    /// What a subtask holds of them.
    type Held: Default + Send + 'static;
    /// Access to all of them at a time.
    type Handles<'a>;

    /// Their names.
    fn names(&self) -> Vec<Arc<str>>;

    /// Names that they had in older checkpoints, each with today's.
    fn former_names(&self) -> Vec<(Arc<str>, Arc<str>)>;

    /// The version of what the state with this index stores.
    ///
    /// # Panics
    /// If the set has fewer.
    fn version(&self, index: usize) -> u32;

    /// What does not fit together in the declaration of which state.
    fn mistakes(&self) -> Vec<(Arc<str>, String)>;

    /// Lends what the subtask holds.
    fn handles<'a>(&'a self, held: &'a mut Self::Held) -> Self::Handles<'a>;

    /// Writes the state with this index, as [`OperatorState::write`].
    ///
    /// # Errors
    /// What the serializer says, or why an item would not read back.
    ///
    /// # Panics
    /// If the set has fewer.
    fn write(&self, index: usize, held: &Self::Held, section: &mut SectionWriter) -> Result<(), String>;

    /// Loads the state with this index, as [`OperatorState::load`].
    ///
    /// # Errors
    /// Where the bytes are not what the type expects.
    ///
    /// # Panics
    /// If the set has fewer.
    fn load(
        &self,
        index: usize,
        held: &mut Self::Held,
        copies: &[StoredCopy<'_>],
        share: Share,
    ) -> Result<(), CopyError>;
}

#[diagnostic::do_not_recommend]
impl<S: OperatorState> OperatorStateSet for S {
    type Held = S::Held;
    type Handles<'a> = S::Handle<'a>;

    fn names(&self) -> Vec<Arc<str>> {
        vec![self.name().clone()]
    }

    fn former_names(&self) -> Vec<(Arc<str>, Arc<str>)> {
        OperatorState::former_names(self).iter().map(|former| (former.clone(), self.name().clone())).collect()
    }

    fn version(&self, _: usize) -> u32 {
        OperatorState::version(self)
    }

    fn mistakes(&self) -> Vec<(Arc<str>, String)> {
        self.check().err().map(|reason| (self.name().clone(), reason)).into_iter().collect()
    }

    #[inline]
    fn handles<'a>(&'a self, held: &'a mut Self::Held) -> Self::Handles<'a> {
        self.handle(held)
    }

    fn write(&self, _: usize, held: &Self::Held, section: &mut SectionWriter) -> Result<(), String> {
        OperatorState::write(self, held, section)
    }

    fn load(&self, _: usize, held: &mut Self::Held, copies: &[StoredCopy<'_>], share: Share) -> Result<(), CopyError> {
        OperatorState::load(self, held, copies, share)
    }
}

/// States of which each subtask has the same: a [`BroadcastState`](super::BroadcastState), or a tuple of up to eight.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a set of broadcast states",
    note = "states that every subtask has are a `BroadcastState`, or a tuple of up to eight; lists are dealt out to subtasks"
)]
pub trait BroadcastStateSet: OperatorStateSet {}

impl<K, V> BroadcastStateSet for BroadcastState<K, V> where Self: OperatorState {}

macro_rules! broadcast_state_tuples {
    ($(($($state:ident)*))*) => {$(
        impl<$($state: OperatorState + BroadcastStateSet),*> BroadcastStateSet for ($($state,)*) {}
    )*};
}

broadcast_state_tuples! {
    (A)
    (A B)
    (A B C)
    (A B C D)
    (A B C D E)
    (A B C D E F)
    (A B C D E F G)
    (A B C D E F G H)
}

macro_rules! operator_state_tuples {
    ($(($($state:ident $index:tt),*))*) => {$(
        impl<$($state: OperatorState),*> OperatorStateSet for ($($state,)*) {
            type Held = ($($state::Held,)*);
            type Handles<'a> = ($($state::Handle<'a>,)*);

            fn names(&self) -> Vec<Arc<str>> {
                vec![$(self.$index.name().clone()),*]
            }

            fn former_names(&self) -> Vec<(Arc<str>, Arc<str>)> {
                let of_each: Vec<Vec<(Arc<str>, Arc<str>)>> =
                    vec![$(OperatorStateSet::former_names(&self.$index)),*];
                of_each.concat()
            }

            fn version(&self, index: usize) -> u32 {
                match index {
                    $($index => OperatorState::version(&self.$index),)*
                    _ => panic!("state {index} of a set that has fewer"),
                }
            }

            fn mistakes(&self) -> Vec<(Arc<str>, String)> {
                let of_each: Vec<Vec<(Arc<str>, String)>> = vec![$(OperatorStateSet::mistakes(&self.$index)),*];
                of_each.concat()
            }

            #[inline]
            #[allow(clippy::unused_unit, reason = "the empty tuple is among them")]
            fn handles<'a>(&'a self, _held: &'a mut Self::Held) -> Self::Handles<'a> {
                ($(self.$index.handle(&mut _held.$index),)*)
            }

            fn write(&self, index: usize, _held: &Self::Held, _section: &mut SectionWriter) -> Result<(), String> {
                match index {
                    $($index => OperatorState::write(&self.$index, &_held.$index, _section),)*
                    _ => panic!("state {index} of a set that has fewer"),
                }
            }

            fn load(
                &self,
                index: usize,
                _held: &mut Self::Held,
                _copies: &[StoredCopy<'_>],
                _share: Share,
            ) -> Result<(), CopyError> {
                match index {
                    $($index => OperatorState::load(&self.$index, &mut _held.$index, _copies, _share),)*
                    _ => panic!("state {index} of a set that has fewer"),
                }
            }
        }
    )*};
}

operator_state_tuples! {
    ()
    (A 0)
    (A 0, B 1)
    (A 0, B 1, C 2)
    (A 0, B 1, C 2, D 3)
    (A 0, B 1, C 2, D 3, E 4)
    (A 0, B 1, C 2, D 3, E 4, F 5)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7)
}
