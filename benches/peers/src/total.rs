//! A sum that many threads add to.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The sum. Threads add to [`Part`]s of their own.
#[derive(Default)]
pub(crate) struct Total(Arc<AtomicU64>);

impl Total {
    /// A part that adds what it has to the sum when it is dropped.
    pub(crate) fn part(&self) -> Part {
        Part { sum: 0, total: self.0.clone() }
    }

    /// The sum, once all parts are dropped.
    pub(crate) fn wait(self) -> u64 {
        while Arc::strong_count(&self.0) > 1 {
            std::thread::yield_now();
        }
        self.0.load(Ordering::Acquire)
    }
}

/// What one thread has added. A clone is another part of the same sum.
pub(crate) struct Part {
    sum: u64,
    total: Arc<AtomicU64>,
}

impl Part {
    #[inline]
    pub(crate) fn add(&mut self, number: u64) {
        self.sum = self.sum.wrapping_add(number);
    }
}

impl Clone for Part {
    fn clone(&self) -> Self {
        Self { sum: 0, total: self.total.clone() }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.total.fetch_add(self.sum, Ordering::Release);
    }
}
