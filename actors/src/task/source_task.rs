//! The source task: reads a source, runs the operators chained to it, and emits barriers when asked.
//!
//! Receives [`RequestBarrier`], [`CheckpointComplete`], [`CheckpointAborted`] from the coordinator, [`BeginReading`],
//! [`StopReading`], [`FinishInput`], [`StopSubtask`] from its supervisors, [`ReturnCredit`] from the tasks behind it,
//! and what its connector's thread reports. Sends batches, snapshots and acknowledgements, and [`SourceHalted`] once it
//! reads no more. A restart loses what was read since the restored checkpoint, and reads it again.

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Recipient, SpawnHandle, WrapFuture};
use actix_rt::ArbiterHandle;

use crate::contract::{
    Batch, Progress, ReadStatus, RunBudget, SnapshotWriter, Source, SourceContext, SourceWaker, SplitPosition, Step,
};
use crate::data::edge::ReturnCredit;
use crate::data::pipeline::{GroupLoaders, Pipeline, PipelineBuilder, PipelineFactory};
use crate::data::wiring::{InputWiring, OutputWiring};
use crate::protocol::{AckFacts, Barrier, CheckpointId, OperatorId, SourceState, TaskError, Timestamp};
use crate::runtime::connector_thread::ConnectorPanicked;
use crate::runtime::guard::{ExitSlot, start_guarded};
use crate::runtime::pacing::{Paced, Pacing, when_drained, yield_then_run};
use crate::runtime::time::monotonic;
use crate::task::lists::{read_lists, write_list};
use crate::task::loading::{Loaded, Loading, start_loading};
use crate::task::snapshots::{Snapshots, Written};
use crate::task::source_reading::{self, Phase, Positions, ReaderEvent, ReaderReports, Reading, Wake};
use crate::task::{
    BeginReading, CheckpointAborted, CheckpointComplete, ChunksStored, FinishInput, RequestBarrier, RestoreFigures,
    SourceAddress, SourceHalted, StartedSubtask, StopReading, StopSubtask, SubtaskAddress, SubtaskContext,
    SubtaskReady, TaskFactory,
};

/// The state under which a source's positions are stored.
const POSITIONS: &str = "positions";

/// Starts source tasks.
pub struct SourceTaskFactory<S: Source> {
    source: Arc<S>,
    /// The source first, then the operators chained to it.
    operators: Vec<OperatorId>,
    pipeline: Arc<dyn PipelineFactory<S::Item>>,
}

impl<S: Source> SourceTaskFactory<S> {
    /// A factory of tasks that read `source` and run the operators built by `pipeline`. `operators` names the source
    /// first.
    pub fn new(source: Arc<S>, operators: Vec<OperatorId>, pipeline: impl PipelineFactory<S::Item>) -> Self {
        Self { source, operators, pipeline: Arc::new(pipeline) }
    }
}

impl<S: Source> TaskFactory for SourceTaskFactory<S> {
    fn start(
        &self,
        cx: SubtaskContext,
        arbiter: &ArbiterHandle,
        _: InputWiring,
        outputs: Vec<OutputWiring>,
    ) -> StartedSubtask {
        let guard = cx.guard();
        let subtask = cx.info.subtask;
        let (source, operators, factory) = (self.source.clone(), self.operators.clone(), self.pipeline.clone());
        let address = start_guarded(arbiter, guard, move |ctx, exit| {
            cx.reached(Step::Starting);
            let builder = PipelineBuilder::new(&cx.info, outputs, ctx.address().recipient());
            let pipeline = factory.build(builder);
            let snapshots = Snapshots::new(ctx.address().recipient());
            SourceTask::new(source, cx, exit, operators, pipeline, snapshots)
        });
        StartedSubtask {
            address: SubtaskAddress {
                subtask,
                stop: address.clone().recipient(),
                complete: address.clone().recipient(),
                aborted: address.clone().recipient(),
                source: Some(SourceAddress {
                    barrier: address.clone().recipient(),
                    begin: address.clone().recipient(),
                    stop_reading: address.clone().recipient(),
                    finish: address.recipient(),
                }),
                is_sink: false,
            },
            port: None,
        }
    }
}

/// See the module's documentation.
struct SourceTask<S: Source> {
    source: Arc<S>,
    cx: SubtaskContext,
    exit: ExitSlot,
    operators: Vec<OperatorId>,
    pipeline: Pipeline<S::Item>,
    snapshots: Snapshots,
    reading: Option<Reading<S::Item>>,
    positions: Positions,
    phase: Phase,
    pacing: Pacing,
    /// A batch whose step was suspended: finished before anything else.
    step: Option<Box<Batch<S::Item>>>,
    /// The final watermark's step was suspended.
    ending: bool,
    /// Told to act as if the input ended once this many records are read.
    finish_after: Option<u64>,
    /// The last read found nothing, and the connector's thread was not told to look again.
    read_nothing: bool,
    /// Woken while the connector's thread was reading: it may have looked before there was something to find.
    woken_meanwhile: bool,
    restored: RestoreFigures,
    requested: Option<Barrier>,
    last_barrier: CheckpointId,
    idle_timer: Option<SpawnHandle>,
    records_in: u64,
}

/// How a step ended.
enum Stepped {
    /// There may be more to do.
    On,
    /// An output waits for credit, or there is nothing to read.
    Waiting,
    /// The budget is exhausted in the middle of a step.
    OutOfTime,
}

impl<S: Source> SourceTask<S> {
    fn new(
        source: Arc<S>,
        cx: SubtaskContext,
        exit: ExitSlot,
        operators: Vec<OperatorId>,
        pipeline: Pipeline<S::Item>,
        snapshots: Snapshots,
    ) -> Self {
        Self {
            source,
            pacing: Pacing::new(cx.slice_clock),
            cx,
            exit,
            operators,
            pipeline,
            snapshots,
            reading: None,
            positions: Positions::default(),
            phase: Phase::Opening,
            step: None,
            ending: false,
            finish_after: None,
            read_nothing: false,
            woken_meanwhile: false,
            restored: RestoreFigures::default(),
            requested: None,
            last_barrier: CheckpointId::NONE,
            idle_timer: None,
            records_in: 0,
        }
    }

    fn step(&mut self, ctx: &mut Context<Self>) -> Result<Stepped, TaskError> {
        if let Some(batch) = self.step.take() {
            return self.push(batch);
        }
        if self.ending {
            return self.end();
        }
        if let Some(barrier) = self.requested.take() {
            self.checkpoint(barrier);
            return Ok(Stepped::On);
        }
        if self.phase != Phase::Reading || self.pipeline.is_blocked() {
            return Ok(Stepped::Waiting);
        }
        self.read(ctx)
    }

    fn read(&mut self, ctx: &mut Context<Self>) -> Result<Stepped, TaskError> {
        let (batch, side, status) = match &mut self.reading {
            Some(Reading::Inline { reader, spare }) => {
                let mut batch = std::mem::take(spare);
                let status = reader.read(&mut batch)?;
                (batch, reader.take_side_records(), status)
            }
            Some(Reading::Ahead(ahead)) => match ahead.take() {
                Some(read) => {
                    self.positions.update(read.moved);
                    (read.batch, read.side, read.status)
                }
                None => {
                    when_drained(self, ctx);
                    return Ok(Stepped::Waiting);
                }
            },
            None => return Ok(Stepped::Waiting),
        };
        self.cx.reached(Step::Batch);
        self.records_in += batch.len() as u64;
        self.exit.records_in(self.records_in);
        match status {
            // The thread may have found records after it had said that there were none.
            ReadStatus::More => self.read_nothing = false,
            ReadStatus::Idle { retry_after } => self.idle(retry_after, ctx),
            ReadStatus::End => self.ending = true,
        }
        self.end_if_finished();
        self.pipeline.push_side_records(side)?;
        self.push(batch)
    }

    fn push(&mut self, mut batch: Box<Batch<S::Item>>) -> Result<Stepped, TaskError> {
        if self.pipeline.push(&mut batch, &mut self.pacing.budget)? == Progress::Suspended {
            self.step = Some(batch);
            return Ok(self.suspended());
        }
        batch.clear();
        match &mut self.reading {
            Some(Reading::Inline { spare, .. }) => *spare = batch,
            Some(Reading::Ahead(ahead)) if self.phase == Phase::Reading && !self.ending && !self.read_nothing => {
                ahead.give(batch);
                ahead.refill(self.cx.info.limits.read_ahead.max(1));
            }
            _ => {}
        }
        if let Phase::Idle { until_woken } = self.phase {
            self.pipeline.flush();
            if until_woken {
                self.pipeline.idle();
            }
        }
        Ok(Stepped::On)
    }

    /// Ends the input if that was asked for, and what failed attempts had read is read again, or cannot be.
    fn end_if_finished(&mut self) {
        let reads_on = matches!(self.phase, Phase::Opening | Phase::Reading);
        if self.finish_after.is_some_and(|records| self.records_in >= records || !reads_on) {
            self.ending = true;
        }
    }

    /// The end of the input: the final watermark, and then no more records.
    fn end(&mut self) -> Result<Stepped, TaskError> {
        self.ending = true;
        if self.pipeline.advance_watermark(Timestamp::MAX, &mut self.pacing.budget)? == Progress::Suspended {
            return Ok(self.suspended());
        }
        self.ending = false;
        self.pipeline.end();
        self.halt(Phase::Ended, SourceState::Ended);
        Ok(Stepped::On)
    }

    fn halt(&mut self, phase: Phase, state: SourceState) {
        self.phase = phase;
        let (execution, subtask) = (self.cx.info.execution, self.cx.info.subtask);
        self.cx.reports.halted.do_send(SourceHalted { execution, subtask, state });
    }

    fn suspended(&self) -> Stepped {
        if self.pipeline.is_blocked() { Stepped::Waiting } else { Stepped::OutOfTime }
    }

    /// The reader had nothing. What its thread found since it said so comes first.
    fn idle(&mut self, retry_after: Option<Duration>, ctx: &mut Context<Self>) {
        if let Some(Reading::Ahead(ahead)) = &self.reading
            && !ahead.is_at_rest()
        {
            self.read_nothing = true;
            return;
        }
        if std::mem::take(&mut self.woken_meanwhile) {
            self.read_nothing = false;
            return self.fill_read_ahead();
        }
        self.phase = Phase::Idle { until_woken: retry_after.is_none() };
        if let Some(delay) = retry_after {
            let sleep = self.cx.info.clock.sleep(delay);
            let timer = ctx.spawn(sleep.into_actor(self).map(|(), task, ctx| {
                task.idle_timer = None;
                task.wake(ctx);
            }));
            self.idle_timer = Some(timer);
        }
    }

    fn wake(&mut self, ctx: &mut Context<Self>) {
        if let Some(timer) = self.idle_timer.take() {
            ctx.cancel_future(timer);
        }
        if let Phase::Idle { .. } = self.phase {
            self.phase = Phase::Reading;
        }
        self.read_nothing = false;
        self.woken_meanwhile = matches!(&self.reading, Some(Reading::Ahead(ahead)) if !ahead.is_at_rest());
        self.fill_read_ahead();
        self.run(ctx);
    }

    fn fill_read_ahead(&mut self) {
        if let (Phase::Reading, Some(Reading::Ahead(ahead))) = (self.phase, &mut self.reading)
            && !self.ending
        {
            ahead.refill(self.cx.info.limits.read_ahead.max(1));
        }
    }

    fn checkpoint(&mut self, barrier: Barrier) {
        if barrier.checkpoint <= self.last_barrier {
            return;
        }
        self.last_barrier = barrier.checkpoint;
        self.cx.reached(Step::BarrierReached);
        self.pipeline.barrier(barrier);
        self.cx.reached(Step::BarrierForwarded);
        let state = match self.phase {
            Phase::Opening | Phase::Reading | Phase::Idle { .. } => SourceState::Reading,
            Phase::Stopped => SourceState::Stopped,
            Phase::Ended => SourceState::Ended,
        };
        if let Some(Reading::Inline { reader, .. }) = &mut self.reading {
            let mut moved = Vec::new();
            reader.report_positions(&mut moved);
            self.positions.update(moved);
        }
        let facts = AckFacts { source: Some(state), records_in: self.records_in, ..AckFacts::default() };
        self.give_up_snapshot();
        let written = self.snapshots.begin(&self.cx, barrier, facts, |writer| {
            write_list(writer, &self.operators[0], POSITIONS, &self.positions.to_list())?;
            self.pipeline.snapshot(writer)
        });
        if written == Written::Declined {
            self.pipeline.abandon_snapshot();
        }
    }

    /// Writes a slice of the open snapshot, if there is one. Whether there is one still, and it can be written on.
    fn write_slice(&mut self) -> bool {
        // A snapshot without room writes nothing, but may have to be declined.
        let mut slice = RunBudget::start(self.cx.slice_clock);
        let write = |writer: &mut SnapshotWriter| self.pipeline.continue_snapshot(writer, &mut slice);
        if self.snapshots.write_slice(&self.cx, write) == Some(Written::Declined) {
            self.pipeline.abandon_snapshot();
        }
        self.snapshots.can_write()
    }

    fn give_up_snapshot(&mut self) {
        if self.snapshots.give_up() {
            self.pipeline.abandon_snapshot();
        }
    }

    /// Loads the state of the chained operators and opens the reader at the restored positions.
    fn open(&mut self, loaded: Option<Loaded>, ctx: &mut Context<Self>) -> Result<(), TaskError> {
        let started = monotonic();
        let mut restored = RestoreFigures::default();
        let mut positions = None;
        if let Some(loaded) = loaded {
            let (mut state, figures) = loaded?;
            restored = figures;
            let source = &self.operators[0];
            let sections = state.sections.take(source);
            // A source that the checkpoint does not know starts from the beginning.
            if !sections.is_empty() {
                positions = Some(read_lists::<SplitPosition>(source, POSITIONS, sections)?);
            }
            self.pipeline.restore(&mut state)?;
            self.cx.reached(Step::Restored);
        }
        let wake: Recipient<Wake> = ctx.address().recipient();
        let cx = SourceContext {
            job: self.cx.info.job.clone(),
            operator: self.operators[0].clone(),
            subtask_index: self.cx.info.subtask.index,
            parallelism: self.cx.info.parallelism,
            clock: self.cx.info.clock.clone(),
            waker: SourceWaker::new(move || wake.do_send(Wake)),
        };
        let reports = ReaderReports { events: ctx.address().recipient(), panicked: ctx.address().recipient() };
        let reading = source_reading::open(&self.source, cx, positions, &self.exit, reports)?;
        restored.took += monotonic() - started;
        self.restored = restored;
        let is_open = matches!(reading, Reading::Inline { .. });
        self.reading = Some(reading);
        if is_open {
            self.ready();
        }
        Ok(())
    }

    fn ready(&mut self) {
        let (execution, subtask, restored) = (self.cx.info.execution, self.cx.info.subtask, self.restored);
        self.cx.reports.ready.do_send(SubtaskReady { execution, subtask, restored });
    }

    fn fail(&mut self, error: impl Into<TaskError>, ctx: &mut Context<Self>) {
        self.exit.fail(error.into());
        ctx.stop();
    }
}

impl<S: Source> Actor for SourceTask<S> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let Some(plan) = self.cx.restore.clone() else {
            if let Err(error) = self.open(None, ctx) {
                self.fail(error, ctx);
            }
            return;
        };
        let operators = self.operators.clone();
        start_loading(self, plan, &operators, ctx);
    }
}

impl<S: Source> Loading for SourceTask<S> {
    fn context(&self) -> &SubtaskContext {
        &self.cx
    }

    fn group_loaders(&self) -> GroupLoaders {
        self.pipeline.group_loaders()
    }

    fn loaded(&mut self, loaded: Loaded, ctx: &mut Context<Self>) {
        if let Err(error) = self.open(Some(loaded), ctx) {
            self.fail(error, ctx);
        }
    }
}

impl<S: Source> Paced for SourceTask<S> {
    fn pacing(&mut self) -> &mut Pacing {
        &mut self.pacing
    }

    fn run(&mut self, ctx: &mut Context<Self>) {
        loop {
            let stepped = match self.step(ctx) {
                Ok(stepped) => stepped,
                Err(error) => return self.fail(error, ctx),
            };
            // Between batches, and by itself when there are none or the outputs are blocked.
            let writes_on = self.snapshots.open().is_some() && !self.pacing.will_run() && self.write_slice();
            match stepped {
                Stepped::On if self.pacing.budget.check() => return yield_then_run(self, ctx),
                Stepped::On => {}
                Stepped::OutOfTime => return yield_then_run(self, ctx),
                Stepped::Waiting if writes_on => return yield_then_run(self, ctx),
                Stepped::Waiting => return,
            }
        }
    }

    /// The connector's thread is behind: what was read so far need not wait for more.
    fn drained(&mut self, _: &mut Context<Self>) {
        if self.step.is_none() {
            self.pipeline.flush();
        }
    }
}

impl<S: Source> Handler<BeginReading> for SourceTask<S> {
    type Result = ();

    fn handle(&mut self, _: BeginReading, ctx: &mut Context<Self>) {
        if self.phase == Phase::Opening {
            self.phase = Phase::Reading;
            self.fill_read_ahead();
            self.run(ctx);
        }
    }
}

impl<S: Source> Handler<RequestBarrier> for SourceTask<S> {
    type Result = ();

    fn handle(&mut self, message: RequestBarrier, ctx: &mut Context<Self>) {
        self.requested = Some(message.barrier);
        self.run(ctx);
    }
}

impl<S: Source> Handler<StopReading> for SourceTask<S> {
    type Result = ();

    fn handle(&mut self, _: StopReading, ctx: &mut Context<Self>) {
        if !self.ending && self.phase != Phase::Ended && self.phase != Phase::Stopped {
            self.halt(Phase::Stopped, SourceState::Stopped);
            self.run(ctx);
        }
    }
}

impl<S: Source> Handler<FinishInput> for SourceTask<S> {
    type Result = ();

    fn handle(&mut self, message: FinishInput, ctx: &mut Context<Self>) {
        if self.phase != Phase::Ended {
            self.finish_after = Some(message.after_records);
            self.end_if_finished();
            self.run(ctx);
        }
    }
}

impl<S: Source> Handler<ReturnCredit> for SourceTask<S> {
    type Result = ();

    fn handle(&mut self, message: ReturnCredit, ctx: &mut Context<Self>) {
        let was_blocked = self.pipeline.is_blocked();
        self.pipeline.credit(message);
        if was_blocked {
            self.run(ctx);
        }
    }
}

impl<S: Source> Handler<ReaderEvent<S::Item>> for SourceTask<S> {
    type Result = ();

    fn handle(&mut self, message: ReaderEvent<S::Item>, ctx: &mut Context<Self>) {
        match message {
            ReaderEvent::Opened(positions) => {
                self.positions.update(positions);
                self.ready();
            }
            ReaderEvent::Read(read) => {
                if let Some(Reading::Ahead(ahead)) = &mut self.reading {
                    ahead.arrive(read);
                }
                self.run(ctx);
            }
            ReaderEvent::Failed(error) => self.fail(error, ctx),
        }
    }
}

impl<S: Source> Handler<ConnectorPanicked> for SourceTask<S> {
    type Result = ();

    fn handle(&mut self, message: ConnectorPanicked, ctx: &mut Context<Self>) {
        self.exit.panicked(message.report);
        ctx.stop();
    }
}

impl<S: Source> Handler<Wake> for SourceTask<S> {
    type Result = ();

    fn handle(&mut self, _: Wake, ctx: &mut Context<Self>) {
        self.wake(ctx);
    }
}

impl<S: Source> Handler<CheckpointComplete> for SourceTask<S> {
    type Result = ();

    fn handle(&mut self, _: CheckpointComplete, _: &mut Context<Self>) {
        self.cx.reached(Step::CompleteReceived);
    }
}

impl<S: Source> Handler<CheckpointAborted> for SourceTask<S> {
    type Result = ();

    fn handle(&mut self, message: CheckpointAborted, _: &mut Context<Self>) {
        self.cx.reached(Step::AbortReceived);
        self.last_barrier = self.last_barrier.max(message.checkpoint);
        self.requested = self.requested.filter(|barrier| barrier.checkpoint > message.checkpoint);
        if self.snapshots.open().is_some_and(|open| open <= message.checkpoint) {
            self.give_up_snapshot();
        }
    }
}

impl<S: Source> Handler<ChunksStored> for SourceTask<S> {
    type Result = ();

    fn handle(&mut self, message: ChunksStored, ctx: &mut Context<Self>) {
        self.snapshots.stored(&self.cx, message);
        if self.snapshots.open().is_some() {
            self.run(ctx);
        }
    }
}

impl<S: Source> Handler<StopSubtask> for SourceTask<S> {
    type Result = ();

    fn handle(&mut self, _: StopSubtask, ctx: &mut Context<Self>) {
        ctx.stop();
    }
}
