//! What the dashboard answers, as far as it is shown here. `docs/openapi.json` describes every field. Fields that are not known are passed over, and
//! those that are missing are as if they were not known, so that other versions of the server are understood.

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::text::Text;

/// By what a job is asked for: as the server says it, so it is not shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub(super) struct JobId(String);

impl From<String> for JobId {
    fn from(said: String) -> Self {
        Self(said)
    }
}

impl JobId {
    pub(super) fn shown(&self) -> Text {
        Text::of(&self.0)
    }

    /// As a part of an address (RFC 3986, 2.3).
    pub(super) fn encoded(&self) -> String {
        let mut encoded = String::new();
        for byte in self.0.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                encoded.push(char::from(byte));
            } else {
                encoded.push_str(&format!("%{byte:02X}"));
            }
        }
        encoded
    }
}

/// `GET v1/overview`.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Overview {
    pub(super) api: u64,
    pub(super) now_unix_ms: u64,
    pub(super) jobs: Vec<JobSummary>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct JobSummary {
    pub(super) id: JobId,
    pub(super) name: Text,
    pub(super) state: Text,
    pub(super) started_unix_ms: Option<u64>,
    pub(super) ended_unix_ms: Option<u64>,
    pub(super) restarts: u64,
    pub(super) tasks: u64,
    pub(super) subtasks: u64,
    pub(super) last_error: Option<Text>,
}

/// `GET v1/jobs/{id}`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct JobDetail {
    pub(super) id: JobId,
    pub(super) name: Text,
    pub(super) state: Text,
    pub(super) started_unix_ms: Option<u64>,
    pub(super) ended_unix_ms: Option<u64>,
    pub(super) paused_since_unix_ms: Option<u64>,
    pub(super) restarts: u64,
    pub(super) last_error: Option<Text>,
    pub(super) now_unix_ms: u64,
    pub(super) interval_ms: Option<f64>,
    pub(super) checkpoint_in_progress: Option<CheckpointInProgress>,
    pub(super) savepoints_in_progress: Vec<SavepointInProgress>,
    pub(super) held_back: Vec<HeldBack>,
    pub(super) regions: Vec<Region>,
    pub(super) vertices: Vec<Vertex>,
    pub(super) edges: Vec<Edge>,
}

/// How far a checkpoint is.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct CheckpointInProgress {
    pub(super) checkpoint: u64,
    pub(super) reason: Text,
    pub(super) since_unix_ms: u64,
    pub(super) acknowledged: u64,
    pub(super) of: u64,
    pub(super) bytes: u64,
}

/// How much of a savepoint is written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct SavepointInProgress {
    pub(super) path: Text,
    pub(super) since_unix_ms: u64,
    pub(super) bytes: u64,
    pub(super) of_bytes: u64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct HeldBack {
    pub(super) source: Text,
    pub(super) split: Option<Text>,
    pub(super) subtask: u64,
    pub(super) since_ms: f64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Region {
    pub(super) region: u64,
    pub(super) attempt: u64,
    pub(super) state: Text,
    pub(super) downtime_ms: f64,
    pub(super) restarting_since_unix_ms: Option<u64>,
    pub(super) parked: Option<Parked>,
}

/// Why a region is parked.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Parked {
    pub(super) cause: Text,
    pub(super) since_unix_ms: u64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Vertex {
    pub(super) id: u64,
    pub(super) name: Text,
    pub(super) operators: Vec<Text>,
    pub(super) kind: Text,
    pub(super) region: u64,
    pub(super) parallelism: u64,
    pub(super) skew: f64,
    #[serde(flatten)]
    pub(super) figures: WorkFigures,
    pub(super) subtasks: Vec<Subtask>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Subtask {
    pub(super) subtask: u64,
    pub(super) attempt: u64,
    pub(super) state: Text,
    #[serde(flatten)]
    pub(super) figures: WorkFigures,
}

/// Of a task together, or of one of its subtasks.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct WorkFigures {
    pub(super) records_in: u64,
    pub(super) records_out: u64,
    pub(super) records_in_per_second: Option<f64>,
    pub(super) records_out_per_second: Option<f64>,
    pub(super) busy: Option<f64>,
    pub(super) backpressured: Option<f64>,
    pub(super) idle: Option<f64>,
    #[serde(deserialize_with = "wide_number")]
    pub(super) watermark: Option<i64>,
    pub(super) watermark_lag_ms: Option<f64>,
    pub(super) late_records: u64,
    pub(super) state_entries: Option<u64>,
    pub(super) state_bytes: Option<u64>,
    pub(super) timers: Option<u64>,
}

/// A number that is a text beyond 2^53.
fn wide_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    let said = Value::deserialize(deserializer)?;
    Ok(said.as_i64().or_else(|| said.as_str().and_then(|text| text.parse().ok())))
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Edge {
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) partitioning: Text,
    pub(super) side_output: Option<Text>,
    pub(super) records_per_second: Option<f64>,
    pub(super) queued_batches: u64,
    pub(super) credits: u64,
}

/// `GET v1/jobs/{id}/checkpoints`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Checkpoints {
    pub(super) counts: Counts,
    pub(super) latest: Latest,
    pub(super) history: Vec<Checkpoint>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Counts {
    pub(super) triggered: u64,
    pub(super) completed: u64,
    pub(super) failed: u64,
    pub(super) cut_off: u64,
    pub(super) restored: u64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Latest {
    pub(super) completed: Option<Checkpoint>,
    pub(super) savepoint: Option<Savepoint>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Savepoint {
    pub(super) checkpoint: u64,
    pub(super) unix_ms: Option<u64>,
    pub(super) path: Text,
    pub(super) bytes: u64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Checkpoint {
    pub(super) id: u64,
    pub(super) status: Text,
    pub(super) reason: Text,
    pub(super) triggered_unix_ms: u64,
    pub(super) duration_ms: Option<f64>,
    pub(super) written_bytes: Option<u64>,
    pub(super) state_bytes: Option<u64>,
    pub(super) failure: Option<Text>,
    pub(super) start_delay_ms: Option<f64>,
    pub(super) alignment_ms: Option<f64>,
    pub(super) sync_ms: Option<f64>,
    pub(super) async_ms: Option<f64>,
    pub(super) store_ms: Option<f64>,
}

/// `GET v1/jobs/{id}/checkpoints/details/{checkpoint}`, as far as it is not in the history.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct CheckpointDetail {
    pub(super) id: u64,
    pub(super) subtasks: Vec<CheckpointPart>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct CheckpointPart {
    pub(super) vertex: u64,
    pub(super) subtask: u64,
    pub(super) start_delay_ms: f64,
    pub(super) alignment_ms: f64,
    pub(super) sync_ms: f64,
    pub(super) async_ms: f64,
    pub(super) written_bytes: u64,
    pub(super) end_to_end_ms: f64,
}

/// `GET v1/jobs/{id}/exceptions`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Exceptions {
    pub(super) failures: Vec<Failure>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Failure {
    pub(super) seq: u64,
    pub(super) unix_ms: u64,
    pub(super) task: Text,
    pub(super) subtask: Option<u64>,
    pub(super) attempt: Option<u64>,
    pub(super) cause: Text,
    pub(super) record: Option<Text>,
    pub(super) restored_checkpoint: Option<u64>,
    pub(super) downtime_ms: Option<f64>,
}

/// `GET v1/jobs/{id}/log`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Log {
    pub(super) events: Vec<LogEvent>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct LogEvent {
    pub(super) seq: u64,
    pub(super) unix_ms: u64,
    pub(super) event: Text,
    pub(super) level: Text,
    pub(super) text: Text,
    /// What events of this kind have beside that.
    #[serde(flatten)]
    pub(super) fields: Map<String, Value>,
}

impl LogEvent {
    pub(super) fn number(&self, field: &str) -> Option<u64> {
        self.fields.get(field)?.as_u64()
    }

    pub(super) fn text(&self, field: &str) -> Option<Text> {
        self.fields.get(field)?.as_str().map(Text::of)
    }
}

/// The body of an answer that is no success.
#[derive(Debug, Deserialize)]
pub(super) struct ErrorBody {
    pub(super) error: ErrorDetail,
}

#[derive(Debug, Deserialize)]
pub(super) struct ErrorDetail {
    pub(super) code: Text,
    pub(super) message: Text,
}
