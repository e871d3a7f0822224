//! Jobs: all of them in short, and one in full.

use std::sync::Arc;

use millstream_actors::protocol::{IntervalAdvice, RecoveryEstimate};
use millstream_actors::{CheckpointProgress, SavepointProgress};
use serde::Serialize;

use super::{Edge, Vertex};

/// `GET v1/overview`.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Overview {
    /// The version of Millstream.
    pub millstream: &'static str,
    /// The version of this interface.
    pub api: u32,
    /// What time it is.
    pub now_unix_ms: u64,
    /// What this host lets be done.
    pub may: May,
    /// All jobs that are shown.
    pub jobs: Vec<JobSummary>,
}

/// What a host lets be done.
#[derive(Clone, Copy, Debug, Serialize)]
#[non_exhaustive]
pub struct May {
    /// Jobs may be changed with the host's token.
    pub control: bool,
    /// So may savepoints be written.
    pub savepoint: bool,
    /// Some states may be looked into.
    pub state: bool,
    /// Records and keys at which functions failed are shown.
    pub records: bool,
}

/// `GET v1/jobs`.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Jobs {
    /// All jobs that are shown.
    pub jobs: Vec<JobSummary>,
}

/// A job in short.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct JobSummary {
    /// By what it is asked for.
    pub id: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// `starting`, `running`, `paused`, `restarting`, `parked`, `ending`, `finished`, `drained`, `cancelled` or `failed`.
    pub state: &'static str,
    /// When it was started.
    pub started_unix_ms: Option<u64>,
    /// When it ended.
    pub ended_unix_ms: Option<u64>,
    /// Since when it is paused.
    pub paused_since_unix_ms: Option<u64>,
    /// Restarts of its regions.
    pub restarts: u64,
    /// How many tasks it has.
    pub tasks: usize,
    /// Subtasks of all of them.
    pub subtasks: u64,
    /// Its newest failure, in words.
    pub last_error: Option<String>,
}

/// `GET v1/jobs/{id}`.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct JobDetail {
    /// In short.
    #[serde(flatten)]
    pub summary: JobSummary,
    /// What time it is, by its clock.
    pub now_unix_ms: u64,
    /// The number of subtasks of each operator that sets none of its own.
    pub parallelism: u32,
    /// The newest completed checkpoint.
    pub newest_checkpoint: Option<u64>,
    /// The checkpoint that is under way.
    pub checkpoint_in_progress: Option<CheckpointProgress>,
    /// The savepoints that are being written.
    pub savepoints_in_progress: Vec<SavepointProgress>,
    /// The interval in use; null without periodic checkpoints.
    pub interval_ms: Option<f64>,
    /// The interval that measurements advise.
    pub advice: Option<IntervalAdvice>,
    /// How long a recovery is expected to take.
    pub recovery: Option<RecoveryEstimate>,
    /// Bytes that the store takes.
    pub store_bytes: Option<u64>,
    /// What holds event time back, by region.
    pub held_back: Vec<HeldBackBody>,
    /// The connected parts of its graph, each of which restarts as a whole.
    pub regions: Vec<Region>,
    /// Its tasks.
    pub vertices: Vec<Vertex>,
    /// What goes from task to task.
    pub edges: Vec<Edge>,
}

/// What holds the event time of a region back.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct HeldBackBody {
    /// The region.
    pub region: u32,
    /// The source, or the strategy in mid-stream.
    pub source: String,
    /// The split.
    pub split: Option<Arc<str>>,
    /// The index of the subtask.
    pub subtask: u32,
    /// For how long event time has stood there.
    pub since_ms: f64,
    /// How far it has come there.
    pub watermark: Option<WideNumber>,
    /// How far it has come where it is furthest on.
    pub ahead: WideNumber,
}

/// A region.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Region {
    /// Which.
    pub region: u32,
    /// Its newest attempt; 0 before the first runs.
    pub attempt: u32,
    /// `starting`, `running`, `restarting`, `parked` or `ended`.
    pub state: &'static str,
    /// How often it was restarted.
    pub restarts: u64,
    /// How long it was down in all.
    pub downtime_ms: f64,
    /// Since when it restarts.
    pub restarting_since_unix_ms: Option<u64>,
    /// If it is parked, why.
    pub parked: Option<ParkedBody>,
}

/// Why a region is parked, and where it stands.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ParkedBody {
    /// Why it gave up, in words.
    pub cause: String,
    /// Since when it is parked.
    pub since_unix_ms: u64,
    /// From which checkpoint it goes on; null if from the beginning.
    pub checkpoint: Option<u64>,
}

/// A number that may be too large to be exact in JavaScript: beyond 2^53 it is a string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WideNumber(pub i64);

impl Serialize for WideNumber {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        const EXACT_MAX: u64 = 1 << 53;
        if self.0.unsigned_abs() <= EXACT_MAX {
            serializer.serialize_i64(self.0)
        } else {
            serializer.collect_str(&self.0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_javascript_does_not_hold_are_text() {
        let json = |number| serde_json::to_string(&WideNumber(number)).expect("a number or a text");
        assert_eq!(json(-(1 << 53)), "-9007199254740992");
        assert_eq!(json((1 << 53) + 1), "\"9007199254740993\"");
        assert_eq!(json(i64::MIN), "\"-9223372036854775808\"");
    }
}
