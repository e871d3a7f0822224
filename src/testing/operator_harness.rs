//! Runs one operator in every way the engine may run it, and demands the same result each time. The idea is that of
//! Hazelcast Jet's `TestSupport`.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use millstream_actors::contract::{
    BATCH_RECORDS_MAX, Batch, BatchOperator, Chunk, Emitted, Output, Progress, RestoredSection, RestoredState,
    RunBudget, SnapshotWriter, StateScope, Stateful,
};
use millstream_actors::protocol::{CheckpointId, KeyGroupRange, Mark, OperatorId, subtask_of_group};

use crate::keyed::{KeyedOperator, KeyedProcessFunction};
use crate::operator::{KeySelector, ProcessFunction, ProcessOperator, SideOutputs};
use crate::state::{Share, group_of_hash, stable_hash};

const MAX_PARALLELISM: u32 = 128;

/// An operator whose types are known, in a box.
pub type BoxedOperator<In, Out> = Box<dyn BatchOperator<In = In, Out = Out>>;

type GroupOf<In> = Box<dyn Fn(&In) -> u32>;
type Factory<In, Out> = Box<dyn Fn(Share) -> BoxedOperator<In, Out>>;

/// How records get to the subtasks.
enum Spread<In> {
    /// There is one subtask.
    Alone,
    ByGroup(GroupOf<In>),
    /// In turn, but for those for which this holds: every subtask gets them.
    InTurn(Box<dyn Fn(&In) -> bool>),
}

/// An operator, its input, and the ways of running it:
/// straight through; saved and restored into a new instance after each small batch; with an output that takes one
/// record and then refuses; with no time beyond one slice; and restored at other parallelisms in the middle.
pub struct OperatorHarness<In, Out> {
    factory: Factory<In, Out>,
    spread: Spread<In>,
    batches: Vec<Vec<In>>,
}

/// How one run goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Run {
    Straight,
    RestoredAfterEachElement,
    OutputTakesOne,
    NoTime,
    Rescaled,
}

/// The ways of running one subtask.
const ALONE: [Run; 4] = [Run::Straight, Run::RestoredAfterEachElement, Run::OutputTakesOne, Run::NoTime];

/// The parallelisms of runs that are rescaled, one after the other.
const RESCALED: [&[u32]; 3] = [&[1, 3, 2, 4], &[4, 1], &[2, 128, 7]];

thread_local! {
    static CLOCK: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// A clock that gives each slice more than its time.
fn racing_clock() -> Duration {
    CLOCK.set(CLOCK.get() + Duration::from_secs(1));
    CLOCK.get()
}

/// A clock that stands still.
fn standing_clock() -> Duration {
    Duration::ZERO
}

impl<In: Clone + Send + 'static, Out: Debug + PartialEq + Send + 'static> OperatorHarness<In, Out> {
    /// Runs what `factory` makes for the key groups of one subtask and the number of groups. `group_of` is the key
    /// group of a record; `None` if the operator is not keyed, and then it is not rescaled.
    pub fn new(
        factory: impl Fn(KeyGroupRange, u32) -> BoxedOperator<In, Out> + 'static,
        group_of: Option<GroupOf<In>>,
    ) -> Self {
        let factory = move |share: Share| {
            factory(KeyGroupRange::of_subtask(share.subtask, share.parallelism, MAX_PARALLELISM), MAX_PARALLELISM)
        };
        let spread = group_of.map_or(Spread::Alone, Spread::ByGroup);
        Self { factory: Box::new(factory), spread, batches: Vec::new() }
    }

    /// Runs an operator that has no state.
    pub fn stateless<Op: BatchOperator<In = In, Out = Out>>(factory: impl Fn() -> Op + 'static) -> Self {
        Self::new(move |_, _| Box::new(factory()), None)
    }

    /// Runs a keyed function.
    pub fn keyed<S, F>(selector: S, function: F) -> Self
    where
        S: KeySelector<In, Held: 'static>,
        F: KeyedProcessFunction<S::Key, In, Out = Out>,
    {
        let of_record = selector.clone();
        let group_of = move |record: &In| {
            let held = of_record.hold(record);
            group_of_hash(stable_hash(of_record.query(record, &held)), MAX_PARALLELISM)
        };
        let factory = move |share: Share| -> BoxedOperator<In, Out> {
            let (selector, function) = (selector.clone(), function.clone());
            let (id, max) = (OperatorId::from("harness"), MAX_PARALLELISM);
            let range = KeyGroupRange::of_subtask(share.subtask, share.parallelism, max);
            Box::new(KeyedOperator::new(id, range, max, selector, function, SideOutputs::default()).share(share))
        };
        Self { factory: Box::new(factory), spread: Spread::ByGroup(Box::new(group_of)), batches: Vec::new() }
    }

    /// Runs a function that is not keyed. At parallelisms above 1 records are dealt out in turn.
    pub fn process<F: ProcessFunction<In, Out = Out>>(function: F) -> Self {
        let factory = move |share| -> BoxedOperator<In, Out> {
            let id = OperatorId::from("harness");
            Box::new(ProcessOperator::new(id, share, function.clone(), SideOutputs::default()))
        };
        Self { factory: Box::new(factory), spread: Spread::InTurn(Box::new(|_| false)), batches: Vec::new() }
    }

    /// Every subtask gets the records for which `is_broadcast` holds. For functions that are not keyed.
    pub fn broadcast(mut self, is_broadcast: impl Fn(&In) -> bool + 'static) -> Self {
        self.spread = Spread::InTurn(Box::new(is_broadcast));
        self
    }

    /// Adds a batch to the input, or several if there are more records than a batch may have.
    pub fn batch(mut self, records: impl IntoIterator<Item = In>) -> Self {
        let records: Vec<In> = records.into_iter().collect();
        if records.is_empty() {
            self.batches.push(records);
        } else {
            self.batches.extend(records.chunks(BATCH_RECORDS_MAX).map(<[In]>::to_vec));
        }
        self
    }

    /// Runs it in every way with one subtask and compares the whole output.
    ///
    /// # Panics
    /// If an output differs, or the operator breaks its contract.
    pub fn check(&self, expected: impl IntoIterator<Item = Out>) {
        self.check_alone(&expected.into_iter().collect::<Vec<Out>>());
    }

    /// Runs it in every way and compares the output as a whole, whatever its order.
    ///
    /// # Panics
    /// If an output differs, or the operator breaks its contract.
    pub fn check_in_any_order(&self, expected: impl IntoIterator<Item = Out>)
    where
        Out: Ord,
    {
        let sorted = |mut outputs: Vec<Out>| {
            outputs.sort();
            outputs
        };
        let expected = sorted(expected.into_iter().collect());
        for run in ALONE {
            assert_same(run, &sorted(self.run(run, &[1])), &expected);
        }
        if !matches!(self.spread, Spread::Alone) {
            for parallelisms in RESCALED {
                assert_same(Run::Rescaled, &sorted(self.run(Run::Rescaled, parallelisms)), &expected);
            }
        }
    }

    fn check_alone(&self, expected: &[Out]) {
        for run in ALONE {
            assert_same(run, &self.run(run, &[1]), expected);
        }
    }

    /// Runs it in every way and compares the output: as a whole where there is one subtask, key by key where there are
    /// several.
    ///
    /// # Panics
    /// If an output differs, or the operator breaks its contract.
    pub fn check_by<Q: Ord>(&self, key_of: impl Fn(&Out) -> Q, expected: impl IntoIterator<Item = Out>) {
        let expected: Vec<Out> = expected.into_iter().collect();
        self.check_alone(&expected);
        if !matches!(self.spread, Spread::Alone) {
            let by_key = |outputs: Vec<Out>| {
                let mut keys: BTreeMap<Q, Vec<Out>> = BTreeMap::new();
                outputs.into_iter().for_each(|out| keys.entry(key_of(&out)).or_default().push(out));
                keys.into_values().flatten().collect::<Vec<Out>>()
            };
            let expected = by_key(expected);
            for parallelisms in RESCALED {
                assert_same(Run::Rescaled, &by_key(self.run(Run::Rescaled, parallelisms)), &expected);
            }
        }
    }

    /// The elements of a run: the batches as they are, or cut into batches of 1, 2, 3, ... records.
    fn elements(&self, run: Run) -> Vec<Vec<In>> {
        if !matches!(run, Run::RestoredAfterEachElement | Run::Rescaled) {
            return self.batches.clone();
        }
        let mut elements = Vec::new();
        for batch in &self.batches {
            let mut rest = &batch[..];
            while !rest.is_empty() {
                let (element, later) = rest.split_at(rest.len().min(elements.len() % 97 + 1));
                elements.push(element.to_vec());
                rest = later;
            }
        }
        elements
    }

    /// One run, at these parallelisms one after the other.
    fn run(&self, run: Run, parallelisms: &[u32]) -> Vec<Out> {
        let mut outputs = Vec::new();
        let elements = self.elements(run);
        let per_stage = elements.len().div_ceil(parallelisms.len()).max(1);
        let mut subtasks = self.start(parallelisms[0], &[]);
        let mut checkpoint = CheckpointId::NONE;
        for (index, element) in elements.into_iter().enumerate() {
            let stage = index / per_stage;
            if run == Run::RestoredAfterEachElement || index > 0 && index % per_stage == 0 {
                checkpoint = CheckpointId(checkpoint.0 + 1);
                let chunks = save(&mut subtasks, checkpoint);
                subtasks = self.start(parallelisms[stage], &chunks);
            }
            for (subtask, records) in self.route(index, element, parallelisms[stage]).into_iter().enumerate() {
                feed(run, &mut *subtasks[subtask], records, &mut outputs);
            }
        }
        for subtask in &mut subtasks {
            end(run, &mut **subtask, &mut outputs);
        }
        self.check_end_is_kept(run, parallelisms, checkpoint, subtasks);
        outputs
    }

    /// What is restored from after the end does not emit anything again.
    fn check_end_is_kept(
        &self,
        run: Run,
        parallelisms: &[u32],
        checkpoint: CheckpointId,
        mut ended: Vec<BoxedOperator<In, Out>>,
    ) {
        let chunks = save(&mut ended, CheckpointId(checkpoint.0 + 1));
        let mut again = Vec::new();
        for subtask in &mut self.start(parallelisms[0], &chunks) {
            end(run, &mut **subtask, &mut again);
        }
        assert!(again.is_empty(), "{run:?}: emitted again after a restore from after the end: {again:?}");
    }

    /// The records of each subtask. `turn` is where dealing out begins.
    fn route(&self, turn: usize, records: Vec<In>, parallelism: u32) -> Vec<Vec<In>> {
        let mut routed = vec![Vec::new(); parallelism as usize];
        for (turn, record) in (turn..).zip(records) {
            let subtask = match &self.spread {
                Spread::Alone => 0,
                Spread::ByGroup(group_of) => subtask_of_group(group_of(&record), parallelism, MAX_PARALLELISM) as usize,
                Spread::InTurn(is_broadcast) if is_broadcast(&record) => {
                    routed.iter_mut().for_each(|routed| routed.push(record.clone()));
                    continue;
                }
                Spread::InTurn(_) => turn % parallelism as usize,
            };
            routed[subtask].push(record);
        }
        routed
    }

    /// New instances, restored from the chunks if there are any.
    fn start(&self, parallelism: u32, chunks: &[Chunk]) -> Vec<BoxedOperator<In, Out>> {
        let start = |index| {
            let range = KeyGroupRange::of_subtask(index, parallelism, MAX_PARALLELISM);
            let mut operator = (self.factory)(Share { subtask: index, parallelism });
            let owned = chunks.iter().filter(|chunk| match chunk.reference.address.scope {
                StateScope::KeyGroup(group) => range.contains(group),
                StateScope::Subtask(_) => true,
            });
            let owned = owned.map(|chunk| (chunk.reference.address.clone(), chunk.bytes.clone()));
            let sections = RestoredState::from_chunks(owned).take(&OperatorId::from("harness"));
            if let (Some(chunk), Some(state)) = (chunks.first(), operator.stateful()) {
                load(state, sections, chunk.reference.address.checkpoint);
            }
            operator
        };
        (0..parallelism).map(start).collect()
    }
}

fn assert_same<Out: Debug + PartialEq>(run: Run, outputs: &[Out], expected: &[Out]) {
    let different = outputs.iter().zip(expected).position(|(out, expected)| out != expected);
    if let Some(index) = different {
        let (out, expected) = (&outputs[index], &expected[index]);
        panic!("{run:?}: output {index} is {out:?}, expected {expected:?}");
    }
    assert_eq!(outputs.len(), expected.len(), "{run:?}: number of outputs");
}

/// Restores as the engine does: key groups by the operator's loader, then the rest.
fn load(state: &mut dyn Stateful, sections: Vec<RestoredSection>, checkpoint: CheckpointId) {
    let mut groups: BTreeMap<u32, Vec<RestoredSection>> = BTreeMap::new();
    let mut others = Vec::new();
    for section in sections {
        match section.scope {
            StateScope::KeyGroup(group) => groups.entry(group).or_default().push(section),
            StateScope::Subtask(_) => others.push(section),
        }
    }
    if let Some(mut loader) = state.group_loader() {
        for (group, sections) in groups {
            let loaded = loader.load(group, &sections).expect("what an operator wrote it must read");
            state.restore_group(loaded).expect("what its loader read");
        }
    }
    if !others.is_empty() {
        state.restore(others).expect("what an operator wrote it must read");
    }
    state.restored(checkpoint).expect("what an operator wrote fits together");
}

fn save<In: Send + 'static, Out: Send + 'static>(
    subtasks: &mut [BoxedOperator<In, Out>],
    checkpoint: CheckpointId,
) -> Vec<Chunk> {
    let mut chunks = Vec::new();
    for (index, subtask) in subtasks.iter_mut().enumerate() {
        let Some(state) = subtask.stateful() else { continue };
        let mut writer = SnapshotWriter::new(checkpoint, CheckpointId::NONE, index as u32);
        writer.set_operator(&OperatorId::from("harness"));
        let mut progress = state.snapshot(&mut writer).expect("its state must be written");
        while progress == Progress::Suspended {
            let mut budget = RunBudget::start(standing_clock);
            progress = state.continue_snapshot(&mut writer, &mut budget).expect("its state must be written");
        }
        writer.check().expect("each section is written once");
        chunks.extend(writer.finish().0);
    }
    chunks.sort_by(|a, b| a.reference.address.cmp(&b.reference.address));
    chunks
}

/// One batch, until the operator is done with it and its output is taken.
fn feed<In: Send + 'static, Out: Send + 'static>(
    run: Run,
    operator: &mut dyn BatchOperator<In = In, Out = Out>,
    records: Vec<In>,
    outputs: &mut Vec<Out>,
) {
    let now = if run == Run::NoTime { racing_clock } else { standing_clock };
    let counted = records.len();
    let mut input = Batch::counted(records, counted);
    let mut out = Output::new();
    loop {
        let (left, was_full) = (input.len(), out.is_full());
        let progress = operator.process(&mut input, &mut out, &mut RunBudget::start(now)).expect("it must not fail");
        match progress {
            Progress::Done => assert!(input.is_empty(), "{run:?}: done with {} records left", input.len()),
            Progress::Suspended => {
                assert!(input.len() < left || was_full, "{run:?}: suspended without progress, output not full");
            }
        }
        if was_full {
            assert_eq!(input.len(), left, "{run:?}: records were taken while the output was full");
        }
        assert!(input.bytes() <= input.len(), "{run:?}: bytes of records that are gone");
        assert!(!out.has_ended(), "{run:?}: the end is emitted before it has come");
        take(run, progress, &mut out, outputs);
        if progress == Progress::Done {
            return;
        }
    }
}

/// The end of the input, as the engine tells operators of it: once, and again until they are done.
fn end<In: Send + 'static, Out: Send + 'static>(
    run: Run,
    operator: &mut dyn BatchOperator<In = In, Out = Out>,
    outputs: &mut Vec<Out>,
) {
    let now = if run == Run::NoTime { racing_clock } else { standing_clock };
    let mut out = Output::new();
    loop {
        let progress = operator.mark(Mark::End, &mut out, &mut RunBudget::start(now)).expect("it must not fail");
        let has_ended = out.has_ended();
        take(run, progress, &mut out, outputs);
        if progress == Progress::Done {
            assert!(has_ended, "{run:?}: done with the end and has not passed it on");
            return;
        }
    }
}

/// Takes the output: all of it, or one record a call until the operator is done.
fn take<Out>(run: Run, progress: Progress, out: &mut Output<Out>, outputs: &mut Vec<Out>) {
    let one = run == Run::OutputTakesOne && progress == Progress::Suspended;
    while let Some(first) = out.first() {
        if let Emitted::Batch(batch) = first {
            assert!(batch.len() <= BATCH_RECORDS_MAX, "{run:?}: a batch of {} records", batch.len());
            if one && batch.len() > 1 {
                outputs.extend(batch.front(1));
                return;
            }
            outputs.extend(batch.drain());
        }
        out.remove_first();
    }
}
