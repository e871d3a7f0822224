//! The rows of one key group.

mod index;
#[cfg(test)]
mod tests;
mod unindexed;

use std::hash::Hash;

pub(super) use index::NOWHERE;
pub(super) use unindexed::Unindexed;

use index::HashIndex;
use smallvec::SmallVec;

use super::prefetch::prefetch_at;
use super::stable_hash;

/// A key and its row.
#[derive(Debug)]
pub(crate) struct Entry<K, Row> {
    pub(crate) key: K,
    pub(crate) row: Row,
}

/// The entries of a key group, each at a place that it keeps, and an index of them by hash.
///
/// Entries lie side by side in the order in which their keys came. So a table that grows makes an index anew, by one pass
/// through them, and moves none: what goes through the places, as a sweep does, is not disturbed, and memory is touched
/// once. Only [`compact`](Self::compact) moves entries.
///
/// # Panics
/// A group has at most 2^30 keys; one more panics.
#[derive(Debug)]
pub(crate) struct GroupTable<K, Row> {
    index: HashIndex,
    entries: Vec<Option<Entry<K, Row>>>,
    /// Places that have no entry any more.
    vacant: Vec<u32>,
    /// How often entries were moved.
    moves: u32,
}

impl<K, Row> Default for GroupTable<K, Row> {
    fn default() -> Self {
        Self { index: HashIndex::default(), entries: Vec::new(), vacant: Vec::new(), moves: 0 }
    }
}

impl<K, Row> GroupTable<K, Row> {
    /// Number of entries.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.entries.len() - self.vacant.len()
    }

    /// Every entry's place is below this number.
    #[inline]
    pub(super) fn places(&self) -> usize {
        self.entries.len()
    }

    /// How often entries were moved to other places.
    pub(super) fn moves(&self) -> u32 {
        self.moves
    }

    /// The memory that it takes, in bytes, without what keys and rows point to.
    pub(super) fn allocated_bytes(&self) -> usize {
        self.index.allocated_bytes()
            + self.entries.capacity() * size_of::<Option<Entry<K, Row>>>()
            + self.vacant.capacity() * size_of::<u32>()
    }

    /// First step to a key with this hash: what [`probable`](Self::probable) will read is on its way into the cache.
    #[inline]
    pub(super) fn approach(&self, hash: u64) {
        self.index.prefetch(hash);
    }

    /// Where the key with this hash probably is, and that entry is on its way into the cache. [`NOWHERE`]: the key is
    /// new, or a later bucket names it. Another place than the key's if a part of its hash is the same.
    #[inline]
    pub(super) fn probable(&self, hash: u64) -> u32 {
        let place = self.index.probable(hash);
        prefetch_at(self.entries.as_ptr().wrapping_add(place as usize), size_of::<Option<Entry<K, Row>>>());
        place
    }

    #[inline]
    pub(super) fn get(&self, place: usize) -> Option<&Entry<K, Row>> {
        self.entries.get(place)?.as_ref()
    }

    #[inline]
    pub(super) fn get_mut(&mut self, place: usize) -> Option<&mut Entry<K, Row>> {
        self.entries.get_mut(place)?.as_mut()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Entry<K, Row>> {
        self.entries.iter_mut().flatten()
    }

    /// The entries by place.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry<K, Row>> {
        self.entries.iter().flatten()
    }

    /// The places of the keys with this hash: one, as a rule.
    pub(super) fn places_of(&self, hash: u64) -> SmallVec<[usize; 1]>
    where
        K: Hash,
    {
        let mut places = SmallVec::new();
        self.index.find(hash, |place| {
            if self.get(place).is_some_and(|entry| stable_hash(&entry.key) == hash) {
                places.push(place);
            }
            false
        });
        places
    }

    /// The place of the key with this hash that `is_key` knows.
    pub(super) fn find(&self, hash: u64, mut is_key: impl FnMut(&K) -> bool) -> Option<usize> {
        self.index.find(hash, |place| self.get(place).is_some_and(|entry| is_key(&entry.key)))
    }
}

impl<K: Hash, Row> GroupTable<K, Row> {
    /// Takes a key that is not there, and gives its place.
    pub(super) fn insert(&mut self, hash: u64, entry: Entry<K, Row>) -> usize {
        if !self.index.has_room() {
            // Half of the words name entries, or it is the marks of those that have gone that fill them.
            self.rebuild_index(2 * self.len().max(self.index.capacity() / 4));
        }
        let place = match self.vacant.pop() {
            Some(place) => {
                self.entries[place as usize] = Some(entry);
                place as usize
            }
            None => {
                self.entries.push(Some(entry));
                self.entries.len() - 1
            }
        };
        self.index.insert(hash, place);
        place
    }

    /// Takes the entry out of a place.
    pub(super) fn remove(&mut self, place: usize) -> Option<Entry<K, Row>> {
        let entry = self.entries.get_mut(place)?.take()?;
        self.index.remove(stable_hash(&entry.key), place);
        self.vacant.push(place as u32);
        Some(entry)
    }

    /// Takes out the entries of which `is_out` is true, by place.
    pub(super) fn take_if(&mut self, mut is_out: impl FnMut(&Entry<K, Row>) -> bool) -> Vec<Entry<K, Row>> {
        let places = (0..self.places()).filter(|place| self.get(*place).is_some_and(&mut is_out));
        let places: Vec<usize> = places.collect();
        places.into_iter().filter_map(|place| self.remove(place)).collect()
    }

    /// Room for so many more entries.
    pub(super) fn reserve(&mut self, more: usize) {
        let most = self.len() + more;
        if most > self.index.capacity() {
            self.rebuild_index(most);
            self.entries.reserve(most.saturating_sub(self.entries.len()));
        }
    }

    /// Moves the entries together and gives up the memory that more than twice as many would need.
    pub(super) fn compact(&mut self) {
        let most = 2 * self.len();
        self.entries.retain(Option::is_some);
        self.entries.shrink_to(most);
        self.vacant = Vec::new();
        self.moves = self.moves.wrapping_add(1);
        self.rebuild_index(most);
    }

    fn rebuild_index(&mut self, most: usize) {
        let present = self.entries.iter().enumerate();
        let hashes = present.filter_map(|(place, entry)| Some((stable_hash(&entry.as_ref()?.key), place)));
        self.index.rebuild(most.max(self.entries.len()), hashes, |_, _| false);
    }
}

impl<K, Row> IntoIterator for GroupTable<K, Row> {
    type Item = Entry<K, Row>;
    type IntoIter = std::iter::Flatten<std::vec::IntoIter<Option<Entry<K, Row>>>>;

    fn into_iter(self) -> Self::IntoIter {
        self.entries.into_iter().flatten()
    }
}
