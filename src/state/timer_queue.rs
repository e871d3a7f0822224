//! Which key is to be looked at when: the order in which the timers of a subtask come due.

use std::collections::BTreeSet;

use millstream_actors::protocol::Timestamp;

use super::TimeDomain;

/// A time, and the hash of a key that may have a timer then.
pub(crate) type Due = (Timestamp, u64);

/// Keys by the time at which they are to be looked at, for each domain. A key may have more than one entry, of which only
/// the one that its [`TimersSlot`](super::TimersSlot) knows counts; keys with one hash share theirs.
#[derive(Debug, Default)]
pub(crate) struct TimerQueues([BTreeSet<Due>; 2]);

impl TimerQueues {
    #[inline]
    pub(crate) fn insert(&mut self, domain: TimeDomain, due: Due) {
        self.0[domain as usize].insert(due);
    }

    /// The earliest.
    #[inline]
    pub(crate) fn first(&self, domain: TimeDomain) -> Option<Due> {
        self.0[domain as usize].first().copied()
    }

    pub(crate) fn remove(&mut self, domain: TimeDomain, due: Due) {
        self.0[domain as usize].remove(&due);
    }

    /// Number of entries of a domain.
    pub(crate) fn len(&self, domain: TimeDomain) -> usize {
        self.0[domain as usize].len()
    }

    /// Takes so many of the latest out, ascending.
    pub(crate) fn take_latest(&mut self, domain: TimeDomain, most: usize) -> Vec<Due> {
        let queue = &mut self.0[domain as usize];
        let mut latest: Vec<Due> = (0..most).map_while(|_| queue.pop_last()).collect();
        latest.reverse();
        latest
    }
}
