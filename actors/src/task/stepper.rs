//! The one way in which all tasks work: an actor that takes steps while there is something to do.
//!
//! Receives from everywhere what every task receives: [`CheckpointComplete`], [`CheckpointAborted`] from the coordinator,
//! [`StopSubtask`] from its region supervisor, [`ChunksStored`] from the snapshot writer, and a panic of its connector.
//! What only one kind of task receives is in the file of its [`Work`], as is what a restart loses.
//!
//! An actor's poll drains its mailbox without limit (actix issue 520), so a task yields by itself. A future given to
//! `ctx.spawn` is polled only once the mailbox is drained, which makes a ready one the cheapest sign of "no more input
//! at hand": no timer, 16 ns.

mod handlers;

use std::time::Duration;

use actix::{Actor, ActorContext, ActorFutureExt, Addr, AsyncContext, Context, Handler, Recipient, WrapFuture, fut};

use crate::contract::{Doing, IS_COUNTED, Progress, RunBudget, SectionWriter, StateError, Step, monotonic};
use crate::data::input_batch::InputBatch;
use crate::data::pipeline::{GroupLoaders, LoadedState};
use crate::protocol::{AckFacts, Barrier, CheckpointId, OperatorId, SubtaskId, TaskError};
use crate::runtime::connector_thread::ConnectorPanicked;
use crate::runtime::guard::{ExitSlot, start_guarded};
use crate::runtime::{ArbiterHandle, yield_now};
use crate::task::alarm::{Alarm, Due};
use crate::task::blocked::Blocked;
use crate::task::loading::{Loaded, load};
use crate::task::queries::{Queried, Queries};
use crate::task::snapshots::{Snapshots, Written};
use crate::task::{
    CheckpointAborted, CheckpointComplete, ChunksStored, RestoreFigures, SourceAddress, StopSubtask, SubtaskAddress,
    SubtaskContext, SubtaskReady,
};

/// What one kind of task does in its steps.
pub(crate) trait Work: Sized + Unpin + 'static {
    /// The operators whose state its snapshots have.
    fn operators(&self) -> Vec<OperatorId>;

    /// Loaders of keyed state, for one thread.
    fn group_loaders(&mut self) -> GroupLoaders {
        GroupLoaders::new()
    }

    /// Takes its state, if there is one to restore, and opens its connector. True if it is ready then; else it says so
    /// later, by [`Stepper::ready`].
    fn open(
        &mut self,
        stepper: &mut Stepper,
        loaded: Option<LoadedState>,
        ctx: &mut Context<Task<Self>>,
    ) -> Result<bool, TaskError>;

    /// Takes one step. A step that was suspended comes before anything else.
    fn step(&mut self, stepper: &mut Stepper) -> Result<Stepped, TaskError>;

    /// No more input is at hand.
    fn drained(&mut self, stepper: &mut Stepper) -> Result<(), TaskError>;

    /// The task is ready: where it can be asked for more than queries, it says so.
    fn can_be_asked(task: &Task<Self>, ctx: &Context<Task<Self>>) {
        let _ = (task, ctx);
    }

    /// Its operators, if they may have state of keys.
    fn queried(&mut self) -> Option<&mut dyn Queried> {
        None
    }

    /// Writes a slice of the snapshot that was begun last.
    fn write_slice(&mut self, writer: &mut SectionWriter, slice: &mut RunBudget) -> Result<Progress, StateError> {
        let _ = (writer, slice);
        Ok(Progress::Done)
    }

    /// The snapshot that was begun last is not wanted any more.
    fn give_up_snapshot(&mut self) {}

    /// Sets the alarm for what may have changed in the steps that were taken. Once for a run of them.
    fn set_alarm(&self, alarm: &mut Alarm) {
        let _ = alarm;
    }

    /// Something has come due that it has set.
    fn due(&mut self, stepper: &mut Stepper, due: Due) -> Result<(), TaskError> {
        let _ = stepper;
        unreachable!("{due:?} was not set")
    }

    /// The checkpoint is complete.
    fn complete(&mut self, stepper: &mut Stepper, complete: CheckpointComplete) -> Result<(), TaskError> {
        let _ = (stepper, complete);
        Ok(())
    }

    /// The task stops: nothing is asked of it any more.
    fn stopping(&mut self) {}

    /// Batches that its outputs have sent.
    fn batches_sent(&self) -> u64 {
        0
    }

    /// Whether it cannot send, or holds back input that has come for a barrier of others, whatever it does besides.
    fn is_held_up(&self) -> bool {
        false
    }

    /// The checkpoint will not complete: nothing waits for it.
    fn aborted(&mut self, checkpoint: CheckpointId);
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stepped {
    /// There may be more to do.
    On,
    /// Others come first: the budget is exhausted in the middle of a step, or operators were woken, which may want that again
    /// at once.
    OutOfTime,
    /// An output takes nothing more at present; a message says when it does.
    Blocked,
    /// There is no input; a message or the alarm says when there is.
    Idle,
    /// No input is at hand. What waits for more goes out if the mailbox holds none either.
    Starved,
}

/// What follows when no more steps are taken.
enum Rest {
    /// Others run, then this one again.
    Yield,
    /// [`Work::drained`], once the mailbox is empty.
    AwaitDrain,
    /// Nothing, until a message comes: there is no input, or the outputs are blocked.
    Wait { is_blocked: bool },
}

/// What the steps of every kind of task use.
pub(crate) struct Stepper {
    pub(crate) cx: SubtaskContext,
    pub(crate) exit: ExitSlot,
    /// Time until the task must yield.
    pub(crate) budget: RunBudget,
    pub(crate) alarm: Alarm,
    snapshots: Snapshots,
    pub(super) queries: Queries,
    /// Input records so far, in this attempt.
    records_in: u64,
    restored: RestoreFigures,
    /// Its state is loaded and its connector is open. No step is taken before.
    is_ready: bool,
    /// It has yielded and runs again by itself: messages that come before take no more than what is left of its time.
    resumes: bool,
    awaits_drain: bool,
    blocked: Blocked,
}

impl Stepper {
    fn new(cx: SubtaskContext, exit: ExitSlot, stored: Recipient<ChunksStored>) -> Self {
        Self {
            budget: RunBudget::start_by(cx.slice_clock),
            queries: Queries::new(cx.slice_clock),
            alarm: Alarm::new(cx.info.clock.clone()),
            cx,
            exit,
            snapshots: Snapshots::new(stored),
            records_in: 0,
            restored: RestoreFigures::default(),
            is_ready: false,
            resumes: false,
            awaits_drain: false,
            blocked: Blocked::default(),
        }
    }

    /// Input records so far, in this attempt.
    pub(crate) fn records_in(&self) -> u64 {
        self.records_in
    }

    /// A batch of so many records is taken.
    pub(crate) fn takes_batch(&mut self, batch: &impl InputBatch) {
        self.budget.works();
        self.cx.reached(Step::Batch);
        self.records_in += batch.records() as u64;
        self.exit.records_in(self.records_in, batch.records() as u64);
        let counters = &self.cx.info.counters;
        counters.records_in.set(self.records_in);
        counters.batches_in.add(1);
        counters.bytes_in.add(batch.bytes() as u64);
    }

    /// It holds records of so many that it was restored with and has taken.
    pub(crate) fn holds_records(&self, of: u64) {
        self.exit.holds_records(of);
    }

    /// When this step began, or the turn.
    pub(crate) fn step_began(&self) -> Duration {
        self.budget.looked_at()
    }

    /// Looks at the clock.
    pub(crate) fn now(&mut self) -> Duration {
        self.budget.now()
    }

    /// Whether its time is over until others have run. A step for each message would keep a slow task in its mailbox, since those
    /// who send to it from another thread refill that while it works.
    fn lets_others_run(&self) -> bool {
        self.resumes && self.budget.last_left().is_zero()
    }

    /// Has done its work, and does something else from now on.
    fn turns_to(&mut self, doing: Doing) {
        if IS_COUNTED {
            self.budget.catch_up();
            self.cx.info.counters.turns_to(doing, self.budget.looked_at());
        }
    }

    /// Begins the snapshot of `barrier` by `write`. One that is open must have been given up. False if it is declined:
    /// what `write` has begun is to be given up.
    #[must_use]
    pub(crate) fn begin_snapshot(
        &mut self,
        barrier: Barrier,
        facts: AckFacts,
        write: impl FnOnce(&mut SectionWriter) -> Result<Progress, StateError>,
    ) -> bool {
        self.snapshots.begin(&self.cx, barrier, facts, write) != Written::Declined
    }

    /// Lets go of the open snapshot. True if there was one: what was begun is to be given up.
    #[must_use]
    pub(crate) fn drop_snapshot(&mut self) -> bool {
        self.snapshots.give_up()
    }

    /// Its state is loaded and its connector is open: steps may be taken.
    pub(crate) fn ready(&mut self) {
        self.is_ready = true;
        self.now();
        self.turns_to(Doing::Idle);
        let (execution, subtask, restored) = (self.cx.info.execution, self.cx.info.subtask, self.restored);
        self.cx.reports.ready.do_send(SubtaskReady { execution, subtask, restored });
    }
}

impl Drop for Stepper {
    fn drop(&mut self) {
        self.now();
        self.turns_to(Doing::Nothing);
    }
}

/// A task's actor.
pub(crate) struct Task<W: Work> {
    pub(crate) stepper: Stepper,
    pub(crate) work: W,
}

/// Starts a task on `arbiter`, under its guard; `make` runs there too.
pub(crate) fn start<W: Work>(
    cx: SubtaskContext,
    arbiter: &ArbiterHandle,
    make: impl FnOnce(&SubtaskContext, &mut Context<Task<W>>) -> W + Send + 'static,
) -> Addr<Task<W>> {
    let guard = cx.guard();
    start_guarded(arbiter, guard, move |ctx, exit| {
        cx.reached(Step::Starting);
        let work = make(&cx, ctx);
        Task { stepper: Stepper::new(cx, exit, ctx.address().recipient()), work }
    })
}

/// Where a task takes its orders.
pub(crate) fn address_of<W: Work>(
    task: &Addr<Task<W>>,
    subtask: SubtaskId,
    source: Option<SourceAddress>,
    is_sink: bool,
) -> SubtaskAddress {
    SubtaskAddress {
        subtask,
        stop: task.clone().recipient(),
        complete: task.clone().recipient(),
        aborted: task.clone().recipient(),
        source,
        expects: None,
        is_sink,
    }
}

impl<W: Work> Task<W> {
    /// Takes steps until there is nothing to do or the budget is exhausted. A task that has yielded takes no more of them for messages
    /// than its next budget allows: so others wait for two steps at most, one for a message and one when it runs on by itself.
    pub(crate) fn run(&mut self, ctx: &mut Context<Self>) {
        if self.stepper.is_ready && !self.stepper.lets_others_run() {
            // The first step begins now.
            self.stepper.now();
            self.stepper.turns_to(Doing::Busy);
            let rest = match self.take_steps() {
                Ok(rest) => rest,
                Err(error) => return self.fail(error, ctx),
            };
            let (sent, Self { stepper, work }) = (self.work.batches_sent(), &mut *self);
            let doing = match rest {
                Rest::Yield => Doing::Waiting,
                Rest::Wait { is_blocked: true } => Doing::Blocked,
                Rest::AwaitDrain | Rest::Wait { .. } => Doing::Idle,
            };
            stepper.turns_to(doing);
            stepper.blocked.tell(&stepper.cx, sent, || doing == Doing::Blocked || work.is_held_up());
            work.set_alarm(&mut stepper.alarm);
            self.release_queries(ctx);
            match rest {
                Rest::Yield => self.yield_then_run(ctx),
                Rest::AwaitDrain => self.await_drain(ctx),
                Rest::Wait { .. } => {}
            }
        }
        self.stepper.alarm.arm(ctx, Self::alarm);
    }

    /// Takes steps, but if it has yielded and will run by itself. For messages that steps of its own lead to: they are in front of what it
    /// has yielded to.
    pub(crate) fn run_unless_it_will(&mut self, ctx: &mut Context<Self>) {
        if !self.stepper.resumes {
            self.run(ctx);
        }
    }

    /// Does what a message has led to, and then runs on.
    pub(crate) fn go_on(&mut self, result: Result<(), TaskError>, ctx: &mut Context<Self>) {
        match result {
            Ok(()) => self.run(ctx),
            Err(error) => self.fail(error, ctx),
        }
    }

    /// Ends the task.
    pub(crate) fn fail(&mut self, error: TaskError, ctx: &mut Context<Self>) {
        self.stepper.exit.fail(error);
        ctx.stop();
    }

    fn take_steps(&mut self) -> Result<Rest, TaskError> {
        loop {
            let stepped = self.work.step(&mut self.stepper)?;
            // Between batches, and by itself when there are none or the outputs are blocked.
            let writes_on = !self.stepper.resumes && self.write_slice();
            match stepped {
                Stepped::On if self.stepper.budget.left_after_work().is_zero() => return Ok(Rest::Yield),
                Stepped::On => {}
                Stepped::OutOfTime => return Ok(Rest::Yield),
                Stepped::Blocked | Stepped::Idle if writes_on => return Ok(Rest::Yield),
                Stepped::Starved if writes_on => {
                    self.work.drained(&mut self.stepper)?;
                    return Ok(Rest::Yield);
                }
                Stepped::Blocked => return Ok(Rest::Wait { is_blocked: true }),
                Stepped::Idle => return Ok(Rest::Wait { is_blocked: false }),
                Stepped::Starved => return Ok(Rest::AwaitDrain),
            }
        }
    }

    /// Writes a slice of the open snapshot, if there is one. Whether there is one still, and it can be written on.
    fn write_slice(&mut self) -> bool {
        let Self { stepper, work } = self;
        if stepper.snapshots.open().is_none() {
            return false;
        }
        stepper.budget.works();
        let mut slice = RunBudget::start_by(stepper.cx.slice_clock);
        // A snapshot without room writes nothing, but may have to be declined.
        let written = stepper.snapshots.write_slice(&stepper.cx, |writer| work.write_slice(writer, &mut slice));
        if written == Some(Written::Declined) {
            work.give_up_snapshot();
        }
        stepper.snapshots.can_write()
    }

    /// Lets every other actor of the arbiter run, takes what has arrived meanwhile, and runs on.
    fn yield_then_run(&mut self, ctx: &mut Context<Self>) {
        if std::mem::replace(&mut self.stepper.resumes, true) {
            return;
        }
        ctx.wait(yield_now().into_actor(self).map(|(), task, _| task.stepper.budget.restart()));
        ctx.spawn(fut::ready(()).map(|(), task: &mut Self, ctx| {
            task.stepper.resumes = false;
            task.run(ctx);
        }));
    }

    fn await_drain(&mut self, ctx: &mut Context<Self>) {
        if std::mem::replace(&mut self.stepper.awaits_drain, true) {
            return;
        }
        ctx.spawn(fut::ready(()).map(|(), task: &mut Self, ctx| {
            task.stepper.awaits_drain = false;
            task.stepper.budget.restart();
            if let Err(error) = task.work.drained(&mut task.stepper) {
                task.fail(error, ctx);
            }
        }));
    }

    fn alarm(&mut self, ctx: &mut Context<Self>) {
        self.stepper.alarm.rang();
        while let Some(due) = self.stepper.alarm.take_due() {
            if let Err(error) = self.work.due(&mut self.stepper, due) {
                return self.fail(error, ctx);
            }
        }
        self.run(ctx);
    }

    fn loaded(&mut self, loaded: Loaded, ctx: &mut Context<Self>) {
        match loaded {
            Ok((state, figures)) => {
                self.stepper.restored = figures;
                self.open(Some(state), ctx);
            }
            Err(error) => self.fail(error, ctx),
        }
    }

    /// Its state is loaded and its connector is open: it takes queries, and steps.
    pub(crate) fn ready(&mut self, ctx: &Context<Self>) {
        self.open_for_queries(ctx);
        W::can_be_asked(self, ctx);
        self.stepper.ready();
    }

    fn open(&mut self, loaded: Option<LoadedState>, ctx: &mut Context<Self>) {
        let started = monotonic();
        match self.work.open(&mut self.stepper, loaded, ctx) {
            Ok(is_ready) => {
                self.stepper.restored.took += monotonic() - started;
                if is_ready {
                    self.ready(ctx);
                }
                self.run(ctx);
            }
            Err(error) => self.fail(error, ctx),
        }
    }
}

impl<W: Work> Actor for Task<W> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let Some(plan) = self.stepper.cx.restore.clone() else { return self.open(None, ctx) };
        let loading = load(&self.stepper.cx, plan, &self.work.operators(), &mut || self.work.group_loaders());
        ctx.spawn(loading.into_actor(self).map(|loaded, task, ctx| task.loaded(loaded, ctx)));
    }
}
