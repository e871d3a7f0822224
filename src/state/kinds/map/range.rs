//! Entries of a map, one after the other, from both ends.

use std::borrow::Borrow;
use std::collections::btree_map;
use std::ops::{Bound, Range, RangeBounds};

use super::page::PageEntry;
use super::paged::{Paged, place_of};
use crate::state::kinds::ValueSlot;
use crate::state::set::PageLost;

/// The entries of a range.
pub(super) struct MapRange<'a, K, V> {
    in_row: btree_map::Range<'a, K, ValueSlot<V>>,
    /// If the map is in pages, and none in the row.
    in_pages: Option<PageRange<'a, K, V>>,
}

/// The entries of a range of a map in pages. Each is read when its turn comes.
struct PageRange<'a, K, V> {
    paged: &'a Paged<K, V>,
    front: btree_map::Range<'a, K, PageEntry<V>>,
    /// Pages that neither end has come to, all of whose entries are in the range.
    between: Range<usize>,
    back: btree_map::Range<'a, K, PageEntry<V>>,
}

impl<'a, K: Ord, V> MapRange<'a, K, V> {
    /// Those of a map that is in no pages.
    #[inline]
    pub(super) fn of_entries(in_row: btree_map::Range<'a, K, ValueSlot<V>>) -> Self {
        Self { in_row, in_pages: None }
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
        Ok(Self { in_row: btree_map::Range::default(), in_pages: Some(PageRange::new(paged, range)?) })
    }
}

impl<'a, K: Ord, V> PageRange<'a, K, V> {
    fn new<Q>(paged: &'a Paged<K, V>, range: impl RangeBounds<Q>) -> Result<Self, PageLost>
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
                let front = paged.content(first)?.range((lower, upper));
                return Ok(Self { paged, front, between: 0..0, back: none() });
            }
        }
        // An end that is open is on no page yet: it may never be asked for.
        let front = first.map(|first| Ok(paged.content(first)?.range((lower, Bound::Unbounded))));
        let back = last.map(|last| Ok(paged.content(last)?.range((Bound::Unbounded, upper))));
        let between = first.map_or(0, |first| first + 1)..last.unwrap_or(paged.pages.len());
        let (front, back) = (front.transpose()?, back.transpose()?);
        Ok(Self { paged, front: front.unwrap_or_else(none), between, back: back.unwrap_or_else(none) })
    }

    /// All entries of a page.
    fn open(&self, page: usize) -> btree_map::Range<'a, K, PageEntry<V>> {
        let content = self.paged.content(page).unwrap_or_else(|lost| lost.unwind());
        content.range::<K, _>(..)
    }

    fn next(&mut self) -> Option<(&'a K, &'a V)> {
        loop {
            if let Some(found) = self.front.by_ref().find_map(live_of_page) {
                return Some(found);
            }
            let paged = self.paged;
            match self.between.by_ref().find(|page| paged.pages[*page].live > 0) {
                Some(page) => self.front = self.open(page),
                None => return self.back.by_ref().find_map(live_of_page),
            }
        }
    }

    fn next_back(&mut self) -> Option<(&'a K, &'a V)> {
        loop {
            if let Some(found) = self.back.by_ref().rev().find_map(live_of_page) {
                return Some(found);
            }
            let paged = self.paged;
            match self.between.by_ref().rfind(|page| paged.pages[*page].live > 0) {
                Some(page) => self.back = self.open(page),
                None => return self.front.by_ref().rev().find_map(live_of_page),
            }
        }
    }
}

#[inline]
fn live<'a, K, V>((key, entry): (&'a K, &'a ValueSlot<V>)) -> Option<(&'a K, &'a V)> {
    Some((key, entry.value()?))
}

fn live_of_page<'a, K, V>((key, entry): (&'a K, &'a PageEntry<V>)) -> Option<(&'a K, &'a V)> {
    Some((key, entry.value()?))
}

impl<'a, K: Ord, V> Iterator for MapRange<'a, K, V> {
    type Item = (&'a K, &'a V);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.in_pages {
            None => self.in_row.by_ref().find_map(live),
            Some(in_pages) => in_pages.next(),
        }
    }
}

impl<K: Ord, V> DoubleEndedIterator for MapRange<'_, K, V> {
    #[inline]
    fn next_back(&mut self) -> Option<Self::Item> {
        match &mut self.in_pages {
            None => self.in_row.by_ref().rev().find_map(live),
            Some(in_pages) => in_pages.next_back(),
        }
    }
}
