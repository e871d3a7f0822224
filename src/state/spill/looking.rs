//! How rows are looked at, in the cache and on the disk, and left where they are.

use std::cell::Cell;

use millstream_actors::contract::{Progress, RunBudget, StateError};

use super::disk::Found;
use super::table::RedbBackend;
use crate::state::codec::take;
use crate::state::query::{GATHERED_MIN, GroupScan, Least, LookAtRows, Nearest, Show};
use crate::state::{KeyedBackend, StateKey, StateRows, StateSet, hashes_of, stable_hash};

/// Hashes of the disk that are read at a time. In tests few, so that rows move in between.
const READ_AT_A_TIME: usize = if cfg!(test) { 3 } else { 64 };
/// So many however few are wanted: rows may not have the state that is asked for.
const READ_AT_LEAST: usize = if cfg!(test) { 2 } else { 8 };

impl<K: StateKey, S: StateSet> LookAtRows<K, S> for RedbBackend<K, S> {
    fn declared(&self) -> &S {
        &self.states
    }

    fn may_have(&self, hash: u64) -> bool {
        self.check_group(hash).is_ok()
    }

    fn look_at(&mut self, hash: u64, key: &K, show: Show<'_, K, S>) -> Result<(), StateError> {
        self.check_failed()?;
        self.find_disk()?;
        let access = self.moment();
        if let Some(bucket) = self.locate(hash, key) {
            let index = self.index_of(hash);
            let cached = self.groups[index].table.get_bucket_mut(bucket);
            if let Some(cached) = cached.filter(|cached| !S::is_clear(&cached.row)) {
                show(&cached.key, &self.states, &mut cached.row, access);
            }
            return self.check_pages();
        }
        match self.disk.as_mut().filter(|disk| disk.may_contain(hash)) {
            None => Ok(()),
            Some(disk) => {
                let found = disk.get(hash)?;
                self.show_found(&found, Some(key), show)
            }
        }
    }

    fn look_through(
        &mut self,
        group: u32,
        scan: &mut GroupScan,
        most: usize,
        budget: &mut RunBudget,
        show: Show<'_, K, S>,
    ) -> Result<Progress, StateError> {
        self.check_failed()?;
        self.find_disk()?;
        let (last, index) = (hashes_of(group, self.max_parallelism).1, (group - self.range.start) as usize);
        let Nearest { hashes, up_to } = match scan.nearest.take() {
            Some(nearest) => nearest,
            None => self.nearest_cached(index, scan.next, most, last),
        };
        let most = most.clamp(READ_AT_LEAST, READ_AT_A_TIME);
        let (found, unread) = match &mut self.disk {
            Some(disk) => disk.range(scan.next, up_to, most)?,
            None => (Vec::new(), None),
        };
        let seen_to = unread.map_or(up_to, |unread| unread - 1);
        let mut cached = hashes.into_iter().peekable();
        let mut found = found.into_iter().peekable();
        let (wants_more, mut has_shown) = (Cell::new(true), false);
        let show: Show<'_, K, S> = &mut |key, states, row, access| {
            wants_more.set(show(key, states, row, access) && wants_more.get());
            wants_more.get()
        };
        let outcome = loop {
            let of_cache = cached.peek().copied().filter(|hash| *hash <= seen_to);
            let of_disk = found.peek().map(|found| found.hash);
            let Some(hash) = of_cache.into_iter().chain(of_disk).min() else { break Some(seen_to) };
            if !wants_more.get() || (has_shown && budget.check()) {
                break None;
            }
            cached.next_if_eq(&hash);
            self.show_hash(index, hash, found.next_if(|found| found.hash == hash), show)?;
            has_shown = true;
            scan.next = hash.saturating_add(1);
        };
        self.check_pages()?;
        if let Some(seen_to) = outcome {
            if seen_to == up_to {
                scan.shown_to(up_to);
                return Ok(if up_to == last { Progress::Done } else { Progress::Suspended });
            }
            scan.next = seen_to + 1;
        }
        scan.nearest = Some(Nearest { hashes: cached.collect(), up_to });
        Ok(Progress::Suspended)
    }
}

impl<K: StateKey, S: StateSet> RedbBackend<K, S> {
    /// The least hashes from `next` on in the cache.
    fn nearest_cached(&self, index: usize, next: u64, most: usize, last: u64) -> Nearest {
        let mut least = Least::new(most.max(GATHERED_MIN));
        let hashes = self.groups[index].table.iter().map(|cached| stable_hash(&cached.key));
        hashes.filter(|hash| *hash >= next).for_each(|hash| least.push(hash));
        least.nearest(last)
    }

    /// Shows the rows with a hash, wherever they are.
    fn show_hash(
        &mut self,
        index: usize,
        hash: u64,
        found: Option<Found>,
        show: Show<'_, K, S>,
    ) -> Result<(), StateError> {
        let access = self.moment();
        for bucket in self.buckets_of(index, hash) {
            let cached = self.groups[index].table.get_bucket_mut(bucket);
            if let Some(cached) = cached.filter(|cached| !S::is_clear(&cached.row)) {
                show(&cached.key, &self.states, &mut cached.row, access);
            }
        }
        match (found, &mut self.disk) {
            (Some(found), _) => self.show_found(&found, None, show),
            // One that was in the cache may have left it since.
            (None, Some(disk)) if disk.may_contain(hash) => {
                let found = disk.get(hash)?;
                self.show_found(&found, None, show)
            }
            (None, _) => Ok(()),
        }
    }

    /// Shows the rows of the disk that count, or that of one key.
    fn show_found(&mut self, found: &Found, wanted: Option<&K>, show: Show<'_, K, S>) -> Result<(), StateError> {
        let access = self.moment();
        for stored in found.rows() {
            let stored = stored.map_err(|reason| self.damaged(reason))?;
            if stored.is_clear {
                continue;
            }
            let unread = |reason| self.shared.cannot_read(&stored, reason);
            let key: K = take(&mut &*stored.key).map_err(unread)?;
            if wanted.is_some_and(|wanted| *wanted != key) || self.locate(found.hash, &key).is_some() {
                continue;
            }
            let mut row = stored.read(&self.states, &self.shared.looked_at).map_err(unread)?;
            show(&key, &self.states, &mut row, access);
        }
        self.check_pages()
    }
}
