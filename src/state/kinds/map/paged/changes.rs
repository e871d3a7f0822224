//! Changes of a map in pages.

use std::borrow::Borrow;
use std::mem::needs_drop;

use super::{GROWTH_BYTES, Page, PageEntry, Paged};
use crate::state::Stamp;
use crate::state::kinds::ValueSlot;
use crate::state::set::PageLost;

impl<K: Ord, V> Paged<K, V> {
    /// Makes room before a change.
    fn enter(&mut self) {
        if self.paging.pager.is_full() {
            self.make_room();
        }
    }

    /// The page of a key that has a value, which is about to be changed.
    fn find<Q>(&mut self, key: &Q) -> Result<Option<usize>, PageLost>
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        self.enter();
        let index = self.place(key);
        let is_there = self.content(index)?.get(key).is_some_and(|entry| entry.value().is_some());
        // It may have grown. What does not change stays in one piece, since its row does not count as changed.
        Ok(is_there.then(|| self.cut_if_full(index, key, 2 * self.entries_max)))
    }

    /// The page in which a key is to be set.
    fn open(&mut self, key: &K) -> Result<usize, PageLost> {
        self.enter();
        if self.has_empty {
            self.drop_all_empty();
        }
        let index = self.place(key);
        self.content(index)?;
        Ok(self.cut_if_full(index, key, self.entries_max))
    }

    /// Cuts a page in memory that has so many entries; gives the one in which the key is then.
    fn cut_if_full<Q>(&mut self, index: usize, key: &Q, full: usize) -> usize
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        // What cannot be stored stays in one piece until it is told why.
        match self.pages[index].len() >= full && self.split(index, key).is_ok() {
            true => self.place(key),
            false => index,
        }
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
        self.measure(&self.pages[index]);
        self.measure(&upper);
        if is_last {
            self.pages.push(upper);
            self.resident.push(index + 1);
        } else {
            self.pages.insert(index + 1, upper);
            self.count_resident();
        }
        self.front = self.front.min(index);
        Ok(())
    }

    /// Sets a value; gives the old one.
    pub(in crate::state::kinds::map) fn insert(&mut self, key: K, value: V, now: Stamp) -> Result<Option<V>, PageLost> {
        let index = self.open(&key)?;
        let entry = PageEntry(ValueSlot::Set(now, value));
        let bytes = self.memory_of_entry(&key, &entry);
        let old = self.content_mut(index)?.insert(key, entry);
        self.came(index, now, old.as_ref().map(|old| old.value().is_some()), bytes);
        Ok(match old {
            Some(PageEntry(ValueSlot::Set(_, old))) => Some(old),
            _ => None,
        })
    }

    /// The entry of a key; what `initial` gives if there is none.
    pub(in crate::state::kinds::map) fn get_or_insert_with(
        &mut self,
        key: K,
        initial: impl FnOnce() -> V,
        now: Stamp,
    ) -> Result<&mut ValueSlot<V>, PageLost> {
        let index = self.open(&key)?;
        let before = self.content(index)?.get(&key).map(|entry| entry.value().is_some());
        if before != Some(true) {
            let value = ValueSlot::Set(now, initial());
            let bytes = self.memory_of_entry(&key, &value);
            self.came(index, now, before, bytes);
            let entry = self.content_mut(index)?.entry(key).or_default();
            **entry = value;
            return Ok(entry);
        }
        self.lends(index);
        self.changed(index, now);
        Ok(self.content_mut(index)?.entry(key).or_default())
    }

    /// The entry of a key, which is about to be changed.
    pub(in crate::state::kinds::map) fn get_mut<Q>(
        &mut self,
        key: &Q,
        now: Stamp,
    ) -> Result<Option<&mut ValueSlot<V>>, PageLost>
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        let Some(index) = self.find(key)? else { return Ok(None) };
        self.lends(index);
        self.changed(index, now);
        Ok(self.content_mut(index)?.get_mut(key).map(|entry| &mut entry.0))
    }

    /// Removes a key, and with `is_marked` leaves a mark of that.
    pub(in crate::state::kinds::map) fn remove<Q>(
        &mut self,
        key: &Q,
        now: Stamp,
        is_marked: bool,
    ) -> Result<Option<V>, PageLost>
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        let Some(index) = self.find(key)? else { return Ok(None) };
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
    pub(in crate::state::kinds::map) fn retain(
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
            if self.pages[index].len() > 0 && self.paging.pager.is_full() {
                self.evict(index);
            }
            index += 1;
        }
        if all_removed > 0 {
            self.drop_all_empty();
            self.join_all()?;
        }
        Ok(all_removed)
    }

    /// An entry is about to be lent to be changed. What it then is like is known later: it is counted when so many were that it may
    /// matter.
    fn lends(&self, index: usize) {
        let page = &self.pages[index];
        if needs_drop::<(K, V)>() {
            page.lent.set(page.lent.get() + 1);
            if page.lent.get() as usize * GROWTH_BYTES > page.held.get() {
                self.measure(page);
            }
        }
    }

    fn changed(&mut self, index: usize, now: Stamp) {
        let page = &mut self.pages[index];
        (page.is_dirty, page.changed) = (true, now);
    }

    /// An entry was set, which takes so many bytes in memory. `before`: whether there was a value; `None` if not even a mark.
    fn came(&mut self, index: usize, now: Stamp, before: Option<bool>, bytes: usize) {
        self.changed(index, now);
        let page = &self.pages[index];
        // What it takes the place of is of usual size.
        let less = if before.is_some() { page.held.get() / page.len().max(1) } else { 0 };
        self.count(page, page.held.get() - less + bytes);
        let page = &mut self.pages[index];
        if before != Some(true) {
            page.live += 1;
            self.live += 1;
            self.front = self.front.min(index);
        }
        if before == Some(false) {
            page.removed -= 1;
            self.removed -= 1;
        }
    }

    /// Entries of a page were removed.
    fn went(&mut self, index: usize, count: u32, now: Stamp, is_marked: bool) {
        self.changed(index, now);
        let page = &self.pages[index];
        // Marks have keys, but for these no more is known than that entries were of usual size.
        self.count(page, page.held.get() - page.held.get() / page.len().max(1) * count as usize);
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
        if self.has_empty || self.pages[index].len() == 0 {
            self.drop_all_empty();
            return Ok(());
        }
        if self.pages[index].len() > self.entries_max / 4 {
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

    /// Joins small neighbours, wherever they are, in one pass. A page that is through with leaves memory if it is full.
    pub(super) fn join_all(&mut self) -> Result<(), PageLost> {
        let mut to = 0;
        for from in 1..self.pages.len() {
            if self.pages[to].len() + self.pages[from].len() <= self.entries_max / 2 {
                self.absorb(to, from)?;
                continue;
            }
            if self.paging.pager.is_full() {
                self.evict(to);
            }
            to += 1;
            // What is in between has been taken in.
            self.pages.swap(to, from);
        }
        self.pages.truncate(to + 1);
        self.front = 0;
        self.count_resident();
        Ok(())
    }

    /// Joins a page with the next one.
    fn join(&mut self, lower: usize) -> Result<(), PageLost> {
        self.absorb(lower, lower + 1)?;
        self.pages.remove(lower + 1);
        self.count_resident();
        self.front = self.front.min(lower);
        Ok(())
    }

    /// Moves all of a page into one below it. There is no page between them, but such as this was done with before; it is to be
    /// taken away.
    fn absorb(&mut self, lower: usize, upper: usize) -> Result<(), PageLost> {
        self.content(lower)?;
        self.content(upper)?;
        self.free(&self.pages[upper]);
        let (below, above) = self.pages.split_at_mut(upper);
        let (page, upper) = (&mut below[lower], &mut above[0]);
        upper.number = None;
        let content = page.content.get_mut().expect("it was read above");
        content.append(upper.content.get_mut().expect("it was read above"));
        (page.live, page.removed) = (page.live + upper.live, page.removed + upper.removed);
        (upper.live, upper.removed) = (0, 0);
        page.changed = page.changed.max(upper.changed);
        page.is_dirty = true;
        let held = upper.held.take();
        page.held.set(page.held.get() + held);
        Ok(())
    }

    /// Drops the pages that have neither entries nor marks. One page stays.
    pub(super) fn drop_all_empty(&mut self) {
        let Self { pages, paging, live, removed, held, .. } = self;
        let mut spare = (*live == 0 && *removed == 0).then_some(0);
        pages.retain(|page| {
            let stays = page.len() > 0 || spare.take().is_some();
            if !stays {
                page.number.filter(|_| !paging.is_copy).into_iter().for_each(|number| paging.pager.free(number));
                let bytes = page.held.take();
                held.set(held.get().saturating_sub(bytes));
                paging.pager.let_go(bytes);
            }
            stays
        });
        self.pages[0].first = None;
        (self.front, self.has_empty) = (0, false);
        self.count_resident();
    }
}
