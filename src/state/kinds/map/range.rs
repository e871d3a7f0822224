//! Entries of a map, one after the other, from both ends.

use std::borrow::Borrow;
use std::collections::btree_map;
use std::ops::{Bound, Range, RangeBounds};

use super::page::Entries;
use super::paged::{Paged, place_of};
use crate::state::kinds::ValueSlot;
use crate::state::set::PageLost;

/// The entries of a range. Of a map in pages each is read when its turn comes.
pub(super) struct MapRange<'a, K, V> {
    front: btree_map::Range<'a, K, ValueSlot<V>>,
    /// `None` if the map is not in pages.
    paged: Option<&'a Paged<K, V>>,
    /// Pages that neither end has come to, all of whose entries are in the range.
    between: Range<usize>,
    back: btree_map::Range<'a, K, ValueSlot<V>>,
}

impl<'a, K: Ord, V> MapRange<'a, K, V> {
    /// Those of a map that is in no pages.
    #[inline]
    pub(super) fn of_entries(front: btree_map::Range<'a, K, ValueSlot<V>>) -> Self {
        Self { front, paged: None, between: 0..0, back: btree_map::Range::default() }
    }

    /// Those of a map in pages.
    ///
    /// # Errors
    /// If one of the pages cannot be read in which the range begins and ends.
    ///
    /// # Panics
    /// If the start is above the end.
    pub(super) fn of_pages<Q>(paged: &'a Paged<K, V>, range: impl RangeBounds<Q>) -> Result<Self, PageLost>
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        let (lower, upper) = (range.start_bound(), range.end_bound());
        let (first, last) = (place_of(paged, lower), place_of(paged, upper));
        let none = btree_map::Range::default;
        if let (Some(first), Some(last)) = (first, last) {
            assert!(first <= last, "range start is greater than range end in MapHandle");
            if first == last {
                return Ok(Self::of_entries(paged.content(first)?.range((lower, upper))));
            }
        }
        // An end that is open is on no page yet: it may never be asked for.
        let front = first.map(|first| Ok(paged.content(first)?.range((lower, Bound::Unbounded))));
        let back = last.map(|last| Ok(paged.content(last)?.range((Bound::Unbounded, upper))));
        let between = first.map_or(0, |first| first + 1)..last.unwrap_or(paged.pages.len());
        let (front, back) = (front.transpose()?, back.transpose()?);
        Ok(Self { front: front.unwrap_or_else(none), paged: Some(paged), between, back: back.unwrap_or_else(none) })
    }
}

/// All entries of a page.
#[cold]
fn open<'a, K: Ord, V>(paged: &'a Paged<K, V>, page: usize) -> btree_map::Range<'a, K, ValueSlot<V>> {
    let content: &Entries<K, V> = paged.content(page).unwrap_or_else(|lost| lost.unwind());
    content.range::<K, _>(..)
}

#[inline]
fn live<'a, K, V>((key, entry): (&'a K, &'a ValueSlot<V>)) -> Option<(&'a K, &'a V)> {
    Some((key, entry.value()?))
}

impl<'a, K: Ord, V> Iterator for MapRange<'a, K, V> {
    type Item = (&'a K, &'a V);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(found) = self.front.by_ref().find_map(live) {
                return Some(found);
            }
            let Some(paged) = self.paged else { return None };
            match self.between.by_ref().find(|page| paged.pages[*page].live > 0) {
                Some(page) => self.front = open(paged, page),
                None => return self.back.by_ref().find_map(live),
            }
        }
    }
}

impl<K: Ord, V> DoubleEndedIterator for MapRange<'_, K, V> {
    #[inline]
    fn next_back(&mut self) -> Option<Self::Item> {
        let Some(paged) = self.paged else { return self.front.by_ref().rev().find_map(live) };
        loop {
            if let Some(found) = self.back.by_ref().rev().find_map(live) {
                return Some(found);
            }
            match self.between.by_ref().rfind(|page| paged.pages[*page].live > 0) {
                Some(page) => self.back = open(paged, page),
                None => return self.front.by_ref().rev().find_map(live),
            }
        }
    }
}
