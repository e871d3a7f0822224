//! Figures of a job's checkpoints and restores, for its status.

use std::time::Duration;

use crate::protocol::{Attempt, CheckpointId, RegionId};

/// The newest checkpoint that a run of a job completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CompletedCheckpoint {
    /// Its id.
    pub checkpoint: CheckpointId,
    /// From its trigger to its completion.
    pub took: Duration,
    /// Bytes written for it.
    pub written_bytes: u64,
    /// Bytes of state in all.
    pub state_bytes: u64,
    /// When it was complete, Unix milliseconds of the job's clock.
    pub completed_unix_ms: u64,
    /// How long before the status that was.
    pub age: Duration,
}

/// The newest restore of a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LastRestore {
    /// The region.
    pub region: RegionId,
    /// Its attempt that restored.
    pub attempt: Attempt,
    /// What was restored.
    pub checkpoint: CheckpointId,
    /// Bytes of state that were read.
    pub bytes: u64,
    /// How long loading took, of the subtask that took longest.
    pub took: Duration,
    /// Records that the sources read again, of those read by this process.
    pub rewinds: u64,
    /// From the failure until the region ran again; `None` at the start of the job, and while it does not run yet.
    pub downtime: Option<Duration>,
}
