//! When a key is to be looked at next, and what the queue of its subtask knows of that.

use millstream_actors::protocol::Timestamp;

use super::timers::TimeDomain;

/// Is no time. What is due then is looked at a millisecond later, which no watermark tells apart.
const NONE: Timestamp = Timestamp::MIN;

/// For each domain the earliest time at which something of a key is due, and the time by which the queue knows the key.
///
/// The second is not above the first. What is moved on or deleted stays in the queue until its old time has come; so a key
/// whose time is moved on by each record costs the queue nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DueTimes {
    first: [Timestamp; 2],
    queued: [Timestamp; 2],
}

impl Default for DueTimes {
    fn default() -> Self {
        Self { first: [NONE; 2], queued: [NONE; 2] }
    }
}

impl DueTimes {
    /// Sets when something is due, if anything is.
    #[inline]
    pub(crate) fn set_first(&mut self, domain: TimeDomain, at: Option<Timestamp>) {
        self.first[domain as usize] = at.map_or(NONE, |at| at.max(NONE + 1));
    }

    /// Something is due at this time: nothing changes if something is due earlier.
    #[inline]
    pub(crate) fn set_earlier(&mut self, domain: TimeDomain, at: Timestamp) {
        let first = &mut self.first[domain as usize];
        if *first == NONE || at < *first {
            *first = at.max(NONE + 1);
        }
    }

    /// The time by which the queue is to know the key from now on, if it knows none that is as early.
    #[inline]
    pub(crate) fn enqueue(&mut self, domain: TimeDomain) -> Option<Timestamp> {
        let (first, queued) = (self.first[domain as usize], &mut self.queued[domain as usize]);
        // As a rule it knows just this one, or there is none.
        if first == *queued || first == NONE || (*queued != NONE && *queued <= first) {
            return None;
        }
        *queued = first;
        Some(first)
    }

    /// Whether this is the time by which the queue knows the key.
    #[inline]
    pub(crate) fn is_queued_at(&self, domain: TimeDomain, at: Timestamp) -> bool {
        self.queued[domain as usize] == at
    }

    /// The queue's entry of time `at` has been taken: when the first is due, if it is by then.
    pub(crate) fn take(&mut self, domain: TimeDomain, at: Timestamp) -> Option<Timestamp> {
        let (first, queued) = (self.first[domain as usize], &mut self.queued[domain as usize]);
        if *queued <= at {
            *queued = NONE;
        }
        Some(first).filter(|first| *first != NONE && *first <= at)
    }

    /// Appends them.
    pub(crate) fn write_marks(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.first.into_iter().chain(self.queued).flat_map(Timestamp::to_le_bytes));
    }

    /// Takes what [`write_marks`](Self::write_marks) has appended off the front of `bytes`.
    ///
    /// # Errors
    /// If they are too few.
    pub(crate) fn load_marks(&mut self, bytes: &mut &[u8]) -> Result<(), String> {
        for time in self.first.iter_mut().chain(&mut self.queued) {
            let (at, rest) = bytes.split_first_chunk().ok_or("a mark of timers is cut short")?;
            (*time, *bytes) = (Timestamp::from_le_bytes(*at), rest);
        }
        Ok(())
    }
}
