//! The region supervisor: starts the subtasks of one region, stops them all when one fails, and starts them again from
//! the checkpoint that the coordinator names. No new attempt starts before every old subtask has reported its end, or
//! was fenced and left behind.
//!
//! Receives from its subtasks, the coordinator and the job supervisor; sends to them. A restart of the supervisor
//! itself fences, stops and restarts the region: who is alive is in the job's
//! memory (`RegionMemory`).

mod along;
mod directives;
mod handlers;
mod leaving;
mod parking;
mod pausing;
mod rescaling;
mod start;
mod times;
mod watchdog;
mod wiring;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::{
    Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Message, Recipient, SpawnHandle, Supervised,
    WrapFuture,
};
use tokio::sync::oneshot;

use crate::contract::{Fence, Manifest, SnapshotError, Step};
use crate::control::checkpoint_coordinator::{
    CheckpointCompleted, ChooseRestore, ParkRegion, RegionDown, RegionRunning, RestoreChosen,
};
use crate::control::event::JobEventKind;
use crate::control::job_context::{Ending, JobContext, RegionMemory};
use crate::control::lock::lock;
use crate::control::outcome::{FailureRecord, JobError};
use crate::control::parked_region::ResumeRegionError;
use crate::protocol::{
    ActorName, Attempt, Cause, CheckpointId, Execution, FailedRecord, NoRestore, PanickedCall, RESTART_DELAY_BORNE,
    Recovered, RegionEvent, RegionId, RegionReached, RegionState, RestartDecision, RestoreDecision, SubtaskId,
    TaskError,
};
use crate::runtime::arbiters::ArbiterCondemned;
use crate::runtime::guard;
use crate::task::{
    AcknowledgeCheckpoint, BeginReading, DeclineCheckpoint, FinishInput, RestoreFigures, SinkCommitted, SourceHalted,
    StopReading, StopSubtask, StoreChunks, SubtaskAddress, WantCheckpoint,
};
pub(crate) use along::{RegionRestarts, RestartAlong};
use directives::Answered;
pub(crate) use directives::directives_of;
pub(crate) use parking::ResumeRegion;
pub(crate) use pausing::PauseRegion;
pub(crate) use rescaling::{HoldRegion, RegionReports, StartAnew};
use watchdog::Watchdog;

/// Failures kept for the error of a region that gives up.
const FAILURES_KEPT: usize = 32;

/// No subtask of a region is left, and none will be started.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct RegionEnded {
    pub(crate) region: RegionId,
    pub(crate) error: Option<JobError>,
}

/// Tell the sources how the job is asked to end.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct EndInput;

/// Read on after all: start all subtasks again, from the newest checkpoint.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct ReadOn;

/// Stop all subtasks, for good.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct StopRegion;

/// Where subtasks and supervisors send their facts.
#[derive(Clone)]
pub(crate) struct TaskPorts {
    pub(crate) acknowledge: Recipient<AcknowledgeCheckpoint>,
    pub(crate) decline: Recipient<DeclineCheckpoint>,
    pub(crate) halted: Recipient<SourceHalted>,
    pub(crate) committed: Recipient<SinkCommitted>,
    pub(crate) wanted: Recipient<WantCheckpoint>,
    pub(crate) chunks: Recipient<StoreChunks>,
}

/// What a region supervisor needs to be built, again and again.
#[derive(Clone)]
pub(crate) struct RegionSeed {
    pub(crate) job: Arc<JobContext>,
    pub(crate) region: RegionId,
    pub(crate) task_ports: TaskPorts,
    pub(crate) running: Recipient<RegionRunning>,
    pub(crate) down: Recipient<RegionDown>,
    pub(crate) choose: Recipient<ChooseRestore>,
    pub(crate) park: Recipient<ParkRegion>,
    pub(crate) restarts: Recipient<RegionRestarts>,
    pub(crate) root: Recipient<RegionEnded>,
    pub(crate) reports: Recipient<RegionReports>,
}

/// The actor.
pub(crate) struct RegionSupervisor {
    seed: RegionSeed,
    name: ActorName,
    state: RegionState,
    execution: Execution,
    fence: Fence,
    restored: Option<Arc<Manifest>>,
    subtasks: Arc<[SubtaskAddress]>,
    ready: BTreeSet<SubtaskId>,
    figures: RestoreFigures,
    /// Records that this attempt reads again, if the process has had one before.
    rewinds: Option<u64>,
    newest: Option<CheckpointId>,
    delay: Duration,
    /// Ends the restart delay.
    restart_timer: Option<SpawnHandle>,
    /// Waits until all sources have heard of a pause, or its end; one for each order.
    telling_pause: BTreeMap<u64, SpawnHandle>,
    damaged: Option<(CheckpointId, Arc<SnapshotError>)>,
    error: Option<JobError>,
    /// Wait for a parked region to run.
    resumes: Vec<oneshot::Sender<Result<(), ResumeRegionError>>>,
    /// What a record directive has said to the failure.
    answered: Answered,
    watchdog: Watchdog,
}

impl RegionSupervisor {
    pub(crate) fn new(seed: RegionSeed) -> Self {
        let region = seed.region;
        let memory = lock(&seed.job.regions[region.0 as usize]);
        let state = match &*memory {
            memory if memory.ended => RegionState::Ended,
            memory if memory.stopping_for_good => RegionState::StoppingForGood,
            RegionMemory { parked: Some(parked), .. } if parked.from.is_some() => RegionState::Parked,
            RegionMemory { parked: Some(_), .. } => RegionState::Parking,
            memory if memory.attempt == Attempt(0) && memory.failures.is_empty() => RegionState::Waiting,
            _ => RegionState::StoppingToRestart,
        };
        let execution = Execution { incarnation: seed.job.incarnation, region, attempt: memory.attempt };
        drop(memory);
        let newest = match lock(&seed.job.memory).announced {
            CheckpointId::NONE => None,
            newest => Some(newest),
        };
        Self {
            name: ActorName::RegionSupervisor(region),
            state,
            execution,
            fence: Fence::default(),
            restored: None,
            subtasks: Arc::new([]),
            ready: BTreeSet::new(),
            figures: RestoreFigures::default(),
            rewinds: None,
            newest,
            delay: Duration::ZERO,
            restart_timer: None,
            telling_pause: BTreeMap::new(),
            damaged: None,
            error: None,
            resumes: Vec::new(),
            answered: Answered::Not,
            watchdog: Watchdog::default(),
            seed,
        }
    }

    fn memory(&self) -> &Mutex<RegionMemory> {
        &self.seed.job.regions[self.seed.region.0 as usize]
    }

    fn reached(&self, step: Step) {
        self.seed.job.reached(step, &self.name);
    }

    /// Moves on if `event` means something in this state.
    fn go(&mut self, event: RegionEvent) -> bool {
        let after = self.state.after(event);
        self.state = after.unwrap_or(self.state);
        after.is_some()
    }

    /// The delay is over: a new attempt begins.
    fn begin_attempt(&mut self) {
        if self.rests() || !self.go(RegionEvent::DelayOver) {
            return;
        }
        let mut memory = lock(self.memory());
        memory.attempt.0 += 1;
        let attempt = memory.attempt;
        drop(memory);
        self.execution.attempt = attempt;
        self.reached(Step::RegionRestoring);
        let damaged = self.damaged.as_ref().map(|(checkpoint, _)| *checkpoint);
        self.seed.choose.do_send(ChooseRestore { execution: self.execution, damaged });
    }

    /// All subtasks are ready: let the sources read.
    fn check_ready(&mut self) {
        if self.ready.len() < self.subtasks.len() || !self.go(RegionEvent::AllReady) {
            return;
        }
        self.reached(Step::RegionReady);
        let job = self.seed.job.clone();
        let now = job.clock.now();
        self.damaged = None;
        let (region, attempt) = (self.seed.region, self.execution.attempt);
        let mut restored_age = None;
        if let Some(manifest) = &self.restored {
            let age = Duration::from_millis(job.clock.unix_ms().saturating_sub(manifest.triggered_unix_ms));
            let RestoreFigures { bytes, entries, took } = self.figures;
            let checkpoint = manifest.checkpoint;
            restored_age = Some(age);
            lock(&job.memory).advisor.restored(region, manifest.state_bytes(), took);
            let rewinds = self.rewinds;
            job.emit(JobEventKind::Restored { region, attempt, checkpoint, age, bytes, entries, took, rewinds });
        }
        let mut memory = lock(self.memory());
        memory.running_since = Some(now);
        let failed_at = memory.failed_at.take();
        drop(memory);
        let downtime = failed_at.map(|at| now.saturating_sub(at));
        let (rewinds, age) = (self.rewinds, restored_age);
        let recovered = downtime.map(|downtime| Recovered { downtime, rewinds: rewinds.unwrap_or_default(), age });
        lock(&job.memory).advisor.running(now, region, recovered);
        self.begin_reading();
        self.end_input();
        let restored = self.restored.as_ref().map_or(CheckpointId::NONE, |manifest| manifest.checkpoint);
        let subtasks = self.subtasks.clone();
        self.seed.running.do_send(RegionRunning { execution: self.execution, restored, subtasks });
        job.emit(JobEventKind::RegionRunning { region, attempt, downtime });
        self.report(RegionReached::Running);
        self.answer_resumes(Ok(()));
    }

    fn end_input(&self) {
        let Some(ending) = *lock(&self.seed.job.ending) else { return };
        for (subtask, source) in self.subtasks.iter().filter_map(|task| Some((task.subtask, task.source.as_ref()?))) {
            match ending {
                Ending::Drain | Ending::DrainForSavepoint => source.stop_reading.do_send(StopReading),
                Ending::Finish => {
                    let after_records = lock(self.memory()).progress.rewound(subtask);
                    source.finish.do_send(FinishInput { after_records });
                }
            }
        }
    }

    /// A subtask came to an unwanted end.
    fn subtask_failed(
        &mut self,
        attempt: Attempt,
        actor: ActorName,
        (cause, records_in, at, panicked): (Cause, u64, Option<FailedRecord>, Option<PanickedCall>),
        ctx: &mut Context<Self>,
    ) {
        let job = self.seed.job.clone();
        self.remember(FailureRecord {
            unix_ms: job.clock.unix_ms(),
            attempt,
            actor: actor.clone(),
            cause: cause.clone(),
        });
        let (named, caused, shown) = (actor.clone(), cause.clone(), at.clone().map(Box::new));
        job.emit(JobEventKind::SubtaskFailed { attempt, actor: named, cause: caused, records_in, at: shown });
        if attempt != self.execution.attempt {
            return;
        }
        self.ask_directive(&actor, &cause, at.as_ref(), panicked.as_ref());
        if self.state.is_stopping() {
            // What follows the attempt was decided at its first failure.
            self.answered = Answered::Not;
        }
        if let Cause::Failed(error) = cause {
            match (&error, &self.restored) {
                (TaskError::Restore(damage), Some(manifest)) if damage.is_damage() => {
                    self.damaged = Some((manifest.checkpoint, damage.clone()));
                }
                _ if !error.is_retryable() => self.final_error(JobError::Failed { actor, error }),
                _ => {}
            }
        }
        self.fail(ctx);
    }

    fn remember(&self, failure: FailureRecord) {
        let mut memory = lock(self.memory());
        if memory.failures.len() == FAILURES_KEPT {
            memory.failures.pop_front();
        }
        memory.failures.push_back(failure);
    }

    /// No attempt follows. The first reason counts.
    fn final_error(&mut self, error: JobError) {
        self.error.get_or_insert(error);
    }

    /// The attempt is over: decides what follows it, and stops what is left.
    fn fail(&mut self, ctx: &mut Context<Self>) {
        let was_stopping = self.state.is_stopping();
        if !self.go(RegionEvent::Failed) || was_stopping {
            return;
        }
        // First, so that whoever hears of the restart and asks for a checkpoint asks behind it.
        self.tell_down(true);
        self.ask_policy();
        self.stop_what_runs(ctx);
    }

    fn ask_policy(&mut self) {
        let now = self.seed.job.clock.now();
        let region = self.seed.region;
        let job = self.seed.job.clone();
        let mut memory = lock(&job.regions[region.0 as usize]);
        memory.failed_at.get_or_insert(now);
        let decision = self.decide_restart(&mut memory, now);
        let history = memory.failures.iter().cloned().collect();
        drop(memory);
        lock(&self.seed.job.memory).advisor.failed(now, region);
        let is_to_end = lock(&self.seed.job.ending).is_some();
        match decision {
            // An error that a restart does not cure.
            _ if self.error.is_some() => {}
            RestartDecision::GiveUp { failures } => self.final_error(JobError::GaveUp { region, failures, history }),
            RestartDecision::Restart { delay, failure, of } => {
                let delay = if is_to_end { delay.min(RESTART_DELAY_BORNE) } else { delay };
                self.delay = delay;
                let since = self.newest;
                self.seed.job.emit(JobEventKind::RegionRestarting { region, delay, failure, of, since });
                self.seed.restarts.do_send(RegionRestarts { region, delay });
            }
        }
    }

    fn tell_down(&self, failed: bool) {
        self.seed.down.do_send(RegionDown { execution: self.execution, failed, restarts_at: None });
    }

    fn stop_subtasks(&mut self, failed: bool, ctx: &mut Context<Self>) {
        self.tell_down(failed);
        self.stop_what_runs(ctx);
    }

    fn stop_what_runs(&mut self, ctx: &mut Context<Self>) {
        self.let_go_of_pause(ctx);
        self.seed.job.queries.close(self.execution);
        self.reached(Step::RegionStopping);
        self.ping_arbiters();
        for child in lock(self.memory()).children.values() {
            if let Some(stop) = &child.stop {
                stop.do_send(StopSubtask);
            }
        }
        let sleep = self.seed.job.clock.sleep(self.seed.job.limits.stop_timeout);
        let attempt = self.execution.attempt;
        ctx.spawn(sleep.into_actor(self).map(move |(), this, ctx| {
            if this.execution.attempt == attempt {
                this.stop_timed_out(ctx);
            }
        }));
        self.check_ended(ctx);
    }

    /// Once no subtask is left, what was decided follows.
    fn check_ended(&mut self, ctx: &mut Context<Self>) {
        if !self.state.is_stopping() || !lock(self.memory()).children.is_empty() {
            return;
        }
        if let Some(error) = &self.error {
            if Self::gives_up_with(error) && self.go(RegionEvent::GaveUp) {
                return self.give_up(ctx);
            }
            self.stop_for_good();
        }
        if !self.go(RegionEvent::AllEnded) {
            return;
        }
        self.subtasks = Arc::new([]);
        match self.state {
            RegionState::Ended => self.end(ctx),
            _ if self.rests() => {}
            _ if self.delay.is_zero() => self.begin_attempt(),
            _ => self.wait_for_restart(ctx),
        }
    }

    fn wait_for_restart(&mut self, ctx: &mut Context<Self>) {
        let clock = &self.seed.job.clock;
        let restarts_at = Some(clock.now().saturating_add(self.delay));
        self.seed.down.do_send(RegionDown { execution: self.execution, failed: true, restarts_at });
        let sleep = clock.sleep(self.delay);
        self.restart_timer = Some(ctx.spawn(sleep.into_actor(self).map(|(), this, _| this.begin_attempt())));
    }

    /// Somebody waits for the restart: it does not wait.
    fn cut_delay_short(&mut self, ctx: &mut Context<Self>) {
        self.delay = Duration::ZERO;
        if let Some(timer) = self.restart_timer.take() {
            ctx.cancel_future(timer);
        }
        if self.state == RegionState::Waiting {
            self.begin_attempt();
        }
    }

    fn stop_for_good(&mut self) {
        lock(self.memory()).stopping_for_good = true;
        self.go(RegionEvent::StopForGood);
    }

    fn end(&mut self, ctx: &mut Context<Self>) {
        self.answer_resumes(Err(ResumeRegionError::Ended));
        self.seed.job.pool.unlisten(&ctx.address().recipient());
        self.seed.root.do_send(RegionEnded { region: self.seed.region, error: self.error.take() });
        lock(self.memory()).ended = true;
        ctx.stop();
    }

    /// This supervisor was restarted: whatever runs is fenced and stopped.
    fn take_over(&mut self, ctx: &mut Context<Self>) {
        for child in lock(self.memory()).children.values() {
            child.fence.raise();
        }
        self.tell_down(true);
        if self.state == RegionState::StoppingToRestart {
            self.ask_policy();
        }
        self.stop_what_runs(ctx);
    }
}

impl Actor for RegionSupervisor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.seed.job.pool.listen(ctx.address().recipient());
        self.watch(ctx);
        match self.state {
            RegionState::Waiting => self.begin_attempt(),
            RegionState::Ended => self.end(ctx),
            RegionState::Parking => self.ask_to_be_left_out(),
            RegionState::Parked => self.end_parked(),
            _ => self.take_over(ctx),
        }
    }
}

impl Supervised for RegionSupervisor {
    fn restarting(&mut self, _: &mut Self::Context) {
        let mut next = Self::new(self.seed.clone());
        // A decision to end outlives the supervisor that made it.
        next.error = self.error.take();
        guard::replace(self, next);
    }
}
