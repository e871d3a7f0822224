//! What orders answer.

use serde::Serialize;

/// `POST v1/jobs/{id}/checkpoints`.
#[derive(Clone, Copy, Debug, Serialize)]
#[non_exhaustive]
pub struct CheckpointTaken {
    /// The checkpoint, which is complete.
    pub checkpoint: u64,
}

/// `POST v1/jobs/{id}/pause` and `resume`.
#[derive(Clone, Copy, Debug, Serialize)]
#[non_exhaustive]
pub struct PausedBody {
    /// What it is now.
    pub paused: bool,
}

/// `POST v1/jobs/{id}/regions/{region}/resume`.
#[derive(Clone, Copy, Debug, Serialize)]
#[non_exhaustive]
pub struct RegionResumed {
    /// The region, which runs.
    pub region: u32,
}

/// `POST v1/jobs/{id}/drain` and `cancel`, and every order that takes longer than some seconds.
#[derive(Clone, Copy, Debug, Serialize)]
#[non_exhaustive]
pub struct Ordered {
    /// It is ordered, and will be done.
    pub accepted: bool,
}
