//! What every keyed operator stands on: it finds the states of each record's key, and lends them to a function; lends those
//! of all keys, at the start and at the end of the input; and keeps them in snapshots.
//!
//! A batch is worked on in blocks: first the keys and hashes of all its records are taken, then the backend looks up and
//! lends their rows, which is where the function is called.

use std::any::Any;
use std::borrow::Borrow;
use std::fmt;
use std::marker::PhantomData;
use std::ops::ControlFlow;
use std::sync::Arc;

use millstream_actors::contract::{
    Asked, Batch, Clock, Front, GroupLoader, LoadedGroup, OperatorCounters, Output, Progress, RestoredSection,
    RunBudget, SectionWriter, StateError, Stateful, StoredStates,
};
use millstream_actors::protocol::{CheckpointId, KeyGroupRange, Limits, NO_TIME, OperatorId, TaskError, Timestamp};
use millstream_actors::runtime::guard::{note_key, noting};

use super::careful_timers::CarefulTimers;
use super::event_time::{EventTime, Moment};
use super::every_key::VisitKeys;
use super::key_text::key_text;
use crate::operator::{KeySelector, Slices, TaskView};
use crate::state::codec::OTHERWISE_DECLARED;
use crate::state::query::{StateRequest, StoredRows, answer};
use crate::state::{
    Ended, KeySchema, KeyedBackend, KeyedBlock, Said, Share, StateKey, StateRows, StateSet, group_of_hash, hashes_of,
    stable_hash, take_notes, write_notes,
};
use crate::time::processing_time;

/// Records to a block: what the passes keep of them stays in the innermost cache.
const BLOCK_RECORDS: usize = 128;

/// Places that are looked at for expired values after each call: fewer than a microsecond's worth.
const CLEANED_MIN: usize = 64;

/// Places that are looked at for expired values with each watermark: some microseconds' worth.
const CLEANED_BY_WATERMARK: usize = 1024;

/// How an input of an operator gets at its records' keys.
#[derive(Debug)]
pub(crate) struct KeyedInput<S, Held> {
    selector: S,
    /// Those of the block at hand.
    held: Vec<Held>,
    hashes: Vec<u64>,
}

impl<S, Held> KeyedInput<S, Held> {
    /// An input whose keys `selector` selects.
    pub(crate) fn new(selector: S) -> Self {
        Self { selector, held: Vec::new(), hashes: Vec::new() }
    }

    /// Takes the keys of a block.
    fn take<In>(&mut self, records: &[In])
    where
        S: KeySelector<In, Held = Held>,
    {
        let Self { selector, held, hashes } = self;
        held.clear();
        held.extend(records.iter().map(|record| selector.hold(record)));
        hashes.clear();
        hashes.extend(records.iter().zip(&*held).map(|(record, held)| stable_hash(selector.query(record, held))));
    }
}

/// The states of the keys of one subtask, kept by the backend `B`, and how functions get at them.
pub(crate) struct Kernel<K: StateKey, St: StateSet, B: KeyedBackend<K, St>> {
    operator: OperatorId,
    declare: Box<dyn Fn() -> St>,
    names: Vec<Arc<str>>,
    keys: KeySchema<K>,
    pub(super) backend: B,
    pub(super) event_time: EventTime,
    /// The least and the greatest that a key of this subtask can have.
    hashes: (u64, u64),
    capture_bytes_max: usize,
    task: TaskView,
    pub(super) slices: Slices,
    end: EndOfInput,
    /// How many records of the batch at hand are worked off.
    of_batch: usize,
    /// Set if it fires timers carefully.
    pub(super) careful: Option<Box<CarefulTimers>>,
    of: PhantomData<fn(K)>,
}

/// How far the step at the end of input is.
#[derive(Debug, Default)]
struct EndOfInput {
    /// For each key group whether it has run since the last record; empty as long as it has run for none.
    has_run: Vec<bool>,
    /// The group, by its place, at which it goes on.
    at: usize,
}

/// What a call at the end of input has led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AtEnd {
    /// The next key's turn.
    Next,
    /// The function has nothing to do at the end, whatever the key.
    Nothing,
}

impl<K: StateKey, St: StateSet, B: KeyedBackend<K, St>> Kernel<K, St, B> {
    /// Without state yet. `declare` gives the states that `backend` keeps.
    pub(crate) fn new(operator: OperatorId, backend: B, declare: impl Fn() -> St + 'static) -> Self {
        let (range, max) = (backend.range(), backend.max_parallelism());
        // A range without groups has no hashes.
        let hashes = match range.end.checked_sub(1).filter(|last| range.start <= *last) {
            Some(last) => (hashes_of(range.start, max).0, hashes_of(last, max).1),
            None => (u64::MAX, 0),
        };
        Self {
            operator,
            names: declare().names(),
            declare: Box::new(declare),
            keys: KeySchema::default(),
            event_time: EventTime::new(range),
            backend,
            hashes,
            capture_bytes_max: Limits::default().capture_bytes_max,
            task: TaskView::default(),
            slices: Slices::new(),
            end: EndOfInput::default(),
            of_batch: 0,
            careful: None,
            of: PhantomData,
        }
    }

    /// Sets the clock by which values expire.
    pub(crate) fn clock(&mut self, clock: Arc<dyn Clock>) {
        self.task.clock = clock;
    }

    /// Sets which subtask of how many it is in.
    pub(crate) fn share(&mut self, share: Share) {
        self.task.share = share;
    }

    /// Sets where the operator's figures go.
    pub(crate) fn counters(&mut self, counters: Arc<OperatorCounters>) {
        self.task.counters = counters;
    }

    /// The subtask that it is in.
    pub(super) fn task(&self) -> &TaskView {
        &self.task
    }

    /// Sets how many bytes of a snapshot may wait to be written.
    pub(crate) fn capture_bytes_max(&mut self, bytes: usize) {
        self.capture_bytes_max = bytes;
    }

    /// Has it fire timers carefully.
    pub(crate) fn careful_timers(&mut self, careful: Option<Box<CarefulTimers>>) {
        self.careful = careful;
    }

    /// Sets how keys are stored.
    pub(crate) fn key_schema(&mut self, keys: KeySchema<K>) {
        self.backend.set_key_version(keys.version());
        self.keys = keys;
    }

    /// Number of keys that have state.
    pub(crate) fn keys(&self) -> usize {
        self.backend.live()
    }

    /// Works a batch off, as [`BatchOperator::process`](crate::operator::BatchOperator::process) is to: calls `function`
    /// with each record, the moment, its key, and the key's states.
    ///
    /// # Errors
    /// The first of `function`, a key that is not one of this subtask's, and those of the backend.
    pub(crate) fn process<In, S, Out>(
        &mut self,
        keys: &mut KeyedInput<S, S::Held>,
        input: &mut Batch<In>,
        out: &mut Output<Out>,
        budget: &mut RunBudget,
        mut function: impl FnMut(In, Moment, &K, St::Handles<'_>, &mut Output<Out>) -> Result<(), TaskError>,
    ) -> Result<Progress, TaskError>
    where
        S: KeySelector<In, Key = K>,
        K: Borrow<S::Query>,
    {
        self.slices.start(budget);
        self.shows_cache();
        while !input.is_empty() {
            if out.is_full() {
                return Ok(Progress::Suspended);
            }
            let (first, before) = (self.slices.next(input.len()), input.bytes());
            let called = self.call(keys, &mut input.front(first), out, &mut function)?;
            self.of_batch += called;
            if !out.open_batch().is_empty() {
                out.add_bytes(before - input.bytes());
            }
            if !self.slices.has_time_after(called, budget) && !input.is_empty() {
                return Ok(Progress::Suspended);
            }
        }
        self.of_batch = 0;
        Ok(Progress::Done)
    }

    /// Calls `function` with these records, or as many until the output becomes full; gives their number.
    fn call<In, S, Out>(
        &mut self,
        keys: &mut KeyedInput<S, S::Held>,
        records: &mut Front<'_, In>,
        out: &mut Output<Out>,
        function: &mut impl FnMut(In, Moment, &K, St::Handles<'_>, &mut Output<Out>) -> Result<(), TaskError>,
    ) -> Result<usize, TaskError>
    where
        S: KeySelector<In, Key = K>,
        K: Borrow<S::Query>,
    {
        self.look_at_clock();
        while !records.as_slice().is_empty() && !out.is_full() {
            keys.take(&records.as_slice()[..records.len().min(BLOCK_RECORDS)]);
            self.check_keys(&keys.hashes)?;
            let (event_time, max) = (&self.event_time, self.backend.max_parallelism());
            let watermark = |place: usize| event_time.of(|| group_of_hash(keys.hashes[place], max));
            let (first, taken_before) = (self.of_batch + records.taken(), records.taken());
            let mut block = Block { keys, records, out, function, watermark, first, taken_before, outcome: Ok(()) };
            self.backend.work_on(&mut block)?;
            block.outcome?;
        }
        let called = records.taken();
        // A record adds one key at most: while the look goes round once, half as many keys come as there are places.
        self.backend.clean(CLEANED_MIN + 2 * called);
        Ok(called)
    }

    /// Checks that the keys with these hashes are this subtask's. Their groups have input again.
    fn check_keys(&mut self, hashes: &[u64]) -> Result<(), StateError> {
        let (first, last) = self.hashes;
        // Without a branch for each: as a rule all are.
        if !hashes.iter().fold(true, |all, hash| all & (first <= *hash) & (*hash <= last)) {
            let foreign = hashes.iter().find_map(|hash| self.backend.check_group(*hash).err());
            let (KeyGroupRange { start, end }, group) = (self.backend.range(), foreign.unwrap_or_default());
            return Err(StateError::ForeignKey { operator: self.operator.clone(), group, start, end });
        }
        if !self.end.has_run.is_empty() {
            let (start, max) = (self.backend.range().start, self.backend.max_parallelism());
            hashes.iter().for_each(|hash| self.end.has_run[(group_of_hash(*hash, max) - start) as usize] = false);
        }
        Ok(())
    }

    /// There is input that is of no key, for all of them.
    pub(super) fn has_input(&mut self) {
        self.end.has_run.clear();
    }

    /// The watermark has come. False if all keys have been worked on up to it before.
    pub(crate) fn watermark(&mut self, at: Timestamp) -> bool {
        self.look_at_clock();
        let is_news = self.event_time.advance(at);
        self.backend.set_time(0, at);
        self.backend.clean(CLEANED_BY_WATERMARK);
        is_news
    }

    /// The input has ended: calls `function` with each key and its states, in no order, in the groups for which that was not
    /// done since their last record. Suspended it is to be called again, as
    /// [`BatchOperator::mark`](crate::operator::BatchOperator::mark) is.
    ///
    /// # Errors
    /// The first of `function`, and those of the backend.
    pub(crate) fn end<Out>(
        &mut self,
        out: &mut Output<Out>,
        budget: &mut RunBudget,
        mut function: impl FnMut(Moment, &K, St::Handles<'_>, &mut Output<Out>) -> Result<AtEnd, TaskError>,
    ) -> Result<Progress, TaskError> {
        self.look_at_clock();
        let moment = Moment { time: NO_TIME, watermark: Timestamp::MAX, before: Timestamp::MAX };
        self.slices.start(budget);
        let range = self.backend.range();
        while self.end.at < range.len() {
            if out.is_full() {
                return Ok(Progress::Suspended);
            }
            if self.end.has_run.get(self.end.at) == Some(&true) {
                self.end.at += 1;
                continue;
            }
            let (mut called, most, mut outcome) = (0, self.slices.next(usize::MAX), Ok(AtEnd::Next));
            let visited = self.backend.visit_group(range.start + self.end.at as u32, |key, states| {
                outcome = noting(|| function(moment, key, states, out), || note_key(key_text(key), None));
                called += 1;
                let goes_on = matches!(outcome, Ok(AtEnd::Next)) && called < most && !out.is_full();
                if goes_on { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })?;
            if outcome? == AtEnd::Nothing {
                self.end.at = range.len();
            } else if visited == Progress::Done {
                self.end.has_run.resize(range.len(), false);
                self.end.has_run[self.end.at] = true;
                self.end.at += 1;
            }
            if !self.slices.has_time_after(called, budget) && self.end.at < range.len() {
                return Ok(Progress::Suspended);
            }
        }
        self.end.at = 0;
        Ok(Progress::Done)
    }

    /// Shows how the cache of the rows was used, if there is one. Once for a batch, of those before.
    #[inline]
    fn shows_cache(&self) {
        if let Some((hits, misses)) = self.backend.cache_use() {
            self.task.counters.cache_hits.set(hits);
            self.task.counters.cache_misses.set(misses);
        }
    }

    /// Shows how much state there is. At barriers: it takes as long as there are key groups.
    fn shows_state(&self) {
        self.task.counters.state_entries.set(self.backend.live() as u64);
        self.task.counters.timers.set(self.backend.queued_timers() as u64);
        self.shows_cache();
    }

    pub(super) fn look_at_clock(&mut self) {
        if self.backend.expires() {
            self.backend.set_time(processing_time(&*self.task.clock), Timestamp::MIN);
        }
    }
}

impl<K: StateKey, St: StateSet, B: KeyedBackend<K, St>> VisitKeys<K, St> for Kernel<K, St, B> {
    fn visit(&mut self, each: &mut dyn FnMut(&K, St::Handles<'_>)) -> Result<(), StateError> {
        self.look_at_clock();
        for group in self.backend.range().iter() {
            let mut lend = |key: &K, states: St::Handles<'_>| {
                each(key, states);
                ControlFlow::Continue(())
            };
            let visited = self.backend.visit_group(group, &mut lend)?;
            assert_eq!(visited, Progress::Done, "nothing has broken the visit of key group {group} off");
        }
        Ok(())
    }
}

impl<K: StateKey, St: StateSet, B: KeyedBackend<K, St>> Stateful for Kernel<K, St, B> {
    fn snapshot(&mut self, writer: &mut SectionWriter) -> Result<Progress, StateError> {
        self.look_at_clock();
        let groups = self.backend.range().iter().zip(&self.end.has_run);
        let ended: Vec<Ended> = groups.filter(|(_, has_run)| **has_run).map(|(group, _)| Ended(group)).collect();
        write_notes(&self.operator, &ended, writer)?;
        write_notes(&self.operator, &self.event_time.notes(), writer)?;
        self.shows_state();
        self.backend.begin_snapshot(&self.names, writer);
        Ok(Progress::Suspended)
    }

    fn continue_snapshot(
        &mut self,
        writer: &mut SectionWriter,
        budget: &mut RunBudget,
    ) -> Result<Progress, StateError> {
        self.backend.sweep(&self.operator, &self.names, self.capture_bytes_max, writer, budget)
    }

    fn abandon_snapshot(&mut self) {
        self.backend.abandon_snapshot(None);
    }

    fn group_loader(&self) -> Option<Box<dyn GroupLoader>> {
        Some(self.backend.loader(self.operator.clone(), (self.declare)(), self.keys.clone()))
    }

    fn query(&mut self, query: &mut (dyn Any + Send), budget: &mut RunBudget) -> Asked {
        let Some(request) = query.downcast_mut::<StateRequest>() else { return Asked::NotForQueries };
        self.look_at_clock();
        let max_parallelism = self.backend.max_parallelism();
        answer(&mut self.backend, (&self.operator, max_parallelism), request, budget)
    }

    fn stored_states(&self) -> Option<Box<dyn StoredStates>> {
        let (operator, states, max) = (self.operator.clone(), (self.declare)(), self.backend.max_parallelism());
        Some(Box::new(StoredRows::new(operator, states, self.keys.clone(), max)))
    }

    fn restore_group(&mut self, group: LoadedGroup) -> Result<(), StateError> {
        self.backend.restore_group(group);
        Ok(())
    }

    fn restore(&mut self, mut sections: Vec<RestoredSection>) -> Result<(), StateError> {
        let range = self.backend.range();
        for Ended(group) in take_notes(&self.operator, &mut sections)?.into_iter().flatten() {
            if range.contains(group) {
                self.end.has_run.resize(range.len(), false);
                self.end.has_run[(group - range.start) as usize] = true;
            }
        }
        // An operator that had no keys before has written what it had said.
        take_notes::<Said>(&self.operator, &mut sections)?;
        self.event_time.restore(take_notes(&self.operator, &mut sections)?.into_iter().flatten());
        self.backend.set_time(0, self.event_time.least());
        let Some(section) = sections.first() else { return Ok(()) };
        let (state, scope) = (&section.state, section.scope);
        let reason = format!("state '{state}' is keyed now, it was stored for {scope}; {OTHERWISE_DECLARED}");
        Err(StateError::Mismatch { operator: self.operator.clone(), reason })
    }

    fn restored(&mut self, checkpoint: CheckpointId) -> Result<(), StateError> {
        self.backend.restored(&self.operator, checkpoint)?;
        self.shows_state();
        Ok(())
    }
}

impl<K: StateKey, St: StateSet, B: KeyedBackend<K, St>> Drop for Kernel<K, St, B> {
    fn drop(&mut self) {
        self.backend.drop_rows();
    }
}

impl<K: StateKey, St: StateSet, B: KeyedBackend<K, St>> fmt::Debug for Kernel<K, St, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kernel({}: {:?})", self.operator, self.names)
    }
}

/// Some records in front of a function.
struct Block<'a, 'r, In, S, Held, Out, F, W> {
    keys: &'a KeyedInput<S, Held>,
    /// Those of the block come first.
    records: &'a mut Front<'r, In>,
    out: &'a mut Output<Out>,
    function: &'a mut F,
    /// Up to which watermark the key of a record has been worked on.
    watermark: W,
    /// So many records of the batch come before its own.
    first: usize,
    taken_before: usize,
    /// Of the last call.
    outcome: Result<(), TaskError>,
}

impl<In, S, St, Out, F, W> KeyedBlock<S::Key, St> for Block<'_, '_, In, S, S::Held, Out, F, W>
where
    S: KeySelector<In>,
    St: StateSet,
    F: FnMut(In, Moment, &S::Key, St::Handles<'_>, &mut Output<Out>) -> Result<(), TaskError>,
    W: Fn(usize) -> Timestamp,
{
    type Query = S::Query;

    #[inline]
    fn hashes(&self) -> &[u64] {
        &self.keys.hashes
    }

    #[inline]
    fn query(&self, place: usize) -> &S::Query {
        let ahead = place + self.taken_before - self.records.taken();
        self.keys.selector.query(&self.records.as_slice()[ahead], &self.keys.held[place])
    }

    #[inline]
    fn next_query(&self, place: usize) -> &S::Query {
        let record = self.records.peek().expect("it is not worked on yet");
        self.keys.selector.query(record, &self.keys.held[place])
    }

    #[inline]
    fn own(&self, place: usize) -> S::Key {
        self.keys.selector.own(KeyedBlock::<S::Key, St>::query(self, place))
    }

    #[inline]
    fn work(&mut self, place: usize, key: &S::Key, states: St::Handles<'_>) -> ControlFlow<()> {
        let Self { records, out, function, first, .. } = self;
        let watermark = (self.watermark)(place);
        let moment = Moment { time: records.time(), watermark, before: watermark };
        let Some(record) = records.next() else { return ControlFlow::Break(()) };
        let note = || note_key(key_text(key), Some(*first + place));
        if let Err(error) = noting(|| function(record, moment, key, states, out), note) {
            self.outcome = Err(error);
            return ControlFlow::Break(());
        }
        if self.out.is_full() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}
