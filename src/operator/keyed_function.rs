//! What users write to work on keyed streams.

use std::fmt;

use crate::state::StateSet;

use super::Emitter;

/// A function on the records of a keyed stream, with states of its own for each key. Follows Flink's
/// `KeyedProcessFunction`.
///
/// Each subtask and each attempt runs a fresh clone of the declared value, so nothing but the states survives a
/// failure.
pub trait KeyedProcessFunction<K, In>: Clone + Send + 'static {
    /// What it emits.
    type Out: Send + 'static;
    /// Its states: one, a tuple of up to eight, or a struct by [`state_set!`](crate::state_set).
    type State: StateSet;

    /// Declares the states; the same ones every time.
    fn state(&self) -> Self::State;

    /// Takes one record. `states` are those of the record's key, to be changed in place. Records of one key come in
    /// the order of the stream.
    ///
    /// # Panics
    /// A panic fails the task; the region restarts from its last checkpoint.
    fn process(
        &mut self,
        record: In,
        states: <Self::State as StateSet>::Handles<'_>,
        ctx: &mut KeyedContext<'_, K>,
        out: &mut Emitter<'_, Self::Out>,
    );
}

/// The state handles of a [`KeyedProcessFunction`] `F`, for use in its signature.
pub type Row<'a, F, K, In> = <<F as KeyedProcessFunction<K, In>>::State as StateSet>::Handles<'a>;

/// What a keyed function knows while it works on a record.
pub struct KeyedContext<'a, K> {
    pub(crate) key: &'a K,
}

impl<K> KeyedContext<'_, K> {
    /// The record's key.
    #[inline]
    pub fn key(&self) -> &K {
        self.key
    }
}

impl<K: fmt::Debug> fmt::Debug for KeyedContext<'_, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedContext").field("key", self.key).finish_non_exhaustive()
    }
}
