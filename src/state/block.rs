//! How a [`KeyedTable`] works on a block of records: look-up, lending, and account of what has changed.
//!
//! A processor waits a hundred nanoseconds for memory that is not in its caches, but it waits for many places at once as
//! long as no address depends on what it waits for. So a first pass over the block has each key's bucket of its index fetched,
//! a second one reads there where the keys probably are and has their entries fetched, and only then is the first row
//! lent. In tables that fit in the caches the passes cost little, so every block takes them.

use std::borrow::Borrow;
use std::mem::needs_drop;
use std::ops::ControlFlow;

use super::backend::KeyedBlock;
use super::barrier::Barriers;
use super::group_table::{Entry, NOWHERE};
use super::prefetch::prefetch;
use super::table::shrink;
use super::{Access, KeyedTable, Stamp, StateKey, StateRows, StateSet, TimerQueues, stable_hash};

/// Where a key probably is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    /// Which of the table's groups.
    group: u32,
    /// [`NOWHERE`]: the key was not in sight when its block was looked up: it is new, or named by a later bucket.
    place: u32,
}

/// Fewer marks of removed keys do no harm.
const TOMBSTONES_MIN: usize = 64;

/// What a row was before it was worked on.
#[derive(Clone, Copy)]
struct Before {
    stamp: Stamp,
    is_clear: bool,
}

impl Before {
    #[inline]
    fn of<S: StateSet>(row: &S::Row) -> Self {
        Self { stamp: S::stamp(row), is_clear: S::is_clear(row) }
    }

    /// Whether it was the mark of a removed key.
    fn is_tombstone(self) -> bool {
        self.is_clear && self.stamp > 0
    }
}

/// Lends a row, with what `take` has taken out of it before. Gives what the row was, unless nothing is to be noted of it.
#[inline(always)]
fn lend_entry<K: StateKey, S: StateSet, Taken>(
    (states, timers): (&S, &mut TimerQueues),
    Entry { key, row }: &mut Entry<K, S::Row>,
    access: Access,
    expires: bool,
    take: impl FnOnce(&S, &mut S::Row) -> Taken,
    work: impl FnOnce(&K, Taken, S::Handles<'_>) -> ControlFlow<()>,
) -> (ControlFlow<()>, Option<Before>) {
    let before = Before::of::<S>(row);
    if expires {
        states.expire(row, access);
    }
    let taken = take(states, row);
    let flow = work(key, taken, states.handles(row, access));
    if expires {
        states.settle(row, access.stamp);
    }
    if const { S::HAS_TIMERS } {
        states.enqueue_timers(row, timers, || stable_hash(key));
    }
    // There is nothing to note of a row that has been changed before under this stamp.
    let is_news = before.stamp != access.stamp || before.is_clear || S::is_clear(row);
    (flow, is_news.then_some(before))
}

impl<K: StateKey, S: StateSet> KeyedTable<K, S> {
    /// Works on a block; see [`KeyedBackend::work_on`](super::KeyedBackend::work_on).
    #[inline]
    pub(super) fn work_on_block<B>(&mut self, block: &mut B)
    where
        B: KeyedBlock<K, S>,
        K: Borrow<B::Query>,
    {
        let mut candidates = std::mem::take(&mut self.candidates);
        self.look_up(block.hashes(), &mut candidates);
        if const { needs_drop::<K>() } {
            self.look_at_keys::<B::Query>(&candidates);
        }
        // What has to be done for each row only where it may be written or expire is left out where it is not.
        if self.barriers.capture.is_none() && !self.states.expires() {
            self.lend_rows::<B, false>(block, &candidates);
        } else {
            self.lend_rows::<B, true>(block, &candidates);
        }
        self.candidates = candidates;
    }

    /// Where the keys with these hashes probably are. The entries there are on their way into the cache afterwards.
    #[inline]
    fn look_up(&self, hashes: &[u64], candidates: &mut Vec<Candidate>) {
        candidates.clear();
        candidates.extend(hashes.iter().map(|&hash| {
            let index = self.index_of(hash);
            self.groups.0[index].approach(hash);
            Candidate { group: index as u32, place: NOWHERE }
        }));
        for (hash, candidate) in hashes.iter().zip(candidates) {
            candidate.place = self.groups.0[candidate.group as usize].probable(*hash);
        }
    }

    /// What the keys there hold elsewhere, as texts do, is on its way into the cache afterwards, too.
    #[inline]
    fn look_at_keys<Q: ?Sized>(&self, candidates: &[Candidate])
    where
        K: Borrow<Q>,
    {
        for candidate in candidates {
            if let Some(entry) = self.groups.0[candidate.group as usize].get(candidate.place as usize) {
                prefetch(entry.key.borrow());
            }
        }
    }

    /// Lends the rows of the block, which probably are in these places. Another key may be there, with a hash that is like
    /// it in part, and what the block does may add keys, remove them and move others. `IS_WATCHED`: a snapshot is being
    /// taken, or values expire.
    #[inline]
    fn lend_rows<B, const IS_WATCHED: bool>(&mut self, block: &mut B, candidates: &[Candidate])
    where
        B: KeyedBlock<K, S>,
        K: Borrow<B::Query>,
    {
        let access = self.access();
        for (number, &Candidate { group, place }) in candidates.iter().enumerate() {
            let (index, mut place) = (group as usize, place as usize);
            let entry = match self.groups.0[index].get_mut(place) {
                Some(entry) if entry.key.borrow() == block.next_query(number) => entry,
                _ => {
                    place = self.find_or_insert(index, block.hashes()[number], block, number);
                    self.groups.0[index].get_mut(place).expect("it was found or inserted above")
                }
            };
            let work = |key: &K, (), states: S::Handles<'_>| block.work(number, key, states);
            let flow = if IS_WATCHED {
                self.lend_row(index, place, access, |_, _| (), work)
            } else {
                let (states, timers) = (&self.states, &mut self.timers);
                let (flow, news) = lend_entry((states, timers), entry, access, false, |_, _| (), work);
                self.note(index, place, news);
                flow
            };
            if flow.is_break() {
                return;
            }
        }
    }

    /// Lends the row in a place in which there is one, with what `take` has taken out of it before, and keeps account of what has
    /// become of it.
    #[inline(always)]
    pub(super) fn lend_row<Taken>(
        &mut self,
        index: usize,
        place: usize,
        access: Access,
        take: impl FnOnce(&S, &mut S::Row) -> Taken,
        work: impl FnOnce(&K, Taken, S::Handles<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        self.write_ahead(index, place);
        let Self { states, groups, timers, .. } = self;
        let entry = groups.0[index].get_mut(place).expect("there is a row");
        let expires = states.expires();
        let (flow, news) = lend_entry((&*states, timers), entry, access, expires, take, work);
        self.note(index, place, news);
        flow
    }

    /// Keeps account of a row that was like this, unless there is no news of it.
    #[inline(always)]
    fn note(&mut self, index: usize, place: usize, news: Option<Before>) {
        if let Some(before) = news {
            self.settle(index, place, before);
        }
    }

    /// The place of a key that was not where it was looked for.
    #[inline(never)]
    fn find_or_insert<B>(&mut self, index: usize, hash: u64, block: &B, number: usize) -> usize
    where
        B: KeyedBlock<K, S>,
        K: Borrow<B::Query>,
    {
        let (table, query) = (&mut self.groups.0[index], block.query(number));
        table.find(hash, |key| key.borrow() == query).unwrap_or_else(|| {
            self.len += 1;
            table.insert(hash, Entry { key: block.own(number), row: S::Row::default() })
        })
    }

    /// Has a running capture write a row before it is worked on, if the sweep has not reached it.
    #[inline]
    fn write_ahead(&mut self, index: usize, place: usize) {
        let Self { states, groups, changes, barriers: Barriers { current, capture, .. }, .. } = self;
        let Some(capture) = capture else { return };
        let (table, changes, span) = (&mut groups.0[index], &mut changes[index], capture.span(index));
        let keys = table.len();
        let Some(Entry { key, row }) = table.get_mut(place) else { return };
        if S::stamp(row) > span.up_to || !capture.is_ahead(index, place) {
            return;
        }
        let was_clear = S::is_clear(row);
        capture.write(states, index, key, row);
        if states.expires() {
            changes.tombstones += usize::from(!was_clear && S::is_clear(row));
        }
        // From here on the row counts as changed: the sweep passes it over.
        states.touch(row, span, *current);
        if S::stamp(row) == *current {
            changes.record(place, keys);
        }
    }

    /// A row has been worked on: keeps account of what has changed, and forgets the key if nothing is left of it.
    #[inline(never)]
    fn settle(&mut self, index: usize, place: usize, before: Before) {
        let (table, changes) = (&self.groups.0[index], &mut self.changes[index]);
        let Some(entry) = table.get(place) else { return };
        let now = Before::of::<S>(&entry.row);
        if now.stamp != before.stamp {
            changes.record(place, table.len());
        }
        match (before.is_tombstone(), now.is_clear) {
            (_, true) => self.settle_clear(index, place, before.is_tombstone(), now.stamp),
            (true, false) => changes.tombstones -= 1,
            (false, false) => {}
        }
    }

    #[cold]
    fn settle_clear(&mut self, index: usize, place: usize, was_tombstone: bool, stamp: Stamp) {
        let (may_move, needs_none) = (self.may_move(), self.needs_no_marks(index));
        let Self { groups, changes, len, is_walked, .. } = self;
        let (table, changes) = (&mut groups.0[index], &mut changes[index]);
        changes.tombstones -= usize::from(was_tombstone);
        if stamp == 0 || (needs_none && !*is_walked) {
            table.remove(place);
            *len -= 1;
            shrink(table, changes, may_move);
            return;
        }
        changes.tombstones += 1;
        self.kept += usize::from(needs_none);
        if may_move {
            self.drop_many_marks(index);
        }
    }

    /// No checkpoint can have the state of a group's keys.
    fn needs_no_marks(&self, index: usize) -> bool {
        self.barriers.has_no_base() || self.changes[index].full_floor == self.barriers.current
    }

    /// Forgets the removed keys of a group whose marks are needed by none, or too many. Entries may be moved.
    pub(super) fn drop_idle_marks(&mut self, index: usize) {
        if self.changes[index].tombstones > 0 && self.needs_no_marks(index) {
            self.drop_marks(index);
        } else {
            self.drop_many_marks(index);
        }
    }

    fn drop_many_marks(&mut self, index: usize) {
        let tombstones = self.changes[index].tombstones;
        let live = self.groups.0[index].len() - tombstones;
        if tombstones > live.max(TOMBSTONES_MIN) {
            self.drop_marks(index);
        }
    }

    /// Forgets all removed keys of a group: it is written in full next time, so it needs no marks until then.
    fn drop_marks(&mut self, index: usize) {
        let Self { groups, changes, len, barriers, .. } = self;
        let (table, changes) = (&mut groups.0[index], &mut changes[index]);
        *len -= table.take_if(|entry| S::is_clear(&entry.row)).len();
        changes.tombstones = 0;
        changes.full_floor = barriers.current;
        shrink(table, changes, true);
    }

    /// Clears what has expired in a row.
    pub(super) fn expire_row(&mut self, index: usize, place: usize, access: Access) {
        self.write_ahead(index, place);
        let Some(Entry { row, .. }) = self.groups.0[index].get_mut(place) else { return };
        let before = Before::of::<S>(row);
        self.states.expire(row, access);
        self.settle(index, place, before);
    }
}

#[cfg(test)]
#[path = "block_tests.rs"]
mod tests;
