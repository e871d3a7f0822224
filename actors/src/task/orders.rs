//! The orders that tasks take, and where a running subtask takes them.

use actix::{Message, Recipient};

use crate::protocol::{Barrier, CheckpointId, SubtaskId};

/// To a source: emit this barrier between two batches, now.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct RequestBarrier {
    /// The barrier.
    pub barrier: Barrier,
}

/// To a task that may take no input: a barrier is on its way. What is before it in the job may be blocked by the task, so it is to take
/// input until the barrier has come, or its checkpoint is aborted.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct ExpectBarrier {
    /// The checkpoint.
    pub checkpoint: CheckpointId,
}

/// To every task: the checkpoint is complete. May be lost or skip; covers all before it.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct CheckpointComplete {
    /// The checkpoint.
    pub checkpoint: CheckpointId,
    /// The oldest that the job may still be restored from; `None` if that is not known.
    pub oldest: Option<CheckpointId>,
}

/// To every task: the checkpoint will not complete.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct CheckpointAborted {
    /// The checkpoint.
    pub checkpoint: CheckpointId,
}

/// To a source: all tasks of the region are ready, read.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct BeginReading;

/// To a source: read no more until told otherwise, or read on. No record is read once this is answered, but for what a call of a
/// connector on a thread of its own finds, which is not handed on before.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct SetPaused {
    /// Else it reads on.
    pub paused: bool,
}

/// To a source: read no more; no end of input follows (drain).
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct StopReading;

/// To a source: act as if the input had ended here (finish).
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct FinishInput {
    /// Records to be read first in this attempt: failed attempts had read them.
    pub after_records: u64,
}

/// To every task: end now, without a further effect.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct StopSubtask;

/// Where a running subtask takes its orders.
#[derive(Clone)]
pub struct SubtaskAddress {
    /// Which subtask.
    pub subtask: SubtaskId,
    /// Stops it.
    pub stop: Recipient<StopSubtask>,
    /// Told of completed checkpoints.
    pub complete: Recipient<CheckpointComplete>,
    /// Told of aborted checkpoints.
    pub aborted: Recipient<CheckpointAborted>,
    /// Only a source has these.
    pub source: Option<SourceAddress>,
    /// Told of barriers on their way, if it may take no input.
    pub expects: Option<Recipient<ExpectBarrier>>,
    /// Whether it is a sink, which answers completed checkpoints with [`SinkCommitted`](super::SinkCommitted).
    pub is_sink: bool,
}

/// The orders that only sources take.
#[derive(Clone)]
pub struct SourceAddress {
    /// Asks for a barrier.
    pub barrier: Recipient<RequestBarrier>,
    /// Starts reading.
    pub begin: Recipient<BeginReading>,
    /// Pauses, or reads on.
    pub pause: Recipient<SetPaused>,
    /// Stops reading.
    pub stop_reading: Recipient<StopReading>,
    /// Ends the input.
    pub finish: Recipient<FinishInput>,
}
