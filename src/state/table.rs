//! The rows of the keys that one subtask owns: one hash table per key group, allocated with its first key.
//!
//! `snapshots.rs` has how a table is written at a barrier while it changes. Small tables grow without the pause that one
//! large table would make (260 ms at 10 M keys), and a key group is written and loaded by itself.

use std::borrow::Borrow;
use std::hash::Hash;
use std::hint::black_box;

use hashbrown::HashTable;
use hashbrown::hash_table::{Entry as TableEntry, OccupiedEntry};

use millstream_actors::protocol::{KeyGroupRange, Timestamp};

use super::capture::Capture;
use super::changes::Changes;
use super::epochs::{Compaction, Epochs};
use super::groups::Groups;
use super::loading::Arrived;
use super::{Access, Stamp, StateKey, StateRows, StateSet, group_of_hash, stable_hash};

/// A key and its row.
#[derive(Debug)]
pub(crate) struct Entry<K, Row> {
    pub(crate) key: K,
    pub(crate) row: Row,
}

/// The rows of one subtask's keys, and what has changed in them since which barrier.
#[derive(Debug)]
pub struct KeyedTable<K, S: StateSet> {
    pub(super) states: S,
    pub(super) groups: Groups<Entry<K, S::Row>>,
    pub(super) changes: Vec<Changes>,
    pub(super) range: KeyGroupRange,
    pub(super) max_parallelism: u32,
    pub(super) len: usize,
    /// The stamp of what changes now.
    pub(super) current: Stamp,
    pub(super) epochs: Epochs,
    pub(super) capture: Option<Box<Capture>>,
    pub(super) compaction: Compaction,
    pub(super) arrived: Arrived<K, S::Row>,
    processing_time: i64,
    watermark: Timestamp,
    /// The group and bucket at which the next look for expired values begins.
    clean_from: (usize, usize),
}

/// Hash tables choose the bucket by the low bits and a tag by the top seven. All keys of a group share the top bits of
/// their hash, so the halves change places: group bits end up in the middle, above those that choose the bucket of any
/// table that fits in memory.
#[inline]
pub(super) fn bucket_hash(hash: u64) -> u64 {
    hash.rotate_left(32)
}

/// Where an entry of a group's table belongs.
#[inline]
pub(super) fn rehash<K: Hash, Row>(entry: &Entry<K, Row>) -> u64 {
    bucket_hash(stable_hash(&entry.key))
}

impl<K: StateKey, S: StateSet> KeyedTable<K, S> {
    /// An empty table of these states for the keys of these groups.
    pub fn new(states: S, range: KeyGroupRange, max_parallelism: u32) -> Self {
        let groups = range.len();
        Self {
            states,
            groups: Groups::new(groups),
            changes: (0..groups).map(|_| Changes::new()).collect(),
            range,
            max_parallelism,
            len: 0,
            current: 1,
            epochs: Epochs::default(),
            capture: None,
            compaction: Compaction::default(),
            arrived: Arrived::default(),
            processing_time: 0,
            watermark: Timestamp::MIN,
            clean_from: (0, 0),
        }
    }

    /// The declared states.
    pub fn states(&self) -> &S {
        &self.states
    }

    /// The key groups it holds.
    pub fn range(&self) -> KeyGroupRange {
        self.range
    }

    /// The number of key groups of the job.
    pub fn max_parallelism(&self) -> u32 {
        self.max_parallelism
    }

    /// Number of keys, with those that were removed and whose removal no checkpoint has yet.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Number of keys that have state.
    pub fn live(&self) -> usize {
        self.len - self.changes.iter().map(|changes| changes.tombstones).sum::<usize>()
    }

    /// Memory of the tables, in bytes, without what rows point to.
    pub fn allocated_bytes(&self) -> usize {
        self.groups.0.iter().map(HashTable::allocation_size).sum()
    }

    /// Memory of all rows, in bytes, without what they point to.
    pub(crate) fn row_bytes(&self) -> usize {
        self.len * size_of::<Entry<K, S::Row>>()
    }

    /// The stamp that a change leaves now.
    #[inline]
    pub(crate) fn stamp(&self) -> Stamp {
        self.current
    }

    /// What row handles are to know of the moment.
    #[inline]
    pub(crate) fn access(&self) -> Access {
        Access { stamp: self.stamp(), processing_time: self.processing_time, watermark: self.watermark }
    }

    /// Time has gone on. Neither of them ever goes back: what has expired stays so.
    pub(crate) fn set_time(&mut self, processing_time: i64, watermark: Timestamp) {
        self.processing_time = self.processing_time.max(processing_time);
        self.watermark = self.watermark.max(watermark);
    }

    #[inline]
    pub(super) fn index_of(&self, hash: u64) -> usize {
        (group_of_hash(hash, self.max_parallelism) - self.range.start) as usize
    }

    /// Where the key is now, as a hint for [`entry`](Self::entry); this loads the row into the cache. The hash is that
    /// of a key of this table's groups.
    #[inline]
    pub(crate) fn locate<Q>(&self, hash: u64, query: &Q) -> Option<usize>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let table = &self.groups.0[self.index_of(hash)];
        let bucket = table.find_bucket_index(bucket_hash(hash), |entry| entry.key.borrow() == query)?;
        // The key has loaded one end of the entry; half of all entries lie across two lines of the cache.
        black_box(S::stamp(&table.get_bucket(bucket)?.row));
        Some(bucket)
    }

    /// The row of a key of this table's groups, new if need be; `own` makes the key of a new one. A `hint` that has
    /// become wrong does no harm. If a snapshot is being taken, the row has been written before it is given out.
    #[inline]
    pub(crate) fn entry<Q>(
        &mut self,
        hash: u64,
        hint: Option<usize>,
        query: &Q,
        own: impl FnOnce() -> K,
    ) -> RowEntry<'_, K, S>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let index = self.index_of(hash);
        if self.groups.0[index].len() == self.groups.0[index].capacity() {
            self.grow(index);
        }
        let Self { states, groups, changes, len, current, epochs, capture, .. } = self;
        let table = &mut groups.0[index];
        let keys = table.len();
        let is_query = |entry: &Entry<K, S::Row>| entry.key.borrow() == query;
        let mut found = match hint.filter(|bucket| table.get_bucket(*bucket).is_some_and(is_query)) {
            None => Self::find_or_insert(table, hash, is_query, own, len),
            Some(bucket) => match table.get_bucket_entry(bucket) {
                Ok(found) => found,
                Err(absent) => Self::find_or_insert(absent.into_table(), hash, is_query, own, len),
            },
        };
        let (changes, captured) = (&mut changes[index], capture.is_none());
        if let Some(capture) = capture {
            write_ahead(capture, states, index, &mut found, keys, changes, *current);
        }
        RowEntry::new(found, len, keys, states, changes, (*current, epochs.is_empty(), captured))
    }

    /// Looks at up to `buckets` of them for expired values, from where the last look ended, and removes these. Nothing
    /// if no values expire.
    pub(crate) fn clean(&mut self, buckets: usize) {
        if !self.states.expires() {
            return;
        }
        let access = self.access();
        let Self { states, groups, changes, len, current, epochs, capture, clean_from: (group, from), .. } = self;
        let mut left = buckets;
        while left > 0 && !groups.0.is_empty() {
            let table = &mut groups.0[*group];
            let (to, keys) = (table.num_buckets().min(*from + left), table.len());
            let is_due =
                |bucket: &usize| table.get_bucket_mut(*bucket).is_some_and(|e| states.is_due(&mut e.row, access));
            let Some(due) = (*from..to).find(is_due) else {
                left -= to.saturating_sub(*from).max(1);
                (*group, *from) =
                    if to < table.num_buckets() { (*group, to) } else { ((*group + 1) % groups.0.len(), 0) };
                continue;
            };
            left -= due + 1 - *from;
            *from = due + 1;
            let Ok(mut found) = table.get_bucket_entry(due) else { continue };
            let (changes, captured) = (&mut changes[*group], capture.is_none());
            if let Some(capture) = capture {
                write_ahead(capture, states, *group, &mut found, keys, changes, *current);
            }
            let mut entry = RowEntry::new(found, len, keys, states, changes, (*current, epochs.is_empty(), captured));
            states.expire(entry.row_mut(), access);
            entry.settle();
        }
    }

    #[inline]
    fn find_or_insert<'t>(
        table: &'t mut HashTable<Entry<K, S::Row>>,
        hash: u64,
        is_key: impl FnMut(&Entry<K, S::Row>) -> bool,
        own: impl FnOnce() -> K,
        len: &mut usize,
    ) -> OccupiedEntry<'t, Entry<K, S::Row>> {
        match table.entry(bucket_hash(hash), is_key, rehash) {
            TableEntry::Occupied(found) => found,
            TableEntry::Vacant(vacant) => {
                *len += 1;
                vacant.insert(Entry { key: own(), row: S::Row::default() })
            }
        }
    }

    /// Makes room for another key in a full table: its entries move.
    #[cold]
    fn grow(&mut self, index: usize) {
        self.finish_sweep_of(index);
        self.changes[index].moved();
        self.groups.0[index].reserve(1, rehash);
    }

    /// The rows of one of its groups, in an order that stays as it is while the table is not changed.
    ///
    /// # Panics
    /// If the group is not one of this table's.
    pub fn group(&self, group: u32) -> impl Iterator<Item = (&K, &S::Row)> {
        let rows = &self.groups.0[(group - self.range.start) as usize];
        rows.iter().map(|entry| (&entry.key, &entry.row))
    }
}

impl<K, S: StateSet> KeyedTable<K, S>
where
    K: Send + 'static,
{
    /// Drops all rows, off the path of whoever waits for this task's end. The table cannot be used afterwards.
    pub(crate) fn drop_rows(&mut self) {
        std::mem::replace(&mut self.groups, Groups::new(0)).drop_elsewhere();
    }
}

/// Has a running capture write a row before it is worked on, if the sweep has not reached it.
#[inline]
fn write_ahead<K: StateKey, S: StateSet>(
    capture: &mut Capture,
    states: &S,
    group: usize,
    found: &mut OccupiedEntry<'_, Entry<K, S::Row>>,
    keys: usize,
    changes: &mut Changes,
    current: Stamp,
) {
    let bucket = found.bucket_index();
    let Entry { key, row } = found.get_mut();
    let span = capture.span(group);
    if S::stamp(row) > span.up_to || !capture.is_ahead(group, bucket) {
        return;
    }
    let was_clear = S::is_clear(row);
    capture.write(states, group, key, row);
    if states.expires() {
        changes.tombstones += usize::from(!was_clear && S::is_clear(row));
    }
    // From here on the row counts as changed: the sweep passes it over.
    states.touch(row, span, current);
    if S::stamp(row) == current {
        changes.record(bucket, keys);
    }
}

/// Fewer marks of removed keys do no harm.
const TOMBSTONES_MIN: usize = 64;

/// Gives memory back after most keys of a group have gone.
pub(super) fn shrink<K: Hash, Row>(table: &mut HashTable<Entry<K, Row>>, changes: &mut Changes, may_move: bool) {
    const BUCKETS_MIN: usize = 64;
    if may_move && table.capacity() > BUCKETS_MIN && table.len() < table.capacity() / 8 {
        table.shrink_to(2 * table.len(), rehash);
        changes.moved();
    }
}

/// What a row was before a record was worked on.
#[derive(Clone, Copy)]
struct Before {
    stamp: Stamp,
    is_clear: bool,
}

/// One key's row, for as long as one record is worked on.
pub struct RowEntry<'a, K, S: StateSet> {
    found: OccupiedEntry<'a, Entry<K, S::Row>>,
    len: &'a mut usize,
    /// Keys of its group.
    keys: usize,
    states: &'a S,
    changes: &'a mut Changes,
    current: Stamp,
    /// No checkpoint can have this key's state, so a removed one leaves no mark.
    forgets: bool,
    /// No capture runs.
    captured: bool,
    before: Before,
}

impl<'a, K: StateKey, S: StateSet> RowEntry<'a, K, S> {
    /// `current` stamp, whether removed keys leave no mark, whether no capture runs.
    #[inline]
    fn new(
        found: OccupiedEntry<'a, Entry<K, S::Row>>,
        len: &'a mut usize,
        keys: usize,
        states: &'a S,
        changes: &'a mut Changes,
        (current, forgets, captured): (Stamp, bool, bool),
    ) -> Self {
        let row = &found.get().row;
        let before = Before { stamp: S::stamp(row), is_clear: S::is_clear(row) };
        Self { found, len, keys, states, changes, current, forgets, captured, before }
    }

    #[inline]
    fn row_mut(&mut self) -> &mut S::Row {
        &mut self.found.get_mut().row
    }

    /// The key, and handles of its states.
    #[inline]
    pub(crate) fn lend(&mut self, access: Access) -> (&K, S::Handles<'_>) {
        let Entry { key, row } = self.found.get_mut();
        if self.states.expires() {
            self.states.expire(row, access);
        }
        (key, self.states.handles(row, access))
    }

    /// The record has been worked on: keeps account of what was changed, and forgets the key if nothing is left of it.
    #[inline]
    pub(crate) fn settle(mut self) {
        if self.states.expires() {
            self.states.settle(&mut self.found.get_mut().row, self.current);
        }
        let row = &self.found.get().row;
        let stamp = S::stamp(row);
        if stamp != self.before.stamp {
            self.changes.record(self.found.bucket_index(), self.keys);
        }
        if S::is_clear(row) {
            return self.settle_clear(stamp);
        }
        if self.before.is_clear && self.before.stamp > 0 {
            self.changes.tombstones -= 1;
        }
    }

    #[cold]
    fn settle_clear(self, stamp: Stamp) {
        let was_tombstone = self.before.is_clear && self.before.stamp > 0;
        if stamp == 0 || self.forgets || self.changes.full_floor == self.current {
            self.changes.tombstones -= usize::from(was_tombstone);
            *self.len -= 1;
            let (_, vacant) = self.found.remove();
            let table = vacant.into_table();
            shrink(table, self.changes, self.captured);
            return;
        }
        if !was_tombstone {
            self.changes.tombstones += 1;
        }
        let table = self.found.into_table();
        let live = table.len() - self.changes.tombstones;
        if self.captured && self.changes.tombstones > live.max(TOMBSTONES_MIN) {
            // The group is written in full next time, so it needs no marks until then.
            let before = table.len();
            table.retain(|entry| !S::is_clear(&entry.row));
            *self.len -= before - table.len();
            self.changes.tombstones = 0;
            self.changes.full_floor = self.current;
            shrink(table, self.changes, true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::KeyedBackend;
    use crate::state::ValueState;
    use crate::state::test_kit::change;

    fn table() -> KeyedTable<u64, ValueState<u64>> {
        KeyedTable::new(ValueState::new("v"), KeyGroupRange { start: 0, end: 8 }, 8)
    }

    fn count(table: &mut KeyedTable<u64, ValueState<u64>>, key: u64, hint: Option<usize>) -> u64 {
        let access = Access { stamp: table.stamp(), processing_time: 0, watermark: 0 };
        let mut entry = table.entry(stable_hash(&key), hint, &key, || key);
        let (_, mut value) = entry.lend(access);
        let count = value.get_or_insert_with(|| 0);
        *count += 1;
        let count = *count;
        entry.settle();
        count
    }

    #[test]
    fn wrong_and_stale_hints_find_the_right_row() {
        let mut table = table();
        for key in 0..1000 {
            assert_eq!(count(&mut table, key, Some(key as usize % 7)), 1);
        }
        let hints: Vec<_> = (0..1000u64).map(|key| table.locate(stable_hash(&key), &key)).collect();
        assert!(hints.iter().all(Option::is_some));
        for key in 1000..9000 {
            count(&mut table, key, None);
        }
        for key in 0..1000 {
            assert_eq!(count(&mut table, key, hints[key as usize]), 2);
        }
        assert_eq!(table.len(), 9000);
        assert_eq!(table.locate(stable_hash(&9000u64), &9000), None);
    }

    #[test]
    fn without_checkpoints_a_removed_key_is_gone_at_once_and_memory_comes_back() {
        let mut table = table();
        for key in 0..100_000 {
            count(&mut table, key, None);
        }
        let most = table.allocated_bytes();
        for key in 2..100_000u64 {
            change(&mut table, &key, |mut value| value.clear());
        }
        assert_eq!((table.len(), table.live(), table.is_empty()), (2, 2, false));
        assert!(table.allocated_bytes() < most / 100, "{} of {most}", table.allocated_bytes());
        change(&mut table, &7, |value| assert_eq!(value.get(), None));
        assert_eq!(table.len(), 2, "a key that is only looked at is not kept");
    }

    #[test]
    fn a_key_of_another_subtask_is_known_by_its_group() {
        let table: KeyedTable<u64, ValueState<u64>> =
            KeyedTable::new(ValueState::new("v"), KeyGroupRange { start: 4, end: 8 }, 8);
        let key = (0..).find(|key| group_of_hash(stable_hash(key), 8) == 3).unwrap();
        assert_eq!(table.check_group(stable_hash(&key)), Err(3));
    }
}
