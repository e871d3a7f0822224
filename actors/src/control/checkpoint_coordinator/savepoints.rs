//! Savepoints: the coordinator's part, which asks for checkpoints, pins them, and has the writer export them.

use std::path::PathBuf;

use super::*;
use crate::contract::{Savepoint, SavepointExport};
use crate::control::outcome::SavepointError;
use crate::control::pins::Pin;
use crate::control::snapshot_writer::{Export, ExportReply, ExportRequest};
use crate::protocol::{SAVEPOINTS_MAX, SavepointCommand};

/// Write a savepoint, and stop with it if `then_stop`.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct RequestSavepoint {
    pub(crate) path: PathBuf,
    pub(crate) then_stop: bool,
    pub(crate) reply: oneshot::Sender<Result<Savepoint, SavepointError>>,
}

/// Drain the job, unless the savepoint for which it is done cannot be written.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct StopForSavepoint;

/// No savepoint came of the stop that was made for one: go on.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct ResumeReading;

/// What belongs to a request for a savepoint, beside what it waits for.
pub(super) struct SavepointRequest {
    /// Its export ends without it. Goes before `reply`: whoever hears that nothing is written finds nothing written.
    wanted: Arc<()>,
    path: PathBuf,
    asked_at: Duration,
    reply: oneshot::Sender<Result<Savepoint, SavepointError>>,
    target: Option<Box<dyn SavepointExport>>,
    pin: Option<Pin>,
}

impl CheckpointCoordinator {
    /// Does what can be done for savepoints now.
    pub(super) fn advance_savepoints(&mut self, ctx: &mut Context<Self>) {
        let schedule = &self.schedule;
        let mut commands = std::mem::take(&mut self.savepoint_commands);
        self.savepoints.advance(|checkpoint| schedule.sinks_have_committed(checkpoint), &mut commands);
        for command in commands {
            self.carry_out_for_savepoint(command, ctx);
        }
    }

    fn carry_out_for_savepoint(&mut self, command: SavepointCommand, ctx: &mut Context<Self>) {
        match command {
            SavepointCommand::TakeCheckpoint { request } => {
                self.apply(Event::CheckpointRequested { waiter: request }, ctx);
            }
            SavepointCommand::StopReading => self.seed.stop.do_send(StopForSavepoint),
            SavepointCommand::Pin { request, checkpoint } => {
                if let Some(of) = self.savepoint_requests.get_mut(&request) {
                    of.pin = Some(Pin::new(&self.seed.job.pins, checkpoint));
                }
            }
            SavepointCommand::Export { request, checkpoint } => {
                let Some(of) = self.savepoint_requests.get_mut(&request) else { return };
                let target = of.target.take().expect("it was prepared before it asked for a checkpoint");
                let pin = of.pin.take().unwrap_or_else(|| Pin::new(&self.seed.job.pins, checkpoint));
                let (wanted, path) = (Arc::downgrade(&of.wanted), of.path.clone());
                self.reached(Step::Exporting);
                let export = Export { request, target, path, checkpoint, pin, wanted };
                self.seed.export.do_send(ExportRequest::Write(export));
            }
            SavepointCommand::Refuse { request, tries, last } => {
                self.answer_savepoint(request, Err(SavepointError::Checkpoint { tries, last }));
            }
            SavepointCommand::RefuseParked { request } => {
                self.refuse_savepoint(request);
            }
            SavepointCommand::RefuseForNow { request, wait } => {
                self.answer_savepoint(request, Err(SavepointError::Restarting(self.what_restarts(wait))));
            }
            SavepointCommand::End { is_final, failed_to_stop } => {
                let only_for_savepoint = *lock(&self.seed.job.ending) == Some(Ending::DrainForSavepoint);
                if failed_to_stop && only_for_savepoint && !is_final {
                    self.seed.resume.do_send(ResumeReading);
                    self.apply(Event::DrainCancelled, ctx);
                } else {
                    self.decide(Ok(if is_final { OutcomeKind::Finished } else { OutcomeKind::Drained }));
                }
            }
        }
    }

    pub(super) fn answer_savepoint(&mut self, request: u64, result: Result<Savepoint, SavepointError>) {
        let Some(SavepointRequest { path, asked_at, reply, .. }) = self.savepoint_requests.remove(&request) else {
            return;
        };
        self.seed.job.emit(match &result {
            Ok(Savepoint { path, checkpoint, bytes }) => JobEventKind::SavepointWritten {
                path: path.clone(),
                checkpoint: *checkpoint,
                bytes: *bytes,
                took: self.seed.job.clock.now().saturating_sub(asked_at),
            },
            Err(error) => JobEventKind::SavepointFailed { path, error: error.clone() },
        });
        // Whoever asked may have lost interest.
        let _ = reply.send(result);
    }

    /// The job ends, and nothing more is written.
    pub(super) fn fail_savepoints(&mut self, error: Option<JobError>) {
        for SavepointRequest { wanted, target, reply, .. } in std::mem::take(&mut self.savepoint_requests).into_values()
        {
            drop((wanted, target));
            let error = error
                .clone()
                .map_or(SavepointError::Interrupted, |error| SavepointError::JobFailedFirst { error: error.into() });
            // Whoever asked may have lost interest.
            let _ = reply.send(Err(error));
        }
    }

    /// The writer that was asked is gone.
    pub(super) fn fail_lost_savepoints(&mut self) {
        for request in self.savepoints.writer_restarted() {
            self.answer_savepoint(request, Err(SavepointError::Interrupted));
        }
    }
}

impl Handler<RequestSavepoint> for CheckpointCoordinator {
    type Result = ();

    fn handle(&mut self, asked: RequestSavepoint, _: &mut Self::Context) {
        let RequestSavepoint { path, then_stop, reply } = asked;
        if !self.savepoints.has_room() {
            // Whoever asked may have lost interest.
            let _ = reply.send(Err(SavepointError::TooMany { limit: SAVEPOINTS_MAX }));
            return;
        }
        if let Some(error) = self.parked() {
            self.seed.job.emit(JobEventKind::SavepointFailed { path, error: error.clone() });
            // Whoever asked may have lost interest.
            let _ = reply.send(Err(error));
            return;
        }
        self.next_waiter += 1;
        let request = self.next_waiter;
        let asked_at = self.seed.job.clock.now();
        let wanted = Arc::default();
        let of = SavepointRequest { wanted, path: path.clone(), asked_at, reply, target: None, pin: None };
        self.savepoint_requests.insert(request, of);
        self.savepoints.requested(request, then_stop);
        self.seed.export.do_send(ExportRequest::Prepare { request, path });
    }
}

impl Handler<ExportReply> for CheckpointCoordinator {
    type Result = ();

    fn handle(&mut self, reply: ExportReply, ctx: &mut Self::Context) {
        match reply {
            ExportReply::Prepared { request, result: Ok(target) } if self.parked().is_some() => {
                drop(target);
                self.refuse_savepoint(request);
            }
            ExportReply::Prepared { request, result: Ok(target) } => {
                if let Some(of) = self.savepoint_requests.get_mut(&request) {
                    of.target = Some(target);
                    self.savepoints.prepared(request, &mut self.savepoint_commands);
                }
            }
            ExportReply::Prepared { request, result: Err(error) } => {
                self.savepoints.over(request, false);
                self.answer_savepoint(request, Err(error));
            }
            ExportReply::Written { request, result } => {
                self.reached(Step::Exported);
                self.savepoints.over(request, result.is_ok());
                self.answer_savepoint(request, result);
            }
        }
        self.advance_savepoints(ctx);
    }
}
