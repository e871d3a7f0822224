//! The facts that a subtask reports, and where it sends them.

use std::time::Duration;

use actix::{Message, Recipient};

use crate::contract::{Chunk, Contribution};
use crate::protocol::{AckFacts, CheckpointId, Execution, SourceState, SubtaskId, TaskError};
use crate::runtime::guard::ChildExit;

/// Where a task sends its facts.
#[derive(Clone)]
pub struct TaskReports {
    /// To the coordinator: a snapshot was taken.
    pub acknowledge: Recipient<AcknowledgeCheckpoint>,
    /// To the coordinator: a snapshot could not be taken.
    pub decline: Recipient<DeclineCheckpoint>,
    /// To the coordinator: a source has ended or stopped.
    pub halted: Recipient<SourceHalted>,
    /// To the coordinator: a sink has committed.
    pub committed: Recipient<SinkCommitted>,
    /// To the coordinator: a sink wants a checkpoint.
    pub wanted: Recipient<WantCheckpoint>,
    /// To the writer: chunks of a snapshot.
    pub chunks: Recipient<StoreChunks>,
    /// To the region supervisor: ready to run.
    pub ready: Recipient<SubtaskReady>,
    /// To the region supervisor: how far a long restore is.
    pub restoring: Recipient<RestoreProgress>,
    /// To the region supervisor: the end.
    pub exit: Recipient<ChildExit>,
}

/// A task took its snapshot; its chunks were sent to the writer before.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct AcknowledgeCheckpoint {
    /// The attempt it belongs to.
    pub execution: Execution,
    /// Who.
    pub subtask: SubtaskId,
    /// The checkpoint.
    pub checkpoint: CheckpointId,
    /// What the snapshot consists of.
    pub written: Contribution,
    /// What else it says.
    pub facts: AckFacts,
    /// How long taking the snapshot held up records, in all.
    pub snapshot: Duration,
}

/// A task could not take its snapshot and goes on.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct DeclineCheckpoint {
    /// The attempt it belongs to.
    pub execution: Execution,
    /// Who.
    pub subtask: SubtaskId,
    /// The checkpoint.
    pub checkpoint: CheckpointId,
    /// Why.
    pub reason: TaskError,
}

/// A source reads no more: its input has ended, or it was told to stop. Or an operator that may hold the end back has passed it on. The
/// task goes on answering barriers.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct SourceHalted {
    /// The attempt it belongs to.
    pub execution: Execution,
    /// Who.
    pub subtask: SubtaskId,
    /// `Ended` or `Stopped`; `Reading` of one that was stopped and reads on to its end, since the job finishes after all.
    pub state: SourceState,
}

/// A sink has committed everything up to a completed checkpoint.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct SinkCommitted {
    /// The attempt it belongs to.
    pub execution: Execution,
    /// Who.
    pub subtask: SubtaskId,
    /// The checkpoint.
    pub checkpoint: CheckpointId,
}

/// A sink has taken something that somebody waits for, who sees it when a checkpoint is complete.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct WantCheckpoint {
    /// The attempt it belongs to.
    pub execution: Execution,
}

/// A subtask has restored its state, opened its connector and waits for input (a source: for `BeginReading`).
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct SubtaskReady {
    /// The attempt it belongs to.
    pub execution: Execution,
    /// Who.
    pub subtask: SubtaskId,
    /// What restoring took.
    pub restored: RestoreFigures,
}

/// A subtask that has long been loading its state says how far it is.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct RestoreProgress {
    /// The attempt it belongs to.
    pub execution: Execution,
    /// Who.
    pub subtask: SubtaskId,
    /// What is loaded, and how long that took.
    pub restored: RestoreFigures,
    /// Bytes that there are to load.
    pub bytes_total: u64,
}

/// How long a subtask took to restore, and how much.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RestoreFigures {
    /// Bytes of state read.
    pub bytes: u64,
    /// Keys loaded.
    pub entries: u64,
    /// Time from the start of loading to ready.
    pub took: Duration,
}

/// Chunks of one subtask's snapshot. Sent before the subtask acknowledges.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct StoreChunks {
    /// The attempt it belongs to.
    pub execution: Execution,
    /// The checkpoint.
    pub checkpoint: CheckpointId,
    /// The chunks.
    pub chunks: Vec<Chunk>,
    /// Who wants to know when they are stored, and have their buffers back.
    pub stored: Option<Recipient<ChunksStored>>,
}

/// To a task whose snapshot takes several messages: the writer is done with one, whatever came of it.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct ChunksStored {
    /// The checkpoint.
    pub checkpoint: CheckpointId,
    /// Bytes of the chunks.
    pub bytes: usize,
    /// Their buffers, emptied.
    pub buffers: Vec<Vec<u8>>,
}

impl ChunksStored {
    /// Smaller buffers are not worth keeping.
    const BUFFER_BYTES_MIN: usize = 1 << 14;

    pub(crate) fn of(checkpoint: CheckpointId, chunks: Vec<Chunk>) -> Self {
        let bytes = chunks.iter().map(|chunk| chunk.bytes.len()).sum();
        let buffers = chunks.into_iter().map(|chunk| chunk.bytes).filter(|b| b.capacity() >= Self::BUFFER_BYTES_MIN);
        let emptied = buffers.map(|mut buffer| {
            buffer.clear();
            buffer
        });
        Self { checkpoint, bytes, buffers: emptied.collect() }
    }
}
