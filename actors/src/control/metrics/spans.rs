//! Checkpoints, starts and recoveries as spans of the crate `tracing`, each with its phases as children. A span is open for as long as
//! what it stands for lasts, so that whoever listens measures it by his own clock; it is never entered, since no thread works on it from
//! its beginning to its end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tracing::field::Empty;
use tracing::{Span, debug, info_span};

use super::{CheckpointOutcome, CheckpointRecord, SnapshotParts};
use crate::control::escalation::EscalationDecision;
use crate::control::event::JobEventKind;
use crate::protocol::{CheckpointId, RegionId};

/// The spans of one job that are open.
#[derive(Debug)]
pub(crate) struct Spans {
    job: Arc<str>,
    checkpoint: Option<Open>,
    regions: BTreeMap<RegionId, Open>,
    /// The newest failure of a subtask, in words.
    cause: Option<String>,
}

/// A span and its phase.
#[derive(Debug)]
struct Open {
    span: Span,
    phase: Span,
    checkpoint: CheckpointId,
}

impl Open {
    fn ends(self, outcome: &str) {
        self.span.record("outcome", outcome);
    }
}

impl Spans {
    pub(crate) fn new(job: Arc<str>) -> Self {
        Self { job, checkpoint: None, regions: BTreeMap::new(), cause: None }
    }

    /// Follows an event.
    pub(crate) fn event(&mut self, kind: &JobEventKind) {
        match kind {
            JobEventKind::CheckpointTriggered { checkpoint, reason } => {
                // A coordinator that died said nothing of the one before.
                self.checkpoint.take().into_iter().for_each(|open| open.ends("cut off"));
                let span = info_span!(
                    target: "millstream::checkpoint", parent: None, "checkpoint", job = &*self.job,
                    checkpoint = checkpoint.0, reason = ?reason, outcome = Empty, cause = Empty, took_ms = Empty,
                    written_bytes = Empty, state_bytes = Empty
                );
                let phase = info_span!(target: "millstream::checkpoint", parent: &span, "snapshots");
                self.checkpoint = Some(Open { span, phase, checkpoint: *checkpoint });
            }
            JobEventKind::SubtaskFailed { actor, cause, .. } => self.cause = Some(format!("{actor} {cause}")),
            JobEventKind::RegionRestarting { region, delay, .. } => self.restarts(*region, *delay),
            JobEventKind::RegionMoving { region, .. }
            | JobEventKind::EscalationAnswered { region, decision: EscalationDecision::Restart, .. } => {
                self.restarts(*region, Duration::ZERO);
            }
            JobEventKind::RegionRestartsAlong { region, cause, delay } => {
                self.cause = Some(format!("along with region {cause}"));
                self.restarts(*region, *delay);
            }
            JobEventKind::RegionParked { region, .. } => {
                self.cause = None;
                self.regions.remove(region).into_iter().for_each(|open| open.ends("parked"));
            }
            JobEventKind::Restored { region, checkpoint, bytes, entries, took, .. } => {
                if let Some(open) = self.regions.get_mut(region) {
                    open.span.record("checkpoint", checkpoint.0);
                    open.phase.record("bytes", *bytes);
                    open.phase.record("entries", *entries);
                    open.phase.record("took_ms", millis(*took));
                    open.phase = info_span!(target: "millstream::supervisor", parent: &open.span, "open");
                }
            }
            JobEventKind::RegionRunning { region, attempt, downtime } => {
                if let Some(open) = self.regions.remove(region) {
                    open.span.record("attempt", attempt.0);
                    if let Some(downtime) = downtime {
                        open.span.record("downtime_ms", millis(*downtime));
                    }
                    open.ends("running");
                }
            }
            JobEventKind::Ended { .. } => {
                let open = std::mem::take(&mut self.regions).into_values().chain(self.checkpoint.take());
                open.for_each(|open| open.ends("job ended"));
            }
            _ => {}
        }
    }

    /// Whether this is the checkpoint whose span is open, and it is settled.
    pub(crate) fn awaits(&self, record: &CheckpointRecord) -> bool {
        let is_open = self.checkpoint.as_ref().is_some_and(|open| open.checkpoint == record.checkpoint);
        is_open && record.outcome != CheckpointOutcome::InProgress
    }

    /// Ends the span of a checkpoint that is settled.
    pub(crate) fn settled(&mut self, record: &CheckpointRecord) {
        let Some(open) = self.checkpoint.take_if(|open| open.checkpoint == record.checkpoint) else {
            return;
        };
        match &record.outcome {
            CheckpointOutcome::Completed { took, written_bytes, state_bytes, .. } => {
                open.span.record("took_ms", millis(*took));
                open.span.record("written_bytes", *written_bytes);
                open.span.record("state_bytes", *state_bytes);
                open.ends("completed");
            }
            CheckpointOutcome::Failed { reason } => {
                open.span.record("cause", &**reason);
                open.ends("failed");
            }
            CheckpointOutcome::CutOff { reason } => {
                open.span.record("cause", &**reason);
                open.ends("cut off");
            }
            CheckpointOutcome::InProgress => {}
        }
    }

    /// A subtask has sent its snapshot of the checkpoint in progress.
    pub(crate) fn sent(&self, parts: &SnapshotParts) {
        if let Some(open) = &self.checkpoint {
            debug!(
                target: "millstream::checkpoint", parent: &open.phase, task = &*parts.task,
                subtask = parts.subtask.index, start_delay_ms = millis(parts.start_delay),
                alignment_ms = millis(parts.alignment), synchronous_ms = millis(parts.synchronous),
                asynchronous_ms = millis(parts.asynchronous), bytes = parts.bytes, "snapshot sent"
            );
        }
    }

    /// All snapshots of the checkpoint are there: it is stored.
    pub(crate) fn stores(&mut self, checkpoint: CheckpointId) {
        if let Some(open) = self.checkpoint.as_mut().filter(|open| open.checkpoint == checkpoint) {
            open.phase = info_span!(target: "millstream::checkpoint", parent: &open.span, "store");
        }
    }

    /// The subtasks of a region are started, for the first time or after a restart.
    pub(crate) fn region_starts(&mut self, region: RegionId) {
        let job = &*self.job;
        let open = self.regions.entry(region).or_insert_with(|| {
            let span = info_span!(
                target: "millstream::supervisor", parent: None, "initialization", job, region = region.0,
                checkpoint = Empty, attempt = Empty, outcome = Empty
            );
            Open { span, phase: Span::none(), checkpoint: CheckpointId::NONE }
        });
        open.phase = info_span!(
            target: "millstream::supervisor", parent: &open.span, "restore", bytes = Empty, entries = Empty,
            took_ms = Empty
        );
    }

    fn restarts(&mut self, region: RegionId, delay: Duration) {
        if let Some(open) = self.regions.remove(&region) {
            open.ends("failed");
        }
        let span = info_span!(
            target: "millstream::supervisor", parent: None, "recovery", job = &*self.job, region = region.0,
            cause = self.cause.take(), checkpoint = Empty, attempt = Empty, downtime_ms = Empty, outcome = Empty
        );
        let phase =
            info_span!(target: "millstream::supervisor", parent: &span, "restart_delay", delay_ms = millis(delay));
        self.regions.insert(region, Open { span, phase, checkpoint: CheckpointId::NONE });
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}
