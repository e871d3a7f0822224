//! How the rows of all keys of a group are lent: by ascending hash, those of the disk as they come from the file.

use std::ops::ControlFlow;

use millstream_actors::contract::{Progress, StateError};

use super::disk::Found;
use super::paging::lend;
use super::table::{Cached, Marks, RedbBackend, bucket_hash};
use crate::state::codec::take;
use crate::state::{StateKey, StateSet, hashes_of, stable_hash};

/// Hashes of the disk that are read at a time. In tests few, so that rows leave the cache in between.
const READ_AT_A_TIME: usize = if cfg!(test) { 3 } else { 128 };

/// How far the rows of a group have been lent.
#[derive(Debug)]
pub(super) struct Visited {
    index: usize,
    /// Of those that were in the cache when it began, ascending. Some may have left it since.
    cached: Vec<u64>,
    /// The next hash.
    next: u64,
}

impl<K: StateKey, S: StateSet> RedbBackend<K, S> {
    /// Lends rows of a group; see [`KeyedBackend::visit_group`](crate::state::KeyedBackend::visit_group). Rows with one hash
    /// are lent together.
    pub(super) fn lend_group(
        &mut self,
        group: u32,
        mut each: impl FnMut(&K, S::Handles<'_>) -> ControlFlow<()>,
    ) -> Result<Progress, StateError> {
        self.check_failed()?;
        let outcome = self.lend_rows(group, &mut each);
        self.has_failed |= outcome.is_err();
        outcome
    }

    fn lend_rows(
        &mut self,
        group: u32,
        each: &mut impl FnMut(&K, S::Handles<'_>) -> ControlFlow<()>,
    ) -> Result<Progress, StateError> {
        let (first, last) = hashes_of(group, self.max_parallelism);
        let index = (group - self.range.start) as usize;
        let before = self.visited.take().filter(|visited| visited.index == index);
        let mut visited = before.unwrap_or_else(|| Visited { index, cached: self.cached_hashes(index), next: first });
        loop {
            let (mut hashes, read_to) = self.read_on(visited.next, last)?;
            let cached = &visited.cached;
            let begin = cached.partition_point(|hash| *hash < visited.next);
            let end = cached.partition_point(|hash| *hash <= read_to);
            hashes.extend_from_slice(&cached[begin..end]);
            hashes.sort_unstable();
            hashes.dedup();
            for hash in hashes {
                let flow = self.lend_hash(index, hash, each)?;
                self.send_pages()?;
                if flow.is_break() && hash < last {
                    visited.next = hash + 1;
                    self.visited = Some(visited);
                    return Ok(Progress::Suspended);
                }
            }
            if read_to == last {
                self.trim(index);
                return Ok(Progress::Done);
            }
            visited.next = read_to + 1;
        }
    }

    fn cached_hashes(&self, index: usize) -> Vec<u64> {
        let mut hashes: Vec<u64> = self.groups[index].table.iter().map(|cached| stable_hash(&cached.key)).collect();
        hashes.sort_unstable();
        hashes
    }

    /// Takes some rows of the disk into the cache, by hash from `first` on. Gives their hashes, and the hash up to which
    /// there are no others on the disk, at most `last`.
    fn read_on(&mut self, first: u64, last: u64) -> Result<(Vec<u64>, u64), StateError> {
        self.find_disk()?;
        self.make_room()?;
        let Some(disk) = &mut self.disk else { return Ok((Vec::new(), last)) };
        let (found, next) = disk.range(first, last, READ_AT_A_TIME)?;
        found.iter().try_for_each(|found| self.take_found(found))?;
        Ok((found.iter().map(|found| found.hash).collect(), next.map_or(last, |next| next - 1)))
    }

    /// Takes rows of the disk that have state into the cache, if they are not there.
    pub(super) fn take_found(&mut self, found: &Found) -> Result<(), StateError> {
        for stored in found.rows() {
            let stored = stored.map_err(|reason| self.damaged(reason))?;
            if stored.is_clear || self.has_cached(found.hash, stored.key)? {
                continue;
            }
            let marks = Marks { is_on_disk: true, ..Marks::default() };
            let read = take(&mut &*stored.key)
                .and_then(|key: K| Ok((key, stored.read(&self.states, &self.shared.own_pages)?)));
            let (key, row) = read.map_err(|reason| self.shared.cannot_read(&stored, reason))?;
            self.take_in(found.hash, Cached { key, row, marks });
        }
        Ok(())
    }

    /// The buckets of the rows in the cache with this hash.
    pub(super) fn buckets_of(&self, index: usize, hash: u64) -> Vec<usize> {
        let table = &self.groups[index].table;
        let has_hash = |bucket: &usize| table.get_bucket(*bucket).is_some_and(|row| stable_hash(&row.key) == hash);
        table.iter_hash_buckets(bucket_hash(hash)).filter(has_hash).collect()
    }

    /// Lends the rows with a hash that are in the cache and have state.
    fn lend_hash(
        &mut self,
        index: usize,
        hash: u64,
        each: &mut impl FnMut(&K, S::Handles<'_>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, StateError> {
        let (access, mut flow) = (self.moment(), ControlFlow::Continue(()));
        for bucket in self.buckets_of(index, hash) {
            let Some(mut row) = self.row_in(index, bucket) else { continue };
            row.expire(access);
            if !row.is_clear() {
                let Some(next) = lend(&mut row, access, |key, states| each(key, states)) else {
                    return Err(self.page_lost());
                };
                flow = if next.is_break() { next } else { flow };
            }
            row.settle();
        }
        self.check_pages().map(|()| flow)
    }
}
