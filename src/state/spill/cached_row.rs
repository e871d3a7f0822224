//! A row in the cache while it is worked on, and what is counted of it.

use hashbrown::hash_table::OccupiedEntry;

use super::dirt::Dirt;
use super::table::{Cached, Group};
use crate::state::barrier::Capture;
use crate::state::set::Paging;
use crate::state::{Access, Stamp, StateKey, StateRows, StateSet, TimerQueues, stable_hash};

/// What is counted of a group.
pub(super) struct Account<'a> {
    pub(super) dirt: &'a mut Dirt,
    /// Keys that have state.
    pub(super) live: &'a mut usize,
    /// Marks of removals.
    pub(super) tombstones: &'a mut usize,
}

impl<K, Row> Group<K, Row> {
    pub(super) fn account(&mut self) -> Account<'_> {
        Account { dirt: &mut self.dirt, live: &mut self.live, tombstones: &mut self.tombstones }
    }
}

impl Account<'_> {
    /// A row is about to be worked on, or to change its place, in the middle of a capture: it is written if it is ahead
    /// of the sweep of its group, and what the capture wants of it counts as changed from here on.
    #[inline]
    pub(super) fn move_on<K: StateKey, S: StateSet>(
        &mut self,
        capture: &mut Capture,
        states: &S,
        (index, is_ahead): (usize, bool),
        cached: &mut Cached<K, S::Row>,
        current: Stamp,
    ) {
        let before = S::stamp(&cached.row);
        if is_ahead {
            self.write(capture, states, index, cached);
        }
        let Cached { row, marks, .. } = cached;
        states.touch(row, capture.span(index), current);
        if before < current && S::stamp(row) == current {
            marks.is_changed = true;
            self.dirt.record();
        }
    }

    /// Writes a row, whose values may expire with that.
    #[inline]
    pub(super) fn write<K: StateKey, S: StateSet>(
        &mut self,
        capture: &mut Capture,
        states: &S,
        index: usize,
        Cached { key, row, marks }: &mut Cached<K, S::Row>,
    ) {
        let (stamp, was_clear) = (S::stamp(row), S::is_clear(row));
        // What expires frees its pages, also where the stamp stays that of the barrier.
        marks.is_changed |= S::EXPIRES && S::HAS_PAGES && states.is_due(row, capture.at_barrier());
        capture.write(states, index, key, row);
        if S::stamp(row) != stamp {
            marks.is_changed = true;
            self.dirt.record();
        }
        if !was_clear && S::is_clear(row) {
            marks.is_changed = true;
            *self.live -= 1;
            *self.tombstones += 1;
        }
    }
}

/// One key's row in the cache, for as long as one record is worked on.
pub(super) struct CachedRow<'a, K, S: StateSet> {
    pub(super) found: OccupiedEntry<'a, Cached<K, S::Row>>,
    pub(super) states: &'a S,
    pub(super) paging: &'a Paging,
    pub(super) timers: &'a mut TimerQueues,
    pub(super) account: Account<'a>,
    pub(super) cached: &'a mut usize,
    pub(super) current: Stamp,
    /// No checkpoint can have this key's state, so a removed one leaves no mark.
    pub(super) forgets: bool,
    /// As it was before.
    pub(super) stamp: Stamp,
    pub(super) is_clear: bool,
}

impl<K: StateKey, S: StateSet> CachedRow<'_, K, S> {
    /// The key, and handles of its states.
    #[inline]
    pub(super) fn lend(&mut self, access: Access) -> (&K, S::Handles<'_>) {
        self.expire(access);
        let Cached { key, row, .. } = self.found.get_mut();
        (key, self.states.handles(row, access))
    }

    /// Clears what has expired.
    #[inline]
    pub(super) fn expire(&mut self, access: Access) {
        if self.states.expires() {
            self.states.expire(&mut self.found.get_mut().row, access);
        }
    }

    /// Whether there is no state in it.
    pub(super) fn is_clear(&self) -> bool {
        S::is_clear(&self.found.get().row)
    }

    /// The record has been worked on: keeps account of what was changed, and forgets the key if nothing is left of it.
    #[inline]
    pub(super) fn settle(mut self) {
        let Cached { key, row, marks } = self.found.get_mut();
        if self.states.expires() {
            self.states.settle(row, self.current);
        }
        if const { S::HAS_TIMERS } {
            marks.is_changed |= self.states.enqueue_timers(row, self.timers, || stable_hash(key));
        }
        if const { S::HAS_PAGES } {
            marks.is_changed |= self.states.trim(row, self.paging);
        }
        let (stamp, is_clear) = (S::stamp(row), S::is_clear(row));
        if stamp != self.stamp {
            self.account.dirt.record();
        }
        // One that was read back with the current stamp may have been changed again under it.
        marks.is_changed |= stamp == self.current;
        let was_mark = self.is_clear && self.stamp > 0;
        match (self.is_clear, is_clear) {
            (true, false) => *self.account.live += 1,
            (false, true) => *self.account.live -= 1,
            _ => {}
        }
        if !is_clear {
            *self.account.tombstones -= usize::from(was_mark);
            return;
        }
        if stamp > 0 && !self.forgets {
            *self.account.tombstones += usize::from(!was_mark);
            return;
        }
        *self.account.tombstones -= usize::from(was_mark);
        if marks.is_on_disk {
            // It hides what the disk has until that is removed.
            *row = S::Row::default();
            marks.is_changed = true;
        } else {
            *self.cached -= 1;
            self.found.remove();
        }
    }
}
