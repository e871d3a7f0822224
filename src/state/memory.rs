//! State in memory: [`KeyedTable`] as a backend.

use std::borrow::Borrow;
use std::sync::Arc;

use millstream_actors::contract::{GroupLoader, LoadedGroup, Progress, RunBudget, SnapshotWriter, StateError};
use millstream_actors::protocol::{CheckpointId, KeyGroupRange, OperatorId, Timestamp};

use super::backend::{KeyedBackend, RowAccess};
use super::table::RowEntry;
use super::{Access, KeyedTable, StateKey, StateRows, StateSet, TableLoader};

/// Tables above this size are looked up in advance.
pub(crate) const CACHED_BYTES_MAX: usize = 4 << 20;

impl<K: StateKey, S: StateSet> KeyedBackend<K, S> for KeyedTable<K, S> {
    type Row<'a>
        = RowEntry<'a, K, S>
    where
        Self: 'a;

    fn range(&self) -> KeyGroupRange {
        self.range
    }

    fn max_parallelism(&self) -> u32 {
        self.max_parallelism
    }

    #[inline]
    fn access(&self) -> Access {
        KeyedTable::access(self)
    }

    fn expires(&self) -> bool {
        self.states.expires()
    }

    fn set_time(&mut self, processing_time: i64, watermark: Timestamp) {
        KeyedTable::set_time(self, processing_time, watermark);
    }

    #[inline]
    fn clean(&mut self, buckets: usize) {
        KeyedTable::clean(self, buckets);
    }

    fn live(&self) -> usize {
        KeyedTable::live(self)
    }

    #[inline]
    fn prepare<'q, Q>(
        &mut self,
        keys: impl Iterator<Item = (u64, &'q Q)> + Clone,
        hints: &mut Vec<usize>,
    ) -> Result<(), StateError>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized + 'q,
    {
        if self.row_bytes() > CACHED_BYTES_MAX {
            hints.extend(keys.map(|(hash, query)| self.locate(hash, query).unwrap_or(0)));
        }
        Ok(())
    }

    #[inline]
    fn entry<Q>(&mut self, hash: u64, hint: Option<usize>, query: &Q, own: impl FnOnce() -> K) -> RowEntry<'_, K, S>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        KeyedTable::entry(self, hash, hint, query, own)
    }

    fn begin_snapshot(&mut self, names: &[Arc<str>], writer: &mut SnapshotWriter) {
        KeyedTable::begin_snapshot(self, names, writer);
    }

    fn sweep(
        &mut self,
        operator: &OperatorId,
        names: &[Arc<str>],
        held_max: usize,
        writer: &mut SnapshotWriter,
        budget: &mut RunBudget,
    ) -> Result<Progress, StateError> {
        KeyedTable::sweep(self, operator, names, held_max, writer, budget)
    }

    fn abandon_snapshot(&mut self, writer: Option<&mut SnapshotWriter>) {
        KeyedTable::abandon_snapshot(self, writer);
    }

    fn loader(&self, operator: OperatorId, states: S) -> Box<dyn GroupLoader> {
        Box::new(TableLoader::<K, S>::new(operator, states, self.range, self.max_parallelism))
    }

    fn restore_group(&mut self, loaded: LoadedGroup) {
        KeyedTable::restore_group(self, loaded);
    }

    fn restored(&mut self, checkpoint: CheckpointId) {
        KeyedTable::restored(self, checkpoint);
    }

    fn drop_rows(&mut self) {
        KeyedTable::drop_rows(self);
    }
}

impl<K: StateKey, S: StateSet> RowAccess<K, S> for RowEntry<'_, K, S> {
    #[inline]
    fn lend(&mut self, access: Access) -> (&K, S::Handles<'_>) {
        RowEntry::lend(self, access)
    }

    #[inline]
    fn settle(self) {
        RowEntry::settle(self);
    }
}
