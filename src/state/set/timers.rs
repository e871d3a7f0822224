//! What is done with the timers of a row.

use millstream_actors::protocol::Timestamp;

use super::{State, StateVisitor};
use crate::state::{Stamp, TimeDomain, TimerQueues};

/// Has the queues know the row's key by its earliest timers.
pub(super) struct Enqueue<'a, F> {
    pub(super) queues: &'a mut TimerQueues,
    /// Gives the key's hash.
    pub(super) hash: F,
    /// The queues were told of a time.
    pub(super) is_told: bool,
}

impl<F: Fn() -> u64> StateVisitor for Enqueue<'_, F> {
    #[inline]
    fn visit<S: State>(&mut self, _: usize, state: &S, slot: &mut S::Slot) {
        let Some(due) = state.due_times(slot) else { return };
        for domain in TimeDomain::ALL {
            if let Some(at) = due.enqueue(domain) {
                self.queues.insert(domain, (at, (self.hash)()));
                self.is_told = true;
            }
        }
    }
}

/// Whether the queue knows the row's key by a time.
pub(super) struct QueuedAt {
    pub(super) domain: TimeDomain,
    pub(super) at: Timestamp,
    pub(super) is_it: bool,
}

impl StateVisitor for QueuedAt {
    #[inline]
    fn visit<S: State>(&mut self, _: usize, state: &S, slot: &mut S::Slot) {
        self.is_it |= state.due_times(slot).is_some_and(|due| due.is_queued_at(self.domain, self.at));
    }
}

/// Takes the timer that is due at a time.
pub(super) struct TakeDue {
    pub(super) domain: TimeDomain,
    pub(super) at: Timestamp,
    pub(super) stamp: Stamp,
    pub(super) taken: Option<Timestamp>,
}

impl StateVisitor for TakeDue {
    fn visit<S: State>(&mut self, _: usize, state: &S, slot: &mut S::Slot) {
        if S::HAS_TIMERS {
            self.taken = state.take_due(slot, (self.domain, self.at), self.stamp);
        }
    }
}
