//! A sink at the end of a stream.

use std::panic::Location;

use crate::graph::{GraphHandle, NodeId};

/// A sink that was added to a graph, for its settings.
pub struct StreamSink {
    pub(crate) graph: GraphHandle,
    pub(crate) node: NodeId,
}

impl StreamSink {
    /// Sets the number of subtasks, at least 1; by default the environment's.
    #[track_caller]
    pub fn parallelism(self, parallelism: u32) -> Self {
        if let Some(node) = self.graph.borrow_mut().setting(Some(self.node), "parallelism(..)", Location::caller()) {
            node.parallelism = Some(parallelism);
        }
        self
    }

    /// Sets the name shown in logs and events; by default the sink's id.
    #[track_caller]
    pub fn name(self, name: &str) -> Self {
        if let Some(node) = self.graph.borrow_mut().setting(Some(self.node), "name(..)", Location::caller()) {
            node.name = name.into();
        }
        self
    }
}

impl std::fmt::Debug for StreamSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StreamSink({})", self.graph.borrow().nodes[self.node].id)
    }
}
