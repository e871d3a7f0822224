//! How the subtasks of two tasks are connected, as their supervisor works it out.

use std::any::Any;
use std::sync::Arc;

use crate::protocol::{Partitioning, PortId, TaskId};

/// How the subtasks of two tasks are connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EdgePattern {
    /// Subtask i to subtask i; both tasks have one parallelism.
    Forward,
    /// Every subtask to every subtask.
    AllToAll,
}

/// An edge, seen from its sender.
#[derive(Clone, Debug)]
pub struct EdgeSpec {
    /// The receiving task.
    pub to: TaskId,
    /// Which of its input ports the edge serves.
    pub port: PortId,
    /// Which channels there are.
    pub pattern: EdgePattern,
    /// By what records are dealt out to them.
    pub partitioning: Partitioning,
    /// The tag of the side output whose records it takes; `None`: those of the main output.
    pub side_output: Option<Arc<str>>,
}

/// An [`InputPort<T>`](super::edge::InputPort) of one of a task's inputs, which knows the type of its records.
pub type AnyInputPort = Arc<dyn Any + Send + Sync>;

/// One end of a channel, as handed to the sending subtask.
#[derive(Clone)]
pub struct ChannelTarget {
    /// The receiver's port, of the edge's record type.
    pub port: AnyInputPort,
    /// The channel's number at the receiver.
    pub channel: u32,
    /// Batches that the sender may come to have under way.
    pub window: u32,
}

/// The channels of one edge that leave one subtask, by receiving subtask.
pub type OutputWiring = Vec<ChannelTarget>;

/// The channels that enter one subtask: those of its first port, then those of the next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InputWiring {
    /// The window of each channel in batches.
    pub windows: Vec<u32>,
}
