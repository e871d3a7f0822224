//! The checkpoint coordinator: asks sources for barriers, counts acknowledgements, has manifests written and tells all
//! tasks of completed and aborted checkpoints. What it does when is decided by
//! `CheckpointSchedule`.
//!
//! Receives facts from tasks, the snapshot writer and region supervisors; sends to sources, tasks, the writer, region
//! supervisors and the job supervisor. A restart loses the pending checkpoint and whoever waits for it; all else is in
//! the job's memory (`CoordinatorMemory`).

mod handlers;
mod parking;
mod progress;
mod rescaling;
mod savepoints;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use actix::{
    Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Message, Recipient, SpawnHandle, Supervised,
    WrapFuture,
};
use tokio::sync::oneshot;

use crate::contract::{Manifest, Step};
use crate::control::event::JobEventKind;
use crate::control::job_context::{Ending, JobContext, RunningRegion};
use crate::control::lock::lock;
use crate::control::outcome::{CheckpointError, JobError, OutcomeKind, Restarting};
use crate::control::snapshot_writer::{ExportRequest, StoreReply, StoreRequest};
use crate::protocol::{
    AckFacts, ActorName, AtBarrier, Barrier, CheckpointId, CheckpointSchedule, Execution, NoCheckpoint, Now,
    Participant, RestartWait, RestoreDecision, SavepointCommand, Savepoints, ScheduleCommand as Command,
    ScheduleEvent as Event, ScheduleSettings, SubtaskId, TaskKind, TriggerReason,
};
use crate::runtime::guard;
use crate::task::{CheckpointAborted, CheckpointComplete, ExpectBarrier, RequestBarrier, SubtaskAddress};
pub(crate) use parking::{ParkAnswered, ParkRegion};
use rescaling::participants;
pub(crate) use rescaling::{RescaleOver, TakeLastBeforeRescale};
use savepoints::SavepointRequest;
pub(crate) use savepoints::{RequestSavepoint, ResumeReading, StopForSavepoint};

/// A region runs: its subtasks are ready, and its sinks have settled what they restored.
#[derive(Clone, Message)]
#[rtype(result = "()")]
pub(crate) struct RegionRunning {
    pub(crate) execution: Execution,
    pub(crate) restored: CheckpointId,
    pub(crate) subtasks: Arc<[SubtaskAddress]>,
}

/// A region runs no more.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct RegionDown {
    pub(crate) execution: Execution,
    /// Else it was stopped.
    pub(crate) failed: bool,
    /// By the job's clock, once that is known.
    pub(crate) restarts_at: Option<Duration>,
}

/// A region wants to know what this execution restores; `damaged` was tried and cannot be read.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct ChooseRestore {
    pub(crate) execution: Execution,
    pub(crate) damaged: Option<CheckpointId>,
}

/// The answer: what this execution restores.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct RestoreChosen {
    pub(crate) execution: Execution,
    pub(crate) decision: RestoreDecision,
}

/// A checkpoint is complete.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct CheckpointCompleted {
    pub(crate) checkpoint: CheckpointId,
}

/// Take a checkpoint now.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct RequestCheckpoint {
    pub(crate) reply: oneshot::Sender<Result<CheckpointId, CheckpointError>>,
}

/// It is decided how the job ends.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct JobDecided {
    pub(crate) result: Result<OutcomeKind, JobError>,
}

/// Take the last checkpoint once every source has stopped.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct RequestDrain;

/// End. Whoever waits for a checkpoint or a savepoint is told the job's error, if there is one.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct StopCoordinator {
    pub(crate) error: Option<JobError>,
}

/// What a coordinator needs to be built, again and again.
#[derive(Clone)]
pub(crate) struct CoordinatorSeed {
    pub(crate) job: Arc<JobContext>,
    pub(crate) writer: Recipient<StoreRequest>,
    /// By region.
    pub(crate) regions: Vec<RegionPorts>,
    pub(crate) root: Recipient<JobDecided>,
    pub(crate) stop: Recipient<StopForSavepoint>,
    pub(crate) resume: Recipient<ResumeReading>,
    pub(crate) export: Recipient<ExportRequest>,
}

/// Where a region supervisor takes a coordinator's messages.
#[derive(Clone)]
pub(crate) struct RegionPorts {
    pub(crate) chosen: Recipient<RestoreChosen>,
    pub(crate) completed: Recipient<CheckpointCompleted>,
    pub(crate) park_answered: Recipient<ParkAnswered>,
}

/// The actor.
pub(crate) struct CheckpointCoordinator {
    seed: CoordinatorSeed,
    schedule: CheckpointSchedule,
    first_commands: Vec<Command>,
    /// The life of the writer that reported last.
    writer_life: u64,
    /// The oldest checkpoint that the store retains, if that is known.
    oldest: Option<CheckpointId>,
    waiters: BTreeMap<u64, oneshot::Sender<Result<CheckpointId, CheckpointError>>>,
    next_waiter: u64,
    savepoints: Savepoints,
    savepoint_requests: BTreeMap<u64, SavepointRequest>,
    savepoint_commands: Vec<SavepointCommand>,
    wake: Option<(Duration, SpawnHandle)>,
    /// When the log says next how far the checkpoint is that is under way.
    tells_at: Option<Duration>,
}

impl CheckpointCoordinator {
    pub(crate) fn new(seed: CoordinatorSeed) -> Self {
        let job = &seed.job;
        let plan = job.layout();
        let settings = ScheduleSettings {
            job: plan.spec.name.clone(),
            incarnation: job.incarnation,
            max_parallelism: plan.spec.max_parallelism,
            checkpointing: job.checkpointing.clone(),
            ids_per_block: job.limits.checkpoint_ids_per_block,
            may_fall_back: plan.spec.sinks_can_withdraw || job.checkpointing.accept_repeats,
            participants: participants(&plan.spec),
            operators: plan.operators_of_regions(),
            origin: job.origin.as_ref().map(|origin| origin.manifest.clone()),
        };
        let mut first_commands = Vec::new();
        let memory = lock(&job.memory);
        let schedule = CheckpointSchedule::new(
            settings,
            memory.reserved_up_to,
            memory.announced,
            memory.in_flight,
            memory.abandoned.clone(),
            &mut first_commands,
        );
        drop(memory);
        Self {
            seed,
            schedule,
            first_commands,
            writer_life: 0,
            oldest: None,
            waiters: BTreeMap::new(),
            next_waiter: 0,
            savepoints: Savepoints::default(),
            savepoint_requests: BTreeMap::new(),
            savepoint_commands: Vec::new(),
            wake: None,
            tells_at: None,
        }
    }

    fn reached(&self, step: Step) {
        self.seed.job.reached(step, &ActorName::Coordinator);
    }

    fn apply(&mut self, event: Event, ctx: &mut Context<Self>) {
        let clock = &self.seed.job.clock;
        let now = Now { at: clock.now(), unix_ms: clock.unix_ms() };
        let mut commands = Vec::new();
        self.schedule.apply(now, event, &mut commands);
        for command in commands {
            self.carry_out(now, command);
        }
        self.advance_savepoints(ctx);
        self.tell_progress(now);
        self.arm(ctx);
    }

    fn arm(&mut self, ctx: &mut Context<Self>) {
        let due = self.schedule.next_wake().into_iter().chain(self.tells_at).min();
        if due == self.wake.map(|(at, _)| at) {
            return;
        }
        if let Some((_, handle)) = self.wake.take() {
            ctx.cancel_future(handle);
        }
        if let Some(at) = due {
            // `now` is of before what has been carried out, and whoever was answered by that may have moved the clock.
            let clock = &self.seed.job.clock;
            let sleep = clock.sleep(at.saturating_sub(clock.now()));
            let handle = ctx.spawn(sleep.into_actor(self).map(|(), this, ctx| {
                this.wake = None;
                this.apply(Event::Tick, ctx);
            }));
            self.wake = Some((at, handle));
        }
    }

    fn carry_out(&mut self, now: Now, command: Command) {
        match command {
            Command::AskWriter => self.seed.writer.do_send(StoreRequest::Report),
            Command::ReserveIds { up_to } => self.seed.writer.do_send(StoreRequest::ReserveIds { up_to }),
            Command::Trigger { barrier, reason } => self.trigger(now, barrier, reason),
            Command::Finalise { manifest } => {
                self.reached(Step::Finalising);
                self.seed.job.events.stores(manifest.checkpoint);
                self.seed.writer.do_send(StoreRequest::Finalise { life: self.writer_life, manifest });
            }
            Command::Discard { checkpoint } => self.seed.writer.do_send(StoreRequest::Discard { checkpoint }),
            Command::AbandonAbove { checkpoint, completed } => {
                lock(&self.seed.job.memory).abandoned.extend(completed);
                self.seed.writer.do_send(StoreRequest::AbandonAbove { checkpoint });
            }
            Command::Complete { manifest, triggered_at } => {
                self.seed.job.queries.set_newest(Some(manifest.clone()));
                self.complete(now, &manifest, triggered_at);
            }
            Command::RepeatComplete { checkpoint } => {
                self.tell_complete(checkpoint);
            }
            Command::Abort { checkpoint, reason } => {
                lock(&self.seed.job.memory).in_flight = None;
                self.seed.job.emit(JobEventKind::CheckpointAborted { checkpoint, reason });
                self.each_subtask(|subtask| subtask.aborted.do_send(CheckpointAborted { checkpoint }));
            }
            Command::AnswerRestore { execution, decision } => self.answer_restore(execution, decision),
            Command::AnswerPark { execution, newest, is_refused } => self.answer_park(execution, newest, is_refused),
            Command::AnswerWaiter { waiter, result } => {
                if let Some(reply) = self.waiters.remove(&waiter) {
                    // Whoever asked may have lost interest.
                    let _ = reply.send(result.map_err(|none| match none {
                        NoCheckpoint::Aborted(reason) => CheckpointError::Aborted(reason),
                        NoCheckpoint::Restarting(wait) => CheckpointError::Restarting(self.what_restarts(wait)),
                        NoCheckpoint::AllParked => CheckpointError::AllParked,
                    }));
                } else {
                    self.savepoints.checkpoint_taken(waiter, result, &mut self.savepoint_commands);
                }
            }
            Command::Settled { checkpoint, is_final } => self.savepoints.settled(checkpoint, is_final),
            Command::GiveUp { failures, last } => self.decide(Err(JobError::CheckpointFailures { failures, last })),
            Command::StoreLost => {
                let store = self.seed.job.store.describe();
                self.decide(Err(JobError::StoreLost { store }));
            }
        }
    }

    fn what_restarts(&self, RestartWait { region, next_attempt_in }: RestartWait) -> Box<Restarting> {
        let memory = lock(&self.seed.job.regions[region.0 as usize]);
        Box::new(Restarting { region, next_attempt_in, failure: memory.failures.back().cloned() })
    }

    /// Nobody will be answered but now.
    fn answer_all(&mut self, error: Option<JobError>) {
        for reply in std::mem::take(&mut self.waiters).into_values() {
            let error =
                error.clone().map_or(CheckpointError::Interrupted, |error| CheckpointError::JobFailed(error.into()));
            // Whoever asked may have lost interest.
            let _ = reply.send(Err(error));
        }
        self.fail_savepoints(error);
    }

    fn decide(&self, result: Result<OutcomeKind, JobError>) {
        self.seed.root.do_send(JobDecided { result });
    }

    fn each_subtask(&self, tell: impl Fn(&SubtaskAddress)) {
        let memory = lock(&self.seed.job.memory);
        memory.running.values().flat_map(|region| region.subtasks.iter()).for_each(tell);
    }

    fn trigger(&mut self, now: Now, barrier: Barrier, reason: TriggerReason) {
        let mut memory = lock(&self.seed.job.memory);
        memory.in_flight = Some(barrier.checkpoint);
        let is_first = !std::mem::replace(&mut memory.has_triggered, true);
        drop(memory);
        let (before, next) = (barrier.base.0, barrier.checkpoint.0);
        if is_first && next > before + 1 {
            let (first, last) = (CheckpointId(before + 1), CheckpointId(next - 1));
            self.seed.job.emit(JobEventKind::IdsPassedOver { first, last });
        }
        self.reached(Step::Triggering);
        self.triggered(now, barrier.checkpoint, reason);
        self.each_subtask(|subtask| {
            if let Some(source) = &subtask.source {
                source.barrier.do_send(RequestBarrier { barrier });
            }
            if let Some(expects) = &subtask.expects {
                expects.do_send(ExpectBarrier { checkpoint: barrier.checkpoint });
            }
        });
    }

    /// Passes the interval that measurements advise to the schedule, and to the job's status.
    fn follow_advice(&mut self) {
        let job = &self.seed.job;
        let plan = lock(&job.memory).advisor.plan(job.clock.now(), &job.checkpointing);
        self.schedule.keep_interval(plan.interval);
        job.events.planned(&plan);
        if let Some(advice) = plan.advice.filter(|_| plan.tells_advice) {
            job.emit(JobEventKind::IntervalAdvised { advice, interval: plan.interval, is_news: plan.is_news });
        }
        if let (Some(objective), Some(expected)) = (plan.tells_missed, plan.recovery) {
            job.emit(JobEventKind::RecoveryObjectiveMissed { objective, expected, interval: plan.interval });
        }
    }

    /// What the store retains is known from its replies alone: it may keep more than the newest, for savepoints that are being
    /// made.
    fn learn_oldest(&mut self, reply: &StoreReply) {
        let first = |retained: &Option<Vec<Arc<Manifest>>>| retained.as_ref()?.first().map(|first| first.checkpoint);
        match reply {
            StoreReply::Finalised { oldest, .. } => self.oldest = *oldest,
            StoreReply::Report { retained, .. }
            | StoreReply::ReserveFailed { retained, .. }
            | StoreReply::FinaliseFailed { retained, .. }
            | StoreReply::ChunksFailed { retained, .. } => self.oldest = first(retained),
            StoreReply::IdsReserved { .. } | StoreReply::Abandoned { .. } | StoreReply::AbandonFailed { .. } => {}
        }
    }

    fn tell_complete(&self, checkpoint: CheckpointId) {
        // The savepoint that the job began with is what it falls back to when nothing else is left.
        let origin = self.seed.job.origin.as_ref().map(|origin| origin.manifest.checkpoint);
        let oldest = self.oldest.map(|oldest| origin.map_or(oldest, |origin| oldest.min(origin)));
        self.each_subtask(|subtask| subtask.complete.do_send(CheckpointComplete { checkpoint, oldest }));
    }

    fn complete(&mut self, now: Now, manifest: &Manifest, triggered_at: Duration) {
        self.reached(Step::Completed);
        let checkpoint = manifest.checkpoint;
        let written = manifest.chunks.iter().filter(|chunk| chunk.address.checkpoint == checkpoint);
        self.seed.job.figures.state_has(manifest.state_bytes_of_operators());
        let (took, state_bytes) = (now.at.saturating_sub(triggered_at), manifest.state_bytes());
        let written_bytes = written.map(|chunk| u64::from(chunk.len)).sum();
        // First, so that whoever sees output that it publishes finds it in the status.
        self.seed.job.emit(JobEventKind::CheckpointCompleted { checkpoint, took, written_bytes, state_bytes });
        self.tell_complete(checkpoint);
        for region in &self.seed.regions {
            region.completed.do_send(CheckpointCompleted { checkpoint });
        }
        let mut memory = lock(&self.seed.job.memory);
        memory.announced = checkpoint;
        memory.in_flight = None;
        memory.abandoned.clear();
        memory.advisor.completed(checkpoint, took, state_bytes);
        drop(memory);
        self.follow_advice();
        self.reached(Step::CompletionSent);
    }

    /// Before the checkpoint can complete, so that whoever restores it knows how far its sources had read.
    fn source_acknowledged(&self, execution: Execution, subtask: SubtaskId, checkpoint: CheckpointId, facts: AckFacts) {
        let AckFacts { records_in, done, .. } = facts;
        let job = &self.seed.job;
        let mut region = lock(&job.regions[execution.region.0 as usize]);
        if region.attempt == execution.attempt {
            if job.layout().task(subtask.task).kind != TaskKind::Source {
                return region.answered.barrier(checkpoint, subtask, AtBarrier { covers: records_in, done });
            }
            region.progress.barrier(checkpoint, subtask, AtBarrier::in_order(records_in));
            drop(region);
            let now = job.clock.now();
            lock(&job.memory).advisor.barrier(now, execution.region, checkpoint, subtask, records_in);
        }
    }

    fn answer_restore(&self, execution: Execution, decision: RestoreDecision) {
        let region = execution.region;
        let asked = lock(&self.seed.job.memory).restores.get(&region).copied();
        if let RestoreDecision::From { manifest: Some(manifest), withdraw } = &decision
            && asked.is_some_and(|(_, damaged)| damaged.is_some())
        {
            let (to, withdrawn) = (manifest.checkpoint, withdraw.clone());
            self.seed.job.emit(JobEventKind::FellBack { region, to, withdrawn });
        }
        self.seed.regions[region.0 as usize].chosen.do_send(RestoreChosen { execution, decision });
        lock(&self.seed.job.memory).restores.remove(&region);
    }
}

impl Actor for CheckpointCoordinator {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let clock = &self.seed.job.clock;
        let now = Now { at: clock.now(), unix_ms: clock.unix_ms() };
        for command in std::mem::take(&mut self.first_commands) {
            self.carry_out(now, command);
        }
        self.follow_advice();
        let memory = lock(&self.seed.job.memory);
        let mut facts = Vec::new();
        facts.extend(memory.running.values().map(|region| {
            let (execution, restored) = (region.execution, region.restored);
            Event::RegionRunning { execution, restored }
        }));
        facts.extend(memory.halted.iter().map(|(subtask, (execution, state))| {
            let (execution, subtask, state) = (*execution, *subtask, *state);
            Event::SourceHalted { execution, subtask, state }
        }));
        facts.extend(memory.committed.iter().map(|(subtask, checkpoint)| {
            let (subtask, checkpoint) = (*subtask, *checkpoint);
            Event::SinkCommitted { subtask, checkpoint }
        }));
        facts.extend(memory.restarts_at.values().map(|(execution, at)| {
            let (execution, restarts_at) = (*execution, Some(*at));
            Event::RegionDown { execution, failed: true, restarts_at }
        }));
        facts.extend(memory.restores.values().map(|(execution, damaged)| {
            let (execution, damaged) = (*execution, *damaged);
            Event::RestoreRequested { execution, damaged }
        }));
        facts.extend(memory.sinks_want.then_some(Event::CheckpointWanted));
        drop(memory);
        facts.extend(self.parked_before());
        let ending = *lock(&self.seed.job.ending);
        match ending {
            Some(Ending::Drain) => facts.push(Event::DrainRequested),
            // Who asked for the savepoint was told that it is lost.
            Some(Ending::DrainForSavepoint) => self.seed.resume.do_send(ResumeReading),
            Some(Ending::Finish) | None => {}
        }
        for fact in facts {
            self.apply(fact, ctx);
        }
    }
}

impl Supervised for CheckpointCoordinator {
    fn restarting(&mut self, _: &mut Self::Context) {
        let next = Self::new(self.seed.clone());
        guard::replace(self, next);
    }
}
