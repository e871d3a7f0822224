//! State larger than memory: the rows that are in use in a cache of bounded size, the others in a file.
//!
//! A row is in the cache or on the disk; what the disk has of a row in the cache does not count. `snapshots.rs` has how
//! both are written at a barrier.

use std::borrow::Borrow;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry as TableEntry;

use millstream_actors::contract::StateError;
use millstream_actors::protocol::{KeyGroupRange, Timestamp};

use super::batch::Batch;
use super::cached_row::{Account, CachedRow};
use super::dirt::Dirt;
use super::disk::Disk;
use super::every_key::Visited;
use super::loading::Restoring;
use super::place::SpillPlace;
use super::rows::same_key;
use super::shared::{CacheLimits, Shared};
use super::snapshots::DiskReach;
use super::timers::SpilledTimers;

use crate::state::barrier::Barriers;
use crate::state::codec::take;
use crate::state::{Access, StateKey, StateRows, StateSet, group_of_hash, stable_hash};

/// Whether a table for `usual` rows would soon be full again.
fn is_crowded(rows: usize, usual: usize) -> bool {
    rows + rows / 32 >= usual
}

/// A table with fewer rows grows by doubling.
const SMALL_ROWS: usize = if cfg!(test) { 4 } else { 400 };

/// A key and its row in the cache.
#[derive(Debug)]
pub(super) struct Cached<K, Row> {
    pub(super) key: K,
    pub(super) row: Row,
    pub(super) marks: Marks,
}

/// What is known of a row in the cache.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Marks {
    /// It was used since the eviction came by.
    pub(super) is_used: bool,
    /// The disk has a row of this key.
    pub(super) is_on_disk: bool,
    /// It is not as the disk has it.
    pub(super) is_changed: bool,
}

/// Hash tables choose the bucket by the low bits and a tag by the top seven. All keys of a group share the top bits of
/// their hash, so the halves change places: group bits end up in the middle, above those that choose the bucket of any
/// table that fits in memory.
#[inline]
pub(super) fn bucket_hash(hash: u64) -> u64 {
    hash.rotate_left(32)
}

#[inline]
pub(super) fn rehash<K: std::hash::Hash, Row>(cached: &Cached<K, Row>) -> u64 {
    bucket_hash(stable_hash(&cached.key))
}

/// What is kept of a key group.
#[derive(Debug)]
pub(super) struct Group<K, Row> {
    pub(super) table: HashTable<Cached<K, Row>>,
    pub(super) dirt: Dirt,
    /// Keys that have state, wherever it is.
    pub(super) live: usize,
    /// At most as many keys have no state and stay as marks of their removal.
    pub(super) tombstones: usize,
    /// The bucket at which the eviction goes on.
    pub(super) hand: usize,
}

impl<K, Row> Group<K, Row> {
    pub(super) fn new() -> Self {
        Self { table: HashTable::new(), dirt: Dirt::default(), live: 0, tombstones: 0, hand: 0 }
    }
}

/// Keeps the rows of one subtask in a cache of bounded size and in a working file.
///
/// Rows that were not used for a while leave the cache, some thousand of one key group at a time, by the clock
/// algorithm; a thread of its own writes them. A row that a record needs is read back, those of a block of records
/// together and by ascending hash; that there is none is known from a filter in memory.
#[derive(Debug)]
pub struct RedbBackend<K, S: StateSet> {
    pub(super) states: S,
    pub(super) shared: Arc<Shared>,
    pub(super) limits: CacheLimits,
    pub(super) groups: Vec<Group<K, S::Row>>,
    pub(super) range: KeyGroupRange,
    pub(super) max_parallelism: u32,
    /// Rows in the cache.
    pub(super) cached: usize,
    /// How many look-ups the cache has answered, and how many the disk.
    pub(super) cache_use: (u64, u64),
    pub(super) barriers: Barriers,
    pub(super) processing_time: i64,
    pub(super) watermark: Timestamp,
    /// The group and bucket at which the next look for expired values begins.
    pub(super) clean_from: (usize, usize),
    /// How far the sweep is in what each group has on the disk.
    pub(super) on_disk: Vec<DiskReach>,
    /// `None` as long as nothing has left the cache.
    pub(super) disk: Option<Disk>,
    /// Marks of removals that are on the disk and not needed any more: hash and key.
    pub(super) settled: Vec<(u64, Vec<u8>)>,
    /// The group at which the eviction goes on.
    pub(super) hand: usize,
    pub(super) scratch: Vec<u8>,
    pub(super) restoring: Restoring<K, S::Row>,
    /// Rows that a restore may still put into the cache.
    pub(super) room: Arc<AtomicUsize>,
    pub(super) timers: SpilledTimers,
    /// How far the rows of a group have been lent, all of which are to be.
    pub(super) visited: Option<Visited>,
    /// The disk has failed: nothing can be trusted any more.
    pub(super) has_failed: bool,
    #[cfg(test)]
    pub(super) writes_inline: bool,
}

impl<K: StateKey, S: StateSet> RedbBackend<K, S> {
    /// An empty backend of these states for the keys of these groups, in about `cache_bytes` of memory and a file at
    /// `place`.
    ///
    /// What rows hold on the heap is estimated by the length of their bytes. On top come the batch that is being written,
    /// eight bytes for each changed row that has left the cache (up to a sixteenth of the keys), and what a snapshot
    /// holds until it is stored.
    pub fn new(states: S, range: KeyGroupRange, max_parallelism: u32, place: SpillPlace, cache_bytes: usize) -> Self {
        let limits = CacheLimits::of::<Cached<K, S::Row>>(range.len(), cache_bytes, S::HAS_PAGES);
        Self::with_limits(states, range, max_parallelism, place, limits)
    }

    /// One with so few rows in the cache that everything is evicted again and again. What is evicted is written by the
    /// caller, somewhat later, if `is_inline`.
    #[cfg(test)]
    pub(crate) fn tiny(
        states: S,
        range: KeyGroupRange,
        max_parallelism: u32,
        dir: &std::path::Path,
        rows: usize,
        is_inline: bool,
    ) -> Self {
        let place = SpillPlace { dir: dir.to_owned(), job: "job".to_owned(), operator: "op".into(), subtask: 0 };
        let mut backend = Self::with_limits(states, range, max_parallelism, place, CacheLimits::of_rows(rows));
        backend.writes_inline = is_inline;
        backend
    }

    /// How many pages of large maps have been read so far.
    #[cfg(test)]
    pub(crate) fn pages_read(&self) -> impl Fn() -> usize + use<K, S> {
        let pages = self.shared.pages.clone();
        move || pages.reads.load(std::sync::atomic::Ordering::Relaxed)
    }

    pub(super) fn with_limits(
        states: S,
        range: KeyGroupRange,
        max_parallelism: u32,
        place: SpillPlace,
        limits: CacheLimits,
    ) -> Self {
        Self {
            states,
            shared: Arc::new(Shared::new(place, limits, same_key::<K>)),
            limits,
            groups: (0..range.len()).map(|_| Group::new()).collect(),
            range,
            max_parallelism,
            cached: 0,
            barriers: Barriers::new(),
            processing_time: 0,
            watermark: Timestamp::MIN,
            clean_from: (0, 0),
            on_disk: Vec::new(),
            disk: None,
            settled: Vec::new(),
            hand: 0,
            scratch: Vec::new(),
            restoring: Restoring::default(),
            room: Arc::new(AtomicUsize::new(limits.rows / 2)),
            timers: SpilledTimers::new(limits.page_bytes / 4),
            visited: None,
            cache_use: (0, 0),
            has_failed: false,
            #[cfg(test)]
            writes_inline: false,
        }
    }

    /// Rows in the cache, whatever they are.
    pub fn cached(&self) -> usize {
        self.cached
    }

    /// Number of keys that have state.
    pub fn live(&self) -> usize {
        self.groups.iter().map(|group| group.live).sum()
    }

    #[inline]
    pub(super) fn index_of(&self, hash: u64) -> usize {
        (group_of_hash(hash, self.max_parallelism) - self.range.start) as usize
    }

    /// Where the key is in the cache.
    #[inline]
    pub(super) fn locate<Q>(&self, hash: u64, query: &Q) -> Option<usize>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let table = &self.groups[self.index_of(hash)].table;
        table.find_bucket_index(bucket_hash(hash), |cached| cached.key.borrow() == query)
    }

    /// Whether a key, as it is stored, is in the cache.
    pub(super) fn has_cached(&self, hash: u64, stored: &[u8]) -> Result<bool, StateError> {
        let key: K = take(&mut &*stored).map_err(|reason| self.damaged(reason))?;
        Ok(self.locate(hash, &key).is_some())
    }

    /// Whether nothing has failed before.
    pub(super) fn check_failed(&self) -> Result<(), StateError> {
        if self.has_failed { Err(self.damaged("it has failed before".to_owned())) } else { Ok(()) }
    }

    /// An error in what was read from the disk.
    pub(super) fn damaged(&self, reason: String) -> StateError {
        let (operator, file) = (self.shared.place.operator.clone(), self.shared.file_name());
        StateError::WorkingFile { operator, file, action: "read", source: reason.into() }
    }

    /// Has the rows of these keys in the cache, if they exist, and room for those that do not.
    pub(super) fn prepare_block<'q, Q>(
        &mut self,
        keys: impl Iterator<Item = (u64, &'q Q)>,
        hints: &mut Vec<usize>,
    ) -> Result<(), StateError>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized + 'q,
    {
        self.find_disk()?;
        if self.disk.is_none() && self.cached <= self.limits.rows && !self.pages_press() {
            hints.extend(keys.map(|(hash, query)| self.locate(hash, query).unwrap_or(0)));
            self.cache_use.0 += hints.len() as u64;
            return Ok(());
        }
        let outcome = self.make_room();
        let outcome = outcome.and_then(|()| {
            let mut missing = Vec::new();
            for (hash, query) in keys {
                let found = self.locate(hash, query);
                hints.push(found.unwrap_or(0));
                if found.is_none() && self.disk.as_ref().is_some_and(|disk| disk.may_contain(hash)) {
                    missing.push((hash, query));
                }
            }
            self.cache_use.0 += (hints.len() - missing.len()) as u64;
            self.cache_use.1 += missing.len() as u64;
            missing.sort_unstable_by_key(|(hash, _)| *hash);
            missing.into_iter().try_for_each(|(hash, query)| self.load(hash, query))?;
            self.check_pages()
        });
        self.has_failed |= outcome.is_err();
        outcome
    }

    /// Reads a row from the disk into the cache, if there is one.
    pub(super) fn load<Q>(&mut self, hash: u64, query: &Q) -> Result<(), StateError>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        if self.locate(hash, query).is_some() {
            // The block has the key twice.
            return Ok(());
        }
        let Some(disk) = &mut self.disk else { return Ok(()) };
        let found = disk.get(hash)?;
        for stored in found.rows() {
            let stored = stored.map_err(|reason| disk.damaged(reason))?;
            let unread = |reason| self.shared.cannot_read(&stored, reason);
            let key: K = take(&mut &*stored.key).map_err(unread)?;
            if key.borrow() == query {
                let row = stored.read(&self.states, &self.shared.own_pages).map_err(unread)?;
                let marks = Marks { is_used: true, is_on_disk: true, is_changed: false };
                self.take_in(hash, Cached { key, row, marks });
                return Ok(());
            }
        }
        Ok(())
    }

    /// Puts a row that comes from the disk into the cache. If a snapshot is being taken and the sweep has not come to
    /// the row's place on the disk, it is written first; and since the sweep will not know the row's place in the cache
    /// for one that is behind it, it counts as changed.
    pub(super) fn take_in(&mut self, hash: u64, mut cached: Cached<K, S::Row>) {
        let index = self.index_of(hash);
        if let Some(capture) = &mut self.barriers.capture
            && !capture.reach[index].is_done()
        {
            let is_ahead = self.on_disk[index].is_ahead(hash);
            let mut account = self.groups[index].account();
            account.move_on(capture, &self.states, (index, is_ahead), &mut cached, self.barriers.current);
        }
        if const { S::HAS_PAGES } {
            // A row that is never in the cache at a barrier would keep them for good.
            self.states.forget_marks(&mut cached.row, self.barriers.base);
        }
        self.reserve(index);
        self.groups[index].table.insert_unique(bucket_hash(hash), cached, rehash);
        self.cached += 1;
    }

    /// Room for one more row in a group's table.
    pub(super) fn reserve(&mut self, index: usize) {
        let table = &self.groups[index].table;
        if table.len() == table.capacity() {
            self.resize(index);
        }
    }

    /// After rows have left: a table that had to become larger than it should be is as it was again.
    pub(super) fn trim(&mut self, index: usize) {
        let (table, usual) = (&self.groups[index].table, self.limits.group_rows);
        if table.num_buckets() / 8 * 7 > usual && !is_crowded(table.len(), usual) {
            self.resize(index);
        }
    }

    /// Gives a group's rows a table that has room for more. What the sweep has to do in the old one is done first.
    ///
    /// This is not left to the table: as rows leave all the time, it would find that it is full of marks of removed
    /// ones, and double because of them.
    fn resize(&mut self, index: usize) {
        self.finish_cache_sweep_of(index);
        let (group, usual) = (&mut self.groups[index], self.limits.group_rows);
        let rows = group.table.len();
        let capacity = if is_crowded(rows, usual) {
            2 * rows.max(usual)
        } else if rows < SMALL_ROWS {
            usual.min(2 * rows + 1)
        } else {
            usual
        };
        let old = std::mem::replace(&mut group.table, HashTable::with_capacity(capacity));
        for cached in old {
            group.table.insert_unique(rehash(&cached), cached, rehash);
        }
        group.hand = 0;
    }

    /// The row of a key that was prepared and was found at `hint` then.
    pub(super) fn row<Q>(&mut self, hash: u64, hint: usize, query: &Q, own: impl FnOnce() -> K) -> CachedRow<'_, K, S>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let index = self.index_of(hash);
        self.reserve(index);
        let table = &mut self.groups[index].table;
        let is_query = |cached: &Cached<K, S::Row>| cached.key.borrow() == query;
        let bucket = match table.get_bucket(hint).is_some_and(is_query) {
            true => hint,
            false => match table.entry(bucket_hash(hash), is_query, rehash) {
                TableEntry::Occupied(found) => found.bucket_index(),
                TableEntry::Vacant(vacant) => {
                    self.cached += 1;
                    let new = Cached { key: own(), row: S::Row::default(), marks: Marks::default() };
                    vacant.insert(new).bucket_index()
                }
            },
        };
        let mut row = self.row_in(index, bucket).expect("it was found or inserted above");
        row.found.get_mut().marks.is_used = true;
        row
    }

    /// The row in a bucket of a group's table, written before it is given out if a snapshot is being taken.
    pub(super) fn row_in(&mut self, index: usize, bucket: usize) -> Option<CachedRow<'_, K, S>> {
        let Group { table, dirt, live, tombstones, .. } = &mut self.groups[index];
        let mut found = table.get_bucket_entry(bucket).ok()?;
        let mut account = Account { dirt, live, tombstones };
        let cached = found.get_mut();
        if let Some(capture) = &mut self.barriers.capture
            && capture.is_ahead(index, bucket)
        {
            // From here on the row counts as changed: the sweep passes it over.
            account.move_on(capture, &self.states, (index, true), cached, self.barriers.current);
        }
        let (stamp, is_clear) = (S::stamp(&cached.row), S::is_clear(&cached.row));
        Some(CachedRow {
            found,
            states: &self.states,
            paging: &self.shared.own_pages,
            timers: &mut self.timers.near,
            account,
            cached: &mut self.cached,
            current: self.barriers.current,
            forgets: self.barriers.has_no_base(),
            stamp,
            is_clear,
        })
    }

    /// Looks at up to `buckets` rows of the cache for expired values.
    pub(super) fn clean_cache(&mut self, buckets: usize) {
        if !self.states.expires() {
            return;
        }
        let access = self.moment();
        let mut left = buckets;
        while left > 0 && !self.groups.is_empty() {
            let (group, from) = self.clean_from;
            let table = &mut self.groups[group].table;
            let to = table.num_buckets().min(from + left);
            let states = &self.states;
            let is_due =
                |bucket: &usize| table.get_bucket_mut(*bucket).is_some_and(|e| states.is_due(&mut e.row, access));
            let Some(due) = (from..to).find(is_due) else {
                left -= to.saturating_sub(from).max(1);
                self.clean_from =
                    if to < table.num_buckets() { (group, to) } else { ((group + 1) % self.groups.len(), 0) };
                continue;
            };
            left -= due + 1 - from;
            self.clean_from = (group, due + 1);
            if let Some(mut row) = self.row_in(group, due) {
                row.states.expire(&mut row.found.get_mut().row, access);
                row.settle();
            }
        }
    }

    /// What row handles are to know of the moment.
    #[inline]
    pub(super) fn moment(&self) -> Access {
        Access { stamp: self.barriers.current, processing_time: self.processing_time, watermark: self.watermark }
    }

    /// Has the disk if there is one: a restore may have written to it.
    #[inline]
    pub(super) fn find_disk(&mut self) -> Result<(), StateError> {
        if self.disk.is_none() && self.shared.existing_file().is_some() {
            self.open_disk()?;
        }
        Ok(())
    }

    /// The disk, made with its first use.
    pub(super) fn open_disk(&mut self) -> Result<&mut Disk, StateError> {
        if self.disk.is_none() {
            let (file, filter) = (self.shared.file()?.clone(), self.shared.filter().clone());
            #[cfg(test)]
            if self.writes_inline {
                self.disk = Some(Disk::inline(file, filter, self.shared.pages.clone()));
                return Ok(self.disk.as_mut().expect("made above"));
            }
            self.disk = Some(Disk::new(file, filter, self.shared.pages.clone())?);
        }
        Ok(self.disk.as_mut().expect("made above"))
    }

    /// Gives a batch to the disk, with the pages that wait.
    pub(super) fn send(&mut self, mut batch: Batch) -> Result<(), StateError> {
        batch.sort();
        batch.pages = self.shared.pages.take_waiting();
        self.open_disk()?.write(batch)
    }
}
