//! What has failed in a job.

use serde::Serialize;

/// `GET v1/jobs/{id}/exceptions`.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Exceptions {
    /// As far as the job's history goes, newest first.
    pub failures: Vec<Failure>,
}

/// A failure.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Failure {
    /// Its number among the events of the job.
    pub seq: u64,
    /// When.
    pub unix_ms: u64,
    /// The region that failed; null where an actor of the engine did.
    pub region: Option<u32>,
    /// The attempt that failed.
    pub attempt: Option<u32>,
    /// The name of the task, or of the actor.
    pub task: String,
    /// The index of the subtask.
    pub subtask: Option<u32>,
    /// Why, in words.
    pub cause: String,
    /// What is known of the record, if the host shows that.
    pub record: Option<String>,
    /// The checkpoint from which the region went on.
    pub restored_checkpoint: Option<u64>,
    /// From the failure until the region ran again.
    pub downtime_ms: Option<f64>,
}
