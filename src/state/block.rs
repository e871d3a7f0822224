//! How a [`KeyedTable`] works on a block of records: look-up, lending, and account of what has changed.
//!
//! A processor waits a hundred nanoseconds for memory that is not in its caches, but it waits for many places at once as
//! long as no address depends on what it waits for. So a pass over the block reads only the control bytes of the tables,
//! which say in which bucket a key probably is, and has these buckets fetched; the first row is lent when the pass is
//! done. In a table that fits in the caches the pass costs little, so every block takes it.

use std::borrow::Borrow;
use std::mem::needs_drop;
use std::ops::ControlFlow;

use hashbrown::hash_table::Entry as TableEntry;

use super::backend::KeyedBlock;
use super::barrier::Barriers;
use super::prefetch::prefetch;
use super::table::{Entry, bucket_hash, rehash, shrink};
use super::{Access, KeyedTable, Stamp, StateKey, StateRows, StateSet};

/// In the place of a bucket: the key was in none when its block was looked up.
const NOWHERE: u32 = u32::MAX;

/// Where a key probably is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// Which of the table's groups.
    group: u32,
    bucket: u32,
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

impl<K: StateKey, S: StateSet> KeyedTable<K, S> {
    /// Works on a block; see [`KeyedBackend::work_on`](super::KeyedBackend::work_on).
    #[inline]
    pub(super) fn work_on_block<B>(&mut self, block: &mut B)
    where
        B: KeyedBlock<K, S>,
        K: Borrow<B::Query>,
    {
        let mut places = std::mem::take(&mut self.places);
        self.look_up(block.hashes(), &mut places);
        if const { needs_drop::<K>() } {
            self.look_at_keys::<B::Query>(&places);
        }
        // What has to be done for each row only where it may be written or expire is left out where it is not.
        if self.barriers.capture.is_none() && !self.states.expires() {
            self.lend_rows::<B, false>(block, &places);
        } else {
            self.lend_rows::<B, true>(block, &places);
        }
        self.places = places;
    }

    /// Where the keys with these hashes probably are. The entries there are on their way into the cache afterwards.
    #[inline]
    fn look_up(&self, hashes: &[u64], places: &mut Vec<Place>) {
        places.clear();
        places.extend(hashes.iter().map(|&hash| {
            let index = self.index_of(hash);
            let table = &self.groups.0[index];
            let bucket = table.iter_hash_buckets(bucket_hash(hash)).next();
            if let Some(entry) = bucket.and_then(|bucket| table.get_bucket(bucket)) {
                prefetch(entry);
            }
            Place { group: index as u32, bucket: bucket.map_or(NOWHERE, |bucket| bucket as u32) }
        }));
    }

    /// What the keys at these places hold elsewhere, as texts do, is on its way into the cache afterwards, too.
    #[inline]
    fn look_at_keys<Q: ?Sized>(&self, places: &[Place])
    where
        K: Borrow<Q>,
    {
        for place in places {
            if let Some(entry) = self.groups.0[place.group as usize].get_bucket(place.bucket as usize) {
                prefetch(entry.key.borrow());
            }
        }
    }

    /// Lends the rows of the block, which probably are in these places. Another key may be there, with a hash that is like
    /// it in part, and rows have moved where the block has made a table grow or has removed keys. `IS_WATCHED`: a snapshot
    /// is being taken, or values expire.
    #[inline]
    fn lend_rows<B, const IS_WATCHED: bool>(&mut self, block: &mut B, places: &[Place])
    where
        B: KeyedBlock<K, S>,
        K: Borrow<B::Query>,
    {
        let access = self.access();
        for (number, &Place { group, bucket }) in places.iter().enumerate() {
            let (index, mut bucket) = (group as usize, bucket as usize);
            let found = self.groups.0[index].get_bucket(bucket);
            if !found.is_some_and(|entry| entry.key.borrow() == block.query(number)) {
                bucket = self.find_or_insert(index, block.hashes()[number], block, number);
            }
            let work = |key: &K, states: S::Handles<'_>| block.work(number, key, states);
            if self.lend_row::<IS_WATCHED>(index, bucket, access, work).is_break() {
                return;
            }
        }
    }

    /// Lends the row in a bucket in which there is one, and keeps account of what has become of it.
    #[inline(always)]
    pub(super) fn lend_row<const IS_WATCHED: bool>(
        &mut self,
        index: usize,
        bucket: usize,
        access: Access,
        work: impl FnOnce(&K, S::Handles<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        if IS_WATCHED {
            self.write_ahead(index, bucket);
        }
        let Self { states, groups, .. } = self;
        let Entry { key, row } = groups.0[index].get_bucket_mut(bucket).expect("there is a row");
        let before = Before::of::<S>(row);
        let expires = IS_WATCHED && states.expires();
        if expires {
            states.expire(row, access);
        }
        let flow = work(key, states.handles(row, access));
        if expires {
            states.settle(row, access.stamp);
        }
        // There is nothing to note of a row that has been changed before under this stamp.
        if before.stamp != access.stamp || before.is_clear || S::is_clear(row) {
            self.settle(index, bucket, before);
        }
        flow
    }

    /// The bucket of a key that was not where it was looked for.
    #[inline(never)]
    fn find_or_insert<B>(&mut self, index: usize, hash: u64, block: &B, place: usize) -> usize
    where
        B: KeyedBlock<K, S>,
        K: Borrow<B::Query>,
    {
        if self.groups.0[index].len() == self.groups.0[index].capacity() {
            self.grow(index);
        }
        let query = block.query(place);
        match self.groups.0[index].entry(bucket_hash(hash), |entry| entry.key.borrow() == query, rehash) {
            TableEntry::Occupied(found) => found.bucket_index(),
            TableEntry::Vacant(vacant) => {
                self.len += 1;
                vacant.insert(Entry { key: block.own(place), row: S::Row::default() }).bucket_index()
            }
        }
    }

    /// Has a running capture write a row before it is worked on, if the sweep has not reached it.
    #[inline]
    fn write_ahead(&mut self, index: usize, bucket: usize) {
        let Self { states, groups, changes, barriers: Barriers { current, capture, .. }, .. } = self;
        let Some(capture) = capture else { return };
        let (table, changes, span) = (&mut groups.0[index], &mut changes[index], capture.span(index));
        let keys = table.len();
        let Some(Entry { key, row }) = table.get_bucket_mut(bucket) else { return };
        if S::stamp(row) > span.up_to || !capture.is_ahead(index, bucket) {
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
            changes.record(bucket, keys);
        }
    }

    /// A row has been worked on: keeps account of what has changed, and forgets the key if nothing is left of it.
    #[inline(never)]
    fn settle(&mut self, index: usize, bucket: usize, before: Before) {
        let (table, changes) = (&self.groups.0[index], &mut self.changes[index]);
        let Some(entry) = table.get_bucket(bucket) else { return };
        let now = Before::of::<S>(&entry.row);
        if now.stamp != before.stamp {
            changes.record(bucket, table.len());
        }
        match (before.is_tombstone(), now.is_clear) {
            (_, true) => self.settle_clear(index, bucket, before.is_tombstone(), now.stamp),
            (true, false) => changes.tombstones -= 1,
            (false, false) => {}
        }
    }

    #[cold]
    fn settle_clear(&mut self, index: usize, bucket: usize, was_tombstone: bool, stamp: Stamp) {
        let may_move = self.may_move();
        let Self { groups, changes, len, barriers, .. } = self;
        let (table, changes) = (&mut groups.0[index], &mut changes[index]);
        // No checkpoint can have this key's state, so it leaves no mark.
        let leaves_none = stamp == 0 || barriers.has_no_base() || changes.full_floor == barriers.current;
        changes.tombstones -= usize::from(was_tombstone);
        if leaves_none && let Ok(found) = table.get_bucket_entry(bucket) {
            found.remove();
            *len -= 1;
            shrink(table, changes, may_move);
            return;
        }
        changes.tombstones += 1;
        let live = table.len() - changes.tombstones;
        if may_move && changes.tombstones > live.max(TOMBSTONES_MIN) {
            // The group is written in full next time, so it needs no marks until then.
            let before = table.len();
            table.retain(|entry| !S::is_clear(&entry.row));
            *len -= before - table.len();
            changes.tombstones = 0;
            changes.full_floor = barriers.current;
            shrink(table, changes, true);
        }
    }

    /// Clears what has expired in a row.
    pub(super) fn expire_row(&mut self, index: usize, bucket: usize, access: Access) {
        self.write_ahead(index, bucket);
        let Some(Entry { row, .. }) = self.groups.0[index].get_bucket_mut(bucket) else { return };
        let before = Before::of::<S>(row);
        self.states.expire(row, access);
        self.settle(index, bucket, before);
    }
}

#[cfg(test)]
#[path = "block_tests.rs"]
mod tests;
