//! Every step of a job, as data.

mod display;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use actix::Message;
use log::Level;

use crate::control::outcome::{JobError, JobOutcome, SavepointError};
use crate::protocol::{
    AbortReason, ActorName, Attempt, Cause, CheckpointId, IntervalAdvice, PanicReport, RecoveryEstimate, RegionId,
    TaskError, TriggerReason,
};

/// Something happened in a job. Subscribers get events in the order in which they were recorded.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct JobEvent {
    /// When, Unix milliseconds of the job's clock.
    pub unix_ms: u64,
    /// The job.
    pub job: Arc<str>,
    /// What.
    pub kind: JobEventKind,
}

/// What happened.
#[derive(Clone, Debug)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields are named for what they hold, in units of their types")]
pub enum JobEventKind {
    /// The job starts.
    Started { tasks: usize, subtasks: u64, restores: Option<CheckpointId> },
    /// The sources were asked for barriers.
    CheckpointTriggered { checkpoint: CheckpointId, reason: TriggerReason },
    /// A checkpoint is durable. `written_bytes` of its `state_bytes` are new.
    CheckpointCompleted { checkpoint: CheckpointId, took: Duration, written_bytes: u64, state_bytes: u64 },
    /// A checkpoint will not complete.
    CheckpointAborted { checkpoint: CheckpointId, reason: AbortReason },
    /// A task could not take its snapshot.
    CheckpointDeclined { checkpoint: CheckpointId, actor: ActorName, reason: TaskError },
    /// A subtask came to an unwanted end, having taken `records_in` records in its attempt.
    SubtaskFailed { attempt: Attempt, actor: ActorName, cause: Cause, records_in: u64 },
    /// A control actor panicked and was restarted behind its address.
    ActorRestarted { actor: ActorName, report: PanicReport },
    /// A region will be restarted.
    RegionRestarting { region: RegionId, delay: Duration, failure: u32, of: u32, since: Option<CheckpointId> },
    /// A region's state is loaded.
    Restored {
        region: RegionId,
        attempt: Attempt,
        checkpoint: CheckpointId,
        age: Duration,
        bytes: u64,
        /// Keys with state.
        entries: u64,
        took: Duration,
        /// Records that the sources read again, of those read by this process.
        rewinds: u64,
    },
    /// A subtask has been loading a checkpoint for a second or more, and has come this far.
    Restoring {
        region: RegionId,
        attempt: Attempt,
        actor: ActorName,
        checkpoint: CheckpointId,
        bytes: u64,
        bytes_total: u64,
        /// Keys with state.
        entries: u64,
        elapsed: Duration,
    },
    /// All subtasks of a region run; `downtime` since the failure, if there was one.
    RegionRunning { region: RegionId, attempt: Attempt, downtime: Option<Duration> },
    /// A subtask has held its arbiter without a sign of life.
    SubtaskStuck { actor: ActorName, held_for: Duration },
    /// The arbiter of tasks that did not stop was given up.
    ArbiterCondemned { region: RegionId, subtasks: usize },
    /// A region falls back behind completed checkpoints, whose output sinks withdraw. `withdrawn` lists all that were
    /// abandoned since the last checkpoint completed, also by earlier falls.
    FellBack { region: RegionId, to: CheckpointId, withdrawn: Vec<CheckpointId> },
    /// A savepoint is durable. `took` counts from when it was asked for.
    SavepointWritten { path: PathBuf, checkpoint: CheckpointId, bytes: u64, took: Duration },
    /// A savepoint was not written.
    SavepointFailed { path: PathBuf, error: SavepointError },
    /// What was measured advises another interval than was told before, by more than a quarter; or the one in use,
    /// `interval`, differs from that told before as much.
    IntervalAdvised { advice: IntervalAdvice, interval: Option<Duration> },
    /// Even with the shortest interval a recovery is expected to take longer than the objective.
    RecoveryObjectiveMissed { objective: Duration, expected: RecoveryEstimate, interval: Option<Duration> },
    /// The job has ended.
    Ended { result: Result<JobOutcome, JobError> },
}

impl JobEventKind {
    /// The level of its log line.
    pub(super) fn level(&self) -> Level {
        match self {
            Self::CheckpointTriggered { .. } => Level::Debug,
            Self::Started { .. }
            | Self::CheckpointCompleted { .. }
            | Self::SavepointWritten { .. }
            | Self::Restored { .. }
            | Self::Restoring { .. }
            | Self::RegionRunning { .. }
            | Self::IntervalAdvised { .. }
            | Self::Ended { result: Ok(_) } => Level::Info,
            Self::SubtaskFailed { .. } | Self::ActorRestarted { .. } | Self::Ended { result: Err(_) } => Level::Error,
            _ => Level::Warn,
        }
    }

    /// The target of its log line.
    pub(super) fn target(&self) -> &'static str {
        match self {
            Self::CheckpointTriggered { .. }
            | Self::CheckpointCompleted { .. }
            | Self::CheckpointAborted { .. }
            | Self::CheckpointDeclined { .. }
            | Self::SavepointWritten { .. }
            | Self::SavepointFailed { .. }
            | Self::IntervalAdvised { .. }
            | Self::RecoveryObjectiveMissed { .. } => "millstream::checkpoint",
            _ => "millstream::supervisor",
        }
    }
}
