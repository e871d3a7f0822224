//! What a function sees of a map.

use std::borrow::Borrow;
use std::collections::btree_map::Entry;
use std::ops::RangeBounds;

use super::MapSlot;
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
        self.slot.entries.get(key)?.value()
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
        let MapSlot { entries, stamp, changed, .. } = &mut *self.slot;
        let value = entries.get_mut(key)?.value_mut(self.now)?;
        (*stamp, *changed) = (self.now, self.now);
        Some(value)
    }

    /// The value of `key`, to be changed in place; set to what `initial` gives if there is none. Counts as a change of
    /// this entry.
    #[inline]
    pub fn get_or_insert_with(&mut self, key: K, initial: impl FnOnce() -> V) -> &mut V {
        self.slot.change(self.now);
        self.slot.comes(&key);
        let entry = match self.slot.entries.entry(key) {
            Entry::Vacant(vacant) => vacant.insert(ValueSlot::Set(self.now, initial())),
            Entry::Occupied(found) => {
                let entry = found.into_mut();
                if entry.value().is_none() {
                    *entry = ValueSlot::Set(self.now, initial());
                    self.slot.removed -= 1;
                }
                entry
            }
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
        self.slot.front().next()
    }

    /// Removes the entry with the least key, and gives it.
    pub fn pop_first(&mut self) -> Option<(K, V)>
    where
        K: Clone,
    {
        let key = self.slot.front().next()?.0.clone();
        let value = self.slot.remove(&key, self.now)?;
        self.slot.gone = Some(key.clone()).filter(|_| !self.slot.entries.is_empty());
        Some((key, value))
    }

    /// Removes the entries for which `keep` is false.
    pub fn retain(&mut self, mut keep: impl FnMut(&K, &V) -> bool) {
        let mut removed = 0;
        let is_known = self.slot.replaced != self.now;
        self.slot.entries.retain(|key, entry| {
            let Some(value) = entry.value() else { return true };
            if keep(key, value) {
                return true;
            }
            removed += 1;
            entry.take(self.now);
            is_known
        });
        if removed > 0 {
            if is_known {
                self.slot.removed += removed;
            }
            (self.slot.stamp, self.slot.changed) = (self.now, self.now);
            self.slot.forget_too_many(self.now);
        }
    }

    /// The entries, ascending by key.
    #[inline]
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&K, &V)> {
        self.slot.entries.iter().filter_map(|(key, entry)| Some((key, entry.value()?)))
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
        self.slot.entries.range(range).filter_map(|(key, entry)| Some((key, entry.value()?)))
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

    /// Number of entries.
    #[inline]
    pub fn len(&self) -> usize {
        self.slot.live()
    }

    /// Whether there is no entry.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.slot.entries.is_empty()
    }

    /// Removes all entries.
    #[inline]
    pub fn clear(&mut self) {
        if !self.is_empty() {
            self.slot.empty(self.now);
        }
    }
}
