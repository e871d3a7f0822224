//! Counts of keys in windows.

use std::collections::VecDeque;

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

use super::Timed;
use crate::events::{Event, WindowCount};

/// Records by key.
type Counts = HashMap<u64, u64>;

/// Windows that follow or overlap each other. Records are counted in slices as long as the slide. Windows of several slices have
/// a total of each key, to which the slice that comes in is added, and from which the one that has left is subtracted.
pub(in crate::engines) struct Windows {
    size_ms: i64,
    slide_ms: i64,
    /// Where the first slice begins that is not complete.
    begin: i64,
    /// Slices that are not complete.
    open: VecDeque<Counts>,
    /// Slices of the last window that was complete, if it has several.
    complete: VecDeque<Counts>,
    /// Sums of those. Keys without records are not in it.
    totals: Counts,
    /// Empty maps, to be used again.
    spare: Vec<Counts>,
}

impl Windows {
    /// No record is from before `begin`, and a window of each size begins there.
    pub(in crate::engines) fn new(size_ms: i64, slide_ms: i64, begin: i64) -> Self {
        let (open, complete) = (VecDeque::new(), VecDeque::new());
        Self { size_ms, slide_ms, begin, open, complete, totals: Counts::new(), spare: Vec::new() }
    }

    /// Adds a slice to the totals, and subtracts the one that has left the window.
    fn slide(&mut self, slice: Counts) {
        for (&key, &count) in &slice {
            *self.totals.entry(key).or_default() += count;
        }
        self.complete.push_back(slice);
        if self.complete.len() as i64 * self.slide_ms <= self.size_ms {
            return;
        }
        let Some(mut over) = self.complete.pop_front() else { return };
        for (key, count) in over.drain() {
            if let Entry::Occupied(mut total) = self.totals.entry(key) {
                *total.get_mut() -= count;
                if *total.get() == 0 {
                    total.remove();
                }
            }
        }
        self.spare.push(over);
    }
}

impl Timed for Windows {
    type In = Event;
    type Out = WindowCount;

    #[inline]
    fn add(&mut self, event: Event) {
        let place = ((event.time - self.begin) / self.slide_ms) as usize;
        while self.open.len() <= place {
            self.open.push_back(self.spare.pop().unwrap_or_default());
        }
        *self.open[place].entry(event.key).or_default() += 1;
    }

    /// The last millisecond of the window that is complete next.
    #[inline]
    fn next_time(&self) -> Option<i64> {
        let is_empty = self.open.is_empty() && self.totals.is_empty();
        (!is_empty).then(|| self.begin + self.slide_ms - 1)
    }

    /// Gives the counts of that window.
    fn fire(&mut self, mut give: impl FnMut(WindowCount)) {
        self.begin += self.slide_ms;
        let start = self.begin - self.size_ms;
        let mut slice = self.open.pop_front().unwrap_or_default();
        if self.size_ms == self.slide_ms {
            slice.drain().for_each(|(key, count)| give(WindowCount { start, key, count }));
            self.spare.push(slice);
            return;
        }
        self.slide(slice);
        self.totals.iter().for_each(|(&key, &count)| give(WindowCount { start, key, count }));
    }
}
