//! Key groups of a checkpoint, put together on any thread: into the cache as long as it has room, then into the working
//! file.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hashbrown::HashTable;
use millstream_actors::contract::{GroupLoader, LoadedGroup, RestoredSection, StateError};
use millstream_actors::protocol::{CheckpointId, OperatorId};

use super::batch::Batch;
use super::rows::put_row;
use super::shared::Shared;
use super::table::{Cached, Marks, RedbBackend, bucket_hash, rehash};
use crate::state::barrier::GroupChain;
use crate::state::group_table::{Entry, GroupTable};
use crate::state::loading::{LoadedRows, stored_twice};
use crate::state::{Stamp, StateKey, StateRows, StateSet, TableLoader, TimeDomain, TimerQueues, stable_hash};

/// Rows to one transaction.
const BATCH_ROWS_MAX: usize = 64 << 10;

/// Loads the key groups of a [`RedbBackend`].
pub(super) struct SpillLoader<K, S: StateSet> {
    loader: TableLoader<K, S>,
    shared: Arc<Shared>,
    /// Rows that still go to the cache, for all loaders of a backend.
    room: Arc<AtomicUsize>,
}

/// A group as the loader hands it over.
struct LoadedSpill<K, Row> {
    /// What goes to the cache.
    table: HashTable<Cached<K, Row>>,
    moved: Vec<(u64, Entry<K, Row>)>,
    chain: GroupChain,
    top: Stamp,
    live: usize,
}

impl<K: StateKey, S: StateSet> SpillLoader<K, S> {
    /// Whether the cache takes so many rows; if so, they count.
    fn has_room(&self, rows: usize) -> bool {
        let less = |room: usize| room.checked_sub(rows);
        self.room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }

    /// Has pages of large maps go to the file, if many wait for that.
    fn write_pages(&self) -> Result<(), StateError> {
        if !self.shared.pages.has_many_waiting() {
            return Ok(());
        }
        self.shared.file()?.write(&Batch::of_pages(self.shared.pages.take_waiting()))
    }

    fn write(&self, group: u32, table: GroupTable<K, S::Row>) -> Result<(), StateError> {
        let states = self.loader.states();
        let encode_error = |(state, reason): (usize, String)| self.shared.cannot_store(states, state, group, reason);
        let mut entries: Vec<_> = table.into_iter().map(|entry| (stable_hash(&entry.key), entry)).collect();
        entries.sort_unstable_by_key(|(hash, _)| *hash);
        let shared = &*self.shared;
        let (file, filter) = (shared.file()?, shared.filter());
        let mut scratch = Vec::new();
        for part in entries.chunks_mut(BATCH_ROWS_MAX) {
            let (mut batch, mut timers) = (Batch::default(), TimerQueues::default());
            for (hash, Entry { key, row }) in part {
                if const { S::HAS_TIMERS } {
                    states.enqueue_timers(row, &mut timers, || *hash);
                }
                let put = |bytes: &mut Vec<u8>| put_row(states, (key, row), &shared.own_pages, &mut scratch, bytes);
                batch.push(*hash, put).map_err(encode_error)?;
                filter.insert(*hash);
                if const { S::HAS_PAGES } {
                    // Its memory may be needed for the pages.
                    *row = S::Row::default();
                    self.write_pages()?;
                }
            }
            batch.sort();
            batch.pages = shared.pages.take_waiting();
            file.write(&batch)?;
            for domain in TimeDomain::ALL {
                file.put_timers(domain, &timers.take_latest(domain, usize::MAX))?;
            }
        }
        Ok(())
    }
}

impl<K: StateKey, S: StateSet> GroupLoader for SpillLoader<K, S> {
    fn load(&mut self, group: u32, sections: &[RestoredSection]) -> Result<LoadedGroup, StateError> {
        let LoadedRows { table, moved, chain, top, .. } = self.loader.load_rows(group, sections)?;
        let (live, entries) = (table.len(), (table.len() + moved.len()) as u64);
        let mut kept = HashTable::new();
        if self.has_room(live) {
            kept.reserve(live, rehash::<K, S::Row>);
            for Entry { key, mut row } in table {
                if const { S::HAS_PAGES } {
                    self.loader.states().trim(&mut row, &self.shared.own_pages);
                    self.write_pages()?;
                }
                let cached = Cached { key, row, marks: Marks::default() };
                kept.insert_unique(bucket_hash(stable_hash(&cached.key)), cached, rehash);
            }
        } else {
            self.write(group, table)?;
        }
        let state = LoadedSpill { table: kept, moved, chain, top, live };
        Ok(LoadedGroup { group, entries, state: Box::new(state) })
    }

    fn needs_other_groups(&self) -> bool {
        self.loader.needs_other_groups()
    }
}

impl<K, S: StateSet> fmt::Debug for SpillLoader<K, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SpillLoader({:?})", self.loader)
    }
}

/// Groups that are loaded, until all are there.
#[derive(Debug)]
pub(super) struct Restoring<K, Row> {
    moved: Vec<(u64, Entry<K, Row>)>,
    chains: Vec<GroupChain>,
    top: Stamp,
}

impl<K, Row> Default for Restoring<K, Row> {
    fn default() -> Self {
        Self { moved: Vec::new(), chains: Vec::new(), top: 0 }
    }
}

impl<K: StateKey, S: StateSet> RedbBackend<K, S> {
    /// A loader, one of several that share what room there is.
    pub(super) fn spill_loader(&self, loader: TableLoader<K, S>) -> SpillLoader<K, S> {
        let room = self.room.clone();
        SpillLoader { loader, shared: self.shared.clone(), room }
    }

    /// Takes a group. Of one that is not its own it takes the keys that have moved.
    pub(super) fn take_group(&mut self, loaded: LoadedGroup) {
        let rows = *loaded.state.downcast::<LoadedSpill<K, S::Row>>().expect("the operator's own loader made it");
        let restoring = &mut self.restoring;
        // A row that has moved keeps its stamp: one above the top would pass for changed after the next barrier.
        restoring.top = restoring.top.max(rows.top);
        if !self.range.contains(loaded.group) {
            return restoring.moved.extend(rows.moved);
        }
        let index = (loaded.group - self.range.start) as usize;
        restoring.chains.resize(self.range.len(), GroupChain::default());
        restoring.chains[index] = rows.chain;
        if !rows.moved.is_empty() {
            // What is stored under this group still has these keys.
            restoring.chains[index] = GroupChain::default();
            restoring.moved.extend(rows.moved);
        }
        self.cached += rows.table.len();
        self.groups[index].live = rows.live;
        self.groups[index].table = rows.table;
    }

    /// All groups are there.
    ///
    /// # Errors
    /// [`StateError::Mismatch`] if a key was stored twice, under two key groups; [`StateError::WorkingFile`].
    pub(super) fn all_taken(&mut self, operator: &OperatorId, checkpoint: CheckpointId) -> Result<(), StateError> {
        let Restoring { moved, mut chains, top } = std::mem::take(&mut self.restoring);
        chains.resize(self.range.len(), GroupChain::default());
        for (hash, Entry { key, row }) in moved {
            let index = self.index_of(hash);
            self.find_disk()?;
            self.load(hash, &key)?;
            if self.locate(hash, &key).is_some() {
                return Err(stored_twice(operator, index as u32 + self.range.start));
            }
            self.reserve(index);
            let group = &mut self.groups[index];
            let marks = Marks { is_used: false, is_on_disk: false, is_changed: true };
            group.table.insert_unique(bucket_hash(hash), Cached { key, row, marks }, rehash);
            self.cached += 1;
            group.live += 1;
            chains[index] = GroupChain::default();
        }
        self.barriers.restored(checkpoint, top, chains);
        self.enqueue_all()
    }
}
