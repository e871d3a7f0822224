//! [`RedbBackend`] as a backend.

use std::borrow::Borrow;
use std::ops::ControlFlow;
use std::sync::Arc;

use millstream_actors::contract::{GroupLoader, LoadedGroup, Progress, RunBudget, SectionWriter, StateError};
use millstream_actors::protocol::{CheckpointId, KeyGroupRange, OperatorId, Timestamp};

use super::paging::lend;
use super::table::RedbBackend;
use crate::state::backend::{KeyedBackend, KeyedBlock};
use crate::state::barrier::Sweep;
use crate::state::{KeySchema, StateKey, StateRows, StateSet, TableLoader, TimeDomain, group_of_hash};

impl<K: StateKey, S: StateSet> KeyedBackend<K, S> for RedbBackend<K, S> {
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
        self.processing_time = self.processing_time.max(processing_time);
        self.watermark = self.watermark.max(watermark);
    }

    fn clean(&mut self, places: usize) {
        self.clean_cache(places);
    }

    fn live(&self) -> usize {
        RedbBackend::live(self)
    }

    fn queued_timers(&self) -> usize {
        self.timers.near.entries()
    }

    #[inline]
    fn cache_use(&self) -> Option<(u64, u64)> {
        Some(self.cache_use)
    }

    fn work_on<B>(&mut self, block: &mut B) -> Result<(), StateError>
    where
        B: KeyedBlock<K, S>,
        K: Borrow<B::Query>,
    {
        self.check_failed()?;
        let mut hints = Vec::with_capacity(block.hashes().len());
        let keys = block.hashes().iter().enumerate().map(|(place, hash)| (*hash, block.query(place)));
        self.prepare_block(keys, &mut hints)?;
        let access = self.moment();
        for (place, hint) in hints.into_iter().enumerate() {
            let hash = block.hashes()[place];
            let mut row = self.row(hash, hint, block.query(place), || block.own(place));
            let Some(flow) = lend(&mut row, access, |key, states| block.work(place, key, states)) else {
                return Err(self.page_lost());
            };
            row.settle();
            self.check_pages()?;
            if flow.is_break() {
                break;
            }
            self.send_pages()?;
        }
        Ok(())
    }

    fn visit_group(
        &mut self,
        group: u32,
        each: impl FnMut(&K, S::Handles<'_>) -> ControlFlow<()>,
    ) -> Result<Progress, StateError> {
        self.lend_group(group, each)
    }

    fn first_timer(&self, domain: TimeDomain) -> Option<Timestamp> {
        self.timers.first_time(domain)
    }

    fn next_timer(&mut self, domain: TimeDomain, up_to: Timestamp) -> Result<Option<u32>, StateError> {
        let first = self.take_next_timer(domain)?.filter(|(at, _)| *at <= up_to);
        Ok(first.map(|(_, hash)| group_of_hash(hash, self.max_parallelism)))
    }

    fn fire_timers(
        &mut self,
        domain: TimeDomain,
        each: impl FnMut(&K, Timestamp, S::Handles<'_>),
    ) -> Result<(), StateError> {
        self.fire(domain, each)
    }

    fn begin_snapshot(&mut self, names: &[Arc<str>], writer: &mut SectionWriter) {
        self.begin(names, writer);
    }

    fn sweep(
        &mut self,
        operator: &OperatorId,
        names: &[Arc<str>],
        held_max: usize,
        writer: &mut SectionWriter,
        budget: &mut RunBudget,
    ) -> Result<Progress, StateError> {
        if let Err(error) = self.check_pages() {
            Sweep::abandon(self, Some(writer));
            return Err(error);
        }
        self.sweep_slice(operator, names, self.range.start, held_max, writer, budget)
    }

    fn abandon_snapshot(&mut self, writer: Option<&mut SectionWriter>) {
        Sweep::abandon(self, writer);
    }

    fn loader(&self, operator: OperatorId, states: S, keys: KeySchema<K>) -> Box<dyn GroupLoader> {
        Box::new(self.spill_loader(TableLoader::new(operator, states, keys, self.range, self.max_parallelism)))
    }

    fn restore_group(&mut self, loaded: LoadedGroup) {
        self.take_group(loaded);
    }

    fn restored(&mut self, operator: &OperatorId, checkpoint: CheckpointId) -> Result<(), StateError> {
        self.all_taken(operator, checkpoint)
    }

    fn drop_rows(&mut self) {
        // The cache is small; the file goes with its last user, which as a rule is the thread that writes it.
        self.disk = None;
        self.groups.clear();
    }
}
