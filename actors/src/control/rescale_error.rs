//! What a rescale has done, and why there was none.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::control::outcome::{CheckpointError, JobError};
use crate::protocol::{AbortReason, CheckpointId, Fault, serialised};

/// A job was [rescaled](crate::JobHandle::rescale).
///
/// ```
/// use millstream::prelude::*;
///
/// # actix_rt::System::new().block_on(async {
/// let env = StreamEnvironment::new("ticks").parallelism(1);
/// env.source("ticks", SequenceSource::unbounded().rate_per_second(1_000)).for_each("out", |_| {});
/// let job = env.start()?;
/// let rescaled = job.rescale(2).await?;
/// assert_eq!((rescaled.from, rescaled.to), (1, 2));
/// println!("from checkpoint {:?}, within {:?}", rescaled.checkpoint, rescaled.took);
/// job.cancel().await?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Rescaled {
    /// The parallelism before.
    pub from: u32,
    /// The parallelism that was asked for.
    pub to: u32,
    /// The checkpoint that was taken for it; `None` if each task had as many subtasks already, so that nothing was to be done.
    pub checkpoint: Option<CheckpointId>,
    /// From when it was its turn until all tasks ran, but those of parked regions.
    #[serde(rename = "took_ms", serialize_with = "serialised::millis")]
    pub took: Duration,
}

/// Why a job was not [rescaled](crate::JobHandle::rescale). Where the job has not ended it goes on at the parallelism that it had, without
/// a restart.
///
/// ```
/// use millstream::RescaleError;
/// use millstream::prelude::*;
///
/// # actix_rt::System::new().block_on(async {
/// let env = StreamEnvironment::new("ticks").max_parallelism(8);
/// env.source("ticks", SequenceSource::unbounded().rate_per_second(1_000)).for_each("out", |_| {});
/// let job = env.start()?;
/// assert!(matches!(job.rescale(0).await, Err(RescaleError::Zero)));
/// let refused = job.rescale(9).await.unwrap_err();
/// assert!(matches!(refused, RescaleError::AboveMax { parallelism: 9, max: 8 }), "{refused}");
/// job.cancel().await?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RescaleError {
    /// A parallelism of zero.
    #[error("a job cannot have parallelism 0; it must be at least 1")]
    Zero,
    /// More subtasks than key groups.
    #[error(
        "parallelism {parallelism} is above the job's max parallelism {max}, the number of its key groups; ask for {max} at most, or \
         start a job on a new store with another StreamEnvironment::max_parallelism"
    )]
    AboveMax {
        /// What was asked for.
        parallelism: u32,
        /// The most that the job can have.
        max: u32,
    },
    /// The job was asked to end, by `drain`, `finish` or `stop_with_savepoint`, or its input has ended.
    #[error(
        "the job is about to end, and is not rescaled any more; start it again at the parallelism that it is to have"
    )]
    Ending,
    /// No checkpoint could be taken from which to go on.
    #[error(
        "there is no checkpoint from which the job could go on at another parallelism: {0}; mend that, and ask again"
    )]
    Checkpoint(#[source] CheckpointError),
    /// The system refuses threads for operators that have arbiters of their own.
    #[error("the system refuses a thread for an operator with arbiters of its own: {0}; free some, and ask again")]
    Threads(#[source] Arc<io::Error>),
    /// It has ended.
    #[error("the job has ended")]
    Ended,
    /// It has failed.
    #[error("the job has failed: {0}")]
    JobFailed(#[source] Box<JobError>),
}

impl RescaleError {
    /// Whether asking again may help.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Checkpoint(CheckpointError::Aborted(reason)) => reason.is_retryable(),
            Self::Checkpoint(CheckpointError::JobFailed(_) | CheckpointError::AllParked) => false,
            Self::Checkpoint(CheckpointError::Restarting(_) | CheckpointError::Interrupted) | Self::Threads(_) => true,
            Self::Zero | Self::AboveMax { .. } | Self::Ending | Self::Ended | Self::JobFailed(_) => false,
        }
    }

    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Zero | Self::AboveMax { .. } | Self::Ending | Self::Ended => Fault::User,
            Self::Checkpoint(CheckpointError::Aborted(AbortReason::Declined { reason, .. })) => reason.fault(),
            Self::Checkpoint(CheckpointError::JobFailed(error)) | Self::JobFailed(error) => error.fault(),
            Self::Checkpoint(_) | Self::Threads(_) => Fault::External,
        }
    }
}
