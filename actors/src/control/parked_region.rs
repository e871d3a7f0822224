//! Regions that are parked, as the host sees them.

use serde::Serialize;

use crate::control::outcome::JobError;
use crate::protocol::{CheckpointId, Fault, RegionId};

/// A region that is parked, in [`JobStatus::parked`](crate::JobStatus::parked).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ParkedRegion {
    /// Why it gave up.
    pub cause: String,
    /// Since when it is parked, Unix milliseconds of the job's clock.
    pub since_unix_ms: u64,
    /// The checkpoint at which it stands: later ones have of it what this one has. `None`: it starts from the beginning.
    pub checkpoint: Option<CheckpointId>,
}

/// Why a region was not [resumed](crate::JobHandle::resume_region). The job goes on as it was.
///
/// ```
/// use millstream::prelude::*;
/// use millstream::{RegionId, ResumeRegionError};
///
/// # actix_rt::System::new().block_on(async {
/// let env = StreamEnvironment::new("ticks");
/// env.source("ticks", SequenceSource::unbounded().rate_per_second(100)).for_each("out", |_| {});
/// let job = env.start()?;
/// assert!(matches!(job.resume_region(RegionId(0)).await, Err(ResumeRegionError::NotParked { .. })));
/// assert!(matches!(job.resume_region(RegionId(1)).await, Err(ResumeRegionError::Unknown { regions: 1, .. })));
/// job.cancel().await?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResumeRegionError {
    /// The job has no such region.
    #[error("the job has {regions} regions, numbered from 0, and no region {region}")]
    Unknown {
        /// What was asked for.
        region: RegionId,
        /// How many it has.
        regions: u32,
    },
    /// It is not parked.
    #[error("region {region} is not parked")]
    NotParked {
        /// The region.
        region: RegionId,
    },
    /// It started again, and gave up once more before it ran: it is parked again.
    #[error("region {region} gave up again before it ran, and is parked: {cause}")]
    ParkedAgain {
        /// The region.
        region: RegionId,
        /// Why it gave up.
        #[source]
        cause: Box<JobError>,
    },
    /// The job was asked to end, by `drain` or `stop_with_savepoint`: the next start begins with all its regions.
    #[error(
        "the job was asked to end, and the region is not resumed any more; the next start begins with all its regions"
    )]
    Ending,
    /// The region's supervisor was restarted meanwhile.
    #[error("the region's supervisor was restarted meanwhile; look at the job's status, and ask again")]
    Interrupted,
    /// The job has ended, or failed: its outcome says how.
    #[error("the job has ended")]
    Ended,
}

impl ResumeRegionError {
    /// Whether asking again may help, when nothing else is done.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Interrupted)
    }

    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::ParkedAgain { cause, .. } => cause.fault(),
            Self::Interrupted => Fault::Internal,
            Self::Unknown { .. } | Self::NotParked { .. } | Self::Ending | Self::Ended => Fault::User,
        }
    }
}
