//! What an arbiter is doing, for a watchdog on another thread.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::TaskGuard;

thread_local! {
    static OF_THIS_THREAD: RefCell<Option<Arc<Activity>>> = const { RefCell::new(None) };
}

/// Which task an arbiter polls, and how often it has polled one. Written by the arbiter's thread alone, without a
/// clock and without an ordering: a watchdog compares two samples that are far apart.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    polls: AtomicU64,
    current: AtomicU64,
    names: Mutex<Names>,
}

#[derive(Debug, Default)]
struct Names {
    last_id: u64,
    tasks: BTreeMap<u64, TaskGuard>,
}

/// One look at an arbiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sample {
    polls: u64,
    current: u64,
}

impl Activity {
    /// Makes this the record of the calling arbiter.
    pub(crate) fn adopt(self: Arc<Self>) {
        OF_THIS_THREAD.set(Some(self));
    }

    pub(crate) fn of_this_thread() -> Option<Arc<Self>> {
        OF_THIS_THREAD.with_borrow(Clone::clone)
    }

    pub(super) fn register(&self, task: TaskGuard) -> u64 {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.last_id += 1;
        let id = names.last_id;
        names.tasks.insert(id, task);
        id
    }

    pub(super) fn forget(&self, id: u64) {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).tasks.remove(&id);
    }

    #[inline]
    pub(super) fn enter(&self, id: u64) {
        self.polls.store(self.polls.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        self.current.store(id, Ordering::Relaxed);
    }

    #[inline]
    pub(super) fn leave(&self) {
        self.current.store(0, Ordering::Relaxed);
    }

    /// A look; `None` while no task is polled.
    pub(crate) fn sample(&self) -> Option<Sample> {
        let current = self.current.load(Ordering::Relaxed);
        (current != 0).then(|| Sample { polls: self.polls.load(Ordering::Relaxed), current })
    }

    /// The task that a sample saw, if it is still there.
    pub(crate) fn task_of(&self, sample: Sample) -> Option<TaskGuard> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).tasks.get(&sample.current).cloned()
    }
}
