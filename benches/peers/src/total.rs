//! A sum of results that many threads add to.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The sum. Threads add to [`Part`]s of their own.
#[derive(Default)]
pub(crate) struct Total(Arc<Shared>);

#[derive(Default)]
struct Shared {
    sum: AtomicU64,
    results: AtomicU64,
}

/// What was added up.
pub(crate) struct Sum {
    pub(crate) checksum: u64,
    /// How many were [taken](Part::take).
    pub(crate) results: u64,
}

impl Sum {
    /// Of results that were not counted.
    pub(crate) fn of(checksum: u64) -> Self {
        Self { checksum, results: 0 }
    }
}

impl Total {
    /// A part that adds what it has to the sum when it is dropped.
    pub(crate) fn part(&self) -> Part {
        Part { sum: 0, results: 0, total: self.0.clone() }
    }

    /// The sum, once all parts are dropped.
    pub(crate) fn wait(self) -> Sum {
        while Arc::strong_count(&self.0) > 1 {
            std::thread::yield_now();
        }
        let Shared { sum, results } = &*self.0;
        Sum { checksum: sum.load(Ordering::Acquire), results: results.load(Ordering::Acquire) }
    }
}

/// What one thread has added. A clone is another part of the same sum.
pub(crate) struct Part {
    sum: u64,
    results: u64,
    total: Arc<Shared>,
}

impl Part {
    #[inline]
    pub(crate) fn add(&mut self, number: u64) {
        self.sum = self.sum.wrapping_add(number);
    }

    /// Adds a number, and counts it.
    #[inline]
    pub(crate) fn take(&mut self, number: u64) {
        self.add(number);
        self.results += 1;
    }
}

impl Clone for Part {
    fn clone(&self) -> Self {
        Self { sum: 0, results: 0, total: self.total.clone() }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.total.sum.fetch_add(self.sum, Ordering::Release);
        self.total.results.fetch_add(self.results, Ordering::Release);
    }
}
