//! Records that come out of order in event time, and the windows in which they are counted.

use serde::{Deserialize, Serialize};

use crate::numbers::{key, splitmix64};
use crate::plan::{Plan, Workload};

/// Records in each millisecond.
const RATE: u64 = 100;
/// A record comes less than this behind one of a later time.
pub(crate) const BOUND_MS: i64 = 50;
/// How long after its record a timer is due.
pub(crate) const DELAY_MS: i64 = 1_000;
/// From the beginning of a window to that of the next.
pub(crate) const SLIDE_MS: i64 = 1_000;

/// How long the windows of a workload are: a multiple of their slide.
pub(crate) fn size_ms(workload: Workload) -> i64 {
    match workload {
        Workload::Window => SLIDE_MS,
        Workload::Sliding => 10 * SLIDE_MS,
        Workload::Sliding100 => 100 * SLIDE_MS,
        other => unreachable!("{other} has no windows"),
    }
}

/// A record.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Event {
    /// Milliseconds, not negative.
    pub(crate) time: i64,
    pub(crate) key: u64,
}

impl Event {
    #[inline]
    fn new(i: u64, keys: u64) -> Self {
        let time = (i / RATE).saturating_sub(splitmix64(i) % BOUND_MS.unsigned_abs());
        Self { time: time as i64, key: key(i + 1, keys) }
    }
}

/// The records that one of several sources reads: they take turns, record by record.
#[derive(Clone)]
pub(crate) struct Events {
    next: u64,
    sources: u64,
    plan: Plan,
}

impl Events {
    pub(crate) fn of(source: u64, sources: u64, plan: Plan) -> Self {
        Self { next: source, sources, plan }
    }

    /// The number of the next record.
    pub(crate) fn position(&self) -> u64 {
        self.next
    }

    /// Goes on with the record of this number.
    pub(crate) fn resume(&mut self, position: u64) {
        self.next = position;
    }
}

impl Iterator for Events {
    type Item = Event;

    #[inline]
    fn next(&mut self) -> Option<Event> {
        let i = self.next;
        if i >= self.plan.records {
            return None;
        }
        self.next += self.sources;
        Some(Event::new(i, self.plan.keys))
    }
}

/// The watermark when `newest` is the latest time so far: the records that follow are all later than it.
#[inline]
pub(crate) fn watermark(newest: i64) -> i64 {
    newest - BOUND_MS - 1
}

/// How many records a key has in a window.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct WindowCount {
    /// Milliseconds; the first windows begin before 0.
    pub(crate) start: i64,
    pub(crate) key: u64,
    pub(crate) count: u64,
}

impl WindowCount {
    /// What it adds to the checksum.
    #[inline]
    pub(crate) fn weigh(self) -> u64 {
        splitmix64(self.start.cast_unsigned() ^ self.key.wrapping_mul(0x9e37) ^ self.count)
    }
}

/// A timer has fired.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Fired {
    /// What it was set for, in milliseconds.
    pub(crate) time: i64,
    pub(crate) key: u64,
    /// How many have fired of the key, this one included: those of a key fire in the order of their times.
    pub(crate) count: u64,
}

impl Fired {
    /// What it adds to the checksum.
    #[inline]
    pub(crate) fn weigh(self) -> u64 {
        splitmix64(self.time.cast_unsigned() ^ self.key.wrapping_mul(0x9e37) ^ (self.count << 40))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_record_is_behind_the_watermark_of_those_before_it() {
        let plan = Plan { records: 100_000, keys: 100, ..Workload::Window.plan() };
        for source in 0..2 {
            let mut newest = 0;
            for event in Events::of(source, 2, plan) {
                assert!(event.time >= 0 && event.time > watermark(newest), "{event:?} after one of {newest}");
                newest = newest.max(event.time);
            }
        }
    }
}
