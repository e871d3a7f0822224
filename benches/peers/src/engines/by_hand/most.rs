//! q5 and q7 of Nexmark: what is greatest in a window.

use std::collections::BTreeMap;

use super::{Timed, Windows};
use crate::events::{Event, WindowCount};
use crate::nexmark::{BASE_TIME, HOT_MS, HOT_SLIDE_MS};

/// All records that have the greatest value of a window.
pub(in crate::engines) struct Most<T, F> {
    /// By their last milliseconds.
    windows: BTreeMap<i64, (u64, Vec<T>)>,
    /// Last millisecond of the record's window, and its value.
    of: F,
}

impl<T, F: Fn(&T) -> (i64, u64)> Most<T, F> {
    pub(in crate::engines) fn new(of: F) -> Self {
        Self { windows: BTreeMap::new(), of }
    }
}

impl<T, F: Fn(&T) -> (i64, u64)> Timed for Most<T, F> {
    type In = T;
    type Out = T;

    #[inline]
    fn add(&mut self, record: T) {
        let (last, value) = (self.of)(&record);
        let (most, records) = self.windows.entry(last).or_default();
        if value > *most {
            *most = value;
            records.clear();
        }
        if value == *most {
            records.push(record);
        }
    }

    #[inline]
    fn next_time(&self) -> Option<i64> {
        self.windows.first_key_value().map(|(last, _)| *last)
    }

    fn fire(&mut self, give: impl FnMut(T)) {
        if let Some((_, (_, records))) = self.windows.pop_first() {
            records.into_iter().for_each(give);
        }
    }
}

/// The auctions with the most bids of a window, among those that were added here.
pub(in crate::engines) struct Hot(Windows);

impl Hot {
    pub(in crate::engines) fn new() -> Self {
        Self(Windows::new(HOT_MS, HOT_SLIDE_MS, BASE_TIME))
    }
}

impl Timed for Hot {
    /// A bid: its time, and the auction as key.
    type In = Event;
    type Out = WindowCount;

    #[inline]
    fn add(&mut self, bid: Event) {
        self.0.add(bid);
    }

    #[inline]
    fn next_time(&self) -> Option<i64> {
        self.0.next_time()
    }

    fn fire(&mut self, give: impl FnMut(WindowCount)) {
        let mut hot = Vec::new();
        let mut most = 0;
        self.0.fire(|count| {
            if count.count > most {
                most = count.count;
                hot.clear();
            }
            if count.count == most {
                hot.push(count);
            }
        });
        hot.into_iter().for_each(give);
    }
}
