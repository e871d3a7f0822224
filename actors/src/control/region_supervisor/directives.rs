//! What record directives have to say to a failure: [`DirectiveLog`](crate::protocol::DirectiveLog) decides, the region restarts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::RegionSupervisor;
use crate::contract::CarefulWork;
use crate::control::event::JobEventKind;
use crate::control::job_context::RegionMemory;
use crate::control::lock::lock;
use crate::control::outcome::{FailureRecord, JobError};
use crate::protocol::{
    ActorName, Answer, CarefulWorkEnded, Cause, CheckpointId, DirectiveLog, FailedRecord, OperatorId, Panic,
    PanicFacts, PanicReport, PanickedCall, RegionId, RestartDecision,
};
use crate::task::JobSpec;

/// How a directive has answered the failure that ends the attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Answered {
    /// It has not.
    #[default]
    Not,
    /// On the way to a record that is withheld: it has its delay, and counts for no restart strategy.
    InPart,
    /// A record is withheld: it has no delay, either.
    InFull,
}

/// The directives of the operators of one region.
pub(crate) fn directives_of(spec: &JobSpec, region: RegionId) -> DirectiveLog {
    let tasks = spec.tasks.iter().filter(|task| task.region == region);
    let operators = tasks.flat_map(|task| &task.operators).filter(|operator| !operator.on_panic.is_empty());
    let rules: BTreeMap<_, _> = operators.map(|operator| (operator.id().clone(), operator.on_panic.clone())).collect();
    DirectiveLog::new(rules)
}

impl RegionSupervisor {
    /// A subtask of the running attempt has failed: what a directive says to it.
    pub(super) fn ask_directive(
        &mut self,
        actor: &ActorName,
        cause: &Cause,
        at: Option<&FailedRecord>,
        panicked: Option<&PanickedCall>,
    ) {
        let (Cause::Panicked(report), ActorName::Subtask { subtask, .. }) = (cause, actor) else { return };
        let (Some(at), Some(call)) = (at, panicked) else { return };
        let panicked = call.record.as_ref();
        let Some(operator) = &at.operator else { return };
        let job = self.seed.job.clone();
        let PanicReport { message, location, .. } = report.clone();
        let (key, subtask, failed_unix_ms) = (at.key.clone(), subtask.index, job.clock.unix_ms());
        let facts = PanicFacts { message, location, key, subtask, panics: 0, failed_unix_ms };
        let now = job.clock.now();
        let mut memory = lock(self.memory());
        let uptime = memory.running_since.map_or(Duration::ZERO, |since| now.saturating_sub(since));
        let panic = Panic { operator, with_records: call.with_records, uptime, record: panicked, facts };
        let answer = memory.directives.panicked(now, panic);
        drop(memory);
        let (region, text) = (self.seed.region, panicked.and_then(|record| record.text.clone()));
        let is_firing = panicked.is_some_and(|record| record.identity.is_firing());
        let (record, firing) = if is_firing { (None, text) } else { (text, None) };
        let (operator, key) = (operator.clone(), at.key.clone());
        match answer {
            None => {}
            Some(Answer::BeginsCarefulWork) => {
                self.answered = Answered::InPart;
                job.emit(JobEventKind::CarefulWorkBegins { region, operator });
            }
            Some(Answer::Counted { panics, of, is_free }) => {
                self.answered = if is_free { Answered::InPart } else { Answered::Not };
                job.emit(JobEventKind::RecordPanicked { region, operator, record, firing, key, panics, of });
            }
            Some(Answer::Withholds { facts, goes_to }) => {
                self.answered = Answered::InFull;
                let (panics, message) = (facts.panics, facts.message);
                job.emit(JobEventKind::RecordWithheld {
                    region,
                    operator,
                    record,
                    firing,
                    key,
                    panics,
                    message,
                    goes_to,
                });
            }
            Some(Answer::TooMany { records, within }) => {
                self.broken_function(actor, cause, operator, (records, within))
            }
        }
    }

    fn broken_function(
        &mut self,
        actor: &ActorName,
        cause: &Cause,
        operator: OperatorId,
        (records, within): (u32, Duration),
    ) {
        let unix_ms = self.seed.job.clock.unix_ms();
        let (attempt, actor, cause) = (self.execution.attempt, actor.clone(), cause.clone());
        let last = Box::new(FailureRecord { unix_ms, attempt, actor, cause });
        let region = self.seed.region;
        self.final_error(JobError::TooManyWithheld { region, operator, records, within, last });
    }

    /// Whether, and when, the region starts again.
    pub(super) fn decide_restart(&mut self, memory: &mut RegionMemory, now: Duration) -> RestartDecision {
        match std::mem::take(&mut self.answered) {
            Answered::Not => memory.policy.failed(now),
            Answered::InPart => {
                memory.answered_in_part += 1;
                memory.policy.uncounted(memory.answered_in_part)
            }
            Answered::InFull => {
                memory.answered_in_part = 0;
                RestartDecision::Restart { delay: Duration::ZERO, failure: 0, of: 0 }
            }
        }
    }

    /// An attempt begins from this checkpoint: what is done carefully in it.
    pub(super) fn begin_careful_work(memory: &mut RegionMemory, restored: Option<CheckpointId>) -> Arc<CarefulWork> {
        let before = memory.careful.clone();
        before.end();
        let withholding = memory.directives.begin(restored, &before.withholding());
        let operators: BTreeSet<OperatorId> = memory.directives.careful().cloned().collect();
        memory.careful = Arc::new(CarefulWork::new(operators, withholding));
        memory.running_since = None;
        memory.careful.clone()
    }

    /// This checkpoint is beyond all failures: careful work is over, if it has lasted long enough. Gives that of which operators.
    pub(super) fn end_careful_work(memory: &mut RegionMemory, checkpoint: CheckpointId) -> Vec<CarefulWorkEnded> {
        let since = memory.running_since.unwrap_or_default();
        if !memory.directives.has_lasted(checkpoint, &memory.careful.withholding(), since) {
            return Vec::new();
        }
        let attempt = std::mem::take(&mut memory.careful);
        attempt.end();
        memory.directives.overcome(checkpoint, &attempt.withholding())
    }

    pub(super) fn tell_of_ended(&self, checkpoint: CheckpointId, ended: Vec<CarefulWorkEnded>) {
        let region = self.seed.region;
        for CarefulWorkEnded { operator, withheld, not_met } in ended {
            self.seed.job.emit(JobEventKind::CarefulWorkEnded { region, operator, checkpoint, withheld, not_met });
        }
    }
}
