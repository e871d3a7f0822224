//! One run of an operator, step by step.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;

use millstream_actors::contract::{BATCH_RECORDS_MAX, Batch, Clock, Emitted, Output, Progress, RunBudget};
use millstream_actors::protocol::{CheckpointId, KeyGroupRange, Mark, Timestamp, subtask_of_group};

use super::BoxedOperator;
use super::operator_snapshot::OperatorSnapshot;
use super::side_records::SideRecords;
use crate::operator::{OutputTag, SideOutputs};
use crate::state::Share;
use crate::time::ManualClock;

/// An operator that has been woken so often without the clock moving, and is due still, is due for ever.
const WAKE_UPS_MAX: usize = 1_000_000;

/// There are as many key groups, and so at most as many subtasks.
pub(super) const MAX_PARALLELISM: u32 = 128;

pub(super) type GroupOf<In> = Box<dyn Fn(&In) -> u32>;

/// What an instance of an operator is made with.
pub(super) struct Place {
    pub(super) share: Share,
    pub(super) clock: ManualClock,
    pub(super) side_outputs: SideOutputs,
}

impl Place {
    /// The key groups of its subtask.
    pub(super) fn range(&self) -> KeyGroupRange {
        KeyGroupRange::of_subtask(self.share.subtask, self.share.parallelism, MAX_PARALLELISM)
    }
}

/// How records get to the subtasks.
pub(super) enum Spread<In> {
    /// There is one subtask.
    Alone,
    /// By key group; those that are of none go to every subtask.
    ByGroup(GroupIfAny<In>),
    /// In turn, but for those for which this holds: every subtask gets them.
    InTurn(Box<dyn Fn(&In) -> bool>),
}

/// Tells the key group of a record, if it is of one.
pub(super) type GroupIfAny<In> = Box<dyn Fn(&In) -> Option<u32>>;

/// An operator that can be made anew for each subtask, and who gets which records.
pub(super) struct Subject<In, Out> {
    pub(super) factory: Rc<dyn Fn(Place) -> BoxedOperator<In, Out>>,
    pub(super) spread: Rc<Spread<In>>,
    /// The event time of a record, if records have some.
    pub(super) event_time: Option<EventTimeOf<In>>,
}

/// Tells the event time of a record.
pub(super) type EventTimeOf<In> = Rc<dyn Fn(&In) -> Timestamp>;

impl<In, Out> Clone for Subject<In, Out> {
    fn clone(&self) -> Self {
        let Self { factory, spread, event_time } = self;
        Self { factory: factory.clone(), spread: spread.clone(), event_time: event_time.clone() }
    }
}

/// What the engine may do to an operator while it works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// Leaves it its time, and takes all of its output.
    Free,
    /// Takes one record of its output, and calls it again.
    OutputTakesOne,
    /// Leaves it no time beyond one slice.
    NoTime,
}

thread_local! {
    static CLOCK: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

impl Pace {
    fn budget(self) -> RunBudget {
        /// A clock that gives each slice more than its time.
        fn racing() -> Duration {
            CLOCK.set(CLOCK.get() + Duration::from_secs(1));
            CLOCK.get()
        }
        RunBudget::start_by(Some(if self == Self::NoTime { racing } else { || Duration::ZERO }))
    }
}

/// The subtasks of an operator while a test gives them records, moves their clock, and looks at what they emit.
///
/// [`OperatorHarness::start`](super::OperatorHarness::start) begins one, and
/// [`OperatorHarness::restore`](super::OperatorHarness::restore) goes on from a snapshot. Each call returns when the operator is
/// done with what it was given. Follows Flink's `OneInputStreamOperatorTestHarness`.
///
/// ```
/// use std::time::Duration;
///
/// use millstream::operator::ByValue;
/// use millstream::prelude::*;
/// use millstream::testing::OperatorHarness;
///
/// /// Lets a user in, and at most once an hour: others are turned away.
/// #[derive(Clone)]
/// struct OnceAnHour(OutputTag<u32>);
///
/// impl KeyedProcessFunction<u32, u32> for OnceAnHour {
///     type Out = u32;
///     type State = Expiring<ValueState<bool>>;
///
///     fn state(&self) -> Self::State {
///         ValueState::new("was here").with_ttl(StateTtl::processing_time(Duration::from_secs(3600)))
///     }
///
///     fn process(
///         &mut self,
///         user: u32,
///         mut was_here: Row<'_, Self, u32, u32>,
///         _: &mut KeyedContext<'_, u32>,
///         out: &mut Emitter<'_, u32>,
///     ) {
///         if was_here.get().is_some() {
///             out.emit_to(&self.0, user);
///         } else {
///             was_here.set(true);
///             out.emit(user);
///         }
///     }
/// }
///
/// let turned_away = OutputTag::new("turned away");
/// let door = OnceAnHour(turned_away.clone());
/// let mut run = OperatorHarness::keyed(ByValue::new(|user: &u32| *user), door).start(1);
///
/// run.feed([1, 2]);
/// run.advance(Duration::from_secs(1800));
/// run.feed([2, 3]);
/// assert_eq!(run.take_output(), [1, 2, 3]);
/// assert_eq!(run.take_side_output(&turned_away), [2]);
///
/// run.advance(Duration::from_secs(1800));
/// run.feed([1, 3]);
/// assert_eq!(run.take_output(), [1], "an hour is over for 1, and not for 3");
/// assert_eq!(run.take_side_output(&turned_away), [3]);
/// ```
pub struct OperatorRun<In, Out> {
    subject: Subject<In, Out>,
    pace: Pace,
    clock: ManualClock,
    subtasks: Vec<BoxedOperator<In, Out>>,
    outputs: Vec<Out>,
    sides: SideRecords,
    /// How many records have been fed: with which subtask dealing out goes on.
    fed: usize,
    /// The newest snapshot.
    checkpoint: CheckpointId,
    watermark: Timestamp,
    has_ended: bool,
}

impl<In: Clone + Send + 'static, Out: Send + 'static> OperatorRun<In, Out> {
    /// New instances, with the state of the snapshot if there is one.
    pub(super) fn new(
        subject: Subject<In, Out>,
        pace: Pace,
        parallelism: u32,
        snapshot: Option<&OperatorSnapshot>,
    ) -> Self {
        let clock = snapshot.map_or_else(ManualClock::new, |snapshot| ManualClock::starting_at(snapshot.unix_ms));
        let mut run = Self {
            subject,
            pace,
            clock,
            subtasks: Vec::new(),
            outputs: Vec::new(),
            sides: SideRecords::default(),
            fed: 0,
            checkpoint: CheckpointId::NONE,
            watermark: Timestamp::MIN,
            has_ended: false,
        };
        run.renew(parallelism, snapshot);
        run.wake_due();
        run
    }

    /// Puts new instances in place of those there are.
    fn renew(&mut self, parallelism: u32, snapshot: Option<&OperatorSnapshot>) {
        assert!((1..=MAX_PARALLELISM).contains(&parallelism), "{parallelism} subtasks: from 1 to {MAX_PARALLELISM}");
        let is_alone = matches!(*self.subject.spread, Spread::Alone);
        assert!(
            !is_alone || parallelism == 1,
            "an operator that is neither keyed nor a process function has one subtask"
        );
        let start = |subtask| {
            let share = Share { subtask, parallelism };
            let place = Place { share, clock: self.clock.clone(), side_outputs: self.sides.outputs() };
            let range = place.range();
            let mut operator = (self.subject.factory)(place);
            // When it is due is asked after each step in any case.
            operator.attach(Waker::noop().clone());
            if let Some(snapshot) = snapshot {
                snapshot.restore(range, &mut *operator);
            }
            operator
        };
        self.subtasks = (0..parallelism).map(start).collect();
        self.checkpoint = snapshot.map_or(self.checkpoint, |snapshot| snapshot.checkpoint);
    }

    /// Takes a snapshot and goes on, after this time, in instances that are restored from it, at this parallelism: as in another
    /// process, whose clock has another origin. They are given the last watermark again, as a restored source says it before its
    /// first record.
    pub(super) fn go_on_restored(&mut self, parallelism: u32, after: Duration) {
        let snapshot = self.snapshot();
        let within_the_ms = Duration::from_nanos(u64::from(self.clock.now().subsec_nanos() % 1_000_000));
        self.clock = ManualClock::starting_at(snapshot.unix_ms);
        self.clock.advance(within_the_ms + after);
        self.renew(parallelism, Some(&snapshot));
        self.has_ended = false;
        if self.watermark > Timestamp::MIN {
            self.mark(Mark::Watermark(self.watermark));
        }
        self.wake_due();
    }

    /// Gives the operator records, in this order: as one batch for each subtask, or several if there are more records than a
    /// batch may have. Those of a keyed operator go to the subtasks of their keys, others are dealt out in turn.
    ///
    /// # Panics
    /// If the function does, if its task would fail, if the operator breaks its contract, or after the end of input.
    pub fn feed(&mut self, records: impl IntoIterator<Item = In>) {
        assert!(!self.has_ended, "records after the end of input");
        self.wake_due();
        let records: Vec<In> = records.into_iter().collect();
        let batches = records.chunks(BATCH_RECORDS_MAX).map(<[In]>::to_vec);
        let empty = records.is_empty().then(Vec::new);
        for batch in batches.chain(empty) {
            for (subtask, records) in self.route(batch).into_iter().enumerate() {
                self.process(subtask, records);
            }
            self.wake_due();
        }
    }

    /// The clock by which values expire and that contexts show: it stands still until it is moved, by
    /// [`advance`](Self::advance). An operator has not noticed yet that a test has moved it otherwise: it is woken before the
    /// next element.
    pub fn clock(&self) -> &ManualClock {
        &self.clock
    }

    /// Moves the clock forward, in one jump, and wakes each subtask that wants to be woken by then
    /// ([`BatchOperator::due`](crate::operator::BatchOperator::due)). What has expired is seen by the next record.
    ///
    /// # Panics
    /// As [`feed`](Self::feed), and if an operator wants to be woken for ever.
    pub fn advance(&mut self, by: Duration) {
        self.clock.advance(by);
        self.wake_due();
    }

    /// Moves event time forward, in milliseconds of the Unix epoch: what lives for a time by it expires.
    ///
    /// # Panics
    /// If it would move backwards, and as [`feed`](Self::feed).
    pub fn watermark(&mut self, to: Timestamp) {
        assert!(to >= self.watermark, "a watermark of {to} after one of {}", self.watermark);
        self.wake_due();
        self.watermark = to;
        self.mark(Mark::Watermark(to));
        self.wake_due();
    }

    /// Ends the input: [`end_of_input`](crate::keyed::KeyedProcessFunction::end_of_input) of a function is called. An operator that holds
    /// the end back is woken until it passes it on; the clock moves to where it wants to be woken.
    ///
    /// # Panics
    /// If it has ended, if the end is held back and nothing is due that would pass it on, and as [`feed`](Self::feed).
    pub fn end_of_input(&mut self) {
        assert!(!self.has_ended, "the input has ended before");
        self.wake_due();
        for subtask in 0..self.subtasks.len() {
            let mut has_ended = self.mark_one(subtask, Mark::End);
            while !has_ended {
                let due = self.subtasks[subtask].due();
                let due = due.expect("the end is held back, and nothing is due that would pass it on");
                self.clock.advance(due.saturating_sub(self.clock.now()));
                has_ended = self.wake(subtask, true);
            }
        }
        self.has_ended = true;
    }

    /// Takes what was emitted to the main output since the last call: in the order of emission, for each record fed; of what
    /// was fed together subtask by subtask.
    pub fn take_output(&mut self) -> Vec<Out> {
        std::mem::take(&mut self.outputs)
    }

    /// Takes what was emitted to a side output since the last call, in the order of emission.
    ///
    /// # Panics
    /// If records of another type were emitted under the tag's name.
    pub fn take_side_output<T: Send + 'static>(&mut self, tag: &OutputTag<T>) -> Vec<T> {
        self.sides.take(tag)
    }

    /// Writes the state down, as at a checkpoint. The run may go on.
    ///
    /// # Panics
    /// If the state is refused: it could not be read back.
    pub fn snapshot(&mut self) -> OperatorSnapshot {
        self.checkpoint = CheckpointId(self.checkpoint.0 + 1);
        OperatorSnapshot::take(&mut self.subtasks, self.checkpoint, self.clock.unix_ms())
    }

    pub(super) fn sides(&self) -> &SideRecords {
        &self.sides
    }

    /// The records of each subtask.
    fn route(&mut self, records: Vec<In>) -> Vec<Vec<In>> {
        let parallelism = self.subtasks.len();
        let mut routed = vec![Vec::new(); parallelism];
        for record in records {
            let subtask = match &*self.subject.spread {
                Spread::Alone => Some(0),
                Spread::ByGroup(group_of) => {
                    let subtask = |group| subtask_of_group(group, parallelism as u32, MAX_PARALLELISM) as usize;
                    group_of(&record).map(subtask)
                }
                Spread::InTurn(is_broadcast) => (!is_broadcast(&record)).then_some(self.fed % parallelism),
            };
            let Some(subtask) = subtask else {
                routed.iter_mut().for_each(|routed| routed.push(record.clone()));
                continue;
            };
            self.fed += 1;
            routed[subtask].push(record);
        }
        routed
    }

    /// One batch, until the operator is done with it and its output is taken.
    fn process(&mut self, subtask: usize, records: Vec<In>) {
        let Self { subject, subtasks, outputs, pace, .. } = self;
        let counted = records.len();
        let mut input = Batch::counted(records, counted);
        if let Some(event_time) = &subject.event_time {
            input.set_times(|record, _| event_time(record));
        }
        let mut out = Output::new();
        loop {
            let (left, was_full) = (input.len(), out.is_full());
            let processed = subtasks[subtask].process(&mut input, &mut out, &mut pace.budget());
            let progress = processed.unwrap_or_else(|error| panic!("the task fails: {error}"));
            match progress {
                Progress::Done => assert!(input.is_empty(), "{pace:?}: done with {} records left", input.len()),
                Progress::Suspended => {
                    assert!(input.len() < left || was_full, "{pace:?}: suspended without progress, output not full");
                }
            }
            if was_full {
                assert_eq!(input.len(), left, "{pace:?}: records were taken while the output was full");
            }
            assert!(input.bytes() <= input.len(), "{pace:?}: bytes of records that are gone");
            assert!(!out.has_ended(), "{pace:?}: the end is emitted before it has come");
            pace.take(progress, &mut out, outputs);
            if progress == Progress::Done {
                return;
            }
        }
    }

    /// Wakes what has come due, as the engine does, unless the input has ended.
    fn wake_due(&mut self) {
        for subtask in 0..self.subtasks.len() {
            let mut wake_ups = 0;
            let is_due = |run: &Self| run.subtasks[subtask].due().is_some_and(|at| at <= run.clock.now());
            while !self.has_ended && is_due(self) {
                wake_ups += 1;
                assert!(wake_ups <= WAKE_UPS_MAX, "the operator is due still after {WAKE_UPS_MAX} wake-ups");
                self.wake(subtask, false);
            }
        }
    }

    /// Whether it passed the end on, which it may do only if that has come.
    fn wake(&mut self, subtask: usize, end_has_come: bool) -> bool {
        let Self { subtasks, outputs, pace, .. } = self;
        let (mut out, mut has_ended) = (Output::new(), false);
        loop {
            let full_of = out.is_full().then(|| out.len());
            let woken = subtasks[subtask].wake(&mut out, &mut pace.budget());
            let progress = woken.unwrap_or_else(|error| panic!("the task fails: {error}"));
            let was_full = full_of.is_some_and(|records| records < out.len());
            assert!(!was_full, "{pace:?}: woken, it emitted while the output was full");
            assert!(end_has_come || !out.has_ended(), "{pace:?}: the end is emitted before it has come");
            has_ended |= out.has_ended();
            pace.take(progress, &mut out, outputs);
            if progress == Progress::Done {
                return has_ended;
            }
        }
    }

    /// A mark that is not the end, for all subtasks.
    fn mark(&mut self, mark: Mark) {
        for subtask in 0..self.subtasks.len() {
            let has_ended = self.mark_one(subtask, mark);
            assert!(!has_ended, "{:?}: the end is passed on with {mark:?}", self.pace);
        }
    }

    /// A mark, as the engine tells an operator of it: once, and again until it is done. Whether that passed the end on.
    fn mark_one(&mut self, subtask: usize, mark: Mark) -> bool {
        let Self { subtasks, outputs, pace, .. } = self;
        let mut out = Output::new();
        loop {
            let marked = subtasks[subtask].mark(mark, &mut out, &mut pace.budget());
            let progress = marked.unwrap_or_else(|error| panic!("the task fails: {error}"));
            let has_ended = out.has_ended();
            pace.take(progress, &mut out, outputs);
            if progress == Progress::Done {
                return has_ended;
            }
        }
    }
}

impl Pace {
    /// Takes the output: all of it, or one record a call until the operator is done.
    fn take<Out>(self, progress: Progress, out: &mut Output<Out>, outputs: &mut Vec<Out>) {
        let one = self == Self::OutputTakesOne && progress == Progress::Suspended;
        while let Some(first) = out.first() {
            if let Emitted::Batch(batch) = first {
                assert!(batch.len() <= BATCH_RECORDS_MAX, "{self:?}: a batch of {} records", batch.len());
                if one && batch.len() > 1 {
                    outputs.extend(batch.front(1));
                    return;
                }
                outputs.extend(batch.drain());
            }
            out.remove_first();
        }
    }
}

impl<In, Out> fmt::Debug for OperatorRun<In, Out> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (subtasks, has_ended) = (self.subtasks.len(), self.has_ended);
        write!(f, "OperatorRun({subtasks} subtasks, {} records fed, ended: {has_ended})", self.fed)
    }
}
