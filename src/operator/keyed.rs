//! Runs a keyed function: finds each record's states, and keeps them in snapshots.
//!
//! A batch is worked on in blocks, in three passes each. The first takes keys and hashes. The second, where the table is
//! too large for the processor's cache, looks up where each key is: these loads do not depend on each other, so their
//! cache misses overlap. The third calls the function.

use std::marker::PhantomData;
use std::sync::Arc;

use millstream_actors::contract::{
    Batch, BatchOperator, Clock, GroupLoader, LoadedGroup, Output, Progress, RestoredSection, RunBudget,
    SnapshotWriter, StateError, Stateful,
};
use millstream_actors::protocol::{CheckpointId, KeyGroupRange, Limits, Mark, OperatorId, TaskError, Timestamp};

use super::slices::Slices;
use super::{Emission, KeySelector, KeyedContext, KeyedProcessFunction, SideOutputs};
use crate::state::{KeyedBackend, KeyedTable, RowAccess, StateRows, StateSet, stable_hash};
use crate::time::SystemClock;

/// Records to a block: what the passes keep of them stays in the innermost cache.
const BLOCK_RECORDS: usize = 128;

/// Buckets that are looked at for expired values after each call: fewer than a microsecond's worth.
const CLEANED_MIN: usize = 64;

/// Buckets that are looked at for expired values with each watermark: some microseconds' worth.
const CLEANED_BY_WATERMARK: usize = 1024;

type States<S, F, In> = <F as KeyedProcessFunction<<S as KeySelector<In>>::Key, In>>::State;
type Rows<S, F, In> = KeyedTable<<S as KeySelector<In>>::Key, States<S, F, In>>;

/// A [`KeyedProcessFunction`] `F` on records of type `In`, whose keys `S` selects; `B` keeps its state.
pub struct KeyedOperator<In, S, F, B = Rows<S, F, In>>
where
    S: KeySelector<In>,
    F: KeyedProcessFunction<S::Key, In>,
    B: KeyedBackend<S::Key, States<S, F, In>>,
{
    operator: OperatorId,
    selector: S,
    function: F,
    emission: Emission,
    capture_bytes_max: usize,
    names: Vec<Arc<str>>,
    table: B,
    slices: Slices,
    ahead: Ahead<S::Held>,
    clock: Arc<dyn Clock>,
    of: PhantomData<fn(In)>,
}

impl<In, S, F> KeyedOperator<In, S, F>
where
    S: KeySelector<In>,
    F: KeyedProcessFunction<S::Key, In>,
{
    /// An operator without state yet, for the keys of `key_groups` of `max_parallelism`, whose state is kept in memory.
    pub fn new(
        operator: OperatorId,
        key_groups: KeyGroupRange,
        max_parallelism: u32,
        selector: S,
        function: F,
        side_outputs: SideOutputs,
    ) -> Self {
        let table = KeyedTable::new(function.state(), key_groups, max_parallelism);
        Self::with_backend(operator, table, selector, function, side_outputs)
    }
}

impl<In, S, F, B> KeyedOperator<In, S, F, B>
where
    S: KeySelector<In>,
    F: KeyedProcessFunction<S::Key, In>,
    B: KeyedBackend<S::Key, States<S, F, In>>,
{
    /// An operator whose state `backend` keeps: that of the function's states, empty.
    pub fn with_backend(operator: OperatorId, backend: B, selector: S, function: F, side_outputs: SideOutputs) -> Self {
        let names = function.state().names();
        Self {
            emission: Emission::new(operator.clone(), side_outputs, Limits::default().emit_per_call_max),
            operator,
            selector,
            function,
            capture_bytes_max: Limits::default().capture_bytes_max,
            names,
            table: backend,
            slices: Slices::new(),
            ahead: Ahead { held: Vec::new(), hashes: Vec::new(), hints: Vec::new() },
            clock: Arc::new(SystemClock::new()),
            of: PhantomData,
        }
    }

    /// Sets the clock by which values expire, by default the machine's.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Sets how many records one call of the function may emit, by default that of [`Limits`].
    pub fn emit_per_call_max(mut self, records: usize) -> Self {
        self.emission.per_call_max(records);
        self
    }

    /// Sets how many bytes of a snapshot may wait to be written, by default that of [`Limits`].
    pub fn capture_bytes_max(mut self, bytes: usize) -> Self {
        self.capture_bytes_max = bytes;
        self
    }

    /// Number of keys that have state.
    pub fn keys(&self) -> usize {
        self.table.live()
    }

    /// Calls the function with the `first` records, or as many until the output becomes full; gives their number.
    fn call(&mut self, input: &mut Batch<In>, first: usize, out: &mut Output<F::Out>) -> Result<usize, TaskError> {
        self.look_at_clock();
        let access = self.table.access();
        let Self { selector, function, emission, table, ahead, .. } = self;
        let mut front = input.front(first);
        while !front.as_slice().is_empty() && !out.is_full() {
            let block = front.len().min(BLOCK_RECORDS);
            ahead.prepare(&self.operator, selector, table, &front.as_slice()[..block])?;
            for (index, record) in front.by_ref().take(block).enumerate() {
                let query = selector.query(&record, &ahead.held[index]);
                let own = || selector.own(query);
                let mut entry = table.entry(ahead.hashes[index], ahead.hints.get(index).copied(), query, own);
                let (key, states) = entry.lend(access);
                let mut ctx = KeyedContext { key };
                let called = emission.call(out, 0, |out| function.process(record, states, &mut ctx, out));
                entry.settle();
                called?;
                if out.is_full() {
                    break;
                }
            }
        }
        let called = front.taken();
        drop(front);
        // A record adds one key at most: while the look goes round once, half as many keys come as there are buckets.
        self.table.clean(CLEANED_MIN + 2 * called);
        Ok(called)
    }

    fn look_at_clock(&mut self) {
        if self.table.expires() {
            let now = i64::try_from(self.clock.unix_ms()).unwrap_or(i64::MAX);
            self.table.set_time(now, Timestamp::MIN);
        }
    }
}

impl<In, S, F, B> Drop for KeyedOperator<In, S, F, B>
where
    S: KeySelector<In>,
    F: KeyedProcessFunction<S::Key, In>,
    B: KeyedBackend<S::Key, States<S, F, In>>,
{
    fn drop(&mut self) {
        self.table.drop_rows();
    }
}

/// What is known of the records of a block before the function is called.
struct Ahead<H> {
    held: Vec<H>,
    hashes: Vec<u64>,
    /// Where each key is, or any number; empty for small tables.
    hints: Vec<usize>,
}

impl<H> Ahead<H> {
    /// First and second pass.
    fn prepare<In, S, St, B>(
        &mut self,
        operator: &OperatorId,
        selector: &S,
        backend: &mut B,
        records: &[In],
    ) -> Result<(), StateError>
    where
        S: KeySelector<In, Held = H>,
        St: StateSet,
        B: KeyedBackend<S::Key, St>,
    {
        self.held.clear();
        self.hashes.clear();
        self.hints.clear();
        self.held.extend(records.iter().map(|record| selector.hold(record)));
        let keys = records.iter().zip(&self.held).map(|(record, held)| selector.query(record, held));
        self.hashes.extend(keys.clone().map(stable_hash));
        for hash in &self.hashes {
            if let Err(group) = backend.check_group(*hash) {
                let KeyGroupRange { start, end } = backend.range();
                return Err(StateError::ForeignKey { operator: operator.clone(), group, start, end });
            }
        }
        backend.prepare(self.hashes.iter().copied().zip(keys), &mut self.hints)
    }
}

impl<In, S, F, B> BatchOperator for KeyedOperator<In, S, F, B>
where
    In: Send + 'static,
    S: KeySelector<In>,
    F: KeyedProcessFunction<S::Key, In>,
    S::Held: 'static,
    B: KeyedBackend<S::Key, States<S, F, In>>,
{
    type In = In;
    type Out = F::Out;

    fn process(
        &mut self,
        input: &mut Batch<In>,
        out: &mut Output<F::Out>,
        budget: &mut RunBudget,
    ) -> Result<Progress, TaskError> {
        self.slices.start(budget);
        while !input.is_empty() {
            if out.is_full() {
                return Ok(Progress::Suspended);
            }
            let records = self.slices.next(input.len());
            let before = input.bytes();
            let called = self.call(input, records, out)?;
            let bytes = before - input.bytes();
            if !out.open_batch().is_empty() {
                out.add_bytes(bytes);
            }
            if !self.slices.has_time_after(called, budget) && !input.is_empty() {
                return Ok(Progress::Suspended);
            }
        }
        Ok(Progress::Done)
    }

    fn mark(&mut self, mark: Mark, out: &mut Output<F::Out>, _: &mut RunBudget) -> Result<Progress, TaskError> {
        if let Mark::Watermark(at) = mark {
            self.look_at_clock();
            self.table.set_time(0, at);
            self.table.clean(CLEANED_BY_WATERMARK);
        }
        out.mark(mark);
        Ok(Progress::Done)
    }

    fn stateful(&mut self) -> Option<&mut dyn Stateful> {
        Some(self)
    }
}

impl<In, S, F, B> Stateful for KeyedOperator<In, S, F, B>
where
    In: Send + 'static,
    S: KeySelector<In>,
    F: KeyedProcessFunction<S::Key, In>,
    S::Held: 'static,
    B: KeyedBackend<S::Key, States<S, F, In>>,
{
    fn snapshot(&mut self, writer: &mut SnapshotWriter) -> Result<Progress, StateError> {
        self.look_at_clock();
        self.table.begin_snapshot(&self.names, writer);
        Ok(Progress::Suspended)
    }

    fn continue_snapshot(
        &mut self,
        writer: &mut SnapshotWriter,
        budget: &mut RunBudget,
    ) -> Result<Progress, StateError> {
        self.table.sweep(&self.operator, &self.names, self.capture_bytes_max, writer, budget)
    }

    fn abandon_snapshot(&mut self) {
        self.table.abandon_snapshot(None);
    }

    fn group_loader(&self) -> Option<Box<dyn GroupLoader>> {
        Some(self.table.loader(self.operator.clone(), self.function.state()))
    }

    fn restore_group(&mut self, group: LoadedGroup) -> Result<(), StateError> {
        self.table.restore_group(group);
        Ok(())
    }

    fn restore(&mut self, sections: Vec<RestoredSection>) -> Result<(), StateError> {
        let Some(section) = sections.first() else { return Ok(()) };
        let reason = format!("state '{}' is keyed now, it was stored as {:?}", section.state, section.scope);
        Err(StateError::Mismatch { operator: self.operator.clone(), reason })
    }

    fn restored(&mut self, checkpoint: CheckpointId) {
        self.table.restored(checkpoint);
    }
}

#[cfg(test)]
#[path = "keyed_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "keyed_ttl_tests.rs"]
mod ttl_tests;
