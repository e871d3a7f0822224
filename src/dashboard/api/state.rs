//! The state of a job.

use serde::Serialize;
use serde_json::Value;

/// `GET v1/jobs/{id}/state`.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct StateBody {
    /// Its operators that have state, or states that may be looked into.
    pub operators: Vec<OperatorState>,
}

/// The state of an operator.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct OperatorState {
    /// Its id.
    pub operator: String,
    /// The names of its states that may be looked into.
    pub states: Vec<String>,
    /// Keys with state, as of the newest checkpoint or restore; null before, and in a job without checkpoints.
    pub entries: Option<u64>,
    /// Bytes of state in the newest checkpoint.
    pub bytes: Option<u64>,
}

/// `GET v1/jobs/{id}/state/{operator}/{state}?key=...`.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct FoundState {
    /// Whether the key has a value.
    pub found: bool,
    /// The value; null if there is none.
    pub value: Value,
    /// The checkpoint of which that is; null if the task has been asked.
    pub checkpoint: Option<u64>,
    /// How old it is.
    pub age_ms: f64,
}
