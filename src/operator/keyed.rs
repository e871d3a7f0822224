//! Runs a keyed function: finds each record's states, and keeps them in snapshots.
//!
//! A batch is worked on in blocks: first the keys and hashes of all its records are taken, then the backend looks up and
//! lends their rows, which is where the function is called.

use std::marker::PhantomData;
use std::ops::ControlFlow;
use std::sync::Arc;

use millstream_actors::contract::{
    Batch, BatchOperator, Clock, Front, GroupLoader, LoadedGroup, Output, Progress, RestoredSection, RunBudget,
    SnapshotWriter, StateError, Stateful,
};
use millstream_actors::protocol::{CheckpointId, KeyGroupRange, Limits, Mark, OperatorId, TaskError, Timestamp};

use super::slices::Slices;
use super::{Emission, KeySelector, KeyedContext, KeyedProcessFunction, SideOutputs};
use crate::state::{KeyedBackend, KeyedBlock, KeyedTable, StateRows, StateSet, stable_hash};
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
    keys: Keys<S::Held>,
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
            keys: Keys { held: Vec::new(), hashes: Vec::new() },
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
        let Self { selector, function, emission, table, keys, .. } = self;
        let mut records = input.front(first);
        while !records.as_slice().is_empty() && !out.is_full() {
            let block = &records.as_slice()[..records.len().min(BLOCK_RECORDS)];
            keys.take(&self.operator, selector, table, block)?;
            let records = &mut records;
            let mut block = Block { selector, function, emission, keys, records, out, called: 0, outcome: Ok(()) };
            table.work_on(&mut block)?;
            block.outcome?;
        }
        let called = records.taken();
        drop(records);
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

/// The keys of a block's records.
struct Keys<H> {
    held: Vec<H>,
    hashes: Vec<u64>,
}

impl<H> Keys<H> {
    /// Takes those of a block, which must be keys of the backend.
    fn take<In, S, St, B>(
        &mut self,
        operator: &OperatorId,
        selector: &S,
        backend: &B,
        records: &[In],
    ) -> Result<(), StateError>
    where
        S: KeySelector<In, Held = H>,
        St: StateSet,
        B: KeyedBackend<S::Key, St>,
    {
        self.held.clear();
        self.held.extend(records.iter().map(|record| selector.hold(record)));
        self.hashes.clear();
        let held = self.held.iter();
        self.hashes.extend(records.iter().zip(held).map(|(record, held)| stable_hash(selector.query(record, held))));
        for hash in &self.hashes {
            if let Err(group) = backend.check_group(*hash) {
                let KeyGroupRange { start, end } = backend.range();
                return Err(StateError::ForeignKey { operator: operator.clone(), group, start, end });
            }
        }
        Ok(())
    }
}

/// Some records in front of the function.
struct Block<'a, 'r, In, S, F>
where
    S: KeySelector<In>,
    F: KeyedProcessFunction<S::Key, In>,
{
    selector: &'a S,
    function: &'a mut F,
    emission: &'a mut Emission,
    keys: &'a Keys<S::Held>,
    /// Those of the block come first.
    records: &'a mut Front<'r, In>,
    out: &'a mut Output<F::Out>,
    /// Of so many records it has been called.
    called: usize,
    /// Of the last call.
    outcome: Result<(), TaskError>,
}

impl<In, S, F> KeyedBlock<S::Key, F::State> for Block<'_, '_, In, S, F>
where
    S: KeySelector<In>,
    F: KeyedProcessFunction<S::Key, In>,
{
    type Query = S::Query;

    #[inline]
    fn hashes(&self) -> &[u64] {
        &self.keys.hashes
    }

    #[inline]
    fn query(&self, place: usize) -> &S::Query {
        self.selector.query(&self.records.as_slice()[place - self.called], &self.keys.held[place])
    }

    #[inline]
    fn own(&self, place: usize) -> S::Key {
        self.selector.own(self.query(place))
    }

    #[inline]
    fn work(&mut self, _: usize, key: &S::Key, states: <F::State as StateSet>::Handles<'_>) -> ControlFlow<()> {
        let Some(record) = self.records.next() else { return ControlFlow::Break(()) };
        self.called += 1;
        let Self { function, emission, out, .. } = self;
        let mut ctx = KeyedContext { key };
        let called = emission.call(out, 0, |out| function.process(record, states, &mut ctx, out));
        if let Err(error) = called {
            self.outcome = Err(error);
            return ControlFlow::Break(());
        }
        if self.out.is_full() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
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
