//! How a [`KeyedTable`] has the timers of its keys fire.
//!
//! An entry of the queue leads to its row by the key's hash. Where one time is due for many of the keys, as when a window ends,
//! the table is gone through in the place of that: rows lie side by side, so nothing is sorted and nothing looked up.
//!
//! A row that a walk leaves empty stays where it is, as the mark of a removed key: most keys have a record of the next window
//! soon. Of those that have none the next walk takes the rows out, before it goes through their group. So there are at most as
//! many of them as keys fired at one time.

use std::ops::{ControlFlow, Range};

use millstream_actors::protocol::Timestamp;

use super::table::shrink;
use super::{KeyedTable, StateKey, StateRows, StateSet, TimeDomain, group_of_hash, stable_hash};

/// So many timers fire while memory is fetched.
const AHEAD: usize = 8;

/// The table is gone through if one in so many keys has something due at the time. A row that is passed takes about a tenth of
/// the time that an entry of the queue takes.
const WALKED_SHARE: usize = 8;

/// For fewer keys the groups are not gone through.
const WALKED_MIN: usize = if cfg!(test) { 2 } else { 128 };

/// Groups with so many places are gone through in one call for rows that a walk has left empty, and the rest in later ones: that takes less
/// than a millisecond.
const SWEPT_AT_ONCE: usize = if cfg!(test) { 1024 } else { 4096 };

/// Goes through the rows, to those that the queue knew by one time. The entries of these have left the queue; what is registered for
/// that time from then on has entries again.
#[derive(Debug)]
pub(super) struct Walk {
    at: Timestamp,
    /// Of so many entries the rows are probably ahead.
    left: usize,
    /// Where it is: a group, and a place in that.
    group: usize,
    place: usize,
    /// How often entries of this group had been moved when it came there.
    moves: u32,
}

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

    /// The earliest time at which something may be due.
    #[inline]
    pub(super) fn first_due(&self, domain: TimeDomain) -> Option<Timestamp> {
        let queued = self.timers.first_time(domain);
        match &self.walks[domain as usize] {
            Some(walk) => Some(queued.map_or(walk.at, |queued| queued.min(walk.at))),
            None => queued,
        }
    }

    /// Entries of the queue, with those in whose place rows are gone through.
    pub(crate) fn queued_timers(&self) -> usize {
        self.timers.entries() + self.walks.iter().flatten().map(|walk| walk.left).sum::<usize>()
    }

    /// The walk, if it is its turn: nothing that is due earlier has come meanwhile.
    #[inline]
    fn walk(&mut self, domain: TimeDomain) -> Option<&mut Walk> {
        let walk = self.walks[domain as usize].as_mut()?;
        self.timers.first_time(domain).is_none_or(|queued| queued >= walk.at).then_some(walk)
    }

    /// Finds what fires next; see [`KeyedBackend::next_timer`](super::KeyedBackend::next_timer).
    #[inline]
    pub(super) fn next_due(&mut self, domain: TimeDomain, up_to: Timestamp) -> Option<u32> {
        while self.first_due(domain).is_some_and(|first| first <= up_to) {
            if self.walks[domain as usize].is_none() {
                let many = WALKED_MIN.max(self.len / WALKED_SHARE);
                match self.timers.take_many(domain, many) {
                    Some(many) => self.begin_walk(domain, many),
                    None if self.kept > many || self.to_sweep.is_some() => self.sweep(),
                    None => {}
                }
            }
            if self.walk(domain).is_none() {
                let (_, hash) = self.timers.first(domain)?;
                return Some(group_of_hash(hash, self.max_parallelism));
            }
            if let Some(group) = self.walk_on(domain) {
                return Some(self.range.start + group as u32);
            }
            self.walks[domain as usize] = None;
        }
        None
    }

    fn begin_walk(&mut self, domain: TimeDomain, (at, left): (Timestamp, usize)) {
        self.walks[domain as usize] = Some(Walk { at, left, group: 0, place: 0, moves: 0 });
        (self.kept, self.to_sweep) = (0, None);
        self.come_to_group(0);
    }

    /// Takes out the rows of a group that have been empty since the last walk.
    fn come_to_group(&mut self, group: usize) {
        if group < self.groups.0.len() && self.may_move() {
            self.drop_idle_marks(group);
        }
    }

    /// Takes out rows that the last walk has left empty, of some of the groups. Those that become so meanwhile are of the next sweep.
    #[cold]
    fn sweep(&mut self) {
        if !self.may_move() {
            return;
        }
        let Range { start: first, end } = self.to_sweep.take().unwrap_or_else(|| {
            self.kept = 0;
            0..self.groups.0.len()
        });
        let (mut next, mut places) = (first, 0);
        while next < end && places < SWEPT_AT_ONCE {
            places += self.groups.0[next].places();
            self.drop_idle_marks(next);
            next += 1;
        }
        self.to_sweep = (next < end).then_some(next..end);
    }

    /// As [`sweep`](Self::sweep), if nothing is due any more, and so no walk comes.
    #[inline]
    pub(super) fn drop_forgotten(&mut self) {
        let has_some = self.kept > 0 || self.to_sweep.is_some();
        if has_some && self.timers.entries() == 0 && self.walks.iter().all(Option::is_none) {
            self.sweep();
        }
    }

    /// Goes on to the next row in which something is due; gives its group by its place.
    fn walk_on(&mut self, domain: TimeDomain) -> Option<usize> {
        loop {
            let Self { states, groups, walks, .. } = self;
            let walk = walks[domain as usize].as_mut()?;
            let (group, table) = (walk.group, groups.0.get_mut(walk.group)?);
            if table.moves() != walk.moves {
                // What has fired is not found again.
                (walk.place, walk.moves) = (0, table.moves());
            }
            let mut ahead = walk.place..table.places();
            let is_due = |place: &usize| {
                let entry = table.get_mut(*place);
                entry.is_some_and(|entry| states.is_queued_at(&mut entry.row, (domain, walk.at)))
            };
            if let Some(place) = ahead.find(is_due) {
                walk.place = place;
                return Some(group);
            }
            (walk.group, walk.place) = (group + 1, 0);
            let may_move = self.may_move();
            shrink(&mut self.groups.0[group], &mut self.changes[group], may_move);
            self.come_to_group(group + 1);
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
    #[inline]
    pub(super) fn fire(&mut self, domain: TimeDomain, mut each: impl FnMut(&K, Timestamp, S::Handles<'_>)) {
        self.fires = true;
        if let Some(walk) = self.walk(domain) {
            let (at, group, place) = (walk.at, walk.group, walk.place);
            walk.place += 1;
            walk.left = walk.left.saturating_sub(1);
            self.is_walked = true;
            self.fire_at(group, place, (domain, at), &mut each);
            (self.fires, self.is_walked) = (false, false);
            return;
        }
        self.look_ahead(domain);
        if let Some((at, hash)) = self.timers.take_first(domain) {
            let index = self.index_of(hash);
            for place in self.groups.0[index].places_of(hash) {
                self.fire_at(index, place, (domain, at), &mut each);
            }
            self.fires = false;
            let may_move = self.may_move();
            shrink(&mut self.groups.0[index], &mut self.changes[index], may_move);
        }
        self.fires = false;
    }

    /// Fires what is due in a row.
    #[inline]
    fn fire_at(
        &mut self,
        index: usize,
        place: usize,
        due: (TimeDomain, Timestamp),
        each: &mut impl FnMut(&K, Timestamp, S::Handles<'_>),
    ) {
        let access = self.access();
        let take = |states: &S, row: &mut S::Row| states.take_due_timer(row, due, access.stamp);
        let flow = self.lend_row(index, place, access, take, |key, timer, states| {
            if let Some(timer) = timer {
                each(key, timer, states);
            }
            ControlFlow::Continue(())
        });
        debug_assert!(flow.is_continue());
    }
}

#[cfg(test)]
#[path = "fire_tests.rs"]
mod tests;
