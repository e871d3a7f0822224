//! The supervision log.

use serde::Serialize;
use serde_json::{Map, Value};

/// `GET v1/jobs/{id}/log`.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct LogBody {
    /// Oldest first.
    pub events: Vec<LogEvent>,
}

/// An event. The stream of events has the same, one in each message.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct LogEvent {
    /// `debug`, `info`, `warn` or `error`.
    pub level: &'static str,
    /// As the log has it.
    pub text: String,
    /// `seq`, `unix_ms`, `job`, `event`, and what the event has: as [`JobEvent`](crate::JobEvent) is serialised.
    #[serde(flatten)]
    pub fields: Map<String, Value>,
}
