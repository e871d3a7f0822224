//! What waits before a source, as it tells when it is asked.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

/// Reads what waits before a source.
pub(super) struct Backlog(pub(super) Arc<dyn Fn() -> SourceBacklog + Send + Sync>);

impl fmt::Debug for Backlog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Backlog")
    }
}

/// What waits before one subtask of a source that knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SourceBacklog {
    /// Records that can be read and have not been; `None` if that is not known.
    pub pending_records: Option<u64>,
    /// Records pushed in that wait to become durable. Of what all subtasks share, the first one tells.
    pub queued_records: Option<u64>,
    /// Their bytes.
    pub queued_bytes: Option<u64>,
    /// Bytes of the records in the log that it reads. Of what all subtasks share, the first one tells.
    pub log_bytes: Option<u64>,
    /// Where its splits stand.
    pub splits: Vec<SplitBacklog>,
}

/// Where a split of a source stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SplitBacklog {
    /// The split.
    pub split: String,
    /// The offset up to which records are durable.
    pub durable_offset: u64,
    /// The offset up to which they were read.
    pub read_offset: u64,
}
