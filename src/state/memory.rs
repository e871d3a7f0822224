//! State in memory: [`KeyedTable`] as a backend.

use std::borrow::Borrow;
use std::ops::ControlFlow;
use std::sync::Arc;

use millstream_actors::contract::{GroupLoader, LoadedGroup, Progress, RunBudget, SectionWriter, StateError};
use millstream_actors::protocol::{CheckpointId, KeyGroupRange, OperatorId, Timestamp};

use super::backend::{KeyedBackend, KeyedBlock};
use super::barrier::Sweep;
use super::{KeySchema, KeyedTable, StateKey, StateRows, StateSet, TableLoader, TimeDomain};

impl<K: StateKey, S: StateSet> KeyedBackend<K, S> for KeyedTable<K, S> {
    fn range(&self) -> KeyGroupRange {
        self.range
    }

    fn max_parallelism(&self) -> u32 {
        self.max_parallelism
    }

    fn set_key_version(&mut self, version: u32) {
        self.barriers.key_version = version;
    }

    fn expires(&self) -> bool {
        self.states.expires()
    }

    fn set_time(&mut self, processing_time: i64, watermark: Timestamp) {
        KeyedTable::set_time(self, processing_time, watermark);
    }

    #[inline]
    fn clean(&mut self, places: usize) {
        KeyedTable::clean(self, places);
    }

    fn live(&self) -> usize {
        KeyedTable::live(self)
    }

    fn queued_timers(&self) -> usize {
        KeyedTable::queued_timers(self)
    }

    #[inline]
    fn work_on<B>(&mut self, block: &mut B) -> Result<(), StateError>
    where
        B: KeyedBlock<K, S>,
        K: Borrow<B::Query>,
    {
        self.work_on_block(block);
        Ok(())
    }

    fn visit_group(
        &mut self,
        group: u32,
        each: impl FnMut(&K, S::Handles<'_>) -> ControlFlow<()>,
    ) -> Result<Progress, StateError> {
        Ok(self.lend_group(group, each))
    }

    #[inline]
    fn first_timer(&self, domain: TimeDomain) -> Option<Timestamp> {
        self.first_due(domain)
    }

    #[inline]
    fn next_timer(&mut self, domain: TimeDomain, up_to: Timestamp) -> Result<Option<u32>, StateError> {
        Ok(self.next_due(domain, up_to))
    }

    #[inline]
    fn fire_timers(
        &mut self,
        domain: TimeDomain,
        each: impl FnMut(&K, Timestamp, S::Handles<'_>),
    ) -> Result<(), StateError> {
        self.fire(domain, each);
        Ok(())
    }

    fn begin_snapshot(&mut self, names: &[Arc<str>], writer: &mut SectionWriter) {
        KeyedTable::begin_snapshot(self, names, writer);
    }

    fn sweep(
        &mut self,
        operator: &OperatorId,
        names: &[Arc<str>],
        held_max: usize,
        writer: &mut SectionWriter,
        budget: &mut RunBudget,
    ) -> Result<Progress, StateError> {
        self.sweep_slice(operator, names, self.range.start, held_max, writer, budget)
    }

    fn abandon_snapshot(&mut self, writer: Option<&mut SectionWriter>) {
        self.barriers.abandon(writer);
    }

    fn loader(&self, operator: OperatorId, states: S, keys: KeySchema<K>) -> Box<dyn GroupLoader> {
        Box::new(TableLoader::<K, S>::new(operator, states, keys, self.range, self.max_parallelism))
    }

    fn restore_group(&mut self, loaded: LoadedGroup) {
        KeyedTable::restore_group(self, loaded);
    }

    fn restored(&mut self, operator: &OperatorId, checkpoint: CheckpointId) -> Result<(), StateError> {
        KeyedTable::restored(self, operator, checkpoint)
    }

    fn drop_rows(&mut self) {
        KeyedTable::drop_rows(self);
    }
}
