//! Rescaling: the root's part, which has a checkpoint taken, all regions stopped, and other tasks started from it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::control::checkpoint_coordinator::{RescaleOver, TakeLastBeforeRescale};
use crate::control::job_context::Held;
use crate::control::layout::Layout;
use crate::control::outcome::CheckpointError;
use crate::control::plan;
use crate::control::region_supervisor::{HoldRegion, RegionReports, StartAnew};
use crate::control::rescale_error::{RescaleError, Rescaled};
use crate::protocol::{CheckpointId, Difference, RescaleCommand, Rescaling};

/// The handle's wish.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct RequestRescale {
    pub(crate) to: u32,
    pub(crate) reply: oneshot::Sender<Result<Rescaled, RescaleError>>,
}

/// Requests, and what becomes of them.
pub(super) struct RescaleRequests {
    rules: Rescaling,
    replies: BTreeMap<u64, oneshot::Sender<Result<Rescaled, RescaleError>>>,
    next: u64,
    current: Option<Current>,
}

/// The order that is being carried out.
struct Current {
    request: u64,
    from: u32,
    to: u32,
    since: Duration,
    /// What is to run, if it makes a difference.
    plan: Option<Layout>,
}

type Command = RescaleCommand<RescaleError>;

impl RescaleRequests {
    pub(super) fn new(regions: u32) -> Self {
        Self { rules: Rescaling::new(regions), replies: BTreeMap::new(), next: 0, current: None }
    }
}

impl JobSupervisor {
    /// The job was asked to end.
    pub(super) fn rescale_ends(&mut self, ctx: &mut Context<Self>) {
        let mut commands = Vec::new();
        self.rescales.rules.ending(|| RescaleError::Ending, &mut commands);
        self.carry_out_rescale(commands, ctx);
    }

    fn carry_out_rescale(&mut self, commands: Vec<Command>, ctx: &mut Context<Self>) {
        for command in commands {
            match command {
                Command::Prepare { request, to } => self.prepare_rescale((request, to), ctx),
                Command::HoldSources { request } => self.hold_sources(request, ctx),
                Command::TakeCheckpoint { request } => self.take_last_checkpoint(request, ctx),
                Command::Release => {
                    self.hold(Held::Nobody);
                    drop(self.tell_sources());
                    self.below.rescale_over.do_send(RescaleOver { has_other_tasks: false });
                }
                Command::StopRegions { checkpoint } => {
                    self.hold(Held::Regions);
                    if let Some(Current { from, to, .. }) = self.rescales.current {
                        self.job.emit(JobEventKind::Rescaling { from, to, checkpoint });
                    }
                    self.below.hold_regions.iter().for_each(|region| region.do_send(HoldRegion));
                }
                Command::StartRegions => self.start_anew(),
                Command::Answer { request, result } => self.answer_rescale(request, result),
            }
        }
    }

    fn hold(&self, who: Held) {
        *lock(&self.job.held) = who;
    }

    fn prepare_rescale(&mut self, (request, to): (u64, u32), ctx: &mut Context<Self>) {
        let (job, plan) = (&self.job, self.job.layout());
        let (from, max, since) = (plan.spec.parallelism, plan.spec.max_parallelism, job.clock.now());
        let mut current = Current { request, from, to, since, plan: None };
        let result = match to {
            0 => Err(RescaleError::Zero),
            to if to > max => Err(RescaleError::AboveMax { parallelism: to, max }),
            to => job.planner.plan_at(to).map_err(|error| RescaleError::Threads(error.into())),
        };
        let result = result.map(|new| {
            let is_same = new.is_as_wide_as(&plan);
            current.plan = Some(new).filter(|_| !is_same);
            if is_same { Difference::Nothing } else { Difference::Tasks }
        });
        self.rescales.current = Some(current);
        let mut commands = Vec::new();
        self.rescales.rules.prepared(result, &mut commands);
        self.carry_out_rescale(commands, ctx);
    }

    /// So that the checkpoint has all that was read: nothing is read again, and shown again by sinks that are not transactional.
    fn hold_sources(&mut self, request: u64, ctx: &mut Context<Self>) {
        self.hold(Held::Sources);
        let told = self.tell_sources();
        ctx.spawn(told.into_actor(self).map(move |(), this, ctx| {
            let mut commands = Vec::new();
            this.rescales.rules.sources_wait(request, &mut commands);
            this.carry_out_rescale(commands, ctx);
        }));
    }

    fn take_last_checkpoint(&mut self, request: u64, ctx: &mut Context<Self>) {
        let (reply, taken) = oneshot::channel();
        self.below.take_last.do_send(TakeLastBeforeRescale { reply });
        ctx.spawn(taken.into_actor(self).map(move |taken, this, ctx| {
            if this.result.is_some() {
                // The job's end answers.
                return;
            }
            let taken = taken.unwrap_or(Err(CheckpointError::Interrupted)).map_err(RescaleError::Checkpoint);
            let is_final = this.job.queries.newest().is_some_and(|newest| newest.is_final);
            let taken = taken.and_then(|checkpoint| if is_final { Err(RescaleError::Ending) } else { Ok(checkpoint) });
            let mut commands = Vec::new();
            this.rescales.rules.taken(request, taken, &mut commands);
            this.carry_out_rescale(commands, ctx);
        }));
    }

    /// No region has a subtask: whatever is known by the numbers of tasks and subtasks is of the past.
    fn start_anew(&mut self) {
        let job = &self.job;
        if let Some(plan) = self.rescales.current.as_mut().and_then(|current| current.plan.take()) {
            let old = std::mem::replace(&mut *lock(&job.layout), Arc::new(plan));
            // With the threads of operators that have some of their own.
            drop(old);
        }
        let checkpoint = job.queries.newest().map(|newest| newest.checkpoint);
        for region in &job.regions {
            let mut memory = lock(region);
            let known = memory.newest_known(checkpoint);
            memory.progress.rescaled(known);
            memory.answered.rescaled(known);
        }
        job.queries.forget_tasks();
        job.figures.begin_anew(plan::JobPlan::of(&job.layout().spec));
        self.below.rescale_over.do_send(RescaleOver { has_other_tasks: true });
        self.hold(Held::Nobody);
        self.below.start_anew.iter().for_each(|region| region.do_send(StartAnew));
    }

    fn answer_rescale(&mut self, request: u64, result: Result<Option<CheckpointId>, RescaleError>) {
        // One that is refused before its turn is not the current one.
        let current = self.rescales.current.take_if(|current| current.request == request);
        let result = result.map(|checkpoint| {
            let Current { from, to, since, .. } = current.as_ref().expect("only the current order is carried out");
            let took = self.job.clock.now().saturating_sub(*since);
            Rescaled { from: *from, to: *to, checkpoint, took }
        });
        match (&result, current) {
            (Ok(Rescaled { from, to, checkpoint: Some(checkpoint), took }), _) => {
                let (from, to, checkpoint, took) = (*from, *to, *checkpoint, *took);
                self.job.emit(JobEventKind::Rescaled { from, to, checkpoint, took });
            }
            (Err(error), Some(Current { to, plan: Some(_), .. })) => {
                self.job.emit(JobEventKind::RescaleFailed { to, error: error.clone() });
            }
            _ => {}
        }
        if let Some(reply) = self.rescales.replies.remove(&request) {
            // Whoever asked may have lost interest.
            let _ = reply.send(result);
        }
    }
}

impl Handler<RequestRescale> for JobSupervisor {
    type Result = ();

    fn handle(&mut self, RequestRescale { to, reply }: RequestRescale, ctx: &mut Self::Context) {
        let is_ending = self.result.is_some() || lock(&self.job.ending).is_some();
        if is_ending {
            // Whoever asked may have lost interest.
            let _ = reply.send(Err(RescaleError::Ending));
            return;
        }
        let RescaleRequests { rules, replies, next, .. } = &mut self.rescales;
        *next += 1;
        replies.insert(*next, reply);
        let mut commands = Vec::new();
        rules.asked((*next, to), &mut commands);
        self.carry_out_rescale(commands, ctx);
    }
}

impl Handler<RegionReports> for JobSupervisor {
    type Result = ();

    fn handle(&mut self, RegionReports { region, reached }: RegionReports, ctx: &mut Self::Context) {
        let mut commands = Vec::new();
        self.rescales.rules.reached(region, reached, &mut commands);
        self.carry_out_rescale(commands, ctx);
    }
}
