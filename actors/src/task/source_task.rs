//! The source task: reads a source, runs the operators chained to it, and emits barriers when asked.
//!
//! Receives `RequestBarrier` from the coordinator, `BeginReading`, `SetPaused`, `StopReading`, `FinishInput` from its supervisors (all in
//! `handlers.rs`), [`ReturnCredit`](crate::data::edge::ReturnCredit) from the tasks behind it, what its connector's thread
//! reports, and what every task does (`stepper.rs`). Sends batches, snapshots and acknowledgements, and [`SourceHalted`]
//! once it reads no more. A restart loses what was read since the restored checkpoint, and reads it again.

mod factory;
mod handlers;
mod reads;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use actix::{AsyncContext, Context, Recipient};

use crate::contract::{
    Batch, Hold, OperatorCounters, Progress, ReadStatus, RunBudget, SectionWriter, Source, SourceContext, SourceTime,
    SourceWaker, SplitPosition, SplitRead, StateError, Step,
};
use crate::data::pipeline::{GroupLoaders, LoadedState};
use crate::protocol::{AckFacts, Barrier, CheckpointId, Mark, OperatorId, ReadPortion, SourceState, TaskError};
use crate::runtime::guard::noting;
use crate::task::alarm::{Alarm, Due};
use crate::task::lists::{read_lists, write_list};
use crate::task::operators::{Given, Operators, Outcome, WithOperators};
use crate::task::queries::Queried;
use crate::task::source_history::SourceHistory;
use crate::task::source_reading::{self, Positions, ReadResult, ReaderReports, Reading};
use crate::task::stepper::{Stepped, Stepper, Task, Work};
use crate::task::{CheckpointComplete, SourceHalted, SubtaskContext};

pub use factory::SourceTaskFactory;
use handlers::Wake;
use reads::Reads;

/// The state under which a source's positions are stored.
const POSITIONS: &str = "positions";

/// See the module's documentation.
struct SourceWork<S: Source> {
    source: Arc<S>,
    ids: Vec<OperatorId>,
    counters: Arc<OperatorCounters>,
    operators: Operators<Box<Batch<S::Item>>>,
    reading: Option<Reading<S::Item>>,
    portion: ReadPortion,
    /// What the stream says behind the records that were read last.
    marks: VecDeque<Mark>,
    positions: Positions,
    history: SourceHistory,
    phase: Phase,
    /// The job is paused: nothing is read in any phase.
    is_paused: bool,
    time: SourceTime,
    /// The input has ended, and that is to be said.
    is_ending: bool,
    /// Told to act as if the input ended once this many records are read.
    finish_after: Option<u64>,
    /// The last read found nothing, and the connector's thread was not told to look again.
    read_nothing: bool,
    /// Woken while the connector's thread was reading: it may have looked before there was something to find.
    woken_meanwhile: bool,
    requested: Option<Barrier>,
    last_barrier: CheckpointId,
    reads: Reads,
}

/// What a source task waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Its state, its reader, or the order to begin.
    Opening,
    /// Nothing: it reads.
    Reading,
    /// Its reader has nothing: the alarm or a wake-up.
    Idle {
        /// The stream counts as idle.
        counts: bool,
        /// The reader has said when to look again.
        retries: bool,
    },
    /// The job's end: told to stop reading.
    Stopped,
    /// The job's end: its input has ended.
    Ended,
}

impl<S: Source> SourceWork<S> {
    fn new(
        source: Arc<S>,
        ids: Vec<OperatorId>,
        operators: Operators<Box<Batch<S::Item>>>,
        cx: &SubtaskContext,
    ) -> Self {
        Self {
            source,
            counters: cx.info.counters.operator(&ids[0]),
            ids,
            operators,
            reading: None,
            portion: ReadPortion::new(&cx.info.limits),
            marks: VecDeque::new(),
            positions: Positions::default(),
            history: SourceHistory::default(),
            phase: Phase::Opening,
            is_paused: false,
            time: SourceTime::starting(cx.behind.clone()),
            is_ending: false,
            finish_after: None,
            read_nothing: false,
            woken_meanwhile: false,
            requested: None,
            last_barrier: CheckpointId::NONE,
            reads: Reads::default(),
        }
    }

    fn give(&mut self, stepper: &mut Stepper, given: Given<Box<Batch<S::Item>>>) -> Result<Stepped, TaskError> {
        let outcome = self.operate(stepper, |operators, budget| operators.give(given, budget))?;
        self.given(stepper, outcome)
    }

    /// Lets the operators work. If that fails, and the reader is not on a thread of its own, this says where it has read.
    fn operate<R>(
        &mut self,
        stepper: &mut Stepper,
        work: impl FnOnce(&mut Operators<Box<Batch<S::Item>>>, &mut RunBudget) -> Result<R, TaskError>,
    ) -> Result<R, TaskError> {
        let Self { operators, reading, positions, source, ids, .. } = self;
        let (budget, exit) = (&mut stepper.budget, &stepper.exit);
        noting(
            || work(operators, budget),
            || {
                if let Some(Reading::Inline { reader, .. }) = reading {
                    let mut moved = source_reading::moved_of(&mut **reader).positions;
                    if let Some(SplitRead { split, .. }) = reader.last_read() {
                        moved.retain(|position| position.split == split);
                    }
                    exit.read_at(positions.ranges_to(&moved, source, &ids[0]));
                }
            },
        )
    }

    fn given(&mut self, stepper: &mut Stepper, outcome: Outcome<Box<Batch<S::Item>>>) -> Result<Stepped, TaskError> {
        match outcome {
            Outcome::Taken(Given::Batch { batch, .. }) => return self.batch_taken(stepper, batch),
            Outcome::Taken(Given::Mark(Mark::End)) => {
                self.counters.watermark_out.follow(Mark::End);
                self.is_ending = false;
                if let Some(reading) = &mut self.reading {
                    reading.ended();
                }
                self.halt(stepper, Phase::Ended, SourceState::Ended);
                self.time.ended(stepper.cx.info.clock.now());
            }
            Outcome::Taken(Given::Mark(mark)) => self.counters.watermark_out.follow(mark),
            Outcome::Taken(Given::WakeUp { .. }) => {
                // A source that reads sends it with what it reads, or when its thread is behind.
                if self.phase != Phase::Reading {
                    self.operators.pipeline.flush();
                }
                return Ok(Stepped::OutOfTime);
            }
            Outcome::Suspended(stepped) => return Ok(stepped),
        }
        Ok(Stepped::On)
    }

    /// Whether it reads now.
    fn reads_now(&self) -> bool {
        self.phase == Phase::Reading && !self.is_paused
    }

    fn batch_taken(&mut self, stepper: &mut Stepper, batch: Box<Batch<S::Item>>) -> Result<Stepped, TaskError> {
        match &mut self.reading {
            Some(Reading::Inline { spare, .. }) => *spare = batch,
            Some(Reading::Ahead(ahead))
                if self.phase == Phase::Reading && !self.is_paused && !self.is_ending && !self.read_nothing =>
            {
                ahead.give(batch, self.portion.records());
                ahead.refill(stepper.cx.info.limits.read_ahead.max(1), self.portion.records());
            }
            _ => {}
        }
        if let Phase::Idle { counts, .. } = self.phase {
            self.operators.pipeline.flush();
            if counts {
                self.marks.push_back(Mark::Idle);
            }
        }
        Ok(Stepped::On)
    }

    fn read(&mut self, stepper: &mut Stepper) -> Result<Stepped, TaskError> {
        let since = stepper.step_began();
        let records = self.portion.records();
        let read = self.reading.as_mut().map_or(Ok(None), |reading| reading.next(records))?;
        let Some(read) = read else { return Ok(Stepped::Starved) };
        let ReadResult { batch, side, marks, tells_idleness, moved, status } = read;
        self.note_read(stepper, &moved.positions);
        self.positions.update(moved);
        stepper.takes_batch(&batch);
        match status {
            // The thread may have found records after it had said that there were none.
            ReadStatus::More => self.read_nothing = false,
            ReadStatus::Idle { retry_after } => self.idle(stepper, retry_after, tells_idleness),
            ReadStatus::End => self.is_ending = true,
        }
        self.end_if_finished(stepper.records_in());
        self.counters.count_read(batch.len(), batch.bytes(), self.operators.pipeline.push_side_records(side)?);
        self.marks.extend(marks);
        let records = batch.len();
        self.operators.begin(since, records);
        self.give(stepper, Given::Batch { channel: 0, records, batch })
    }

    /// Keeps what says where the batch was read, should it fail a function. Known where the reader is on a thread of its own;
    /// any other is asked when something has failed.
    fn note_read(&self, stepper: &Stepper, moved: &[SplitPosition]) {
        if !moved.is_empty() {
            stepper.exit.read_at(self.positions.ranges_to(moved, &self.source, &self.ids[0]));
        }
    }

    /// Ends the input if that was asked for, and what failed attempts had read is read again, or cannot be. A source that ends
    /// by itself then is read until it has.
    fn end_if_finished(&mut self, records_in: u64) {
        if self.source.ends_on_finish() {
            return;
        }
        let reads_on = matches!(self.phase, Phase::Opening | Phase::Reading | Phase::Idle { retries: true, .. });
        if self.finish_after.is_some_and(|records| records_in >= records || !reads_on) {
            self.is_ending = true;
        }
    }

    /// Tells a reader that has just been opened, or when it was open, that the job is about to end.
    fn tell_end(&mut self) {
        let Some(reading) = &mut self.reading else { return };
        if self.phase == Phase::Stopped {
            reading.stopped();
        } else if self.finish_after.is_some() && self.source.ends_on_finish() {
            reading.finish();
        }
    }

    /// Reads on to the input's end, though it was told to stop: the job finishes after all.
    fn read_on(&mut self, stepper: &mut Stepper) {
        self.halt(stepper, Phase::Reading, SourceState::Reading);
        self.time.release(Hold::Stopped, stepper.cx.info.clock.now());
        self.tell_end();
        self.wake(stepper);
    }

    /// Goes on to a phase of which the coordinator is told.
    fn halt(&mut self, stepper: &Stepper, phase: Phase, state: SourceState) {
        self.phase = phase;
        let (execution, subtask) = (stepper.cx.info.execution, stepper.cx.info.subtask);
        stepper.cx.reports.halted.do_send(SourceHalted { execution, subtask, state });
    }

    /// The reader had nothing. What its thread found since it said so comes first.
    fn idle(&mut self, stepper: &mut Stepper, retry_after: Option<Duration>, tells_idleness: bool) {
        if let Some(Reading::Ahead(ahead)) = &self.reading
            && !ahead.is_at_rest()
        {
            self.read_nothing = true;
            return;
        }
        if std::mem::take(&mut self.woken_meanwhile) {
            self.read_nothing = false;
            return self.fill_read_ahead(stepper);
        }
        let retries = retry_after.is_some();
        self.phase = Phase::Idle { counts: !retries && !tells_idleness, retries };
        if let Some(delay) = retry_after {
            stepper.alarm.set(Due::Read, delay);
        }
    }

    fn wake(&mut self, stepper: &mut Stepper) {
        stepper.alarm.clear(Due::Read);
        if let Phase::Idle { .. } = self.phase {
            self.phase = Phase::Reading;
        }
        self.read_nothing = false;
        self.woken_meanwhile = matches!(&self.reading, Some(Reading::Ahead(ahead)) if !ahead.is_at_rest());
        self.fill_read_ahead(stepper);
    }

    fn fill_read_ahead(&mut self, stepper: &Stepper) {
        if let (true, Some(Reading::Ahead(ahead))) = (self.reads_now(), &mut self.reading)
            && !self.is_ending
        {
            ahead.refill(stepper.cx.info.limits.read_ahead.max(1), self.portion.records());
        }
    }

    /// Asks a reader that is not on a thread of its own for its positions.
    fn update_positions(&mut self) {
        if let Some(Reading::Inline { reader, .. }) = &mut self.reading {
            self.positions.update(source_reading::moved_of(&mut **reader));
        }
    }

    /// Takes the positions at the barrier; the state of the operators is written in slices.
    fn checkpoint(&mut self, stepper: &mut Stepper, barrier: Barrier) {
        if barrier.checkpoint <= self.last_barrier {
            return;
        }
        self.last_barrier = barrier.checkpoint;
        let state = match self.phase {
            Phase::Opening | Phase::Reading | Phase::Idle { .. } => SourceState::Reading,
            Phase::Stopped => SourceState::Stopped,
            Phase::Ended => SourceState::Ended,
        };
        let (source, records_in, barrier_at) = (Some(state), stepper.records_in(), stepper.cx.info.clock.now());
        let facts = AckFacts { source, records_in, barrier_at, ..AckFacts::default() };
        self.update_positions();
        let Self { ids, operators, positions, history, .. } = self;
        operators.barrier(stepper, barrier, facts, |writer| {
            let list = positions.to_list();
            write_list(writer, &ids[0], POSITIONS, &list)?;
            history.barrier(barrier.checkpoint, list);
            Ok(())
        });
    }
}

impl<S: Source> Work for SourceWork<S> {
    fn operators(&self) -> Vec<OperatorId> {
        self.ids.clone()
    }

    fn group_loaders(&mut self) -> GroupLoaders {
        self.operators.pipeline.group_loaders()
    }

    /// Gives the chained operators their state and opens the reader at the restored positions.
    fn open(
        &mut self,
        stepper: &mut Stepper,
        loaded: Option<LoadedState>,
        ctx: &mut Context<Task<Self>>,
    ) -> Result<bool, TaskError> {
        let (mut positions, mut restored) = (None, CheckpointId::NONE);
        if let Some(mut state) = loaded {
            restored = state.checkpoint;
            let source = &self.ids[0];
            let sections = state.sections.take(source);
            // A source that the checkpoint does not know starts from the beginning.
            if !sections.is_empty() {
                positions = Some(read_lists::<SplitPosition>(source, POSITIONS, sections)?);
            }
            self.operators.pipeline.restore(&mut state)?;
            stepper.cx.reached(Step::Restored);
        }
        let wake: Recipient<Wake> = ctx.address().recipient();
        let info = &stepper.cx.info;
        let context = SourceContext {
            job: info.job.clone(),
            operator: self.ids[0].clone(),
            subtask_index: info.subtask.index,
            parallelism: info.parallelism,
            clock: info.clock.clone(),
            waker: SourceWaker::new(move || wake.do_send(Wake)),
            event_times: info.event_times.clone(),
            counters: self.counters.clone(),
            time: self.time.clone(),
        };
        if let Some(positions) = &positions {
            let owned = positions.iter().filter(|position| context.owns(&position.split)).cloned().collect();
            self.history.restored(restored, owned);
        }
        let reports = ReaderReports { events: ctx.address().recipient(), panicked: ctx.address().recipient() };
        let reading =
            source_reading::open(&self.source, context, positions, (&stepper.cx.fence, &stepper.exit), reports)?;
        let is_open = matches!(reading, Reading::Inline { .. });
        self.reading = Some(reading);
        self.tell_end();
        self.update_positions();
        Ok(is_open)
    }

    fn step(&mut self, stepper: &mut Stepper) -> Result<Stepped, TaskError> {
        if let Some(outcome) = self.operate(stepper, Operators::resume)? {
            return self.given(stepper, outcome);
        }
        if let Some(mark) = self.marks.pop_front() {
            return self.give(stepper, Given::Mark(mark));
        }
        if self.is_ending {
            return self.give(stepper, Given::Mark(Mark::End));
        }
        if let Some(barrier) = self.requested.take() {
            self.checkpoint(stepper, barrier);
            return Ok(Stepped::On);
        }
        if let Some(mark) = self.asked_for() {
            return self.give(stepper, Given::Mark(mark));
        }
        let reads = self.reads_now();
        if self.operators.pipeline.is_blocked() {
            return Ok(if reads { Stepped::Blocked } else { Stepped::Idle });
        }
        if let Some((took, records)) = self.operators.gone_on(stepper.step_began()) {
            self.portion.gone_on(took, records);
        }
        if let Some(wake_up) = self.operators.wake_up(&stepper.cx) {
            return self.give(stepper, wake_up);
        }
        match self.phase {
            Phase::Reading if reads => self.read(stepper),
            // What it has in its hands need not wait for what comes after the pause.
            Phase::Reading => Ok(Stepped::Starved),
            _ => Ok(Stepped::Idle),
        }
    }

    /// The connector's thread is behind: what was read so far need not wait for more.
    fn drained(&mut self, _: &mut Stepper) -> Result<(), TaskError> {
        self.operators.drained();
        Ok(())
    }

    fn can_be_asked(task: &Task<Self>, ctx: &Context<Task<Self>>) {
        task.open_for_reads(ctx);
    }

    fn queried(&mut self) -> Option<&mut dyn Queried> {
        Some(&mut self.operators.pipeline)
    }

    fn write_slice(&mut self, writer: &mut SectionWriter, slice: &mut RunBudget) -> Result<Progress, StateError> {
        self.operators.pipeline.continue_snapshot(writer, slice)
    }

    fn give_up_snapshot(&mut self) {
        self.operators.pipeline.abandon_snapshot();
    }

    fn set_alarm(&self, alarm: &mut Alarm) {
        self.operators.set_alarm(alarm);
    }

    fn due(&mut self, stepper: &mut Stepper, due: Due) -> Result<(), TaskError> {
        if due == Due::Operators {
            self.operators.come_due()
        } else {
            self.wake(stepper)
        }
        Ok(())
    }

    fn batches_sent(&self) -> u64 {
        self.operators.pipeline.batches_sent()
    }

    fn is_held_up(&self) -> bool {
        self.reads_now() && self.operators.pipeline.is_blocked()
    }

    fn complete(&mut self, _: &mut Stepper, complete: CheckpointComplete) -> Result<(), TaskError> {
        let Some(completed) = self.history.complete(complete.checkpoint, complete.oldest) else { return Ok(()) };
        match &mut self.reading {
            Some(Reading::Inline { reader, .. }) => reader.checkpoint_completed(&completed)?,
            Some(Reading::Ahead(ahead)) => ahead.completed(completed),
            None => {}
        }
        Ok(())
    }

    fn aborted(&mut self, checkpoint: CheckpointId) {
        self.history.aborted(checkpoint);
        self.last_barrier = self.last_barrier.max(checkpoint);
        self.requested = self.requested.filter(|barrier| barrier.checkpoint > checkpoint);
    }
}

impl<S: Source> WithOperators for SourceWork<S> {
    type Batch = Box<Batch<S::Item>>;

    fn operators_mut(&mut self) -> &mut Operators<Box<Batch<S::Item>>> {
        &mut self.operators
    }
}
