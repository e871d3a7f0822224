//! What a function sees of a map.

use std::borrow::Borrow;
use std::collections::btree_map::Entry;
use std::ops::RangeBounds;

use super::range::MapRange;
use super::{InRow, MapSlot};
use crate::state::Stamp;
use crate::state::kinds::ValueSlot;

/// The map of the current key, in place.
#[derive(Debug)]
pub struct MapHandle<'a, K, V> {
    pub(super) slot: &'a mut MapSlot<K, V>,
    pub(super) now: Stamp,
}

impl<K: Ord, V> MapHandle<'_, K, V> {
    /// The value of `key`, if it has one.
    #[inline]
    pub fn get<Q>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        match &self.slot.paged {
            None => self.slot.entries.get(key)?.value(),
            Some(paged) => paged.get(key).unwrap_or_else(|lost| lost.unwind()),
        }
    }

    /// Whether `key` has a value.
    #[inline]
    pub fn contains<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        self.get(key).is_some()
    }

    /// The value of `key`, to be changed in place, if it has one. Counts as a change of this entry.
    #[inline]
    pub fn get_mut<Q>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        let MapSlot { entries, paged, stamp, changed, .. } = &mut *self.slot;
        let entry = match paged {
            None => entries.get_mut(key),
            Some(paged) => paged.get_mut(key, self.now).unwrap_or_else(|lost| lost.unwind()),
        };
        let value = entry?.value_mut(self.now)?;
        (*stamp, *changed) = (self.now, self.now);
        Some(value)
    }

    /// The value of `key`, to be changed in place; set to what `initial` gives if there is none. Counts as a change of
    /// this entry.
    #[inline]
    pub fn get_or_insert_with(&mut self, key: K, initial: impl FnOnce() -> V) -> &mut V {
        self.slot.change(self.now);
        self.slot.comes(&key);
        let MapSlot { entries, paged, removed, .. } = &mut *self.slot;
        let entry = match paged {
            None => set_if_none(entries, removed, key, initial, self.now),
            Some(paged) => paged.get_or_insert_with(key, initial, self.now).unwrap_or_else(|lost| lost.unwind()),
        };
        match entry.value_mut(self.now) {
            Some(value) => value,
            None => unreachable!("it was set above"),
        }
    }

    /// Sets the value of `key`, and gives back the one that it had.
    #[inline]
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        self.slot.insert(key, value, self.now)
    }

    /// Removes `key`, and gives back its value.
    #[inline]
    pub fn remove<Q>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        self.slot.remove(key, self.now)
    }

    /// The entry with the least key. As [`pop_first`](Self::pop_first) it costs little, also where much has been taken off the
    /// front.
    #[inline]
    pub fn first(&self) -> Option<(&K, &V)> {
        match &self.slot.paged {
            None => self.slot.front().next(),
            Some(paged) => paged.first().unwrap_or_else(|lost| lost.unwind()),
        }
    }

    /// Removes the entry with the least key, and gives it.
    pub fn pop_first(&mut self) -> Option<(K, V)>
    where
        K: Clone,
    {
        let key = self.first()?.0.clone();
        let value = self.slot.remove(&key, self.now)?;
        // One in pages knows which pages are gone.
        self.slot.gone = Some(key.clone()).filter(|_| !self.slot.entries.is_empty());
        Some((key, value))
    }

    /// Removes the entries for which `keep` is false.
    pub fn retain(&mut self, mut keep: impl FnMut(&K, &V) -> bool) {
        let mut removed = 0;
        let is_known = self.slot.replaced != self.now;
        if let Some(paged) = &mut self.slot.paged {
            removed = paged.retain(keep, self.now, is_known).unwrap_or_else(|lost| lost.unwind());
        } else {
            self.slot.entries.retain(|key, entry| {
                let Some(value) = entry.value() else { return true };
                if keep(key, value) {
                    return true;
                }
                removed += 1;
                entry.take(self.now);
                is_known
            });
            self.slot.removed += if is_known { removed as u32 } else { 0 };
        }
        if removed > 0 {
            (self.slot.stamp, self.slot.changed) = (self.now, self.now);
            self.slot.forget_too_many(self.now);
        }
    }

    /// The entries, ascending by key.
    #[inline]
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&K, &V)> {
        self.range::<K>(..)
    }

    /// The entries with a key in this range, ascending.
    ///
    /// # Panics
    /// If the range's start is above its end, as [`BTreeMap::range`](std::collections::BTreeMap::range) does.
    #[inline]
    pub fn range<Q>(&self, range: impl RangeBounds<Q>) -> impl DoubleEndedIterator<Item = (&K, &V)>
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        match &self.slot.paged {
            None => MapRange::of_entries(self.slot.entries.range(range)),
            Some(paged) => MapRange::of_pages(paged, range).unwrap_or_else(|lost| lost.unwind()),
        }
    }

    /// The keys, ascending.
    #[inline]
    pub fn keys(&self) -> impl DoubleEndedIterator<Item = &K> {
        self.iter().map(|(key, _)| key)
    }

    /// The values, ascending by key.
    #[inline]
    pub fn values(&self) -> impl DoubleEndedIterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }

    /// Number of marks of removed entries.
    #[cfg(test)]
    pub(crate) fn marks(&self) -> usize {
        self.slot.paged.as_ref().map_or(self.slot.removed as usize, |paged| paged.removed)
    }

    /// Number of entries.
    #[inline]
    pub fn len(&self) -> usize {
        self.slot.live()
    }

    /// Whether there is no entry.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.slot.entries.is_empty() && self.slot.paged.is_none()
    }

    /// Removes all entries.
    #[inline]
    pub fn clear(&mut self) {
        if !self.is_empty() {
            self.slot.empty(self.now);
        }
    }
}

/// The entry of a key, which is set if there is none, or a mark of its removal.
#[inline]
fn set_if_none<'a, K: Ord, V>(
    entries: &'a mut InRow<K, V>,
    removed: &mut u32,
    key: K,
    initial: impl FnOnce() -> V,
    now: Stamp,
) -> &'a mut ValueSlot<V> {
    match entries.entry(key) {
        Entry::Vacant(vacant) => vacant.insert(ValueSlot::Set(now, initial())),
        Entry::Occupied(found) => {
            let entry = found.into_mut();
            if entry.value().is_none() {
                *entry = ValueSlot::Set(now, initial());
                *removed -= 1;
            }
            entry
        }
    }
}
