//! The checkpoints of a job.

use millstream_actors::protocol::TriggerReason;
use serde::Serialize;

/// `GET v1/jobs/{id}/checkpoints`.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Checkpoints {
    /// How many there were in this run.
    pub counts: CheckpointCountsBody,
    /// Over the completed ones of the history; null without one.
    pub summary: Option<CheckpointSummary>,
    /// The newest of each kind.
    pub latest: LatestCheckpoints,
    /// The newest, newest first.
    pub history: Vec<Checkpoint>,
}

/// Checkpoints of this run.
#[derive(Clone, Copy, Debug, Serialize)]
#[non_exhaustive]
pub struct CheckpointCountsBody {
    /// Triggered.
    pub triggered: u64,
    /// Under way: 0 or 1.
    pub in_progress: u64,
    /// Completed.
    pub completed: u64,
    /// Failed.
    pub failed: u64,
    /// Cut off by the failure or the stop of a region: not counted as failed.
    pub cut_off: u64,
    /// Restores of regions.
    pub restored: u64,
}

/// What checkpoints took.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct CheckpointSummary {
    /// From trigger to completion.
    pub duration_ms: Spread,
    /// Bytes written.
    pub written_bytes: Spread,
    /// Bytes of state in all.
    pub state_bytes: Spread,
}

/// How values are spread.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Spread {
    /// The smallest.
    pub min: f64,
    /// The mean.
    pub avg: f64,
    /// The largest.
    pub max: f64,
    /// Half of them are not above this.
    pub p50: f64,
    /// 99 % are not above this.
    pub p99: f64,
}

/// The newest of each kind.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct LatestCheckpoints {
    /// That was completed.
    pub completed: Option<Checkpoint>,
    /// That failed.
    pub failed: Option<Checkpoint>,
    /// That was restored.
    pub restored: Option<RestoredBody>,
    /// That was written as a savepoint.
    pub savepoint: Option<SavepointBody>,
}

/// A restore of a region.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct RestoredBody {
    /// What was restored.
    pub checkpoint: u64,
    /// The region.
    pub region: u32,
    /// Its attempt that restored.
    pub attempt: u32,
    /// Bytes of state that were read.
    pub bytes: u64,
    /// How long loading took, of the subtask that took longest.
    pub took_ms: f64,
    /// Records that sources read again, where that is known.
    pub rewinds: Option<u64>,
    /// From the failure until the region ran again.
    pub downtime_ms: Option<f64>,
}

/// A savepoint.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct SavepointBody {
    /// The checkpoint that it holds.
    pub checkpoint: u64,
    /// When it was written; null in the answer to who asked for it.
    pub unix_ms: Option<u64>,
    /// Its file.
    pub path: String,
    /// The length of that.
    pub bytes: u64,
}

/// A checkpoint.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Checkpoint {
    /// Its id.
    pub id: u64,
    /// `in_progress`, `completed`, `failed`, or `cut_off` by the failure or the stop of a region.
    pub status: &'static str,
    /// Why it was triggered.
    pub reason: TriggerReason,
    /// When.
    pub triggered_unix_ms: u64,
    /// From its trigger to its completion.
    pub duration_ms: Option<f64>,
    /// Bytes written for it.
    pub written_bytes: Option<u64>,
    /// Bytes of state in all.
    pub state_bytes: Option<u64>,
    /// Why it was not completed.
    pub failure: Option<String>,
    /// From the trigger until the slowest subtask had its first barrier. This and the three that follow are of one subtask, so they add up.
    pub start_delay_ms: Option<f64>,
    /// Until it had the last barrier.
    pub alignment_ms: Option<f64>,
    /// How long taking its snapshot held up records.
    pub sync_ms: Option<f64>,
    /// How long that went on beside the records.
    pub async_ms: Option<f64>,
    /// From then until the checkpoint was complete.
    pub store_ms: Option<f64>,
    /// The subtask that took longest.
    pub slowest: Option<SubtaskRef>,
}

/// A subtask.
#[derive(Clone, Copy, Debug, Serialize)]
#[non_exhaustive]
pub struct SubtaskRef {
    /// Its task.
    pub vertex: u32,
    /// Its index.
    pub subtask: u32,
}

/// `GET v1/jobs/{id}/checkpoints/details/{checkpoint}`.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct CheckpointDetail {
    /// The checkpoint.
    #[serde(flatten)]
    pub checkpoint: Checkpoint,
    /// The parts of the subtasks that have sent their snapshots.
    pub subtasks: Vec<SubtaskCheckpoint>,
}

/// What a subtask's part in a checkpoint took.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct SubtaskCheckpoint {
    /// Its task.
    pub vertex: u32,
    /// Its index.
    pub subtask: u32,
    /// From the trigger to the first barrier.
    pub start_delay_ms: f64,
    /// From there to the last.
    pub alignment_ms: f64,
    /// How long taking its snapshot held up records.
    pub sync_ms: f64,
    /// How long that went on beside the records.
    pub async_ms: f64,
    /// Bytes written.
    pub written_bytes: u64,
    /// From the trigger until its snapshot was sent.
    pub end_to_end_ms: f64,
}
