//! The operators of a task, and the step that they have not finished: what source and operator tasks have in common.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};
use std::time::Duration;

use actix::{Actor, Addr, AsyncContext, Context, Handler, Message, Recipient};

use crate::contract::{Progress, RunBudget, SectionWriter, StateError, Step};
use crate::data::edge::ReturnCredit;
use crate::data::input_batch::InputBatch;
use crate::data::pipeline::Pipeline;
use crate::protocol::{AckFacts, Barrier, Mark, TaskError};
use crate::task::SubtaskContext;
use crate::task::alarm::{Alarm, Due};
use crate::task::stepper::{Stepped, Stepper, Task, Work};

/// What is given to the operators.
pub(crate) enum Given<B> {
    /// So many records, that came on this channel.
    Batch { channel: usize, records: usize, batch: B },
    /// A mark.
    Mark(Mark),
    /// Nothing: those whose time has come at `now` are woken.
    WakeUp { now: Duration },
}

/// What has become of it.
pub(crate) enum Outcome<B> {
    /// It is taken. A batch comes back empty.
    Taken(Given<B>),
    /// Its step is suspended, and comes before anything else.
    Suspended(Stepped),
}

/// The operators of a task.
pub(crate) struct Operators<B> {
    pub(crate) pipeline: Pipeline<B>,
    /// What they have taken a part of.
    suspended: Option<Given<B>>,
    /// Since when they work on a batch, or wait until what it led to has gone out, and how many records it had.
    at_work: Option<(Duration, usize)>,
    /// The alarm, or a waker, has gone off for one of them, and none has been woken since.
    is_due: bool,
}

/// The work of a task that has operators.
pub(crate) trait WithOperators: Work {
    /// What the first of them takes.
    type Batch: InputBatch;

    fn operators_mut(&mut self) -> &mut Operators<Self::Batch>;
}

impl<B: InputBatch> Operators<B> {
    pub(crate) fn new(pipeline: Pipeline<B>) -> Self {
        Self { pipeline, suspended: None, at_work: None, is_due: false }
    }

    /// A batch of so many records is given to them next, on which the task has been at work `since` then, or longer if it is one of
    /// several.
    pub(crate) fn begin(&mut self, since: Duration, records: usize) {
        let (since, before) = self.at_work.unwrap_or((since, 0));
        self.at_work = Some((since, before + records));
    }

    /// How long the last batch took, and its records: asked when nothing is suspended and no output is blocked, and answered
    /// once for each batch. What it led to has gone out by then, so that a task before a slow one is as slow.
    pub(crate) fn gone_on(&mut self, now: Duration) -> Option<(Duration, usize)> {
        let (since, records) = self.at_work.take()?;
        Some((now - since, records))
    }

    /// Gives them something. What was suspended must have been finished.
    pub(crate) fn give(&mut self, mut given: Given<B>, budget: &mut RunBudget) -> Result<Outcome<B>, TaskError> {
        let progress = match &mut given {
            Given::Batch { batch, .. } => self.pipeline.push(batch, budget)?,
            Given::Mark(mark) => self.pipeline.mark(*mark, budget)?,
            Given::WakeUp { now } => self.pipeline.wake(*now, budget)?,
        };
        if progress == Progress::Suspended {
            self.suspended = Some(given);
            let is_blocked = self.pipeline.is_blocked();
            return Ok(Outcome::Suspended(if is_blocked { Stepped::Blocked } else { Stepped::OutOfTime }));
        }
        if let Given::Batch { batch, .. } = &mut given {
            batch.clear();
        }
        Ok(Outcome::Taken(given))
    }

    /// Goes on with what was suspended; `None` if nothing is.
    pub(crate) fn resume(&mut self, budget: &mut RunBudget) -> Result<Option<Outcome<B>>, TaskError> {
        match self.suspended.take() {
            Some(given) => self.give(given, budget).map(Some),
            None => Ok(None),
        }
    }

    /// The alarm has gone off for one of them, or a waker.
    pub(crate) fn come_due(&mut self) {
        self.is_due = true;
    }

    /// The wake-up that is to be given to them before other input, if the alarm or a waker has gone off. Asked when nothing is suspended
    /// and no output is blocked.
    pub(crate) fn wake_up(&mut self, cx: &SubtaskContext) -> Option<Given<B>> {
        std::mem::take(&mut self.is_due).then(|| Given::WakeUp { now: cx.info.clock.now() })
    }

    /// Has the alarm go off when one of them wants to be woken. What they say is not known in the middle of a step, and they
    /// are not asked again before they have been woken: a task whose output is blocked would be woken all the time.
    pub(crate) fn set_alarm(&self, alarm: &mut Alarm) {
        if self.suspended.is_none() && !self.is_due {
            alarm.set_at(Due::Operators, self.pipeline.due());
        }
    }

    /// Sends what waits for a batch to fill, unless that is in the middle of a step.
    pub(crate) fn drained(&mut self) {
        if self.suspended.is_none() {
            self.pipeline.flush();
        }
    }

    /// Passes the barrier on and begins the snapshot, in this order, so that tasks further down align meanwhile.
    /// `first` writes what the task has besides the state of its operators.
    pub(crate) fn barrier(
        &mut self,
        stepper: &mut Stepper,
        barrier: Barrier,
        facts: AckFacts,
        first: impl FnOnce(&mut SectionWriter) -> Result<(), StateError>,
    ) {
        stepper.cx.reached(Step::BarrierReached);
        self.pipeline.barrier(barrier);
        stepper.cx.reached(Step::BarrierForwarded);
        if stepper.drop_snapshot() {
            self.pipeline.abandon_snapshot();
        }
        let is_begun = stepper.begin_snapshot(barrier, facts, |writer| {
            first(writer)?;
            self.pipeline.snapshot(writer)
        });
        if !is_begun {
            self.pipeline.abandon_snapshot();
        }
    }
}

/// Has a task ask those that wait for something in it. One message at a time.
struct WakesTask {
    task: Recipient<WakeTask>,
    is_told: AtomicBool,
}

impl Wake for WakesTask {
    fn wake(self: Arc<Self>) {
        if !self.is_told.swap(true, Ordering::AcqRel) {
            self.task.do_send(WakeTask(self.clone()));
        }
    }
}

/// What an operator, or a sink, waited for is there.
pub(crate) struct WakeTask(Arc<WakesTask>);

impl Message for WakeTask {
    type Result = ();
}

impl WakeTask {
    /// What comes from here on is told anew.
    pub(crate) fn is_heard(&self) {
        self.0.is_told.swap(false, Ordering::AcqRel);
    }
}

/// Has the operators of a task asked whether they are due, or its sink what it takes.
pub(crate) fn waker_of<W: Work>(ctx: &Context<Task<W>>) -> Waker
where
    Task<W>: Actor<Context = Context<Task<W>>> + Handler<WakeTask>,
{
    let task: Addr<Task<W>> = ctx.address();
    Arc::new(WakesTask { task: task.recipient(), is_told: AtomicBool::new(false) }).into()
}

impl<W: WithOperators> Handler<WakeTask> for Task<W> {
    type Result = ();

    fn handle(&mut self, message: WakeTask, ctx: &mut Context<Self>) {
        message.is_heard();
        self.work.operators_mut().come_due();
        self.run_unless_it_will(ctx);
    }
}

impl<W: WithOperators> Handler<ReturnCredit> for Task<W> {
    type Result = ();

    fn handle(&mut self, message: ReturnCredit, ctx: &mut Context<Self>) {
        let pipeline = &mut self.work.operators_mut().pipeline;
        let was_blocked = pipeline.is_blocked();
        pipeline.credit(message);
        if was_blocked {
            self.run(ctx);
        }
    }
}
