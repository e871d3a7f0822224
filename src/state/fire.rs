//! How a [`KeyedTable`] has the timers of its keys fire.

use std::ops::ControlFlow;

use millstream_actors::protocol::Timestamp;

use super::table::shrink;
use super::{Due, KeyedTable, StateKey, StateRows, StateSet, TimeDomain, stable_hash};

/// So many timers fire while memory is fetched.
const AHEAD: usize = 8;

impl<K: StateKey, S: StateSet> KeyedTable<K, S> {
    /// All groups are there: their timers are queued.
    pub(super) fn enqueue_all(&mut self) {
        if const { !S::HAS_TIMERS } {
            return;
        }
        let Self { states, groups, timers, .. } = self;
        for entry in groups.0.iter_mut().flat_map(|group| group.iter_mut()) {
            states.enqueue_timers(&mut entry.row, timers, || stable_hash(&entry.key));
        }
    }

    /// What will be needed of keys whose timers fire soon is on its way into the cache afterwards: the index first, and then
    /// the row.
    #[inline]
    fn look_ahead(&self, domain: TimeDomain) {
        if let Some(hash) = self.timers.ahead(domain, 2 * AHEAD) {
            self.groups.0[self.index_of(hash)].approach(hash);
        }
        if let Some(hash) = self.timers.ahead(domain, AHEAD) {
            self.groups.0[self.index_of(hash)].probable(hash);
        }
    }

    /// Fires; see [`KeyedBackend::fire_timers`](super::KeyedBackend::fire_timers).
    pub(super) fn fire(&mut self, domain: TimeDomain, due: Due, mut each: impl FnMut(&K, Timestamp, S::Handles<'_>)) {
        self.look_ahead(domain);
        let taken = self.timers.take_first(domain);
        debug_assert_eq!(taken, Some(due), "nothing has come between");
        let (at, hash) = due;
        let (index, access) = (self.index_of(hash), self.access());
        self.fires = true;
        for place in self.groups.0[index].places_of(hash) {
            let take = |states: &S, row: &mut S::Row| states.take_due_timer(row, (domain, at), access.stamp);
            let flow = self.lend_row_with::<true, _>(index, place, access, take, |key, timer, states| {
                if let Some(timer) = timer {
                    each(key, timer, states);
                }
                ControlFlow::Continue(())
            });
            debug_assert!(flow.is_continue());
        }
        self.fires = false;
        let may_move = self.may_move();
        shrink(&mut self.groups.0[index], &mut self.changes[index], may_move);
    }
}
