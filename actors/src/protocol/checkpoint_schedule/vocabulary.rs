//! What the schedule is told and what it answers.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::RescaleStep;
use crate::protocol::{
    AckFacts, Barrier, CheckpointId, Checkpointing, Execution, Incarnation, RegionId, RegionOperators, SourceState,
    SubtaskId, TaskError, TaskKind,
};
use crate::protocol::{Contribution, Manifest, SnapshotError};

/// Why a checkpoint was triggered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TriggerReason {
    /// The interval has passed.
    Periodic,
    /// Somebody asked for it.
    OnDemand,
    /// Somebody asked for a savepoint, which is made of it.
    Savepoint,
    /// A sink has taken something that somebody waits for.
    Awaited,
    /// Every source has ended.
    Final,
    /// Every source has stopped reading.
    Drain,
}

/// Why a checkpoint was aborted.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AbortReason {
    /// A region failed.
    #[error("region {0} failed")]
    RegionFailed(RegionId),
    /// A region was stopped, as at the end of a job.
    #[error("region {0} was stopped")]
    RegionStopped(RegionId),
    /// A task could not take its snapshot.
    #[error("subtask {subtask} declined: {reason}")]
    #[non_exhaustive]
    Declined {
        /// Which.
        subtask: SubtaskId,
        /// Why.
        reason: TaskError,
    },
    /// Not all tasks had acknowledged in time.
    #[error("{missing} subtasks had not acknowledged in time")]
    #[non_exhaustive]
    TimedOut {
        /// How many.
        missing: usize,
    },
    /// The store failed.
    #[error("{0}")]
    Store(Arc<SnapshotError>),
    /// The snapshot writer was restarted.
    #[error("the snapshot writer was restarted")]
    WriterRestarted,
    /// The coordinator was restarted.
    #[error("the coordinator was restarted")]
    CoordinatorRestarted,
}

impl AbortReason {
    /// Whether it counts towards the failures that a job tolerates. What a restart answers does not.
    pub(crate) fn is_checkpoint_failure(&self) -> bool {
        matches!(self, Self::Declined { .. } | Self::TimedOut { .. } | Self::Store(_))
    }

    /// Whether no later checkpoint can fare better.
    pub(crate) fn is_final(&self) -> bool {
        matches!(self, Self::Store(error) if error.is_gone())
    }

    /// Whether the next checkpoint may succeed though nothing is done about it.
    pub(crate) fn is_retryable(&self) -> bool {
        match self {
            Self::Declined { reason, .. } => reason.is_retryable(),
            Self::Store(error) => error.is_retryable(),
            _ => true,
        }
    }
}

/// A region that failed waits for its restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RestartWait {
    pub(crate) region: RegionId,
    pub(crate) next_attempt_in: Duration,
}

/// Why somebody who wanted a checkpoint gets none.
#[derive(Clone, Debug)]
pub(crate) enum NoCheckpoint {
    /// It was aborted.
    Aborted(AbortReason),
    /// None can be taken for a while.
    Restarting(RestartWait),
    /// No region is left that is not parked.
    AllParked,
}

/// A moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    /// Monotonic.
    pub(crate) at: Duration,
    /// Wall clock.
    pub(crate) unix_ms: u64,
}

/// A subtask that takes part in checkpoints.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Participant {
    pub(crate) subtask: SubtaskId,
    pub(crate) region: RegionId,
    pub(crate) kind: TaskKind,
    /// It tells when the end has passed its operators.
    pub(crate) holds_end: bool,
}

/// What does not change while a job runs.
#[derive(Clone, Debug)]
pub(crate) struct ScheduleSettings {
    pub(crate) job: Arc<str>,
    pub(crate) incarnation: Incarnation,
    pub(crate) max_parallelism: u32,
    pub(crate) checkpointing: Checkpointing,
    /// Ids reserved at a time.
    pub(crate) ids_per_block: u64,
    /// Whether falling back to an older checkpoint keeps the output right, or repeats are accepted.
    pub(crate) may_fall_back: bool,
    pub(crate) participants: Vec<Participant>,
    /// The operators of each region.
    pub(crate) operators: RegionOperators,
    /// The savepoint that the job begins with while it has no checkpoint of its own.
    pub(crate) origin: Option<Arc<Manifest>>,
}

/// Something the coordinator learnt.
#[derive(Clone, Debug)]
pub(crate) enum ScheduleEvent {
    /// Time has passed.
    Tick,
    /// The writer has opened the store anew; `None` if it could not. Also the answer to [`ScheduleCommand::AskWriter`].
    WriterReported { retained: Option<Vec<Arc<Manifest>>> },
    /// All subtasks of a region are ready; whatever was restored is settled by its sinks.
    RegionRunning { execution: Execution, restored: CheckpointId },
    /// A region runs no more, since it failed or was stopped. At `restarts_at`, if that is set, it starts again.
    RegionDown { execution: Execution, failed: bool, restarts_at: Option<Duration> },
    /// A region asks what to restore; `damaged` was tried and cannot be read.
    RestoreRequested { execution: Execution, damaged: Option<CheckpointId> },
    /// A region, none of whose subtasks is left, is to take no part until it asks what to restore.
    ParkRequested { execution: Execution },
    /// A region was parked when this was the newest checkpoint. Told to a coordinator that was restarted.
    IsParked { region: RegionId, newest: CheckpointId },
    /// A source reads no more, or reads on after all, or the end has passed a task that may hold it back.
    SourceHalted { execution: Execution, subtask: SubtaskId, state: SourceState },
    /// A snapshot was taken.
    Acknowledged {
        execution: Execution,
        subtask: SubtaskId,
        checkpoint: CheckpointId,
        written: Contribution,
        facts: AckFacts,
    },
    /// A snapshot was not taken.
    Declined { execution: Execution, subtask: SubtaskId, checkpoint: CheckpointId, reason: TaskError },
    /// A sink has committed.
    SinkCommitted { subtask: SubtaskId, checkpoint: CheckpointId },
    /// Somebody wants a checkpoint now.
    CheckpointRequested { waiter: u64 },
    /// A sink has taken something that somebody waits for.
    CheckpointWanted,
    /// The job is being rescaled, and has come so far.
    Rescale(RescaleStep),
    /// Stop after a last checkpoint.
    DrainRequested,
    /// Go on reading after all.
    DrainCancelled,
    /// Ids are reserved.
    IdsReserved { up_to: CheckpointId },
    /// Ids could not be reserved.
    ReserveFailed { error: Arc<SnapshotError>, retained: Option<Vec<Arc<Manifest>>> },
    /// A manifest is durable.
    Finalised { checkpoint: CheckpointId },
    /// A manifest could not be written.
    FinaliseFailed { checkpoint: CheckpointId, error: Arc<SnapshotError>, retained: Option<Vec<Arc<Manifest>>> },
    /// Chunks could not be written.
    ChunksFailed { checkpoint: CheckpointId, error: Arc<SnapshotError>, retained: Option<Vec<Arc<Manifest>>> },
    /// Newer checkpoints are marked abandoned.
    Abandoned { above: CheckpointId, completed: Vec<CheckpointId> },
    /// They could not be.
    AbandonFailed { error: Arc<SnapshotError> },
}

/// Why a region gets no checkpoint to restore.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NoRestore {
    /// A sink that cannot withdraw its output, and repeats are not accepted.
    #[error(
        "a transactional sink of the job cannot withdraw what it published since the older checkpoints {older:?}; Checkpointing::accept_repeats(true) falls back nevertheless, with repeated output"
    )]
    #[non_exhaustive]
    WouldRepeat {
        /// The older checkpoints that are retained.
        older: Vec<CheckpointId>,
    },
    /// A region is parked, and its sinks could not withdraw what they have published.
    #[error(
        "region {region} is parked since checkpoint {from}, and its sinks cannot withdraw now what they published up to it; the next start \
         on the store falls back with all regions"
    )]
    #[non_exhaustive]
    Parked {
        /// The region.
        region: RegionId,
        /// The newest checkpoint when it was parked.
        from: CheckpointId,
    },
    /// There is none.
    #[error("no older checkpoint is retained; Checkpointing::retain keeps more of them")]
    NoOlder,
    /// The store could not mark newer checkpoints abandoned.
    #[error("newer checkpoints could not be marked abandoned: {0}")]
    Store(Arc<SnapshotError>),
}

/// What a region is to restore.
#[derive(Clone, Debug)]
pub(crate) enum RestoreDecision {
    /// This, or the beginning.
    From {
        manifest: Option<Arc<Manifest>>,
        /// Completed checkpoints that were abandoned: sinks withdraw what they published for them.
        withdraw: Vec<CheckpointId>,
    },
    /// Nothing can be restored.
    Refused(NoRestore),
}

/// Something the coordinator is to do, in order.
#[derive(Clone, Debug)]
pub(crate) enum ScheduleCommand {
    /// Ask the writer what is retained.
    AskWriter,
    /// Reserve ids durably.
    ReserveIds { up_to: CheckpointId },
    /// Ask every source for this barrier.
    Trigger { barrier: Barrier, reason: TriggerReason },
    /// Write the manifest.
    Finalise { manifest: Arc<Manifest> },
    /// Remove the chunks of an aborted checkpoint.
    Discard { checkpoint: CheckpointId },
    /// Mark everything above a checkpoint abandoned; `completed` of it had been completed.
    AbandonAbove { checkpoint: CheckpointId, completed: Vec<CheckpointId> },
    /// Tell every task and region, and whoever listens.
    Complete { manifest: Arc<Manifest>, triggered_at: Duration },
    /// Tell every task of a completed checkpoint once more.
    RepeatComplete { checkpoint: CheckpointId },
    /// Tell every task, and whoever listens.
    Abort { checkpoint: CheckpointId, reason: AbortReason },
    /// Answer a region.
    AnswerRestore { execution: Execution, decision: RestoreDecision },
    /// Tell a region that checkpoints go on without it, from after this one, if there is one; or that it cannot be parked.
    AnswerPark { execution: Execution, newest: Option<CheckpointId>, is_refused: bool },
    /// Answer somebody who wanted a checkpoint.
    AnswerWaiter { waiter: u64, result: Result<CheckpointId, NoCheckpoint> },
    /// The last checkpoint is complete and all sinks have committed it.
    Settled { checkpoint: CheckpointId, is_final: bool },
    /// Too many checkpoints failed in a row.
    GiveUp { failures: u32, last: AbortReason },
    /// The store stays out of reach.
    StoreLost,
}
