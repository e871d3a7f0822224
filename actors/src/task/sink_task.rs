//! The sink task: takes batches from its channels and writes them, in two phases with the checkpoint.
//!
//! Receives [`Deliver`] and [`ConnectChannel`] from the tasks before it, [`CheckpointComplete`], [`CheckpointAborted`]
//! from the coordinator, [`StopSubtask`] from its region supervisor, and what its connector's thread reports. Sends
//! credits, snapshots, acknowledgements, and [`SinkCommitted`]. A restart loses what was written and not prepared for a
//! completed checkpoint; the list of pending commits is in the snapshot, and is settled before the first record.

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, WrapFuture};
use actix_rt::ArbiterHandle;

use crate::contract::{Batch, PendingCommit, Progress, Sink, SinkContext, SinkError, SinkRestore, Step};
use crate::data::edge::{ChannelEnd, ConnectChannel, Deliver, InputPort};
use crate::data::wiring::{InputWiring, OutputWiring};
use crate::protocol::{AckFacts, Barrier, CheckpointId, Inlet, Input, OperatorId, TaskError, WorkRate};
use crate::runtime::connector_thread::ConnectorPanicked;
use crate::runtime::guard::{ExitSlot, start_guarded};
use crate::runtime::pacing::{Paced, Pacing, when_drained, yield_then_run};
use crate::runtime::time::monotonic;
use crate::task::lists::{read_lists, write_list};
use crate::task::loading::{Loaded, Loading, start_loading};
use crate::task::sink_writing::{self, Effects, Order, WriterEvent, WriterReports, Writing};
use crate::task::snapshots::{Snapshots, decline};
use crate::task::{
    CheckpointAborted, CheckpointComplete, ChunksStored, RestoreFigures, SinkCommitted, StartedSubtask, StopSubtask,
    SubtaskAddress, SubtaskContext, SubtaskReady, TaskFactory,
};

/// The state under which a sink's pending commits are stored.
pub(crate) const PENDING: &str = "pending";

/// Batches that a sink's thread may have at a time: one is written while the next waits.
const WRITES_UNDER_WAY_MAX: usize = 2;

/// Starts sink tasks.
pub struct SinkTaskFactory<S: Sink> {
    sink: Arc<S>,
    operator: OperatorId,
}

impl<S: Sink> SinkTaskFactory<S> {
    /// A factory of tasks that write to `sink`.
    pub fn new(sink: Arc<S>, operator: OperatorId) -> Self {
        Self { sink, operator }
    }
}

impl<S: Sink> TaskFactory for SinkTaskFactory<S> {
    fn start(
        &self,
        cx: SubtaskContext,
        arbiter: &ArbiterHandle,
        input: InputWiring,
        _: Vec<OutputWiring>,
    ) -> StartedSubtask {
        let guard = cx.guard();
        let (subtask, sink, operator) = (cx.info.subtask, self.sink.clone(), self.operator.clone());
        let address = start_guarded(arbiter, guard, move |ctx, exit| {
            cx.reached(Step::Starting);
            let snapshots = Snapshots::new(ctx.address().recipient());
            SinkTask::new(sink, operator, cx, exit, snapshots, &input)
        });
        StartedSubtask {
            address: SubtaskAddress {
                subtask,
                stop: address.clone().recipient(),
                complete: address.clone().recipient(),
                aborted: address.clone().recipient(),
                source: None,
                is_sink: true,
            },
            port: Some(Arc::new(InputPort::<S::Item> {
                deliver: address.clone().recipient(),
                connect: address.recipient(),
            })),
        }
    }
}

/// See the module's documentation.
struct SinkTask<S: Sink> {
    sink: Arc<S>,
    operator: OperatorId,
    cx: SubtaskContext,
    exit: ExitSlot,
    inlet: Inlet<Box<Batch<S::Item>>>,
    channels: Vec<ChannelEnd>,
    rate: WorkRate,
    pacing: Pacing,
    writing: Option<Writing<S::Item>>,
    snapshots: Snapshots,
    restored: RestoreFigures,
    /// The writer is open and what was pending is settled.
    is_ready: bool,
    writes_under_way: usize,
    last_written: Duration,
    records_in: u64,
    alignment_started: Option<Duration>,
    /// How long the newest checkpoint took to align.
    alignment: Duration,
    commit_failures: u32,
    retry_commit: bool,
    has_unflushed: bool,
    /// Highest checkpoint known to be complete.
    complete: CheckpointId,
}

impl<S: Sink> SinkTask<S> {
    fn new(
        sink: Arc<S>,
        operator: OperatorId,
        cx: SubtaskContext,
        exit: ExitSlot,
        snapshots: Snapshots,
        input: &InputWiring,
    ) -> Self {
        Self {
            sink,
            operator,
            inlet: Inlet::new(input.windows.len(), cx.mode),
            rate: WorkRate::new(&cx.info.limits, input.windows.len() as u32),
            channels: ChannelEnd::all(input),
            pacing: Pacing::new(cx.slice_clock),
            cx,
            exit,
            writing: None,
            snapshots,
            restored: RestoreFigures::default(),
            is_ready: false,
            writes_under_way: 0,
            last_written: Duration::ZERO,
            records_in: 0,
            alignment_started: None,
            alignment: Duration::ZERO,
            commit_failures: 0,
            retry_commit: false,
            has_unflushed: false,
            complete: CheckpointId::NONE,
        }
    }

    /// Takes one element; false if none may be taken.
    fn step(&mut self) -> Result<bool, TaskError> {
        if self.writes_under_way >= WRITES_UNDER_WAY_MAX {
            return Ok(false);
        }
        match self.inlet.take() {
            Some(Input::Batch { channel, batch }) => {
                self.cx.reached(Step::Batch);
                self.records_in += batch.len() as u64;
                self.exit.records_in(self.records_in);
                if self.writes_under_way == 0 {
                    self.last_written = monotonic();
                }
                self.writes_under_way += 1;
                self.has_unflushed = true;
                self.order(Order::Write { channel, batch })?;
            }
            Some(Input::Credit { channel }) => self.give_back(channel, None),
            Some(Input::AlignmentStarted(_)) => self.alignment_started = Some(monotonic()),
            Some(Input::Barrier(barrier)) => {
                self.cx.reached(Step::BarrierReached);
                let started = self.alignment_started.take();
                self.alignment = started.map_or(Duration::ZERO, |started| monotonic() - started);
                self.order(Order::Prepare(barrier))?;
            }
            Some(Input::Watermark(_) | Input::Idle | Input::End) => {}
            None => return Ok(false),
        }
        Ok(true)
    }

    fn order(&mut self, order: Order<S::Item>) -> Result<(), TaskError> {
        match &mut self.writing {
            Some(Writing::Inline(writer)) => {
                let event = writer.obey(order);
                self.event(event)
            }
            Some(Writing::Thread(orders)) => {
                // A thread that has ended says why by itself.
                let _ = orders.send(order);
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn event(&mut self, event: WriterEvent<S::Item>) -> Result<(), TaskError> {
        match event {
            WriterEvent::Opened => self.ready(),
            WriterEvent::NotOpened(error) => return Err(error.into()),
            WriterEvent::Written { channel, mut batch, result } => {
                result?;
                batch.clear();
                let now = monotonic();
                self.rate.measured(now - std::mem::replace(&mut self.last_written, now));
                self.writes_under_way -= 1;
                self.give_back(channel, Some(batch));
            }
            WriterEvent::Flushed(result) => result?,
            WriterEvent::Prepared { barrier, result } => return self.prepared(barrier, result),
            WriterEvent::Committed { checkpoint, result } => return self.committed(checkpoint, result),
        }
        Ok(())
    }

    fn prepared(&mut self, barrier: Barrier, result: Result<Vec<PendingCommit>, SinkError>) -> Result<(), TaskError> {
        match result {
            Ok(pending) => {
                let facts = AckFacts { alignment: self.alignment, ..AckFacts::default() };
                // One list, written at once; it may decline the checkpoint, and there is nothing to give up then.
                let _ = self.snapshots.begin(&self.cx, barrier, facts, |writer| {
                    write_list(writer, &self.operator, PENDING, &pending).map(|()| Progress::Done)
                });
                Ok(())
            }
            Err(error) if error.declines_checkpoint() => {
                decline(&self.cx, barrier.checkpoint, error.into());
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// A failed commit of a completed checkpoint is tried again, and never aborts the checkpoint.
    fn committed(&mut self, checkpoint: CheckpointId, result: Result<(), SinkError>) -> Result<(), TaskError> {
        match result {
            Ok(()) => {
                self.commit_failures = 0;
                let (execution, subtask) = (self.cx.info.execution, self.cx.info.subtask);
                self.cx.reports.committed.do_send(SinkCommitted { execution, subtask, checkpoint });
                Ok(())
            }
            Err(error) if error.is_retryable() && self.commit_failures < self.cx.info.limits.commit_retries => {
                self.commit_failures += 1;
                self.retry_commit = true;
                log::warn!(
                    target: "millstream::sink",
                    "job={} {} checkpoint={checkpoint} commit failed, try {} of {}: {error}",
                    self.cx.info.job, self.cx.info.name, self.commit_failures, self.cx.info.limits.commit_retries
                );
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn give_back(&mut self, channel: usize, batch: Option<Box<Batch<S::Item>>>) {
        self.channels[channel].give_back(self.rate.target(), batch);
    }

    fn open(&mut self, loaded: Option<Loaded>, ctx: &mut Context<Self>) -> Result<(), TaskError> {
        let mut restore = SinkRestore { withdraw: self.cx.withdraw.clone(), ..SinkRestore::default() };
        if let Some(loaded) = loaded {
            let (mut state, figures) = loaded?;
            self.restored = figures;
            let pending = read_lists::<PendingCommit>(&self.operator, PENDING, state.sections.take(&self.operator))?;
            restore.checkpoint = self.cx.restore.as_ref().map(|plan| plan.manifest.checkpoint);
            for (index, commit) in (0u32..).zip(pending) {
                if index % self.cx.info.parallelism == self.cx.info.subtask.index {
                    restore.pending.push(commit);
                } else {
                    restore.pending_elsewhere.push(commit);
                }
            }
            self.cx.reached(Step::Restored);
        }
        let cx = SinkContext {
            job: self.cx.info.job.clone(),
            operator: self.operator.clone(),
            subtask_index: self.cx.info.subtask.index,
            parallelism: self.cx.info.parallelism,
            execution: self.cx.info.execution,
            clock: self.cx.info.clock.clone(),
            fenced: self.cx.fence.clone(),
        };
        let effects =
            Effects { fence: self.cx.fence.clone(), probe: self.cx.probe.clone(), name: self.cx.info.name.clone() };
        let reports = WriterReports { events: ctx.address().recipient(), panicked: ctx.address().recipient() };
        let writing = sink_writing::open(&self.sink, cx, restore, effects, &self.exit, reports)?;
        let is_open = matches!(writing, Writing::Inline(_));
        self.writing = Some(writing);
        if is_open {
            self.ready();
        }
        Ok(())
    }

    fn ready(&mut self) {
        self.is_ready = true;
        let (execution, subtask, restored) = (self.cx.info.execution, self.cx.info.subtask, self.restored);
        self.cx.reports.ready.do_send(SubtaskReady { execution, subtask, restored });
    }

    fn fail(&mut self, error: impl Into<TaskError>, ctx: &mut Context<Self>) {
        self.exit.fail(error.into());
        ctx.stop();
    }

    /// Does what an event of the writer asks for, and then takes further input.
    fn go_on(&mut self, result: Result<(), TaskError>, ctx: &mut Context<Self>) {
        match result {
            Ok(()) => {
                self.retry_commit_later(ctx);
                self.run(ctx);
            }
            Err(error) => self.fail(error, ctx),
        }
    }

    fn retry_commit_later(&mut self, ctx: &mut Context<Self>) {
        if std::mem::take(&mut self.retry_commit) {
            let delay = self.cx.info.clock.sleep(self.cx.info.limits.commit_retry_delay);
            ctx.spawn(delay.into_actor(self).map(|(), task, ctx| {
                let ordered = task.order(Order::Commit(task.complete));
                task.go_on(ordered, ctx);
            }));
        }
    }
}

impl<S: Sink> Actor for SinkTask<S> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let Some(plan) = self.cx.restore.clone() else {
            if let Err(error) = self.open(None, ctx) {
                self.fail(error, ctx);
            }
            return;
        };
        let operators = [self.operator.clone()];
        start_loading(self, plan, &operators, ctx);
    }
}

impl<S: Sink> Loading for SinkTask<S> {
    fn context(&self) -> &SubtaskContext {
        &self.cx
    }

    fn loaded(&mut self, loaded: Loaded, ctx: &mut Context<Self>) {
        if let Err(error) = self.open(Some(loaded), ctx) {
            self.fail(error, ctx);
        }
    }
}

impl<S: Sink> Paced for SinkTask<S> {
    fn pacing(&mut self) -> &mut Pacing {
        &mut self.pacing
    }

    fn run(&mut self, ctx: &mut Context<Self>) {
        if !self.is_ready {
            return;
        }
        loop {
            match self.step() {
                Ok(true) if self.pacing.budget.check() => return yield_then_run(self, ctx),
                Ok(true) => {}
                Ok(false) => return when_drained(self, ctx),
                Err(error) => return self.fail(error, ctx),
            }
        }
    }

    fn drained(&mut self, ctx: &mut Context<Self>) {
        if self.has_unflushed && self.writes_under_way == 0 {
            self.has_unflushed = false;
            if let Err(error) = self.order(Order::Flush) {
                self.fail(error, ctx);
            }
        }
    }
}

impl<S: Sink> Handler<ConnectChannel> for SinkTask<S> {
    type Result = ();

    fn handle(&mut self, message: ConnectChannel, _: &mut Context<Self>) {
        self.channels[message.channel as usize].connect(message.credits);
    }
}

impl<S: Sink> Handler<Deliver<S::Item>> for SinkTask<S> {
    type Result = ();

    fn handle(&mut self, message: Deliver<S::Item>, ctx: &mut Context<Self>) {
        self.inlet.arrive(message.channel as usize, message.element);
        self.run(ctx);
    }
}

impl<S: Sink> Handler<WriterEvent<S::Item>> for SinkTask<S> {
    type Result = ();

    fn handle(&mut self, message: WriterEvent<S::Item>, ctx: &mut Context<Self>) {
        let result = self.event(message);
        self.go_on(result, ctx);
    }
}

impl<S: Sink> Handler<ConnectorPanicked> for SinkTask<S> {
    type Result = ();

    fn handle(&mut self, message: ConnectorPanicked, ctx: &mut Context<Self>) {
        self.exit.panicked(message.report);
        ctx.stop();
    }
}

impl<S: Sink> Handler<CheckpointComplete> for SinkTask<S> {
    type Result = ();

    fn handle(&mut self, message: CheckpointComplete, ctx: &mut Context<Self>) {
        self.cx.reached(Step::CompleteReceived);
        self.complete = self.complete.max(message.checkpoint);
        let ordered = self.order(Order::Commit(self.complete));
        self.go_on(ordered, ctx);
    }
}

impl<S: Sink> Handler<CheckpointAborted> for SinkTask<S> {
    type Result = ();

    fn handle(&mut self, message: CheckpointAborted, ctx: &mut Context<Self>) {
        self.cx.reached(Step::AbortReceived);
        if self.inlet.abort(message.checkpoint) {
            self.alignment_started = None;
        }
        self.run(ctx);
    }
}

impl<S: Sink> Handler<ChunksStored> for SinkTask<S> {
    type Result = ();

    fn handle(&mut self, message: ChunksStored, _: &mut Context<Self>) {
        self.snapshots.stored(&self.cx, message);
    }
}

impl<S: Sink> Handler<StopSubtask> for SinkTask<S> {
    type Result = ();

    fn handle(&mut self, _: StopSubtask, ctx: &mut Context<Self>) {
        ctx.stop();
    }
}
