//! What a task is, how far a source is, and by what records go from one task to the next.

use serde::Serialize;

/// How far a source is, as of a barrier it emitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SourceState {
    /// It reads on.
    Reading,
    /// It was told to stop reading.
    Stopped,
    /// Its input has ended.
    Ended,
}

/// What a task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskKind {
    /// Reads a source.
    Source,
    /// Runs operators.
    Operator,
    /// Writes a sink.
    Sink,
}

/// By what the records of an edge are dealt out to the subtasks that take them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Partitioning {
    /// From each subtask to the one of the same number.
    Forward,
    /// By the hash of their keys.
    Hash,
    /// To all in turn.
    Rebalance,
    /// Each to all of them.
    Broadcast,
    /// By a partitioner of the program's.
    Custom,
}
