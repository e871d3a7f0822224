//! What control actors share is behind locks.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Takes a lock whatever became of its last holder: what it protects is only ever changed in one step.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
