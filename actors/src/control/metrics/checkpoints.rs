//! The newest checkpoints of a run, and what each subtask's part in them took.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::control::event::JobEventKind;
use crate::control::progress::CheckpointProgress;
use crate::protocol::serialised;
use crate::protocol::{AckFacts, CheckpointId, SubtaskId, TriggerReason};

/// How many checkpoints are kept, the newest of each run.
const KEPT_MAX: usize = 16;

/// Checkpoints of a run by what became of them; `JobStatus` has those completed and failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CheckpointCounts {
    /// Triggered.
    pub triggered: u64,
    /// Triggered, and neither completed nor given up: 0 or 1.
    pub in_progress: u64,
    /// Cut off by the failure or the stop of a region, or by a restart of the engine's own actors: not counted as failed.
    pub cut_off: u64,
    /// Restores of regions from checkpoints.
    pub restored: u64,
}

/// What became of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
#[non_exhaustive]
pub enum CheckpointOutcome {
    /// Nothing yet.
    InProgress,
    /// It is durable.
    #[non_exhaustive]
    Completed {
        /// From its trigger to its completion.
        #[serde(rename = "took_ms", serialize_with = "serialised::millis")]
        took: Duration,
        /// From when the last subtask had sent its snapshot to the completion: what the store, and messages, took.
        #[serde(rename = "store_ms", serialize_with = "serialised::millis")]
        store: Duration,
        /// Bytes written for it.
        written_bytes: u64,
        /// Bytes of state in all, those that it shares with older checkpoints too.
        state_bytes: u64,
    },
    /// A task declined, not all were done in time, or the store failed.
    #[non_exhaustive]
    Failed {
        /// In words.
        reason: String,
    },
    /// The failure or the stop of a region, or a restart of the engine's own actors, came between.
    #[non_exhaustive]
    CutOff {
        /// In words.
        reason: String,
    },
}

/// What one subtask's part in a checkpoint took, by the job's clock. The parts follow one another: their sum is the time from the
/// trigger until the subtask's snapshot was sent to the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SnapshotParts {
    /// The subtask.
    pub subtask: SubtaskId,
    /// The name of its task.
    pub task: Arc<str>,
    /// From the trigger until the first barrier came: what was before it in the channels was worked off.
    #[serde(rename = "start_delay_ms", serialize_with = "serialised::millis")]
    pub start_delay: Duration,
    /// From the first barrier to the last.
    #[serde(rename = "alignment_ms", serialize_with = "serialised::millis")]
    pub alignment: Duration,
    /// How long writing the snapshot held up records, in all its slices.
    #[serde(rename = "synchronous_ms", serialize_with = "serialised::millis")]
    pub synchronous: Duration,
    /// The time from the last barrier until the snapshot was sent in which records were worked on, or the store had no room.
    #[serde(rename = "asynchronous_ms", serialize_with = "serialised::millis")]
    pub asynchronous: Duration,
    /// Bytes of its snapshot that were written for this checkpoint.
    pub bytes: u64,
}

impl SnapshotParts {
    /// Of what an acknowledgement says of a checkpoint that was triggered then. `held_up` goes by the machine's clock, so it is bounded
    /// by what the job's clock says of the whole.
    fn of((subtask, task): (SubtaskId, Arc<str>), triggered_at: Duration, ack: &Acknowledged) -> Self {
        let AckFacts { barrier_at, alignment, capture, .. } = ack.facts;
        let synchronous = ack.held_up.min(capture);
        Self {
            subtask,
            task,
            start_delay: barrier_at.saturating_sub(triggered_at),
            alignment,
            synchronous,
            asynchronous: capture - synchronous,
            bytes: ack.bytes,
        }
    }

    /// From the trigger until its snapshot was sent.
    pub fn total(&self) -> Duration {
        self.start_delay + self.alignment + self.synchronous + self.asynchronous
    }
}

/// One checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CheckpointRecord {
    /// Its id.
    pub checkpoint: CheckpointId,
    /// Why it was triggered.
    pub reason: TriggerReason,
    /// When, Unix milliseconds of the job's clock.
    pub triggered_unix_ms: u64,
    /// What became of it.
    #[serde(flatten)]
    pub outcome: CheckpointOutcome,
    /// The parts of the subtasks that have sent their snapshots, in this order.
    pub subtasks: Vec<SnapshotParts>,
    #[serde(skip)]
    triggered_at: Duration,
    /// How many subtasks take part.
    #[serde(skip)]
    participants: u32,
    /// Bytes that the store has taken.
    #[serde(skip)]
    stored_bytes: u64,
}

impl CheckpointRecord {
    /// The subtask that took longest until its snapshot was sent.
    pub fn slowest(&self) -> Option<&SnapshotParts> {
        self.subtasks.iter().max_by_key(|parts| parts.total())
    }
}

/// What a subtask says when it has sent its snapshot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Acknowledged {
    pub(crate) facts: AckFacts,
    /// How long the snapshot held up records.
    pub(crate) held_up: Duration,
    pub(crate) bytes: u64,
}

/// The newest checkpoints, oldest first.
#[derive(Clone, Debug, Default)]
pub(crate) struct CheckpointLog {
    counts: CheckpointCounts,
    records: VecDeque<CheckpointRecord>,
}

impl CheckpointLog {
    /// Counts an event, at the time `now` of the job's clock.
    pub(crate) fn count(&mut self, kind: &JobEventKind, unix_ms: u64, now: Duration) {
        match kind {
            JobEventKind::CheckpointTriggered { checkpoint, reason } => {
                // A coordinator that died said nothing of the one before.
                self.settle(None, || CheckpointOutcome::CutOff { reason: "it was lost".to_owned() });
                self.counts.triggered += 1;
                if self.records.len() >= KEPT_MAX {
                    self.records.pop_front();
                }
                self.records.push_back(CheckpointRecord {
                    checkpoint: *checkpoint,
                    reason: *reason,
                    triggered_unix_ms: unix_ms,
                    outcome: CheckpointOutcome::InProgress,
                    subtasks: Vec::new(),
                    triggered_at: now,
                    participants: 0,
                    stored_bytes: 0,
                });
            }
            JobEventKind::CheckpointCompleted { checkpoint, took, written_bytes, state_bytes } => {
                let sent = self.in_progress().and_then(|record| record.slowest()).map(SnapshotParts::total);
                self.settle(Some(*checkpoint), || CheckpointOutcome::Completed {
                    took: *took,
                    store: took.saturating_sub(sent.unwrap_or_default()),
                    written_bytes: *written_bytes,
                    state_bytes: *state_bytes,
                });
            }
            JobEventKind::CheckpointAborted { checkpoint, reason } => {
                self.settle(Some(*checkpoint), || {
                    let (has_failed, reason) = (reason.is_checkpoint_failure(), reason.to_string());
                    if has_failed { CheckpointOutcome::Failed { reason } } else { CheckpointOutcome::CutOff { reason } }
                });
            }
            JobEventKind::Restored { .. } => self.counts.restored += 1,
            JobEventKind::Ended { .. } => {
                self.settle(None, || CheckpointOutcome::CutOff { reason: "the job has ended".to_owned() });
            }
            _ => {}
        }
    }

    /// A subtask has sent its snapshot of a checkpoint. Of others than the one in progress nothing is wanted any more.
    /// Its parts, if they count.
    pub(crate) fn acknowledged(
        &mut self,
        checkpoint: CheckpointId,
        of: (SubtaskId, Arc<str>),
        ack: &Acknowledged,
    ) -> Option<&SnapshotParts> {
        let record = self.in_progress().filter(|record| record.checkpoint == checkpoint)?;
        if record.subtasks.iter().any(|parts| parts.subtask == of.0) {
            return None;
        }
        record.subtasks.push(SnapshotParts::of(of, record.triggered_at, ack));
        record.subtasks.last()
    }

    /// So many subtasks take part in the one in progress.
    pub(crate) fn expects(&mut self, participants: u32) {
        if let Some(record) = self.in_progress() {
            record.participants = participants;
        }
    }

    /// The store has taken so many more bytes of a checkpoint.
    pub(crate) fn stored(&mut self, checkpoint: CheckpointId, bytes: u64) {
        if let Some(record) = self.in_progress().filter(|record| record.checkpoint == checkpoint) {
            record.stored_bytes += bytes;
        }
    }

    /// How far the one in progress is.
    pub(crate) fn progress(&self) -> Option<CheckpointProgress> {
        let record = self.records.back().filter(|record| record.outcome == CheckpointOutcome::InProgress)?;
        Some(CheckpointProgress {
            checkpoint: record.checkpoint,
            reason: record.reason,
            since_unix_ms: record.triggered_unix_ms,
            acknowledged: record.subtasks.len() as u32,
            of: record.participants,
            bytes: record.stored_bytes,
        })
    }

    pub(crate) fn counts(&self) -> CheckpointCounts {
        let is_open = self.records.back().is_some_and(|record| record.outcome == CheckpointOutcome::InProgress);
        CheckpointCounts { in_progress: u64::from(is_open), ..self.counts }
    }

    pub(crate) fn records(&self) -> impl Iterator<Item = &CheckpointRecord> {
        self.records.iter()
    }

    #[cfg(feature = "tracing")]
    pub(crate) fn newest(&self) -> Option<&CheckpointRecord> {
        self.records.back()
    }

    fn in_progress(&mut self) -> Option<&mut CheckpointRecord> {
        self.records.back_mut().filter(|record| record.outcome == CheckpointOutcome::InProgress)
    }

    /// Ends the one in progress, if it is this one, or whichever.
    fn settle(&mut self, checkpoint: Option<CheckpointId>, outcome: impl FnOnce() -> CheckpointOutcome) {
        if let Some(record) = self.in_progress().filter(|record| checkpoint.is_none_or(|id| id == record.checkpoint)) {
            record.outcome = outcome();
            let is_cut_off = matches!(record.outcome, CheckpointOutcome::CutOff { .. });
            self.counts.cut_off += u64::from(is_cut_off);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{AbortReason, RegionId, TaskId};

    const MS: Duration = Duration::from_millis(1);

    fn triggered(log: &mut CheckpointLog, id: u64, now: Duration) {
        let kind = JobEventKind::CheckpointTriggered { checkpoint: CheckpointId(id), reason: TriggerReason::Periodic };
        log.count(&kind, 7, now);
    }

    fn acknowledges(log: &mut CheckpointLog, index: u32, (barrier, alignment, capture, held_up): (u32, u32, u32, u32)) {
        let facts = AckFacts {
            barrier_at: barrier * MS,
            alignment: alignment * MS,
            capture: capture * MS,
            ..AckFacts::default()
        };
        let subtask = SubtaskId { task: TaskId(0), index };
        let ack = Acknowledged { facts, held_up: held_up * MS, bytes: 10 };
        log.acknowledged(CheckpointId(1), (subtask, "task".into()), &ack);
    }

    #[test]
    fn parts_follow_one_another_and_what_is_left_is_the_stores() {
        let mut log = CheckpointLog::default();
        triggered(&mut log, 1, 100 * MS);
        acknowledges(&mut log, 0, (103, 4, 10, 2));
        acknowledges(&mut log, 0, (199, 4, 10, 2));
        // By the machine's clock writing took longer than by the job's, which may stand still.
        acknowledges(&mut log, 1, (90, 0, 5, 30));
        let completed = JobEventKind::CheckpointCompleted {
            checkpoint: CheckpointId(1),
            took: 40 * MS,
            written_bytes: 20,
            state_bytes: 50,
        };
        log.count(&completed, 8, 140 * MS);
        let record = log.records().next().expect("one");
        let parts = |parts: &SnapshotParts| {
            [parts.start_delay, parts.alignment, parts.synchronous, parts.asynchronous].map(|part| part.as_millis())
        };
        let all: Vec<_> = record.subtasks.iter().map(parts).collect();
        assert_eq!(all, [[3, 4, 2, 8], [0, 0, 5, 0]]);
        assert_eq!(record.slowest().map(|parts| parts.subtask.index), Some(0));
        let CheckpointOutcome::Completed { took, store, .. } = record.outcome else { panic!("{record:?}") };
        assert_eq!((took, store), (40 * MS, 23 * MS));
        assert_eq!(log.counts(), CheckpointCounts { triggered: 1, ..CheckpointCounts::default() });
    }

    #[test]
    fn the_newest_are_kept_and_each_has_one_end() {
        let mut log = CheckpointLog::default();
        for id in 1..=20 {
            triggered(&mut log, id, MS);
            let reason =
                if id % 2 == 0 { AbortReason::TimedOut { missing: 1 } } else { AbortReason::RegionFailed(RegionId(0)) };
            if id < 20 {
                log.count(&JobEventKind::CheckpointAborted { checkpoint: CheckpointId(id), reason }, 8, MS);
            }
        }
        assert_eq!((log.counts().triggered, log.counts().in_progress, log.counts().cut_off), (20, 1, 10));
        triggered(&mut log, 21, MS);
        assert_eq!((log.counts().in_progress, log.counts().cut_off, log.records().count()), (1, 11, KEPT_MAX));
        assert_eq!(log.records().next().map(|record| record.checkpoint), Some(CheckpointId(6)));
    }
}
