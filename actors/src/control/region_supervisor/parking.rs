//! What becomes of the region when it gives up: the host is asked, or its policy says. And parking, and starting again.

use tokio::sync::oneshot;

use super::*;
use crate::control::checkpoint_coordinator::{ParkAnswered, ParkRegion};
use crate::control::escalation::{Escalation, EscalationDecision};
use crate::control::job_context::ParkedMemory;
use crate::control::parked_region::ResumeRegionError;
use crate::control::state_queries::before;
use crate::protocol::{CarriedOver, OnExhausted, RegionReached};

/// Start again, if it is parked; `reply` is answered once it runs, or is parked again.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct ResumeRegion {
    pub(crate) reply: oneshot::Sender<Result<(), ResumeRegionError>>,
}

impl RegionSupervisor {
    /// Whether this error is the region's own, and not the job's.
    pub(super) fn gives_up_with(error: &JobError) -> bool {
        match error {
            JobError::GaveUp { .. } | JobError::TooManyWithheld { .. } => true,
            JobError::Failed { actor, .. } => matches!(actor, ActorName::Subtask { .. }),
            _ => false,
        }
    }

    /// No subtask is left, and no attempt follows by itself.
    pub(super) fn give_up(&mut self, ctx: &mut Context<Self>) {
        let Some(cause) = self.error.clone() else { return };
        let (job, region, checkpoint) = (self.seed.job.clone(), self.seed.region, self.newest);
        let failures = match &cause {
            JobError::GaveUp { failures, .. } => *failures,
            _ => lock(self.memory()).failures.len() as u32,
        };
        let port = job.supervision.escalation.clone();
        // The time to answer runs from the event on.
        let port = port.map(|port| (job.clock.sleep(port.within), port.recipient));
        let (error, asks_host) = (cause.clone(), port.is_some());
        job.emit(JobEventKind::Escalated { region, error, failures, checkpoint, asks_host });
        let Some((time_to_answer, host)) = port else {
            return self.follow_up(EscalationDecision::AsConfigured, ctx);
        };
        let asked = Escalation { job: job.layout().spec.name.clone(), region, cause, failures, checkpoint };
        let answer = before(time_to_answer, host.send(asked));
        let attempt = self.execution.attempt;
        ctx.spawn(answer.into_actor(self).map(move |answer, this, ctx| {
            if this.state == RegionState::GivenUp && this.execution.attempt == attempt {
                // Nobody there, or nobody who answers in time.
                let decision = answer.and_then(Result::ok);
                let (by_host, decision) = (decision.is_some(), decision.unwrap_or(EscalationDecision::AsConfigured));
                job.emit(JobEventKind::EscalationAnswered { region, decision, by_host });
                this.follow_up(decision, ctx);
            }
        }));
    }

    fn follow_up(&mut self, decision: EscalationDecision, ctx: &mut Context<Self>) {
        let configured = match self.seed.job.supervision.on_exhausted(self.seed.region) {
            OnExhausted::Park => EscalationDecision::Park,
            OnExhausted::EndJob => EscalationDecision::EndJob,
        };
        match if decision == EscalationDecision::AsConfigured { configured } else { decision } {
            EscalationDecision::Restart => self.restart_anew(),
            // A job that finishes does so with all its regions.
            EscalationDecision::Park if !self.is_finishing() => self.park(),
            _ => self.fail_for_good(ctx),
        }
    }

    fn is_finishing(&self) -> bool {
        *lock(&self.seed.job.ending) == Some(Ending::Finish)
    }

    fn restart_anew(&mut self) {
        let region = self.seed.region;
        self.seed.restarts.do_send(RegionRestarts { region, delay: Duration::ZERO });
        self.renew();
    }

    /// The next attempt begins, with a fresh budget.
    fn renew(&mut self) {
        (self.error, self.delay) = (None, Duration::ZERO);
        let mut memory = lock(self.memory());
        memory.policy.renew();
        memory.failures.clear();
        memory.answered_in_part = 0;
        drop(memory);
        if self.go(RegionEvent::Resume) {
            self.begin_attempt();
        }
    }

    fn park(&mut self) {
        let Some(cause) = self.error.take() else { return };
        if !self.go(RegionEvent::Park) {
            return;
        }
        let since_unix_ms = self.seed.job.clock.unix_ms();
        let mut memory = lock(self.memory());
        memory.parked = Some(ParkedMemory { cause, since_unix_ms, from: None });
        // Time in which it is parked is not lost to its failure.
        memory.failed_at = None;
        drop(memory);
        self.ask_to_be_left_out();
    }

    pub(super) fn ask_to_be_left_out(&self) {
        self.seed.park.do_send(ParkRegion { execution: self.execution });
    }

    /// A parked region is to start again.
    pub(super) fn unpark(&mut self) {
        let mut memory = lock(self.memory());
        let Some(ParkedMemory { since_unix_ms, from, .. }) = memory.parked.take() else { return };
        memory.parked_from = from;
        drop(memory);
        let region = self.seed.region;
        self.seed.job.emit(JobEventKind::RegionResumed { region, parked_since_unix_ms: since_unix_ms });
        self.renew();
    }

    /// The end that was asked for needs the region, if the job is to finish: it starts again for that, once.
    pub(super) fn end_parked(&mut self) {
        if self.is_finishing() {
            match self.state {
                RegionState::Parked => self.unpark(),
                RegionState::GivenUp => self.renew(),
                _ => {}
            }
        }
    }

    /// Whoever waits for the region to run is told.
    pub(super) fn answer_resumes(&mut self, result: Result<(), ResumeRegionError>) {
        for reply in self.resumes.drain(..) {
            // Whoever asked may have lost interest.
            let _ = reply.send(result.clone());
        }
    }

    /// The checkpoint by which progress is known of what a region restores, that may have been parked since.
    pub(super) fn known_as(memory: &mut RegionMemory, restored: Option<CheckpointId>) -> Option<CheckpointId> {
        if let Some(from) = memory.parked_from.take() {
            memory.carried = Some(CarriedOver { from, to: restored }.after(memory.carried));
        }
        CarriedOver::known_by(memory.carried, restored)
    }
}

impl Handler<ParkAnswered> for RegionSupervisor {
    type Result = ();

    fn handle(&mut self, answered: ParkAnswered, ctx: &mut Self::Context) {
        let ParkAnswered { execution, newest, is_refused } = answered;
        if execution != self.execution || self.state != RegionState::Parking {
            return;
        }
        let region = self.seed.region;
        let mut memory = lock(self.memory());
        let Some(parked) = &mut memory.parked else { return };
        parked.from = Some(newest);
        let error = parked.cause.clone();
        if is_refused {
            memory.parked = None;
            drop(memory);
            self.error = Some(error);
            self.seed.job.emit(JobEventKind::ParkingRefused { region });
            return self.fail_for_good(ctx);
        }
        drop(memory);
        self.go(RegionEvent::ParkedNow);
        if !self.rests() {
            self.report(RegionReached::Running);
        }
        self.seed.job.emit(JobEventKind::RegionParked { region, error: error.clone(), checkpoint: newest });
        self.answer_resumes(Err(ResumeRegionError::ParkedAgain { region, cause: Box::new(error) }));
        self.end_parked();
    }
}

impl Handler<ResumeRegion> for RegionSupervisor {
    type Result = ();

    fn handle(&mut self, ResumeRegion { reply }: ResumeRegion, _: &mut Self::Context) {
        let region = self.seed.region;
        let refusal = match self.state {
            RegionState::StoppingForGood | RegionState::Ended => ResumeRegionError::Ended,
            RegionState::Parked if lock(&self.seed.job.ending).is_some() => ResumeRegionError::Ending,
            RegionState::Parked => {
                self.resumes.push(reply);
                return self.unpark();
            }
            _ => ResumeRegionError::NotParked { region },
        };
        // Whoever asked may have lost interest.
        let _ = reply.send(Err(refusal));
    }
}
