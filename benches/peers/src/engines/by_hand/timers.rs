//! Timers of keys.

use std::collections::BTreeMap;

use hashbrown::HashMap;

use super::Timed;
use crate::events::{DELAY_MS, Event, Fired};

/// Each record sets a timer of its key. Those of one key that are for the same time are one.
#[derive(Default)]
pub(in crate::engines) struct Timers {
    /// Keys by time, as often as they were set.
    waiting: BTreeMap<i64, Vec<u64>>,
    /// How many have fired of a key.
    fired: HashMap<u64, u64>,
}

impl Timed for Timers {
    type In = Event;
    type Out = Fired;

    #[inline]
    fn add(&mut self, event: Event) {
        self.waiting.entry(event.time + DELAY_MS).or_default().push(event.key);
    }

    #[inline]
    fn next_time(&self) -> Option<i64> {
        self.waiting.first_key_value().map(|(time, _)| *time)
    }

    fn fire(&mut self, mut give: impl FnMut(Fired)) {
        let Some((time, mut keys)) = self.waiting.pop_first() else { return };
        keys.sort_unstable();
        keys.dedup();
        for key in keys {
            let fired = self.fired.entry(key).or_default();
            *fired += 1;
            give(Fired { time, key, count: *fired });
        }
    }
}
