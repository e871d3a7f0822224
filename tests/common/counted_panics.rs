//! Functions that panic when they are called for the nth time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Numbers of calls, from 0 on, at which a function panics, each once. Calls of all subtasks and attempts are counted together.
/// Clones are one.
#[derive(Clone, Default)]
pub(crate) struct CountedPanics(Arc<Counts>);

#[derive(Default)]
struct Counts {
    at: Vec<u64>,
    /// How many of them have been met.
    met: AtomicU64,
    calls: AtomicU64,
}

impl CountedPanics {
    pub(crate) fn at(calls: &[u64]) -> Self {
        Self(Arc::new(Counts { at: calls.to_vec(), ..Counts::default() }))
    }

    /// Is called.
    pub(crate) fn count_and_panic(&self) {
        let Counts { at, met, calls } = &*self.0;
        let call = calls.fetch_add(1, Ordering::SeqCst);
        let next = met.load(Ordering::SeqCst);
        let is_due = at.get(next as usize).is_some_and(|at| call >= *at);
        // One of the subtasks that come to it at the same time panics.
        if is_due && met.compare_exchange(next, next + 1, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
            panic!("injected at call {call}");
        }
    }
}
