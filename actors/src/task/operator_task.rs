//! The operator task: takes batches from its channels, runs a chain of operators, and sends what they emit.
//!
//! Receives [`Deliver`] and [`ConnectChannel`] from the tasks before it, [`ReturnCredit`] from those behind it,
//! [`CheckpointComplete`], [`CheckpointAborted`] from the coordinator, [`StopSubtask`] from its region supervisor.
//! Sends batches, credits, snapshots and acknowledgements. A restart loses everything it holds: state, what waits in
//! its channels and what waits to be sent; the next attempt gets it again from the restored checkpoint.

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorContext, AsyncContext, Context, Handler};
use actix_rt::ArbiterHandle;

use crate::contract::{Batch, Progress, RunBudget, SnapshotWriter, Step};
use crate::data::edge::{ChannelEnd, ConnectChannel, Deliver, InputPort, ReturnCredit};
use crate::data::pipeline::{GroupLoaders, Pipeline, PipelineBuilder, PipelineFactory};
use crate::data::wiring::{InputWiring, OutputWiring};
use crate::protocol::{AckFacts, Barrier, Inlet, Input, OperatorId, TaskError, Timestamp, WorkRate};
use crate::runtime::guard::{ExitSlot, start_guarded};
use crate::runtime::pacing::{Paced, Pacing, when_drained, yield_then_run};
use crate::runtime::time::monotonic;
use crate::task::loading::{Loaded, Loading, start_loading};
use crate::task::snapshots::{Snapshots, Written};
use crate::task::{
    CheckpointAborted, CheckpointComplete, ChunksStored, RestoreFigures, StartedSubtask, StopSubtask, SubtaskAddress,
    SubtaskContext, SubtaskReady, TaskFactory,
};

/// Starts operator tasks that take records of type `T`.
pub struct OperatorTaskFactory<T> {
    operators: Vec<OperatorId>,
    pipeline: Arc<dyn PipelineFactory<T>>,
}

impl<T: Send + 'static> OperatorTaskFactory<T> {
    /// A factory of tasks that run these operators, built by `pipeline`.
    pub fn new(operators: Vec<OperatorId>, pipeline: impl PipelineFactory<T>) -> Self {
        Self { operators, pipeline: Arc::new(pipeline) }
    }
}

impl<T: Send + 'static> TaskFactory for OperatorTaskFactory<T> {
    fn start(
        &self,
        cx: SubtaskContext,
        arbiter: &ArbiterHandle,
        input: InputWiring,
        outputs: Vec<OutputWiring>,
    ) -> StartedSubtask {
        let guard = cx.guard();
        let (subtask, operators, factory) = (cx.info.subtask, self.operators.clone(), self.pipeline.clone());
        let address = start_guarded(arbiter, guard, move |ctx, exit| {
            cx.reached(Step::Starting);
            let builder = PipelineBuilder::new(&cx.info, outputs, ctx.address().recipient());
            let pipeline = factory.build(builder);
            let snapshots = Snapshots::new(ctx.address().recipient());
            OperatorTask::new(cx, exit, operators, pipeline, snapshots, &input)
        });
        StartedSubtask {
            address: SubtaskAddress {
                subtask,
                stop: address.clone().recipient(),
                complete: address.clone().recipient(),
                aborted: address.clone().recipient(),
                source: None,
                is_sink: false,
            },
            port: Some(Arc::new(InputPort::<T> { deliver: address.clone().recipient(), connect: address.recipient() })),
        }
    }
}

/// See the module's documentation.
struct OperatorTask<T: Send + 'static> {
    cx: SubtaskContext,
    exit: ExitSlot,
    operators: Vec<OperatorId>,
    pipeline: Pipeline<T>,
    inlet: Inlet<Box<Batch<T>>>,
    channels: Vec<ChannelEnd>,
    rate: WorkRate,
    pacing: Pacing,
    step: OpenStep<T>,
    /// State is loaded.
    is_ready: bool,
    records_in: u64,
    alignment_started: Option<Duration>,
    snapshots: Snapshots,
}

/// A step that was suspended and is finished before the next element is taken.
enum OpenStep<T> {
    /// None.
    None,
    /// A batch, partly taken.
    Batch { channel: usize, batch: Box<Batch<T>>, started: Duration },
    /// A watermark, partly acted on.
    Watermark(Timestamp),
}

/// How a step ended.
enum Stepped {
    /// There may be more to do.
    On,
    /// An output waits for credit.
    Blocked,
    /// The budget is exhausted in the middle of a step.
    OutOfTime,
    /// No element may be taken.
    Starved,
}

impl<T: Send + 'static> OperatorTask<T> {
    fn new(
        cx: SubtaskContext,
        exit: ExitSlot,
        operators: Vec<OperatorId>,
        pipeline: Pipeline<T>,
        snapshots: Snapshots,
        input: &InputWiring,
    ) -> Self {
        Self {
            inlet: Inlet::new(input.windows.len(), cx.mode),
            rate: WorkRate::new(&cx.info.limits, input.windows.len() as u32),
            pacing: Pacing::new(cx.slice_clock),
            cx,
            exit,
            operators,
            pipeline,
            channels: ChannelEnd::all(input),
            step: OpenStep::None,
            is_ready: false,
            records_in: 0,
            alignment_started: None,
            snapshots,
        }
    }

    fn step(&mut self) -> Result<Stepped, TaskError> {
        match std::mem::replace(&mut self.step, OpenStep::None) {
            OpenStep::Batch { channel, batch, started } => return self.take_batch(channel, batch, started),
            OpenStep::Watermark(at) => return self.advance_watermark(at),
            OpenStep::None => {}
        }
        if self.pipeline.is_blocked() {
            return Ok(Stepped::Blocked);
        }
        match self.inlet.take() {
            Some(Input::Batch { channel, batch }) => {
                self.cx.reached(Step::Batch);
                self.records_in += batch.len() as u64;
                self.exit.records_in(self.records_in);
                return self.take_batch(channel, batch, monotonic());
            }
            Some(Input::Credit { channel }) => self.give_credit(channel, None),
            Some(Input::Watermark(at)) => return self.advance_watermark(at),
            Some(Input::Idle) => self.pipeline.idle(),
            Some(Input::AlignmentStarted(_)) => self.alignment_started = Some(monotonic()),
            Some(Input::Barrier(barrier)) => self.checkpoint(barrier),
            Some(Input::End) => self.pipeline.end(),
            None => return Ok(Stepped::Starved),
        }
        Ok(Stepped::On)
    }

    fn take_batch(
        &mut self,
        channel: usize,
        mut batch: Box<Batch<T>>,
        started: Duration,
    ) -> Result<Stepped, TaskError> {
        match self.pipeline.push(&mut batch, &mut self.pacing.budget)? {
            Progress::Done => {
                batch.clear();
                self.rate.measured(monotonic() - started);
                self.give_credit(channel, Some(batch));
                Ok(Stepped::On)
            }
            Progress::Suspended => {
                self.step = OpenStep::Batch { channel, batch, started };
                Ok(self.suspended())
            }
        }
    }

    fn advance_watermark(&mut self, at: Timestamp) -> Result<Stepped, TaskError> {
        match self.pipeline.advance_watermark(at, &mut self.pacing.budget)? {
            Progress::Done => Ok(Stepped::On),
            Progress::Suspended => {
                self.step = OpenStep::Watermark(at);
                Ok(self.suspended())
            }
        }
    }

    fn suspended(&self) -> Stepped {
        if self.pipeline.is_blocked() { Stepped::Blocked } else { Stepped::OutOfTime }
    }

    fn give_credit(&mut self, channel: usize, batch: Option<Box<Batch<T>>>) {
        let target = self.rate.target();
        self.channels[channel].give_back(target, batch);
    }

    /// The barrier goes on before the snapshot is taken, so that tasks further down align meanwhile.
    fn checkpoint(&mut self, barrier: Barrier) {
        let alignment = self.alignment_started.take().map_or(Duration::ZERO, |started| monotonic() - started);
        self.cx.reached(Step::BarrierReached);
        self.pipeline.barrier(barrier);
        self.cx.reached(Step::BarrierForwarded);
        self.give_up_snapshot();
        let facts = AckFacts { alignment, ..AckFacts::default() };
        let written = self.snapshots.begin(&self.cx, barrier, facts, |writer| self.pipeline.snapshot(writer));
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

    fn restored(&mut self, loaded: Loaded) -> Result<(), TaskError> {
        let started = monotonic();
        let (mut state, mut restored) = loaded?;
        self.pipeline.restore(&mut state)?;
        restored.took += monotonic() - started;
        self.cx.reached(Step::Restored);
        self.ready(restored);
        Ok(())
    }

    fn ready(&mut self, restored: RestoreFigures) {
        self.is_ready = true;
        let (execution, subtask) = (self.cx.info.execution, self.cx.info.subtask);
        self.cx.reports.ready.do_send(SubtaskReady { execution, subtask, restored });
    }

    fn fail(&mut self, error: TaskError, ctx: &mut Context<Self>) {
        self.exit.fail(error);
        ctx.stop();
    }
}

impl<T: Send + 'static> Actor for OperatorTask<T> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let Some(plan) = self.cx.restore.clone() else {
            return self.ready(RestoreFigures::default());
        };
        let operators = self.operators.clone();
        start_loading(self, plan, &operators, ctx);
    }
}

impl<T: Send + 'static> Loading for OperatorTask<T> {
    fn context(&self) -> &SubtaskContext {
        &self.cx
    }

    fn group_loaders(&self) -> GroupLoaders {
        self.pipeline.group_loaders()
    }

    fn loaded(&mut self, loaded: Loaded, ctx: &mut Context<Self>) {
        match self.restored(loaded) {
            Ok(()) => self.run(ctx),
            Err(error) => self.fail(error, ctx),
        }
    }
}

impl<T: Send + 'static> Paced for OperatorTask<T> {
    fn pacing(&mut self) -> &mut Pacing {
        &mut self.pacing
    }

    fn run(&mut self, ctx: &mut Context<Self>) {
        if !self.is_ready {
            return;
        }
        loop {
            let stepped = match self.step() {
                Ok(stepped) => stepped,
                Err(error) => return self.fail(error, ctx),
            };
            // Between batches, and by itself when there are none or the outputs are blocked.
            let writes_on = self.snapshots.open().is_some() && !self.pacing.will_run() && self.write_slice();
            match stepped {
                Stepped::On if self.pacing.budget.check() => return yield_then_run(self, ctx),
                Stepped::On => {}
                Stepped::OutOfTime => return yield_then_run(self, ctx),
                Stepped::Blocked if writes_on => return yield_then_run(self, ctx),
                Stepped::Starved if writes_on => {
                    self.drained(ctx);
                    return yield_then_run(self, ctx);
                }
                Stepped::Blocked => return,
                Stepped::Starved => return when_drained(self, ctx),
            }
        }
    }

    fn drained(&mut self, _: &mut Context<Self>) {
        if matches!(self.step, OpenStep::None) {
            self.pipeline.flush();
        }
    }
}

impl<T: Send + 'static> Handler<ConnectChannel> for OperatorTask<T> {
    type Result = ();

    fn handle(&mut self, message: ConnectChannel, _: &mut Context<Self>) {
        self.channels[message.channel as usize].connect(message.credits);
    }
}

impl<T: Send + 'static> Handler<Deliver<T>> for OperatorTask<T> {
    type Result = ();

    fn handle(&mut self, message: Deliver<T>, ctx: &mut Context<Self>) {
        self.inlet.arrive(message.channel as usize, message.element);
        self.run(ctx);
    }
}

impl<T: Send + 'static> Handler<ReturnCredit> for OperatorTask<T> {
    type Result = ();

    fn handle(&mut self, message: ReturnCredit, ctx: &mut Context<Self>) {
        let was_blocked = self.pipeline.is_blocked();
        self.pipeline.credit(message);
        if was_blocked {
            self.run(ctx);
        }
    }
}

impl<T: Send + 'static> Handler<CheckpointComplete> for OperatorTask<T> {
    type Result = ();

    fn handle(&mut self, _: CheckpointComplete, _: &mut Context<Self>) {
        self.cx.reached(Step::CompleteReceived);
    }
}

impl<T: Send + 'static> Handler<CheckpointAborted> for OperatorTask<T> {
    type Result = ();

    fn handle(&mut self, message: CheckpointAborted, ctx: &mut Context<Self>) {
        self.cx.reached(Step::AbortReceived);
        if self.inlet.abort(message.checkpoint) {
            self.alignment_started = None;
        }
        if self.snapshots.open().is_some_and(|open| open <= message.checkpoint) {
            self.give_up_snapshot();
        }
        self.run(ctx);
    }
}

impl<T: Send + 'static> Handler<ChunksStored> for OperatorTask<T> {
    type Result = ();

    fn handle(&mut self, message: ChunksStored, ctx: &mut Context<Self>) {
        self.snapshots.stored(&self.cx, message);
        if self.snapshots.open().is_some() {
            self.run(ctx);
        }
    }
}

impl<T: Send + 'static> Handler<StopSubtask> for OperatorTask<T> {
    type Result = ();

    fn handle(&mut self, _: StopSubtask, ctx: &mut Context<Self>) {
        ctx.stop();
    }
}
