//! The sink task: takes batches from its channels and writes them, in two phases with the checkpoint.
//!
//! Receives [`Deliver`](crate::data::edge::Deliver) and [`ConnectChannel`](crate::data::edge::ConnectChannel) from the
//! tasks before it, what its connector's thread reports, and what every task does (`stepper.rs`). Sends credits,
//! snapshots, acknowledgements, and [`SinkCommitted`]. A restart loses what was written and not prepared for a completed
//! checkpoint; the list of pending commits is in the snapshot, and is settled before the first record.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use actix::{AsyncContext, Context, Handler};

use crate::contract::{
    Batch, CheckpointRequests, Demand, OperatorCounters, PendingCommit, Progress, Sink, SinkContext, SinkError,
    SinkRestore, Step,
};
use crate::data::input_batch::InputBatch;
use crate::data::pipeline::LoadedState;
use crate::data::wiring::{InputWiring, OutputWiring};
use crate::protocol::{AckFacts, Barrier, CheckpointId, Input, OperatorId, TaskError};
use crate::runtime::ArbiterHandle;
use crate::runtime::guard::{note_operator, noting};
use crate::task::alarm::Due;
use crate::task::inputs::{Inputs, WithInputs};
use crate::task::lists::{read_lists, write_list};
use crate::task::operators::{WakeTask, waker_of};
use crate::task::sink_writing::{self, Call, Effects, Order, WriterEvent, WriterReports, Writing};
use crate::task::snapshots::decline;
use crate::task::stepper::{self, Stepped, Stepper, Task, Work};
use crate::task::{
    CheckpointComplete, ExpectBarrier, SinkCommitted, StartedSubtask, SubtaskAddress, SubtaskContext, TaskFactory,
    WantCheckpoint,
};

/// The state under which a sink's pending commits are stored.
pub(crate) const PENDING: &str = "pending";

/// Batches that a sink's thread may have at a time: one is written while the next waits.
const WRITES_UNDER_WAY_MAX: usize = 2;

/// Starts sink tasks.
pub struct SinkTaskFactory<S: Sink> {
    sink: Arc<S>,
    operator: OperatorId,
    former: Vec<OperatorId>,
}

impl<S: Sink> SinkTaskFactory<S> {
    /// A factory of tasks that write to `sink`, which had the ids `former` in older checkpoints.
    pub fn new(sink: Arc<S>, operator: OperatorId, former: Vec<OperatorId>) -> Self {
        Self { sink, operator, former }
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
        let (subtask, sink, operator) = (cx.info.subtask, self.sink.clone(), self.operator.clone());
        let (former, may_hold_back) = (self.former.clone(), self.sink.may_hold_back());
        let task = stepper::start(cx, arbiter, move |cx, _| SinkWork {
            sink,
            counters: cx.info.counters.operator(&operator),
            operator,
            former,
            inputs: Inputs::new(cx, &input),
            writing: None,
            writes_under_way: VecDeque::with_capacity(WRITES_UNDER_WAY_MAX),
            last_written: Duration::ZERO,
            alignment: (Duration::ZERO, Duration::ZERO),
            commit_failures: 0,
            has_unflushed: false,
            // Without checkpoints it would wait for one that does not come.
            may_hold_back: may_hold_back && cx.takes_checkpoints,
            complete: CheckpointId::NONE,
        });
        let expects = may_hold_back.then(|| task.clone().recipient());
        let address = SubtaskAddress { expects, ..stepper::address_of(&task, subtask, None, true) };
        StartedSubtask { address, ports: InputBatch::ports(&task) }
    }
}

/// See the module's documentation.
struct SinkWork<S: Sink> {
    sink: Arc<S>,
    operator: OperatorId,
    counters: Arc<OperatorCounters>,
    former: Vec<OperatorId>,
    inputs: Inputs<Box<Batch<S::Item>>>,
    writing: Option<Writing<S::Item>>,
    /// Records of each batch that is being written, or waits for that.
    writes_under_way: VecDeque<usize>,
    last_written: Duration,
    /// When the first barrier of the newest checkpoint came, and how long it took to align.
    alignment: (Duration, Duration),
    commit_failures: u32,
    has_unflushed: bool,
    /// Whether the writer is asked what it takes.
    may_hold_back: bool,
    /// Highest checkpoint known to be complete.
    complete: CheckpointId,
}

impl<S: Sink> SinkWork<S> {
    fn write(&mut self, stepper: &mut Stepper, channel: usize, batch: Box<Batch<S::Item>>) -> Result<(), TaskError> {
        stepper.takes_batch(&batch);
        self.counters.records_in.add(batch.len() as u64);
        self.counters.bytes_in.add(batch.bytes() as u64);
        if self.writes_under_way.is_empty() {
            self.last_written = stepper.step_began();
        }
        self.writes_under_way.push_back(batch.len());
        self.has_unflushed = true;
        // A thread that writes has this batch or the one before.
        let (id, is_exact) = (self.operator.clone(), matches!(self.writing, Some(Writing::Inline(_))));
        noting(|| self.order(stepper, Order::Write { channel, batch }), || note_operator(Some(&id), is_exact))
    }

    fn order(&mut self, stepper: &mut Stepper, order: Order<S::Item>) -> Result<(), TaskError> {
        match &mut self.writing {
            Some(Writing::Inline(writer)) => {
                stepper.budget.works();
                let event = writer.obey(order);
                self.event(stepper, event)
            }
            Some(Writing::Thread(orders)) => {
                orders.send(Call::Obey(order));
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn event(&mut self, stepper: &mut Stepper, event: WriterEvent<S::Item>) -> Result<(), TaskError> {
        match event {
            WriterEvent::Opened => stepper.ready(),
            WriterEvent::NotOpened(error) => return Err(error.into()),
            WriterEvent::Written { channel, mut batch, result } => {
                result?;
                batch.clear();
                let now = stepper.now();
                let took = now - std::mem::replace(&mut self.last_written, now);
                let records = self.writes_under_way.pop_front().expect("a batch that was written was under way");
                self.inputs.measured(took, records);
                self.inputs.worked_off(channel, records, batch);
            }
            WriterEvent::Flushed(result) => result?,
            WriterEvent::Prepared { barrier, result } => return self.prepared(stepper, barrier, result),
            WriterEvent::Committed { checkpoint, result } => return self.committed(stepper, checkpoint, result),
        }
        Ok(())
    }

    fn prepared(
        &mut self,
        stepper: &mut Stepper,
        barrier: Barrier,
        result: Result<Vec<PendingCommit>, SinkError>,
    ) -> Result<(), TaskError> {
        match result {
            Ok(pending) => {
                let (barrier_at, alignment) = self.alignment;
                let facts = AckFacts { barrier_at, alignment, ..AckFacts::default() };
                // One list, written at once: where it is declined there is nothing to give up.
                let _ = stepper.begin_snapshot(barrier, facts, |writer| {
                    write_list(writer, &self.operator, PENDING, &pending).map(|()| Progress::Done)
                });
                Ok(())
            }
            Err(error) if error.declines_checkpoint() => {
                decline(&stepper.cx, barrier.checkpoint, error.into());
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// A failed commit of a completed checkpoint is tried again, and never aborts the checkpoint.
    fn committed(
        &mut self,
        stepper: &mut Stepper,
        checkpoint: CheckpointId,
        result: Result<(), SinkError>,
    ) -> Result<(), TaskError> {
        let limits = stepper.cx.info.limits.clone();
        match result {
            Ok(()) => {
                self.commit_failures = 0;
                stepper.alarm.clear(Due::Commit);
                let (execution, subtask) = (stepper.cx.info.execution, stepper.cx.info.subtask);
                stepper.cx.reports.committed.do_send(SinkCommitted { execution, subtask, checkpoint });
                Ok(())
            }
            Err(error) if error.is_retryable() && self.commit_failures < limits.commit_retries => {
                self.commit_failures += 1;
                stepper.alarm.set(Due::Commit, limits.commit_retry_delay);
                log::warn!(
                    target: "millstream::sink",
                    "job={} {} checkpoint={checkpoint} commit failed, try {} of {}: {error}",
                    stepper.cx.info.job, stepper.cx.info.name, self.commit_failures, limits.commit_retries
                );
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// What is to be settled before the first record: each subtask has its share.
    fn restore(&self, cx: &SubtaskContext, loaded: Option<LoadedState>) -> Result<SinkRestore, TaskError> {
        let mut restore = SinkRestore::default();
        if let Some(mut state) = loaded {
            let pending = read_lists::<PendingCommit>(&self.operator, PENDING, state.sections.take(&self.operator))?;
            restore = SinkRestore::dealt(state.checkpoint, pending, cx.info.subtask.index, cx.info.parallelism);
            cx.reached(Step::Restored);
        }
        Ok(SinkRestore { withdraw: cx.withdraw.clone(), accepts_repeats: cx.accepts_repeats, ..restore })
    }
}

impl<S: Sink> Work for SinkWork<S> {
    fn operators(&self) -> Vec<OperatorId> {
        vec![self.operator.clone()]
    }

    fn open(
        &mut self,
        stepper: &mut Stepper,
        loaded: Option<LoadedState>,
        ctx: &mut Context<Task<Self>>,
    ) -> Result<bool, TaskError> {
        let cx = &stepper.cx;
        let restore = self.restore(cx, loaded)?;
        let effects = Effects { fence: cx.fence.clone(), probe: cx.probe.clone(), name: cx.info.name.clone() };
        let (execution, wanted) = (cx.info.execution, cx.reports.wanted.clone());
        let context = SinkContext {
            job: cx.info.job.clone(),
            operator: self.operator.clone(),
            former_operators: self.former.clone(),
            subtask_index: cx.info.subtask.index,
            parallelism: cx.info.parallelism,
            execution: cx.info.execution,
            clock: cx.info.clock.clone(),
            checkpoints: CheckpointRequests::new(move || wanted.do_send(WantCheckpoint { execution })),
            fenced: cx.fence.clone(),
        };
        let reports = WriterReports { events: ctx.address().recipient(), panicked: ctx.address().recipient() };
        let mut writing = sink_writing::open(&self.sink, context, restore, effects, &stepper.exit, reports)?;
        if self.may_hold_back {
            writing.attach(waker_of(ctx));
        }
        let is_open = matches!(writing, Writing::Inline(_));
        self.writing = Some(writing);
        Ok(is_open)
    }

    fn step(&mut self, stepper: &mut Stepper) -> Result<Stepped, TaskError> {
        if self.writes_under_way.len() >= WRITES_UNDER_WAY_MAX {
            return Ok(Stepped::Blocked);
        }
        let demand = match &self.writing {
            Some(writing) if self.may_hold_back => writing.demand(),
            _ => Demand::Any,
        };
        let input = match demand {
            Demand::Any => self.inputs.take(),
            Demand::BeforeBarrier => self.inputs.take_awaited(),
            Demand::Nothing => None,
        };
        match input {
            Some(Input::Batch { channel, batch }) => self.write(stepper, channel, batch)?,
            Some(Input::Barrier(barrier)) => {
                stepper.cx.reached(Step::BarrierReached);
                self.alignment = self.inputs.alignment();
                self.order(stepper, Order::Prepare(barrier))?;
            }
            Some(Input::Mark(mark)) => self.counters.watermark_in.follow(mark),
            Some(_) => {}
            None if demand == Demand::Any => return Ok(Stepped::Starved),
            None => return Ok(Stepped::Blocked),
        }
        Ok(Stepped::On)
    }

    fn drained(&mut self, stepper: &mut Stepper) -> Result<(), TaskError> {
        if self.has_unflushed && self.writes_under_way.is_empty() {
            self.has_unflushed = false;
            self.order(stepper, Order::Flush)?;
        }
        Ok(())
    }

    fn due(&mut self, stepper: &mut Stepper, _: Due) -> Result<(), TaskError> {
        self.order(stepper, Order::Commit(self.complete))
    }

    fn complete(&mut self, stepper: &mut Stepper, complete: CheckpointComplete) -> Result<(), TaskError> {
        self.complete = self.complete.max(complete.checkpoint);
        self.order(stepper, Order::Commit(self.complete))
    }

    fn stopping(&mut self) {
        if let Some(writing) = self.writing.take() {
            writing.close();
        }
    }

    fn aborted(&mut self, checkpoint: CheckpointId) {
        self.inputs.abort(checkpoint);
    }
}

impl<S: Sink> Handler<ExpectBarrier> for Task<SinkWork<S>> {
    type Result = ();

    fn handle(&mut self, message: ExpectBarrier, ctx: &mut Context<Self>) {
        self.work.inputs.expect(message.checkpoint);
        self.run(ctx);
    }
}

impl<S: Sink> Handler<WakeTask> for Task<SinkWork<S>> {
    type Result = ();

    fn handle(&mut self, message: WakeTask, ctx: &mut Context<Self>) {
        message.is_heard();
        self.run_unless_it_will(ctx);
    }
}

impl<S: Sink> WithInputs for SinkWork<S> {
    type Batch = Box<Batch<S::Item>>;

    fn inputs(&mut self) -> &mut Inputs<Box<Batch<S::Item>>> {
        &mut self.inputs
    }
}

impl<S: Sink> Handler<WriterEvent<S::Item>> for Task<SinkWork<S>> {
    type Result = ();

    fn handle(&mut self, message: WriterEvent<S::Item>, ctx: &mut Context<Self>) {
        let done = self.work.event(&mut self.stepper, message);
        self.go_on(done, ctx);
    }
}
