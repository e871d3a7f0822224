//! A map in pages, of which those in use are in memory.
//!
//! Pages are cut, joined and freed only where the row counts as changed with that: what a row that does not has on the disk is as
//! its directory there says.

mod changes;

use std::borrow::Borrow;
use std::cell::Cell;
use std::fmt;
use std::mem::needs_drop;
use std::ops::Bound;

use super::InRow;
use super::page::{Entries, Page, PageCodec, PageEntry};
use super::resident::Resident;
use crate::state::Stamp;
use crate::state::kinds::ValueSlot;
use crate::state::set::{PageLost, Paging};

/// Entries of a page, at most, while they are small.
const PAGE_ENTRIES_MAX: usize = if cfg!(test) { 4 } else { 128 };
/// Entries of a page, at least, before it may be cut because they are large.
const PAGE_ENTRIES_MIN: usize = if cfg!(test) { 2 } else { 4 };
/// Bytes of a page, about: with what the file adds it fits into one of the file's pages.
const PAGE_BYTES: usize = 3_900;
/// So many pages stay in memory whatever others have, if they are small; if they are not, one.
const KEPT: usize = if cfg!(test) { 1 } else { 4 };
/// Bytes in memory of pages that are small.
const KEPT_BYTES: usize = 4 * KEPT * PAGE_BYTES;
/// A value that is lent to be changed may have grown. By so many bytes or fewer it does not matter much.
const GROWTH_BYTES: usize = 512;
/// Entries that are looked at to tell how large they are.
const SAMPLE: usize = 16;

/// A map in pages. It always has a page, and an entry unless a removal is being dealt with.
pub(super) struct Paged<K, V> {
    pub(super) pages: Vec<Page<K, V>>,
    /// Entries of all pages.
    pub(super) live: usize,
    /// Marks of removed ones beside them.
    pub(super) removed: usize,
    /// Marks of removals up to this stamp are of no use any more: none counts, and they go when their page is read.
    pub(super) void: Stamp,
    /// Pages before this one have no entries, but marks.
    front: usize,
    /// There may be pages without entries and marks: the next change drops them.
    has_empty: bool,
    /// A page with more entries is cut.
    entries_max: usize,
    /// What the pages take in memory, about, as the pager has been told.
    held: Cell<usize>,
    /// The page at which the eviction goes on.
    hand: usize,
    resident: Resident,
    codec: PageCodec<K, V>,
    paging: Paging,
}

impl<K, V> Paged<K, V> {
    /// One that is made of these pages.
    pub(super) fn of_pages(
        pages: Vec<Page<K, V>>,
        (void, entries_max): (Stamp, usize),
        codec: PageCodec<K, V>,
        paging: &Paging,
    ) -> Self {
        let live = pages.iter().map(|page| page.live as usize).sum();
        let removed = pages.iter().map(|page| page.removed as usize).sum();
        let has_empty = pages.iter().any(|page| page.len() == 0);
        let mut resident = Resident::default();
        resident.reset(pages.iter().map(|page| page.content.get().is_some()));
        let (held, paging) = (Cell::new(0), paging.clone());
        Self { pages, live, removed, void, front: 0, has_empty, entries_max, held, hand: 0, resident, codec, paging }
    }

    /// How many entries a page may have.
    pub(super) fn entries_max(&self) -> usize {
        self.entries_max
    }

    /// What an entry takes in a page's tree, about.
    const ENTRY_BYTES: usize = size_of::<(K, PageEntry<V>)>() / 2 * 3;

    /// What entries take in memory, about, that take so many bytes where they are stored.
    fn memory_of(entries: usize, stored_bytes: usize) -> usize {
        let heap_bytes = if needs_drop::<(K, V)>() { stored_bytes } else { 0 };
        entries * Self::ENTRY_BYTES + heap_bytes
    }

    /// What an entry takes in memory, about.
    fn memory_of_entry(&self, key: &K, entry: &ValueSlot<V>) -> usize {
        let mut bytes = Vec::new();
        if needs_drop::<(K, V)>() {
            // What cannot be stored is told where it is to be.
            let _ = self.codec.put(key, entry, &mut bytes);
        }
        Self::memory_of(1, bytes.len())
    }

    /// About what a page takes where it is stored, as far as it is known.
    fn stored_bytes_of(page: &Page<K, V>) -> usize {
        match needs_drop::<(K, V)>() {
            true => page.held.get().saturating_sub(page.len() * Self::ENTRY_BYTES),
            false => page.len() * size_of::<(K, V)>(),
        }
    }

    /// A page takes so many bytes in memory.
    fn count(&self, page: &Page<K, V>, bytes: usize) {
        let before = page.held.replace(bytes);
        self.held.set((self.held.get() + bytes).saturating_sub(before));
        match bytes.checked_sub(before) {
            Some(more) => self.paging.pager.hold(more),
            None => self.paging.pager.let_go(before - bytes),
        }
    }
}

impl<K: Ord, V> Paged<K, V> {
    /// A map of these entries.
    ///
    /// # Errors
    /// The entries, if they cannot be stored: so they must stay in memory until it is told why.
    pub(super) fn cut(
        mut entries: InRow<K, V>,
        codec: PageCodec<K, V>,
        paging: &Paging,
    ) -> Result<Self, (InRow<K, V>, String)> {
        let entries_max = match entries_max_of(&entries, &codec) {
            Ok(entries_max) => entries_max,
            Err(reason) => return Err((entries, reason)),
        };
        let keys = entries.keys().step_by(entries_max).skip(1);
        let firsts: Vec<K> = match keys.map(|key| codec.copy_key(key)).collect() {
            Ok(firsts) => firsts,
            Err(reason) => return Err((entries, reason)),
        };
        let mut pages = Vec::with_capacity(firsts.len() + 1);
        let mut first = None;
        for next in firsts {
            let rest = entries.split_off(&next);
            pages.push(Page::new(first.replace(next), wrapped(std::mem::replace(&mut entries, rest))));
        }
        pages.push(Page::new(first, wrapped(entries)));
        let paged = Self::of_pages(pages, (0, entries_max), codec, paging);
        paged.pages.iter().for_each(|page| paged.measure(page));
        Ok(paged)
    }

    /// The page in which this key is, or would be.
    pub(super) fn place<Q>(&self, key: &Q) -> usize
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        let is_behind = |page: &Page<K, V>| page.first.as_ref().is_none_or(|first| first.borrow() <= key);
        self.pages.partition_point(is_behind).saturating_sub(1)
    }

    /// The entries of a page, which is in memory from then on.
    pub(super) fn content(&self, index: usize) -> Result<&Entries<K, V>, PageLost> {
        let page = &self.pages[index];
        page.is_used.set(true);
        if let Some(content) = page.content.get() {
            return Ok(content);
        }
        let (content, stored_bytes) = self.read_counted(index)?;
        self.count(page, Self::memory_of(content.len(), stored_bytes));
        self.resident.insert(index);
        Ok(page.content.get_or_init(|| content))
    }

    /// The value of a key.
    pub(super) fn get<Q>(&self, key: &Q) -> Result<Option<&V>, PageLost>
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        Ok(self.content(self.place(key))?.get(key).and_then(|entry| entry.value()))
    }

    /// The entries of a page that is not in memory.
    pub(super) fn read(&self, index: usize) -> Result<Entries<K, V>, PageLost> {
        self.read_counted(index).map(|(content, _)| content)
    }

    /// With the bytes that they took.
    fn read_counted(&self, index: usize) -> Result<(Entries<K, V>, usize), PageLost> {
        let (page, pager) = (&self.pages[index], &self.paging.pager);
        let Some(number) = page.number else { return Ok((Entries::new(), 0)) };
        let bytes = pager.read(number)?;
        let mut content = self.codec.read(&bytes).map_err(|reason| pager.unreadable(reason))?;
        let removed = content.values().filter(|entry| entry.value().is_none()).count();
        if removed > page.removed as usize {
            forget(&mut content, self.void);
        }
        let live = content.values().filter(|entry| entry.value().is_some()).count();
        if (live, content.len()) != (page.live as usize, page.len()) {
            let (dead, expected) = (content.len() - live, (page.live, page.removed));
            let reason = format!("page {number} of a map has {live} entries and {dead} marks instead of {expected:?}");
            return Err(pager.unreadable(reason));
        }
        Ok((content, bytes.len()))
    }

    /// Counts what a page in memory takes.
    fn measure(&self, page: &Page<K, V>) {
        let Some(content) = page.content.get() else { return };
        let mut bytes = Vec::new();
        if needs_drop::<(K, V)>() {
            // What cannot be stored is told where it is to be.
            let _ = self.codec.write(content, &mut bytes);
        }
        page.lent.set(0);
        self.count(page, Self::memory_of(content.len(), bytes.len()));
    }

    /// Has a page in memory, to be changed.
    fn content_mut(&mut self, index: usize) -> Result<&mut Entries<K, V>, PageLost> {
        self.content(index)?;
        Ok(self.pages[index].content.get_mut().expect("it was read above"))
    }

    /// The least entry.
    pub(super) fn first(&self) -> Result<Option<(&K, &V)>, PageLost> {
        let with_entries = (self.front..self.pages.len()).find(|index| self.pages[*index].live > 0);
        let Some(index) = with_entries else { return Ok(None) };
        let mut entries = self.content(index)?.iter();
        Ok(entries.find_map(|(key, entry)| Some((key, entry.value()?))))
    }

    fn count_resident(&mut self) {
        self.resident.reset(self.pages.iter().map(|page| page.content.get().is_some()));
    }

    fn free(&self, page: &Page<K, V>) {
        if let Some(number) = page.number.filter(|_| !self.paging.is_copy) {
            self.paging.pager.free(number);
        }
    }

    /// All of it goes.
    pub(super) fn free_all(&self) {
        self.pages.iter().for_each(|page| self.free(page));
    }

    /// Forgets marks of removals up to this stamp. What is on the disk stays as it is, pages in which nothing is left included: they
    /// go with the next change.
    ///
    /// A page that is not in memory may have marks above it only if the page was changed later, and was read since by the
    /// capture that asks for this; `left` has how many it has then.
    pub(super) fn settle(&mut self, base: Stamp, left: &[(usize, u32)]) {
        self.void = self.void.max(base);
        for page in &mut self.pages {
            if let Some(content) = page.content.get_mut().filter(|_| page.removed > 0) {
                forget(content, base);
                page.removed = content.len() as u32 - page.live;
            } else if page.changed <= base {
                page.removed = 0;
            }
        }
        for (index, removed) in left {
            self.pages[*index].removed = *removed;
        }
        self.removed = self.pages.iter().map(|page| page.removed as usize).sum();
        self.has_empty = self.pages.iter().any(|page| page.len() == 0);
    }

    /// Drops marks of removals, all of them: none is above this stamp. A change.
    pub(super) fn forget_removed(&mut self, now: Stamp) -> Result<(), PageLost> {
        self.settle(now, &[]);
        self.drop_all_empty();
        self.join_all()
    }

    /// Has pages leave memory until there are no more than there should be, or few are left here.
    pub(super) fn make_room(&mut self) {
        for _ in 0..2 * self.resident.len() {
            let kept = if self.held.get() <= KEPT_BYTES { KEPT } else { 1 };
            if self.resident.len() <= kept || !self.paging.pager.is_full() {
                return;
            }
            let Some(next) = self.resident.next(self.hand + 1) else { return };
            self.hand = next;
            if !self.pages[next].is_used.take() {
                self.evict(next);
            }
        }
    }

    /// Has a page leave memory, but one that cannot be stored: that is told where the row leaves.
    fn evict(&mut self, index: usize) {
        if self.store(index).is_ok() {
            let page = &mut self.pages[index];
            if page.content.take().is_some() {
                self.resident.remove(index);
            }
            self.count(&self.pages[index], 0);
        }
    }

    /// Gives the pager a page as it is.
    fn store(&mut self, index: usize) -> Result<(), String> {
        let page = &mut self.pages[index];
        let Some(content) = page.content.get().filter(|_| page.is_dirty && !self.paging.is_copy) else { return Ok(()) };
        let mut bytes = Vec::new();
        self.codec.write(content, &mut bytes)?;
        if !content.is_empty() {
            self.entries_max = entries_max_of_bytes(bytes.len() / content.len());
        }
        let held = Self::memory_of(content.len(), bytes.len());
        let number = *page.number.get_or_insert_with(|| self.paging.pager.fresh());
        self.paging.pager.write(number, bytes);
        page.is_dirty = false;
        page.lent.set(0);
        self.count(&self.pages[index], held);
        Ok(())
    }

    /// Gives the pager all pages that have changed.
    pub(super) fn store_all(&mut self) -> Result<(), String> {
        (0..self.pages.len()).try_for_each(|index| self.store(index))
    }

    /// The entries and number of marks, if one page has all of them, and at most so many of so many bytes.
    pub(super) fn take_small(&mut self, most: usize, bytes_max: usize) -> Option<(InRow<K, V>, u32)> {
        if self.pages.len() > 1 || self.pages[0].len() > most || Self::stored_bytes_of(&self.pages[0]) > bytes_max {
            return None;
        }
        self.pages[0].content.get()?;
        self.free_all();
        let page = &mut self.pages[0];
        Some((page.content.take()?.into_iter().map(|(key, entry)| (key, entry.0)).collect(), page.removed))
    }
}

/// Where a range of keys begins or ends.
pub(super) fn place_of<K, V, Q>(paged: &Paged<K, V>, bound: Bound<&Q>) -> Option<usize>
where
    K: Ord + Borrow<Q>,
    Q: Ord + ?Sized,
{
    match bound {
        Bound::Included(key) | Bound::Excluded(key) => Some(paged.place(key)),
        Bound::Unbounded => None,
    }
}

fn wrapped<K: Ord, V>(entries: InRow<K, V>) -> Entries<K, V> {
    entries.into_iter().map(|(key, entry)| (key, PageEntry(entry))).collect()
}

/// Drops marks of removals up to this stamp.
fn forget<K: Ord, V>(content: &mut Entries<K, V>, void: Stamp) {
    content.retain(|_, entry| entry.value().is_some() || entry.stamp() > void);
}

/// How many entries like these a page may have.
fn entries_max_of<K: Ord, V>(entries: &InRow<K, V>, codec: &PageCodec<K, V>) -> Result<usize, String> {
    let mut bytes = Vec::new();
    // A sample is as good as all of them: where it misleads, pages are larger or smaller than they should be until later
    // changes cut and join them.
    let step = (entries.len() / SAMPLE).max(1);
    for (key, entry) in entries.iter().step_by(step) {
        codec.put(key, entry, &mut bytes)?;
    }
    Ok(entries_max_of_bytes(bytes.len() / entries.len().div_ceil(step).max(1)))
}

/// How many entries of so many bytes each a page may have.
pub(super) fn entries_max_of_bytes(entry_bytes: usize) -> usize {
    (PAGE_BYTES / entry_bytes.max(1)).clamp(PAGE_ENTRIES_MIN, PAGE_ENTRIES_MAX)
}

impl<K, V> Drop for Paged<K, V> {
    fn drop(&mut self) {
        self.paging.pager.let_go(self.held.get());
    }
}

impl<K, V> fmt::Debug for Paged<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Paged({} entries in {} pages)", self.live, self.pages.len())
    }
}
