//! A table in the making.

use std::hash::Hash;

use super::index::HashIndex;
use super::{Entry, GroupTable};
use crate::state::stable_hash;

/// Entries that nobody has looked for while they came. The index is made of all at once, which reads it ahead: one look-up
/// after the other would wait for memory each time.
#[derive(Debug)]
pub(in crate::state) struct Unindexed<K, Row>(Vec<Option<Entry<K, Row>>>);

impl<K, Row> Default for Unindexed<K, Row> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K: Hash + Eq, Row> Unindexed<K, Row> {
    /// Room for so many more entries.
    pub(in crate::state) fn reserve(&mut self, more: usize) {
        self.0.reserve(more);
    }

    /// Takes an entry, and lends its row.
    #[inline]
    pub(in crate::state) fn push(&mut self, entry: Entry<K, Row>) -> &mut Row {
        self.0.push(Some(entry));
        let last = self.0.last_mut().and_then(Option::as_mut);
        &mut last.expect("it was pushed above").row
    }

    /// The table of these entries. `None` if two of them have one key.
    pub(in crate::state) fn indexed(self) -> Option<GroupTable<K, Row>> {
        let entries = self.0;
        let key = |place: usize| entries[place].as_ref().map(|entry| &entry.key);
        let hashes = (0..entries.len()).filter_map(|place| Some((stable_hash(key(place)?), place)));
        let mut index = HashIndex::default();
        let twice = index.rebuild(entries.len(), hashes, |one, other| key(one) == key(other));
        twice.is_none().then_some(GroupTable { index, entries, vacant: Vec::new(), moves: 0 })
    }
}
