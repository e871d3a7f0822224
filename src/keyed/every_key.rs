//! Access to the states of all keys, for functions that are opened.

use std::fmt;

use millstream_actors::contract::StateError;

use crate::state::StateSet;

/// Lends the states of every key.
pub(crate) trait VisitKeys<K, S: StateSet> {
    /// Gives each key that has state to `each`, in no order.
    ///
    /// # Errors
    /// Those of the backend.
    fn visit(&mut self, each: &mut dyn FnMut(&K, S::Handles<'_>)) -> Result<(), StateError>;
}

/// The keys of a subtask that have state, as a keyed function finds them when it is opened.
pub struct EveryKey<'a, K, S: StateSet> {
    keys: &'a mut dyn VisitKeys<K, S>,
    outcome: Result<(), StateError>,
}

impl<'a, K, S: StateSet> EveryKey<'a, K, S> {
    pub(crate) fn new(keys: &'a mut dyn VisitKeys<K, S>) -> Self {
        Self { keys, outcome: Ok(()) }
    }

    /// Calls `each` once for each key that has state, in no order. What it changes in the states counts as changed.
    ///
    /// The subtask takes no record before it is done, and [`StateBackend::redb`](crate::state::StateBackend::redb) reads
    /// its whole file. If that fails the task fails when the function returns.
    pub fn for_each(&mut self, mut each: impl FnMut(&K, S::Handles<'_>)) {
        if self.outcome.is_ok() {
            self.outcome = self.keys.visit(&mut each);
        }
    }

    pub(crate) fn outcome(self) -> Result<(), StateError> {
        self.outcome
    }
}

impl<K, S: StateSet> fmt::Debug for EveryKey<'_, K, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EveryKey").finish_non_exhaustive()
    }
}
