//! Why a job is not paused, or not resumed.

use std::sync::Arc;

use crate::contract::SnapshotError;
use crate::control::outcome::JobError;
use crate::protocol::{Fault, PauseRefusal};

/// Why a job was not [paused](crate::JobHandle::pause), or not [resumed](crate::JobHandle::resume). It goes on as it was.
///
/// ```
/// use millstream::PauseError;
/// use millstream::prelude::*;
///
/// # actix_rt::System::new().block_on(async {
/// let env = StreamEnvironment::new("numbers");
/// env.source("numbers", SequenceSource::new(0..10)).sink("out", CollectSink::new());
/// let job = env.start()?;
/// job.clone().await?;
/// assert!(matches!(job.pause().await, Err(PauseError::Ended)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PauseError {
    /// It was asked to end, by `drain`, `finish` or `stop_with_savepoint`. A drained job that was paused is paused when it starts
    /// again.
    #[error("the job was asked to end, and is neither paused nor resumed any more; start it again, paused or not")]
    Ending,
    /// The store could not keep it. If a write failed half-way, a process that dies now may start the job paused, or not; asking
    /// again settles it.
    #[error("the snapshot store did not keep that the job is paused, or resumed: {0}; mend that, and ask again")]
    Store(#[source] Arc<SnapshotError>),
    /// The job's snapshot writer was restarted meanwhile: whether the store has kept it is not known until it is asked for again.
    #[error("the job's snapshot writer was restarted meanwhile; ask again")]
    Interrupted,
    /// It has ended. If it was cancelled after it was asked, the store may have kept it all the same, and the next start is as it was
    /// asked.
    #[error("the job has ended")]
    Ended,
    /// It has failed.
    #[error("the job has failed: {0}")]
    JobFailed(#[source] Box<JobError>),
}

impl PauseError {
    /// Whether asking again may help.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Store(error) => error.is_retryable(),
            Self::Interrupted => true,
            Self::Ending | Self::Ended | Self::JobFailed(_) => false,
        }
    }

    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Ending | Self::Ended => Fault::User,
            Self::Store(_) => Fault::External,
            Self::Interrupted => Fault::Internal,
            Self::JobFailed(error) => error.fault(),
        }
    }
}

impl From<PauseRefusal> for PauseError {
    fn from(refusal: PauseRefusal) -> Self {
        match refusal {
            PauseRefusal::Ending => Self::Ending,
            PauseRefusal::Store(error) => Self::Store(error),
            PauseRefusal::Interrupted => Self::Interrupted,
        }
    }
}
