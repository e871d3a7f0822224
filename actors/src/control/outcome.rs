//! How a job ends.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::contract::{Savepoint, SavepointFileError, SnapshotError};
use crate::protocol::{
    AbortReason, ActorName, Attempt, Cause, CheckpointId, Fault, NoRestore, OperatorId, PanicReport, RegionId,
    TaskError,
};

/// Which end a job came to.
///
/// ```
/// use millstream::prelude::*;
///
/// # actix_rt::System::new().block_on(async {
/// let env = StreamEnvironment::new("ticks");
/// env.source("ticks", SequenceSource::unbounded().rate_per_second(1_000)).for_each("out", |_| {});
/// let outcome = env.start()?.drain().await?;
/// assert_eq!(outcome.kind, OutcomeKind::Drained);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum OutcomeKind {
    /// All input was worked off, and all output committed.
    Finished,
    /// It was drained: the next start continues.
    Drained,
    /// It was cancelled: the next start continues from the newest checkpoint.
    Cancelled,
}

/// The end of a job that did not fail. Serialised under the names of its fields, the kind as `"finished"`, `"drained"` or
/// `"cancelled"`.
///
/// ```
/// use millstream::prelude::*;
///
/// let env = StreamEnvironment::new("numbers");
/// env.source("numbers", SequenceSource::new(0..10)).sink("out", CollectSink::new());
/// let outcome = env.start()?.wait()?;
/// match outcome.kind {
///     OutcomeKind::Finished => println!("all done, after {} restarts", outcome.restarts),
///     _ => println!("to be continued by the next start"),
/// }
/// # assert_eq!(outcome.kind, OutcomeKind::Finished);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct JobOutcome {
    /// Which.
    pub kind: OutcomeKind,
    /// The store's job had finished before: nothing was read, at most pending commits were settled.
    pub already_complete: bool,
    /// Checkpoints completed by this run.
    pub checkpoints: u64,
    /// Restarts of regions.
    pub restarts: u64,
    /// The newest completed checkpoint, also of earlier runs.
    pub last_checkpoint: Option<CheckpointId>,
}

/// The result of a job; `None` until there is one.
pub(crate) type Published = Option<Result<JobOutcome, JobError>>;

/// One failure of a region.
///
/// ```
/// use millstream::prelude::*;
/// use millstream::Cause;
///
/// let env = StreamEnvironment::new("numbers").restart_strategy(RestartStrategy::none()).tell_panic_hook(false);
/// env.source("numbers", SequenceSource::new(0..10)).for_each("out", |n| assert!(n < 5, "{n} is too much"));
///
/// let Err(JobError::GaveUp { history, .. }) = env.start()?.wait() else { panic!("it fails at 5") };
/// match &history[0].cause {
///     Cause::Panicked(report) => assert_eq!(report.message, "5 is too much"),
///     other => panic!("{other}"),
/// }
/// # Ok::<(), millstream::StartError>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FailureRecord {
    /// When, Unix milliseconds.
    pub unix_ms: u64,
    /// The region's attempt.
    pub attempt: Attempt,
    /// Who failed.
    pub actor: ActorName,
    /// Why.
    pub cause: Cause,
}

impl fmt::Display for FailureRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "attempt {}: {} {}", self.attempt, self.actor, self.cause)
    }
}

/// Why a job failed. Everything up to the newest completed checkpoint is kept: a new start on the store continues.
///
/// ```
/// use millstream::prelude::*;
///
/// let env = StreamEnvironment::new("numbers").restart_strategy(RestartStrategy::none()).tell_panic_hook(false);
/// env.source("numbers", SequenceSource::new(0..10)).for_each("out", |n| assert!(n < 5, "{n} is too much"));
///
/// match env.start()?.wait().unwrap_err() {
///     JobError::GaveUp { history, .. } => assert!(history[0].to_string().contains("5 is too much"), "{}", history[0]),
///     other => panic!("{other}"),
/// }
/// # Ok::<(), millstream::StartError>(())
/// ```
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JobError {
    /// The restart strategy gave up.
    #[error("region {region} gave up after {failures} failures without progress; the last: {}", last(history))]
    #[non_exhaustive]
    GaveUp {
        /// The region.
        region: RegionId,
        /// Failures without a checkpoint beyond them.
        failures: u32,
        /// The newest failures, oldest first.
        history: Vec<FailureRecord>,
    },
    /// More records of one operator were to be withheld than its record directive allows: the function is broken, and not the
    /// records.
    #[error(
        "operator '{operator}' panicked at more than {records} records within {} s, so the fault is not theirs: mend the function, \
         or allow more by OnPanic::at_most; the last: {last}", within.as_secs_f64()
    )]
    #[non_exhaustive]
    TooManyWithheld {
        /// The region.
        region: RegionId,
        /// The operator.
        operator: OperatorId,
        /// How many are allowed.
        records: u32,
        /// Within which time.
        within: Duration,
        /// The last failure.
        last: Box<FailureRecord>,
    },
    /// A task failed in a way that a restart does not cure.
    #[error("{actor} failed, and would again: {error}")]
    #[non_exhaustive]
    Failed {
        /// Who.
        actor: ActorName,
        /// Why.
        #[source]
        error: TaskError,
    },
    /// A checkpoint cannot be read, and there is nothing to fall back to.
    #[error("checkpoint {checkpoint} cannot be restored: {error}; {reason}")]
    #[non_exhaustive]
    Damaged {
        /// The checkpoint.
        checkpoint: CheckpointId,
        /// What is damaged, and which checkpoints need it.
        #[source]
        error: Arc<SnapshotError>,
        /// Why no older checkpoint was taken.
        reason: NoRestore,
    },
    /// More checkpoints failed in a row than are tolerated.
    #[error("{failures} checkpoints in a row failed; the last: {last}")]
    #[non_exhaustive]
    CheckpointFailures {
        /// How many.
        failures: u32,
        /// Why the last one did.
        #[source]
        last: AbortReason,
    },
    /// The snapshot store does not open any more.
    #[error("the snapshot store {store} could not be opened again after a failed write")]
    #[non_exhaustive]
    StoreLost {
        /// The store.
        store: String,
    },
    /// A control actor panicked, and its restarts did not help.
    #[error("{actor} panicked: {report}; this is a bug in the engine")]
    #[non_exhaustive]
    Internal {
        /// Which.
        actor: ActorName,
        /// The panic.
        report: PanicReport,
    },
    /// The actix `System` of the engine has stopped, on which all jobs of the process run. The host's has no part in that.
    #[error(
        "the engine's actix System has stopped: a function of some job has called System::current().stop(), which it \
         must not; a new start goes on"
    )]
    SystemStopped,
    /// The system refused a thread.
    #[error("cannot start an arbiter: {0}")]
    Arbiter(#[source] Arc<std::io::Error>),
}

fn last(history: &[FailureRecord]) -> String {
    history.last().map_or_else(|| "unknown".to_owned(), ToString::to_string)
}

fn listed(regions: &[RegionId]) -> String {
    let ids: Vec<String> = regions.iter().map(ToString::to_string).collect();
    ids.join(", ")
}

impl JobError {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::GaveUp { history, .. } => match history.last().map(|failure| &failure.cause) {
                Some(Cause::Failed(error)) => error.fault(),
                Some(Cause::Panicked(_)) => Fault::User,
                _ => Fault::External,
            },
            Self::Failed { error, .. } => error.fault(),
            Self::CheckpointFailures { last: AbortReason::Declined { reason, .. }, .. } => reason.fault(),
            Self::TooManyWithheld { .. } => Fault::User,
            Self::Internal { .. } => Fault::Internal,
            _ => Fault::External,
        }
    }

    /// The error of the task that failed last, if there is one.
    pub fn task_error(&self) -> Option<&TaskError> {
        match self {
            Self::Failed { error, .. } => Some(error),
            Self::GaveUp { history, .. } => match history.last().map(|failure| &failure.cause) {
                Some(Cause::Failed(error)) => Some(error),
                _ => None,
            },
            _ => None,
        }
    }
}

/// A region has failed and waits for its restart: until then no checkpoint can be taken.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Restarting {
    /// The region.
    pub region: RegionId,
    /// Until its next attempt begins, counted from the answer. More than a second: a shorter delay is waited for.
    pub next_attempt_in: Duration,
    /// Its newest failure.
    pub failure: Option<FailureRecord>,
}

impl fmt::Display for Restarting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { region, next_attempt_in, failure } = self;
        write!(f, "region {region} failed, and its next attempt begins in {:.1} s", next_attempt_in.as_secs_f64())?;
        failure.as_ref().map_or(Ok(()), |failure| write!(f, "; the failure: {failure}"))
    }
}

/// Why a checkpoint that was asked for did not come about.
///
/// ```
/// use millstream::CheckpointError;
///
/// /// Whether to ask again, and after how long.
/// fn seconds_until_next(error: &CheckpointError) -> Option<f64> {
///     match error {
///         CheckpointError::Restarting(restarting) => Some(restarting.next_attempt_in.as_secs_f64()),
///         CheckpointError::Aborted(_) => Some(1.0),
///         _ => None,
///     }
/// }
///
/// assert_eq!(seconds_until_next(&CheckpointError::Interrupted), None);
/// ```
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// It was aborted.
    #[error("the checkpoint was aborted: {0}")]
    Aborted(#[source] AbortReason),
    /// A region waits for its restart.
    #[error("no checkpoint can be taken now: {0}")]
    Restarting(Box<Restarting>),
    /// All regions of the job are parked: the newest checkpoint has all that there is.
    #[error("all regions of the job are parked, so there is nothing to take a checkpoint of; resume one of them")]
    AllParked,
    /// The job failed before it was complete.
    #[error("the job failed before the checkpoint was complete: {0}")]
    JobFailed(#[source] Box<JobError>),
    /// The job ended, or its coordinator was restarted, before it was complete.
    #[error("the job ended, or its coordinator was restarted, before the checkpoint was complete")]
    Interrupted,
}

/// Why a savepoint did not come about. The job is as it was.
///
/// ```
/// use millstream::SavepointError;
///
/// let error = SavepointError::Parked { regions: vec![] };
/// let remedy = match &error {
///     SavepointError::Parked { regions, .. } => format!("resume {} regions first", regions.len()),
///     other => other.to_string(),
/// };
/// assert_eq!(remedy, "resume 0 regions first");
/// ```
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SavepointError {
    /// Its file could not be written.
    #[error("savepoint: {0}")]
    File(#[from] SavepointFileError),
    /// No checkpoint completed for it.
    #[error("savepoint: {tries} checkpoints in a row were aborted, the last: {last}; ask again once that is mended")]
    Checkpoint {
        /// How many.
        tries: u32,
        /// Why the last one was.
        #[source]
        last: AbortReason,
    },
    /// A region waits for its restart. Does not come of [`stop_with_savepoint`](crate::JobHandle::stop_with_savepoint),
    /// which restarts it at once.
    #[error("savepoint: no checkpoint can be taken now: {0}; ask again then")]
    Restarting(Box<Restarting>),
    /// Regions are parked, and may have output that is prepared and not committed, which a savepoint does not hold.
    #[error("savepoint: regions {} are parked; resume them, or drain the job, and ask again", listed(regions))]
    Parked {
        /// Which.
        regions: Vec<RegionId>,
    },
    /// The job fell back behind its checkpoint meanwhile.
    #[error("savepoint: checkpoint {checkpoint} was given up before it was exported; ask again")]
    Gone {
        /// The checkpoint.
        checkpoint: CheckpointId,
    },
    /// Too many are under way.
    #[error("savepoint: {limit} are under way already; wait for one of them")]
    TooMany {
        /// How many there may be.
        limit: usize,
    },
    /// The job ended, or its coordinator or snapshot writer was restarted, before it was written.
    #[error("savepoint: the job ended, or its coordinator or writer was restarted, before it was written")]
    Interrupted,
    /// The job failed before it was written.
    #[error("savepoint: the job failed before it was written: {error}")]
    JobFailedFirst {
        /// Why.
        #[source]
        error: Box<JobError>,
    },
    /// The code that writes it panicked.
    #[error("savepoint: writing it panicked: '{message}'; this is a bug in the engine")]
    Panicked {
        /// The panic's message.
        message: String,
    },
    /// It was written, but the job that was to stop with it failed at its end.
    #[error("the job failed after its savepoint {} was written: {error}", savepoint.path.display())]
    JobFailed {
        /// The savepoint, which is whole.
        savepoint: Savepoint,
        /// Why the job failed.
        #[source]
        error: Box<JobError>,
    },
}

impl SavepointError {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::File(error) => error.fault(),
            Self::Checkpoint { last: AbortReason::Declined { reason, .. }, .. } => reason.fault(),
            Self::TooMany { .. } | Self::Parked { .. } => Fault::User,
            Self::Panicked { .. } => Fault::Internal,
            Self::JobFailed { error, .. } | Self::JobFailedFirst { error } => error.fault(),
            Self::Checkpoint { .. } | Self::Gone { .. } | Self::Restarting(_) | Self::Interrupted => Fault::External,
        }
    }
}
