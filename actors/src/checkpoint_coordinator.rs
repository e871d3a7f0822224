//! The checkpoint coordinator.

use std::time::Duration;

use actix::Message;

use crate::contract::ChunkRef;
use crate::protocol::{CheckpointId, Execution, SubtaskId, TaskError};
use crate::task::SourceState;

/// A task took its snapshot; its chunks were sent to the writer before.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct AcknowledgeCheckpoint {
    /// Who, in time.
    pub execution: Execution,
    /// Who.
    pub subtask: SubtaskId,
    /// The checkpoint.
    pub checkpoint: CheckpointId,
    /// The chunks of the snapshot.
    pub chunks: Vec<ChunkRef>,
    /// How far the source was at its barrier; `None` from other tasks.
    pub source: Option<SourceState>,
    /// From the first barrier to the last.
    pub alignment: Duration,
    /// How long taking the snapshot held up records.
    pub snapshot: Duration,
}

/// A task could not take its snapshot and goes on.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct DeclineCheckpoint {
    /// Who, in time.
    pub execution: Execution,
    /// Who.
    pub subtask: SubtaskId,
    /// The checkpoint.
    pub checkpoint: CheckpointId,
    /// Why.
    pub reason: TaskError,
}

/// A source reads no more: its input has ended, or it was told to stop. It goes on answering barriers.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct SourceHalted {
    /// Who, in time.
    pub execution: Execution,
    /// Who.
    pub subtask: SubtaskId,
    /// `Ended` or `Stopped`.
    pub state: SourceState,
}

/// A sink has committed everything up to a completed checkpoint.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct SinkCommitted {
    /// Who, in time.
    pub execution: Execution,
    /// Who.
    pub subtask: SubtaskId,
    /// The checkpoint.
    pub checkpoint: CheckpointId,
}
