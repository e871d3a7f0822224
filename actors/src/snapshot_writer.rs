//! The snapshot writer.

use actix::Message;

use crate::contract::Chunk;
use crate::protocol::{CheckpointId, Execution};

/// Chunks of one subtask's snapshot. Sent before the subtask acknowledges.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct StoreChunks {
    /// Who, in time.
    pub execution: Execution,
    /// The checkpoint.
    pub checkpoint: CheckpointId,
    /// The chunks.
    pub chunks: Vec<Chunk>,
}
