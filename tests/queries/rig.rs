//! A job that is given numbers while it runs, and says when it has worked them off.

use std::path::Path;
use std::sync::mpsc;

use millstream::prelude::*;
use millstream::query::{Answer, AsOf, ScanCursor, StateQuery};

use crate::common::QueueSource;

pub(crate) const KEYS: u64 = 10;

/// The number at which the job's function panics.
pub(crate) const POISON: u64 = u64::MAX;

/// Sums the numbers of a key, which is their last digit.
pub(crate) struct Rig {
    pub(crate) job: JobHandle,
    numbers: QueueSource,
    worked_off: mpsc::Receiver<u64>,
}

impl Rig {
    pub(crate) fn start(env: StreamEnvironment) -> Self {
        let numbers = QueueSource::default();
        let (sender, worked_off) = mpsc::channel();
        env.source("numbers", numbers.clone())
            .parallelism(1)
            .key_by(|n| n % KEYS)
            .fold("sums", 0u64, |sum, n| {
                assert!(n != POISON, "injected");
                *sum += n;
            })
            .map(|(_, sum)| sum)
            .name("worked-off")
            // The test may have ended.
            .inspect(move |sum| {
                let _ = sender.send(*sum);
            })
            .sink("out", ForEachSink::new(|_| Ok(())));
        Self { job: env.start().unwrap(), numbers, worked_off }
    }

    /// Gives the job numbers and waits until it has worked them off.
    pub(crate) fn take(&self, numbers: impl IntoIterator<Item = u64>) {
        let numbers: Vec<u64> = numbers.into_iter().collect();
        self.numbers.push(numbers.iter().copied());
        numbers.iter().for_each(|_| {
            self.worked_off.recv().unwrap();
        });
    }

    /// Gives the job numbers.
    pub(crate) fn push(&self, numbers: impl IntoIterator<Item = u64>) {
        self.numbers.push(numbers);
    }

    pub(crate) fn sums(&self) -> StateQuery<u64, u64> {
        self.job.query("sums", "accumulator")
    }
}

/// The sums of the numbers below `n`, by key.
pub(crate) fn sums_below(n: u64) -> Vec<(u64, u64)> {
    let sum = |key: u64| (0..n).filter(|n| n % KEYS == key).sum();
    (0..KEYS.min(n)).map(|key| (key, sum(key))).collect()
}

/// Both backends, each with a name.
pub(crate) fn backends(dir: &Path) -> [StateBackend; 2] {
    [StateBackend::memory(), StateBackend::redb(dir).cache_bytes(64 << 10)]
}

/// All entries, from pages of at most `limit`, sorted; and as of when the last page is.
pub(crate) async fn scanned(query: &StateQuery<u64, u64>, limit: usize) -> (Vec<(u64, u64)>, AsOf) {
    let (mut entries, mut from) = (Vec::new(), ScanCursor::default());
    loop {
        let Answer { value, as_of, .. } = query.scan_from(from, limit).await.unwrap();
        assert!(value.entries.len() <= limit);
        entries.extend(value.entries);
        let Some(next) = value.next else {
            entries.sort_unstable();
            return (entries, as_of);
        };
        from = next;
    }
}
