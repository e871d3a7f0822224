//! User functions as the graph keeps them: one prototype, a fresh clone for each subtask of each attempt.

use std::sync::Mutex;

/// Holds a user's function or source of values, which need not be `Sync`.
pub(crate) struct Prototype<F>(Mutex<F>);

impl<F: Clone> Prototype<F> {
    pub(crate) fn new(function: F) -> Self {
        Self(Mutex::new(function))
    }

    /// A fresh clone. A clone that panicked before leaves the prototype as it was.
    pub(crate) fn fresh(&self) -> F {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }
}
