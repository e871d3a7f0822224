//! What a task is at work on, and what it has sent.

use millstream_actors::protocol::SendWindow;

use crate::message::Batch;

/// A channel that leaves the task.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Line {
    pub(crate) window: SendWindow<Batch>,
    pub(crate) open: Vec<u8>,
    /// Records that were put into batches, and those of them that were sent.
    pub(crate) pushed: u32,
    pub(crate) records_sent: u32,
    /// Batches sent, or pieces of them.
    pub(crate) sent: u32,
    /// Credits that the receiver has still to give back.
    pub(crate) owed: u32,
}

/// A step that may be suspended.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct OpenStep {
    /// `None` in a source.
    pub(crate) input: Option<usize>,
    pub(crate) batch: Batch,
    pub(crate) pieces_left: u8,
}
