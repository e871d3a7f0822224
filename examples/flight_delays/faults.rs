//! What is injected: panics at certain records, and the end of the process.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// A file and the number of a record in it.
type At = (Arc<str>, u64);

/// Met by every record, by its position in its file.
#[derive(Clone, Default)]
pub(crate) struct Faults {
    pub(crate) panic_every: Option<u64>,
    pub(crate) kill_after_records: Option<u64>,
    /// Records at which this process has panicked already.
    fired: Arc<Mutex<HashSet<At>>>,
    /// Records read by this process.
    read: Arc<AtomicU64>,
}

impl Faults {
    pub(crate) fn new(panic_every: Option<u64>, kill_after_records: Option<u64>) -> Self {
        Self { panic_every, kill_after_records, ..Self::default() }
    }

    /// `number` counts the records of the file from 1.
    pub(crate) fn meet(&self, file: &Arc<str>, number: u64) {
        let read = self.read.fetch_add(1, Ordering::Relaxed) + 1;
        if self.kill_after_records == Some(read) {
            log::warn!(target: "example", "aborting the process after {read} records, as told");
            std::process::abort();
        }
        let Some(every) = self.panic_every else { return };
        if number.is_multiple_of(every) && self.first_time(file, number) {
            panic!("injected at record {number}");
        }
    }

    fn first_time(&self, file: &Arc<str>, number: u64) -> bool {
        self.fired.lock().unwrap_or_else(PoisonError::into_inner).insert((file.clone(), number))
    }
}
