//! The job supervisor: the root of one job. Learns from the coordinator that the last checkpoint is settled, from region
//! supervisors that they have ended, from the handle how the job is to end; then stops everything in order (regions,
//! coordinator, writer) and publishes the outcome.
//!
//! It is not restarted: if it panics, its guard stops the job with a typed error.

mod along;
mod pausing;
mod rescaling;

use std::collections::BTreeSet;
use std::sync::Arc;

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Message, Recipient, WrapFuture};
use tokio::sync::{oneshot, watch};

use crate::contract::Step;
use crate::control::checkpoint_coordinator::{
    JobDecided, RequestDrain, RescaleOver, ResumeReading, StopCoordinator, StopForSavepoint, TakeLastBeforeRescale,
};
use crate::control::event::JobEventKind;
use crate::control::event_log::EventLog;
use crate::control::job_context::{Ending, JobContext};
use crate::control::lock::lock;
use crate::control::outcome::{JobError, JobOutcome, OutcomeKind, Published};
use crate::control::region_supervisor::{
    EndInput, HoldRegion, PauseRegion, ReadOn, RegionEnded, RestartAlong, StartAnew, StopRegion,
};
use crate::control::snapshot_writer::StoreRequest;
use crate::protocol::{ActorName, PanicReport, RegionId};
use crate::task::{StopSubtask, TaskFactory};
use pausing::PauseRequests;
pub(crate) use pausing::RequestPause;
pub(crate) use rescaling::RequestRescale;
use rescaling::RescaleRequests;

/// A control actor has come to an end that its restarts did not prevent.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct ControlActorLost {
    pub(crate) actor: ActorName,
    pub(crate) report: PanicReport,
}

/// The handle's wish.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(crate) enum EndJob {
    /// Now.
    Cancel,
    /// After a last checkpoint, to go on later.
    Drain,
    /// As if the input had ended.
    Finish,
}

/// Where the outcome is made known, once.
#[derive(Clone)]
pub(crate) struct Publisher {
    pub(crate) outcome: Arc<watch::Sender<Published>>,
    pub(crate) events: Arc<EventLog>,
    /// Are told first.
    pub(crate) tasks: Arc<[Arc<dyn TaskFactory>]>,
}

impl Publisher {
    /// Makes the outcome known; does nothing if there is one already.
    pub(crate) fn publish(&self, result: Result<JobOutcome, JobError>) {
        if self.outcome.borrow().is_some() {
            return;
        }
        if result.as_ref().is_ok_and(|outcome| outcome.kind == OutcomeKind::Finished) {
            self.tasks.iter().for_each(|task| task.job_finished());
        }
        self.tasks.iter().for_each(|task| task.job_ended());
        self.events.emit(JobEventKind::Ended { result: result.clone() });
        self.outcome.send_if_modified(|published| {
            let first = published.is_none();
            if first {
                *published = Some(result);
            }
            first
        });
    }
}

/// Everybody below the root.
#[derive(Clone)]
pub(crate) struct Subordinates {
    pub(crate) stop_regions: Vec<Recipient<StopRegion>>,
    pub(crate) end_input: Vec<Recipient<EndInput>>,
    pub(crate) read_on: Vec<Recipient<ReadOn>>,
    pub(crate) pause_regions: Vec<Recipient<PauseRegion>>,
    pub(crate) hold_regions: Vec<Recipient<HoldRegion>>,
    pub(crate) start_anew: Vec<Recipient<StartAnew>>,
    pub(crate) take_last: Recipient<TakeLastBeforeRescale>,
    pub(crate) rescale_over: Recipient<RescaleOver>,
    pub(crate) restart_along: Vec<Recipient<RestartAlong>>,
    pub(crate) drain: Recipient<RequestDrain>,
    pub(crate) stop_coordinator: Recipient<StopCoordinator>,
    pub(crate) writer: Recipient<StoreRequest>,
}

impl Subordinates {
    /// Stops all without waiting for anybody: the root has failed. Answers when the store is closed.
    pub(crate) fn abandon(&self) -> oneshot::Receiver<()> {
        for region in &self.stop_regions {
            region.do_send(StopRegion);
        }
        self.stop_coordinator.do_send(StopCoordinator { error: None });
        let (done, closed) = oneshot::channel();
        self.writer.do_send(StoreRequest::Close { done });
        closed
    }
}

/// The actor.
pub(crate) struct JobSupervisor {
    job: Arc<JobContext>,
    below: Subordinates,
    publisher: Publisher,
    regions: BTreeSet<RegionId>,
    /// Decided, while the regions are being stopped.
    result: Option<Result<OutcomeKind, JobError>>,
    closing: bool,
    pauses: PauseRequests,
    rescales: RescaleRequests,
}

impl JobSupervisor {
    pub(crate) fn new(job: Arc<JobContext>, below: Subordinates, publisher: Publisher) -> Self {
        let regions = job.layout().spec.regions;
        let rescales = RescaleRequests::new(regions);
        let regions = (0..regions).map(RegionId).collect();
        let pauses = PauseRequests::new(*lock(&job.paused_since));
        Self { job, below, publisher, regions, result: None, closing: false, pauses, rescales }
    }

    /// The end is decided; the first decision counts.
    fn decide(&mut self, result: Result<OutcomeKind, JobError>, ctx: &mut Context<Self>) {
        if self.result.is_none() {
            self.result = Some(result);
            for region in &self.below.stop_regions {
                region.do_send(StopRegion);
            }
        }
        self.check_stopped(ctx);
    }

    fn check_stopped(&mut self, ctx: &mut Context<Self>) {
        if self.result.is_none() || !self.regions.is_empty() || self.closing {
            return;
        }
        self.closing = true;
        let error = self.result.as_ref().and_then(|result| result.as_ref().err().cloned());
        self.below.stop_coordinator.do_send(StopCoordinator { error });
        let (done, closed) = oneshot::channel();
        self.below.writer.do_send(StoreRequest::Close { done });
        ctx.spawn(closed.into_actor(self).map(|_, this, ctx| this.end(ctx)));
        // A store that does not return from a call must not keep the outcome.
        let limit = self.job.clock.sleep(self.job.limits.stop_timeout);
        ctx.spawn(limit.into_actor(self).map(|(), this, ctx| this.end(ctx)));
    }

    fn end(&mut self, ctx: &mut Context<Self>) {
        let status = self.job.events.status();
        let had_ended = self.job.had_ended_with();
        let is_as_before = had_ended.is_some() && had_ended == status.newest_checkpoint;
        let result = self.result.clone().unwrap_or(Err(JobError::SystemStopped)).map(|kind| JobOutcome {
            kind,
            already_complete: kind == OutcomeKind::Finished && is_as_before,
            checkpoints: status.checkpoints,
            restarts: status.restarts,
            last_checkpoint: status.newest_checkpoint,
        });
        self.publisher.publish(result);
        ctx.stop();
    }

    fn request(&mut self, ending: Ending, ctx: &mut Context<Self>) {
        let mut requested = lock(&self.job.ending);
        // Finishing includes stopping to read; neither can be taken back, but for a savepoint that fails.
        let is_more = match *requested {
            None | Some(Ending::DrainForSavepoint) => true,
            Some(Ending::Drain) => ending == Ending::Finish,
            Some(Ending::Finish) => false,
        };
        if is_more {
            *requested = Some(ending);
        }
        drop(requested);
        // Sources hear of it before they are told to end.
        self.rescale_ends(ctx);
        self.pause_ends(ending, ctx);
        for region in &self.below.end_input {
            region.do_send(EndInput);
        }
        if ending != Ending::Finish {
            self.below.drain.do_send(RequestDrain);
        }
    }

    fn reached(&self) {
        self.job.reached(Step::JobSupervising, &ActorName::JobSupervisor);
    }
}

impl Actor for JobSupervisor {
    type Context = Context<Self>;
}

impl Handler<JobDecided> for JobSupervisor {
    type Result = ();

    fn handle(&mut self, JobDecided { result }: JobDecided, ctx: &mut Self::Context) {
        self.reached();
        self.decide(result, ctx);
    }
}

impl Handler<RegionEnded> for JobSupervisor {
    type Result = ();

    fn handle(&mut self, RegionEnded { region, error }: RegionEnded, ctx: &mut Self::Context) {
        self.reached();
        self.regions.remove(&region);
        match error {
            Some(error) => self.decide(Err(error), ctx),
            None => self.check_stopped(ctx),
        }
    }
}

impl Handler<ControlActorLost> for JobSupervisor {
    type Result = ();

    fn handle(&mut self, ControlActorLost { actor, report }: ControlActorLost, ctx: &mut Self::Context) {
        self.reached();
        if let ActorName::RegionSupervisor(region) = actor {
            // Nobody else will stop its subtasks.
            for child in lock(&self.job.regions[region.0 as usize]).children.values() {
                child.fence.raise();
                if let Some(stop) = &child.stop {
                    stop.do_send(StopSubtask);
                }
            }
            self.regions.remove(&region);
        }
        self.decide(Err(JobError::Internal { actor, report }), ctx);
    }
}

impl Handler<EndJob> for JobSupervisor {
    type Result = ();

    fn handle(&mut self, how: EndJob, ctx: &mut Self::Context) {
        match how {
            EndJob::Cancel => self.decide(Ok(OutcomeKind::Cancelled), ctx),
            EndJob::Drain => self.request(Ending::Drain, ctx),
            EndJob::Finish => self.request(Ending::Finish, ctx),
        }
    }
}

impl Handler<StopForSavepoint> for JobSupervisor {
    type Result = ();

    fn handle(&mut self, _: StopForSavepoint, ctx: &mut Self::Context) {
        self.request(Ending::DrainForSavepoint, ctx);
    }
}

impl Handler<ResumeReading> for JobSupervisor {
    type Result = ();

    fn handle(&mut self, _: ResumeReading, _: &mut Self::Context) {
        let mut requested = lock(&self.job.ending);
        if *requested == Some(Ending::DrainForSavepoint) {
            *requested = None;
            drop(requested);
            for region in &self.below.read_on {
                region.do_send(ReadOn);
            }
        }
    }
}
