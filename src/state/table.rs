//! The rows of the keys that one subtask owns: one hash table per key group, allocated with its first key.
//!
//! Small tables grow without a pause that one large table would make (260 ms at 10 M keys), and a key group is written
//! and loaded by itself.

use std::borrow::Borrow;
use std::hash::Hash;

use hashbrown::HashTable;
use hashbrown::hash_table::{Entry as TableEntry, OccupiedEntry};

use millstream_actors::protocol::KeyGroupRange;

use super::groups::Groups;
use super::{group_of_hash, stable_hash};

/// A key and its row.
#[derive(Debug)]
pub(crate) struct Entry<K, Row> {
    pub(crate) key: K,
    pub(crate) row: Row,
}

/// The rows of one subtask's keys.
#[derive(Debug)]
pub struct KeyedTable<K, Row> {
    groups: Groups<Entry<K, Row>>,
    range: KeyGroupRange,
    max_parallelism: u32,
    len: usize,
}

/// Hash tables choose the bucket by the low bits and a tag by the top seven. All keys of a group share the top bits of
/// their hash, so the halves change places: group bits end up in the middle, above those that choose the bucket of any
/// table that fits in memory.
#[inline]
fn bucket_hash(hash: u64) -> u64 {
    hash.rotate_left(32)
}

impl<K: Hash + Eq, Row: Default> KeyedTable<K, Row> {
    /// An empty table for the keys of these groups.
    pub fn new(range: KeyGroupRange, max_parallelism: u32) -> Self {
        Self { groups: Groups::new(range.len()), range, max_parallelism, len: 0 }
    }

    /// The key groups it holds.
    pub fn range(&self) -> KeyGroupRange {
        self.range
    }

    /// Number of keys.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Memory of all rows, in bytes, without what they point to.
    pub(crate) fn row_bytes(&self) -> usize {
        self.len * size_of::<Entry<K, Row>>()
    }

    /// The group of a hash, or as an error if it is not one of this table's.
    #[inline]
    pub(crate) fn check_group(&self, hash: u64) -> Result<(), u32> {
        let group = group_of_hash(hash, self.max_parallelism);
        if self.range.contains(group) { Ok(()) } else { Err(group) }
    }

    #[inline]
    fn index_of(&self, hash: u64) -> usize {
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
        self.groups.0[self.index_of(hash)].find_bucket_index(bucket_hash(hash), |entry| entry.key.borrow() == query)
    }

    /// The row of a key of this table's groups, new if need be; `own` makes the key of a new one. A `hint` that has
    /// become wrong does no harm.
    #[inline]
    pub(crate) fn entry<Q>(
        &mut self,
        hash: u64,
        hint: Option<usize>,
        query: &Q,
        own: impl FnOnce() -> K,
    ) -> RowEntry<'_, K, Row>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let index = self.index_of(hash);
        let table = &mut self.groups.0[index];
        let is_query = |entry: &Entry<K, Row>| entry.key.borrow() == query;
        let found = match hint.filter(|bucket| table.get_bucket(*bucket).is_some_and(is_query)) {
            None => Self::find_or_insert(table, hash, is_query, own, &mut self.len),
            Some(bucket) => match table.get_bucket_entry(bucket) {
                Ok(found) => found,
                Err(absent) => Self::find_or_insert(absent.into_table(), hash, is_query, own, &mut self.len),
            },
        };
        RowEntry { found, len: &mut self.len }
    }

    #[inline]
    fn find_or_insert<'t>(
        table: &'t mut HashTable<Entry<K, Row>>,
        hash: u64,
        is_key: impl FnMut(&Entry<K, Row>) -> bool,
        own: impl FnOnce() -> K,
        len: &mut usize,
    ) -> OccupiedEntry<'t, Entry<K, Row>> {
        match table.entry(bucket_hash(hash), is_key, |entry| bucket_hash(stable_hash(&entry.key))) {
            TableEntry::Occupied(found) => found,
            TableEntry::Vacant(vacant) => {
                *len += 1;
                vacant.insert(Entry { key: own(), row: Row::default() })
            }
        }
    }

    /// The group of a key, and its row, new if need be; `None` if the group is not one of this table's.
    pub(crate) fn row_of(&mut self, key: K) -> (u32, Option<&mut Row>) {
        let hash = stable_hash(&key);
        let group = group_of_hash(hash, self.max_parallelism);
        if !self.range.contains(group) {
            return (group, None);
        }
        let entry = self.entry_owned(hash, key);
        (group, Some(&mut entry.into_mut().row))
    }

    fn entry_owned(&mut self, hash: u64, key: K) -> OccupiedEntry<'_, Entry<K, Row>> {
        let index = self.index_of(hash);
        let table = self.groups.0[index].entry(
            bucket_hash(hash),
            |entry| entry.key == key,
            |entry| bucket_hash(stable_hash(&entry.key)),
        );
        match table {
            TableEntry::Occupied(found) => found,
            TableEntry::Vacant(vacant) => {
                self.len += 1;
                vacant.insert(Entry { key, row: Row::default() })
            }
        }
    }

    /// Makes room for `keys` more keys in a group, as far as that stays in proportion to `bytes`, the size of what
    /// they are read from.
    pub(crate) fn reserve(&mut self, group: u32, keys: usize, bytes: usize) {
        if self.range.contains(group) {
            let keys = keys.min(4 * bytes / size_of::<Entry<K, Row>>().max(1));
            let table = &mut self.groups.0[(group - self.range.start) as usize];
            let missing = keys.saturating_sub(table.len());
            table.reserve(missing, |entry| bucket_hash(stable_hash(&entry.key)));
        }
    }

    /// The rows of one of its groups, in an order that stays as it is while the table is not changed.
    ///
    /// # Panics
    /// If the group is not one of this table's.
    pub fn group(&self, group: u32) -> impl Iterator<Item = (&K, &Row)> {
        let rows = &self.groups.0[(group - self.range.start) as usize];
        rows.iter().map(|entry| (&entry.key, &entry.row))
    }
}

impl<K: Send + 'static, Row: Send + 'static> KeyedTable<K, Row> {
    /// Drops all rows, off the path of whoever waits for this task's end. The table cannot be used afterwards.
    pub(crate) fn drop_rows(&mut self) {
        std::mem::replace(&mut self.groups, Groups::new(0)).drop_elsewhere();
    }
}

/// One key's row, for as long as one record is worked on.
pub(crate) struct RowEntry<'a, K, Row> {
    found: OccupiedEntry<'a, Entry<K, Row>>,
    len: &'a mut usize,
}

impl<K, Row> RowEntry<'_, K, Row> {
    /// Key and row.
    #[inline]
    pub(crate) fn get_mut(&mut self) -> &mut Entry<K, Row> {
        self.found.get_mut()
    }

    /// Forgets the key.
    pub(crate) fn remove(self) {
        *self.len -= 1;
        self.found.remove();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> KeyedTable<u64, Option<u64>> {
        KeyedTable::new(KeyGroupRange { start: 0, end: 8 }, 8)
    }

    fn set(table: &mut KeyedTable<u64, Option<u64>>, key: u64, hint: Option<usize>) -> u64 {
        let mut entry = table.entry(stable_hash(&key), hint, &key, || key);
        let value = entry.get_mut().row.get_or_insert(0);
        *value += 1;
        *value
    }

    #[test]
    fn wrong_and_stale_hints_find_the_right_row() {
        let mut table = table();
        for key in 0..1000 {
            assert_eq!(set(&mut table, key, Some(key as usize % 7)), 1);
        }
        let hints: Vec<_> = (0..1000u64).map(|key| table.locate(stable_hash(&key), &key)).collect();
        assert!(hints.iter().all(Option::is_some));
        for key in 1000..9000 {
            set(&mut table, key, None);
        }
        for key in 0..1000 {
            assert_eq!(set(&mut table, key, hints[key as usize]), 2);
        }
        assert_eq!(table.len(), 9000);
        assert_eq!(table.locate(stable_hash(&9000u64), &9000), None);
    }

    #[test]
    fn a_removed_key_is_gone_and_counted() {
        let mut table = table();
        set(&mut table, 1, None);
        set(&mut table, 2, None);
        table.entry(stable_hash(&1u64), None, &1, || 1).remove();
        assert_eq!((table.len(), table.is_empty()), (1, false));
        let left: Vec<_> = (0..8).flat_map(|group| table.group(group)).collect();
        assert_eq!(left, [(&2, &Some(1))]);
    }

    #[test]
    fn a_key_of_another_subtask_has_no_row() {
        let mut table: KeyedTable<u64, Option<u64>> = KeyedTable::new(KeyGroupRange { start: 4, end: 8 }, 8);
        let key = (0..).find(|key| group_of_hash(stable_hash(key), 8) == 3).unwrap();
        assert_eq!(table.check_group(stable_hash(&key)), Err(3));
        assert_eq!(table.row_of(key), (3, None));
        assert!(table.is_empty());
    }

    #[test]
    fn reserving_stays_in_proportion_to_the_input() {
        let mut table = table();
        table.reserve(3, usize::MAX, 1000);
        assert!(table.groups.0[3].capacity() < 1000);
        table.reserve(99, 10, 1000);
    }
}
