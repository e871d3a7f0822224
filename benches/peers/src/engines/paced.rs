//! Records that are due at a steady rate, and how late they come out.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::measure::{Figure, Run, since_start};
use crate::numbers::key;
use crate::plan::Plan;

/// Records a second.
const RATE: u64 = 200_000;
/// How long a source waits before it looks again whether records are due.
pub(super) const TICK: Duration = Duration::from_micros(100);

/// A paced record.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Due {
    /// When it was due, in nanoseconds of this process.
    pub(super) due: u64,
    pub(super) key: u64,
}

/// Gives records as they become due. One that was held up makes up for it.
pub(super) struct Pace {
    started: u64,
    next: u64,
    records: u64,
    keys: u64,
    /// The last time that was looked at.
    now: u64,
}

impl Pace {
    /// Starts now.
    pub(super) fn start(plan: Plan) -> Self {
        let now = since_start();
        Self { started: now, next: 0, records: plan.records, keys: plan.keys, now }
    }

    /// The next record, if its time has come. Looks at the clock when all is given that was due at the last look.
    pub(super) fn next_due(&mut self) -> Option<Due> {
        if self.is_over() {
            return None;
        }
        let due = self.started + (u128::from(self.next) * 1_000_000_000 / u128::from(RATE)) as u64;
        if due > self.now {
            self.now = since_start();
            if due > self.now {
                return None;
            }
        }
        let record = Due { due, key: key(self.next, self.keys) };
        self.next += 1;
        Some(record)
    }

    /// Whether all were given.
    pub(super) fn is_over(&self) -> bool {
        self.next >= self.records
    }

    /// How many were given.
    pub(super) fn position(&self) -> u64 {
        self.next
    }
}

/// How late records came out, of all threads.
#[derive(Clone, Default)]
pub(super) struct Delays(Arc<Mutex<Merged>>);

#[derive(Default)]
struct Merged {
    counted: Vec<Duration>,
    records: u64,
}

impl Delays {
    /// A log for one thread, which may see all of `records`.
    pub(super) fn log(&self, records: u64) -> DelayLog {
        DelayLog { delays: Vec::with_capacity(records as usize), all: self.clone() }
    }

    /// Percentiles, once all logs are dropped. The first tenth of the records of each log was to warm up and does not count.
    pub(super) fn wait(self, cores: f64) -> Run {
        while Arc::strong_count(&self.0) > 1 {
            std::thread::yield_now();
        }
        let mut merged = self.0.lock().expect("no panic under the lock");
        let Merged { counted: delays, records } = &mut *merged;
        delays.sort_unstable();
        let percentile = |p: f64| {
            let index = ((delays.len() as f64 * p) as usize).min(delays.len().saturating_sub(1));
            delays.get(index).map_or(0.0, |delay| delay.as_nanos() as f64 / 1e3)
        };
        let figures = vec![
            Figure::new("p50 us", percentile(0.5)),
            Figure::new("p99 us", percentile(0.99)),
            Figure::new("p99.9 us", percentile(0.999)),
            Figure::new("cores", cores),
        ];
        Run { checksum: Some(*records), results: None, figures }
    }
}

/// What one thread has seen. A clone is an empty log for another thread.
pub(super) struct DelayLog {
    delays: Vec<Duration>,
    all: Delays,
}

impl Clone for DelayLog {
    fn clone(&self) -> Self {
        Self { delays: Vec::with_capacity(self.delays.capacity()), all: self.all.clone() }
    }
}

impl DelayLog {
    /// A record that was due then has come out now.
    pub(super) fn take(&mut self, due: u64) {
        self.delays.push(Duration::from_nanos(since_start() - due));
    }
}

impl Drop for DelayLog {
    fn drop(&mut self) {
        let counted = &self.delays[self.delays.len() / 10..];
        let mut merged = self.all.0.lock().expect("no panic under the lock");
        merged.counted.extend_from_slice(counted);
        merged.records += self.delays.len() as u64;
    }
}
