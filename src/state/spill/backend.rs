//! [`RedbBackend`] as a backend.

use std::borrow::Borrow;
use std::sync::Arc;

use millstream_actors::contract::{GroupLoader, LoadedGroup, Progress, RunBudget, SnapshotWriter, StateError};
use millstream_actors::protocol::{CheckpointId, KeyGroupRange, OperatorId, Timestamp};

use super::cached_row::CachedRow;
use super::table::RedbBackend;
use crate::state::backend::KeyedBackend;
use crate::state::{Access, StateKey, StateRows, StateSet, TableLoader};

impl<K: StateKey, S: StateSet> KeyedBackend<K, S> for RedbBackend<K, S> {
    type Row<'a>
        = CachedRow<'a, K, S>
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
        self.moment()
    }

    fn expires(&self) -> bool {
        self.states.expires()
    }

    fn set_time(&mut self, processing_time: i64, watermark: Timestamp) {
        self.processing_time = self.processing_time.max(processing_time);
        self.watermark = self.watermark.max(watermark);
    }

    fn clean(&mut self, buckets: usize) {
        self.clean_cache(buckets);
    }

    fn live(&self) -> usize {
        RedbBackend::live(self)
    }

    fn prepare<'q, Q>(
        &mut self,
        keys: impl Iterator<Item = (u64, &'q Q)> + Clone,
        hints: &mut Vec<usize>,
    ) -> Result<(), StateError>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized + 'q,
    {
        if self.has_failed {
            return Err(self.damaged("it has failed before".to_owned()));
        }
        self.prepare_block(keys, hints)
    }

    #[inline]
    fn entry<Q>(&mut self, hash: u64, hint: Option<usize>, query: &Q, own: impl FnOnce() -> K) -> CachedRow<'_, K, S>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        self.row(hash, hint, query, own)
    }

    fn begin_snapshot(&mut self, names: &[Arc<str>], writer: &mut SnapshotWriter) {
        self.begin(names, writer);
    }

    fn sweep(
        &mut self,
        operator: &OperatorId,
        names: &[Arc<str>],
        held_max: usize,
        writer: &mut SnapshotWriter,
        budget: &mut RunBudget,
    ) -> Result<Progress, StateError> {
        self.sweep_on(operator, names, held_max, writer, budget)
    }

    fn abandon_snapshot(&mut self, writer: Option<&mut SnapshotWriter>) {
        self.abandon(writer);
    }

    fn loader(&self, operator: OperatorId, states: S) -> Box<dyn GroupLoader> {
        Box::new(self.spill_loader(TableLoader::new(operator, states, self.range, self.max_parallelism)))
    }

    fn restore_group(&mut self, loaded: LoadedGroup) {
        self.take_group(loaded);
    }

    fn restored(&mut self, checkpoint: CheckpointId) {
        self.all_taken(checkpoint);
    }

    fn drop_rows(&mut self) {
        // The cache is small; the file goes with its last user, which as a rule is the thread that writes it.
        self.disk = None;
        self.groups.clear();
    }
}
