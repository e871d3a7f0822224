//! A map in pages, of which those in use are in memory.
//!
//! Pages are cut, joined and freed only in calls that change an entry: what a row that does not count as changed has on the disk is
//! as its directory there says.

use std::borrow::Borrow;
use std::cell::Cell;
use std::fmt;
use std::mem::needs_drop;
use std::ops::Bound;

use super::page::{Entries, Page, PageCodec};
use crate::state::Stamp;
use crate::state::kinds::ValueSlot;
use crate::state::set::{PageLost, Paging};

/// Entries of a page, at most, while they are small.
const PAGE_ENTRIES_MAX: usize = if cfg!(test) { 4 } else { 128 };
/// Entries of a page, at least, before it may be cut because they are large.
const PAGE_ENTRIES_MIN: usize = if cfg!(test) { 2 } else { 4 };
/// Bytes of a page, about.
const PAGE_BYTES: usize = 8 << 10;
/// So many pages stay in memory whatever others have.
const KEPT: usize = if cfg!(test) { 1 } else { 4 };
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
    /// A page with more entries is cut.
    entries_max: usize,
    /// What an entry takes in memory, about.
    entry_bytes: usize,
    /// The page at which the eviction goes on.
    hand: usize,
    /// Pages in memory.
    in_memory: Cell<usize>,
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
        let in_memory = Cell::new(pages.iter().filter(|page| page.content.get().is_some()).count());
        let heap_bytes = if needs_drop::<(K, V)>() { PAGE_BYTES / entries_max.max(1) } else { 0 };
        let entry_bytes = size_of::<(K, ValueSlot<V>)>() / 2 * 3 + heap_bytes;
        let paging = paging.clone();
        Self { pages, live, removed, void, front: 0, entries_max, entry_bytes, hand: 0, in_memory, codec, paging }
    }

    /// How many entries a page may have.
    pub(super) fn entries_max(&self) -> usize {
        self.entries_max
    }

    fn hold(&self, page: &Page<K, V>, bytes: usize) {
        page.held.set(page.held.get() + bytes);
        self.paging.pager.hold(bytes);
    }
}

impl<K: Ord, V> Paged<K, V> {
    /// A map of these entries.
    ///
    /// # Errors
    /// The entries, if they cannot be stored: so they must stay in memory until it is told why.
    pub(super) fn cut(
        mut entries: Entries<K, V>,
        codec: PageCodec<K, V>,
        paging: &Paging,
    ) -> Result<Self, (Entries<K, V>, String)> {
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
            pages.push(Page::new(first.replace(next), std::mem::replace(&mut entries, rest)));
        }
        pages.push(Page::new(first, entries));
        let paged = Self::of_pages(pages, (0, entries_max), codec, paging);
        paged.pages.iter().for_each(|page| paged.hold(page, page.len() * paged.entry_bytes));
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
        let content = self.read(index)?;
        self.hold(page, content.len() * self.entry_bytes);
        self.in_memory.set(self.in_memory.get() + 1);
        Ok(page.content.get_or_init(|| content))
    }

    /// The value of a key.
    pub(super) fn get<Q>(&self, key: &Q) -> Result<Option<&V>, PageLost>
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        Ok(self.content(self.place(key))?.get(key).and_then(ValueSlot::value))
    }

    /// The entries of a page that is not in memory.
    pub(super) fn read(&self, index: usize) -> Result<Entries<K, V>, PageLost> {
        let (page, pager) = (&self.pages[index], &self.paging.pager);
        let Some(number) = page.number else { return Ok(Entries::new()) };
        let bytes = pager.read(number)?;
        let mut content = self.codec.read(&bytes).map_err(|reason| pager.unreadable(reason))?;
        let removed = content.values().filter(|entry| entry.value().is_none()).count();
        if removed > page.removed as usize {
            forget(&mut content, self.void);
        }
        if content.len() != page.len() {
            let (found, expected) = (content.len(), page.len());
            return Err(pager.unreadable(format!("page {number} of a map has {found} entries instead of {expected}")));
        }
        Ok(content)
    }

    /// Has a page in memory, to be changed.
    fn content_mut(&mut self, index: usize) -> Result<&mut Entries<K, V>, PageLost> {
        self.content(index)?;
        Ok(self.pages[index].content.get_mut().expect("it was read above"))
    }

    /// Whether a key has a value, after making room.
    fn has<Q>(&mut self, key: &Q) -> Result<bool, PageLost>
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        if self.paging.pager.is_full() {
            self.make_room();
        }
        Ok(self.content(self.place(key))?.get(key).is_some_and(|entry| entry.value().is_some()))
    }

    /// The page of a key that is about to be changed, in memory, and cut if it is too large. `adds`: the key may be new.
    fn open<Q>(&mut self, key: &Q, adds: bool) -> Result<usize, PageLost>
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        let index = self.place(key);
        self.content(index)?;
        // What cannot be stored stays in one piece until it is told why.
        let full = if adds { self.entries_max } else { 2 * self.entries_max };
        if self.pages[index].len() >= full && self.split(index, key).is_ok() {
            return Ok(self.place(key));
        }
        Ok(index)
    }

    /// Cuts a page in two; one that is filled at the end of the map stays full.
    fn split<Q>(&mut self, index: usize, key: &Q) -> Result<(), String>
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        let is_last = index + 1 == self.pages.len();
        let page = &mut self.pages[index];
        let content = page.content.get_mut().ok_or("it is not in memory")?;
        let is_behind = content.last_key_value().is_some_and(|(last, _)| last.borrow() < key);
        let at = if is_last && is_behind { content.len() - 1 } else { content.len() / 2 };
        let first = content.keys().nth(at).ok_or("it is empty")?;
        let (first, again) = (self.codec.copy_key(first)?, self.codec.copy_key(first)?);
        let upper = Page::new(Some(first), content.split_off::<K>(&again));
        (page.live, page.removed) = (page.live - upper.live, page.removed - upper.removed);
        page.is_dirty = true;
        let moved = upper.len() * self.entry_bytes;
        let moved = moved.min(page.held.get());
        page.held.set(page.held.get() - moved);
        upper.held.set(moved);
        self.pages.insert(index + 1, upper);
        self.in_memory.set(self.in_memory.get() + 1);
        self.front = self.front.min(index);
        Ok(())
    }

    /// Sets a value; gives the old one.
    pub(super) fn insert(&mut self, key: K, value: V, now: Stamp) -> Result<Option<V>, PageLost> {
        let _ = self.has(&key)?;
        let index = self.open(&key, true)?;
        let old = self.content_mut(index)?.insert(key, ValueSlot::Set(now, value));
        self.came(index, now, old.as_ref().map(|old| old.value().is_some()));
        Ok(match old {
            Some(ValueSlot::Set(_, old)) => Some(old),
            _ => None,
        })
    }

    /// The entry of a key; what `initial` gives if there is none.
    pub(super) fn get_or_insert_with(
        &mut self,
        key: K,
        initial: impl FnOnce() -> V,
        now: Stamp,
    ) -> Result<&mut ValueSlot<V>, PageLost> {
        let _ = self.has(&key)?;
        let index = self.open(&key, true)?;
        let before = self.content(index)?.get(&key).map(|entry| entry.value().is_some());
        if before != Some(true) {
            let value = initial();
            self.came(index, now, before);
            let entry = self.content_mut(index)?.entry(key).or_default();
            *entry = ValueSlot::Set(now, value);
            return Ok(entry);
        }
        self.changed(index, now);
        Ok(self.content_mut(index)?.entry(key).or_default())
    }

    /// The entry of a key, which is about to be changed.
    pub(super) fn get_mut<Q>(&mut self, key: &Q, now: Stamp) -> Result<Option<&mut ValueSlot<V>>, PageLost>
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        if !self.has(key)? {
            return Ok(None);
        }
        let index = self.open(key, false)?;
        self.changed(index, now);
        Ok(self.content_mut(index)?.get_mut(key))
    }

    /// Removes a key, and with `is_marked` leaves a mark of that.
    pub(super) fn remove<Q>(&mut self, key: &Q, now: Stamp, is_marked: bool) -> Result<Option<V>, PageLost>
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        if !self.has(key)? {
            return Ok(None);
        }
        let index = self.open(key, false)?;
        let content = self.content_mut(index)?;
        let Some(old) = content.get_mut(key).and_then(|entry| entry.take(now)) else { return Ok(None) };
        if !is_marked {
            content.remove(key);
        }
        self.went(index, 1, now, is_marked);
        self.tidy(index)?;
        Ok(Some(old))
    }

    /// Keeps the entries for which `keep` is true.
    pub(super) fn retain(
        &mut self,
        mut keep: impl FnMut(&K, &V) -> bool,
        now: Stamp,
        is_marked: bool,
    ) -> Result<usize, PageLost> {
        let (mut index, mut all_removed) = (0, 0);
        while index < self.pages.len() {
            let mut removed = 0;
            self.content_mut(index)?.retain(|key, entry| {
                let Some(value) = entry.value() else { return true };
                if keep(key, value) {
                    return true;
                }
                removed += 1;
                entry.take(now);
                is_marked
            });
            if removed > 0 {
                self.went(index, removed, now, is_marked);
                all_removed += removed as usize;
            }
            if !self.drop_empty(index) {
                if self.paging.pager.is_full() {
                    self.evict(index);
                }
                index += 1;
            }
        }
        if all_removed > 0 {
            self.join_all()?;
        }
        Ok(all_removed)
    }

    /// The least entry.
    pub(super) fn first(&self) -> Result<Option<(&K, &V)>, PageLost> {
        let with_entries = (self.front..self.pages.len()).find(|index| self.pages[*index].live > 0);
        let Some(index) = with_entries else { return Ok(None) };
        let mut entries = self.content(index)?.iter();
        Ok(entries.find_map(|(key, entry)| Some((key, entry.value()?))))
    }

    fn changed(&mut self, index: usize, now: Stamp) {
        let page = &mut self.pages[index];
        (page.is_dirty, page.changed) = (true, now);
    }

    /// An entry was set. `before`: whether there was a value; `None` if not even a mark.
    fn came(&mut self, index: usize, now: Stamp, before: Option<bool>) {
        self.changed(index, now);
        let page = &mut self.pages[index];
        if before != Some(true) {
            page.live += 1;
            self.live += 1;
            self.front = self.front.min(index);
        }
        match before {
            Some(false) => {
                page.removed -= 1;
                self.removed -= 1;
            }
            Some(true) => {}
            None => self.hold(&self.pages[index], self.entry_bytes),
        }
    }

    /// Entries of a page were removed.
    fn went(&mut self, index: usize, count: u32, now: Stamp, is_marked: bool) {
        self.changed(index, now);
        let page = &mut self.pages[index];
        page.live -= count;
        let marks = if is_marked { count } else { 0 };
        page.removed += marks;
        self.removed += marks as usize;
        self.live -= count as usize;
        while self.pages.get(self.front).is_some_and(|page| page.live == 0) {
            self.front += 1;
        }
    }

    /// Drops a page in which nothing is left, and joins one that is small with a small neighbour.
    fn tidy(&mut self, index: usize) -> Result<(), PageLost> {
        if self.drop_empty(index) || self.pages[index].len() > self.entries_max / 4 {
            return Ok(());
        }
        let fits = |lower: usize| {
            let upper = self.pages.get(lower + 1).map(Page::len);
            upper.is_some_and(|upper| self.pages[lower].len() + upper <= self.entries_max / 2)
        };
        match [Some(index), index.checked_sub(1)].into_iter().flatten().find(|lower| fits(*lower)) {
            Some(lower) => self.join(lower),
            None => Ok(()),
        }
    }

    /// Joins small neighbours, wherever they are.
    fn join_all(&mut self) -> Result<(), PageLost> {
        let mut lower = 0;
        while lower + 1 < self.pages.len() {
            if self.pages[lower].len() + self.pages[lower + 1].len() <= self.entries_max / 2 {
                self.join(lower)?;
            } else {
                lower += 1;
            }
        }
        Ok(())
    }

    /// Joins a page with the next one.
    fn join(&mut self, lower: usize) -> Result<(), PageLost> {
        self.content(lower)?;
        self.content(lower + 1)?;
        let mut upper = self.pages.remove(lower + 1);
        self.free(&upper);
        self.in_memory.set(self.in_memory.get() - 1);
        let page = &mut self.pages[lower];
        let content = page.content.get_mut().expect("it was read above");
        content.append(upper.content.get_mut().expect("it was read above"));
        (page.live, page.removed) = (page.live + upper.live, page.removed + upper.removed);
        page.changed = page.changed.max(upper.changed);
        page.is_dirty = true;
        page.held.set(page.held.get() + upper.held.take());
        self.front = self.front.min(lower);
        Ok(())
    }

    /// Drops a page if it has neither entries nor marks, and is not the only one.
    fn drop_empty(&mut self, index: usize) -> bool {
        if self.pages[index].len() > 0 || self.pages.len() == 1 {
            return false;
        }
        let page = self.pages.remove(index);
        self.free(&page);
        self.paging.pager.let_go(page.held.take());
        self.in_memory.set(self.in_memory.get() - usize::from(page.content.get().is_some()));
        if index == 0 {
            self.pages[0].first = None;
        }
        self.front = self.front.min(index);
        true
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

    /// Forgets marks of removals up to this stamp. What is on the disk stays as it is.
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
    }

    /// Drops marks of removals, all of them: none is above this stamp. A change.
    pub(super) fn forget_removed(&mut self, now: Stamp) {
        self.settle(now, &[]);
        let mut index = 0;
        while index < self.pages.len() {
            if !self.drop_empty(index) {
                index += 1;
            }
        }
        self.front = 0;
    }

    /// Has pages leave memory until there are no more than there should be, or few are left here.
    pub(super) fn make_room(&mut self) {
        for _ in 0..2 * self.pages.len() {
            if self.in_memory.get() <= KEPT || !self.paging.pager.is_full() {
                return;
            }
            self.hand = (self.hand + 1) % self.pages.len();
            if !self.pages[self.hand].is_used.take() {
                self.evict(self.hand);
            }
        }
    }

    /// Has a page leave memory, but one that cannot be stored: that is told where the row leaves.
    fn evict(&mut self, index: usize) {
        if self.store(index).is_ok() {
            let page = &mut self.pages[index];
            let was_in_memory = page.content.take().is_some();
            self.in_memory.set(self.in_memory.get() - usize::from(was_in_memory));
            self.paging.pager.let_go(page.held.take());
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
        let number = *page.number.get_or_insert_with(|| self.paging.pager.fresh());
        self.paging.pager.write(number, bytes);
        page.is_dirty = false;
        Ok(())
    }

    /// Gives the pager all pages that have changed.
    pub(super) fn store_all(&mut self) -> Result<(), String> {
        (0..self.pages.len()).try_for_each(|index| self.store(index))
    }

    /// The entries and number of marks, if one page has all of them, and at most so many.
    pub(super) fn take_small(&mut self, most: usize) -> Option<(Entries<K, V>, u32)> {
        if self.pages.len() > 1 || self.pages[0].len() > most {
            return None;
        }
        self.pages[0].content.get()?;
        self.free_all();
        let page = &mut self.pages[0];
        Some((page.content.take()?, page.removed))
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

/// Drops marks of removals up to this stamp.
fn forget<K: Ord, V>(content: &mut Entries<K, V>, void: Stamp) {
    content.retain(|_, entry| entry.value().is_some() || entry.stamp() > void);
}

/// How many entries like these a page may have.
fn entries_max_of<K: Ord, V>(entries: &Entries<K, V>, codec: &PageCodec<K, V>) -> Result<usize, String> {
    let mut bytes = Vec::new();
    // A sample is as good as all of them: pages are cut anew as they are written.
    let step = (entries.len() / SAMPLE).max(1);
    for (key, entry) in entries.iter().step_by(step) {
        codec.put(key, entry, &mut bytes)?;
    }
    Ok(entries_max_of_bytes(bytes.len() / entries.len().div_ceil(step).max(1)))
}

fn entries_max_of_bytes(entry_bytes: usize) -> usize {
    (PAGE_BYTES / entry_bytes.max(1)).clamp(PAGE_ENTRIES_MIN, PAGE_ENTRIES_MAX)
}

impl<K, V> Drop for Paged<K, V> {
    fn drop(&mut self) {
        self.paging.pager.let_go(self.pages.iter().map(|page| page.held.get()).sum());
    }
}

impl<K, V> fmt::Debug for Paged<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Paged({} entries in {} pages)", self.live, self.pages.len())
    }
}
