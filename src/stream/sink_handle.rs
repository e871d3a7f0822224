//! A sink at the end of a stream.

use std::panic::Location;

use crate::graph::{GraphHandle, NodeId};

/// A sink that was added to a graph, for its settings.
///
/// ```
/// use millstream::prelude::*;
///
/// let env = StreamEnvironment::new("numbers").parallelism(4);
/// env.source("numbers", SequenceSource::new(0..10))
///     .sink("print", PrintSink::new())
///     .parallelism(1)                                          // one subtask prints what four read
///     .name("to the terminal");
/// let plan = env.explain()?.to_string();
/// assert!(plan.contains("to the terminal"), "{plan}");
/// # Ok::<(), millstream::GraphErrors>(())
/// ```
pub struct DataStreamSink {
    pub(crate) graph: GraphHandle,
    pub(crate) node: NodeId,
}

impl DataStreamSink {
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
        self.graph.borrow_mut().set_name(Some(self.node), name, Location::caller());
        self
    }

    /// Takes over the commits that older checkpoints have pending under the id `id`, and writes them under its own id from
    /// then on. More than one id may be said; `id` must not be that of another operator of the job.
    #[track_caller]
    pub fn formerly(self, id: &str) -> Self {
        if let Some(node) = self.graph.borrow_mut().setting(Some(self.node), "formerly(..)", Location::caller()) {
            node.former_ids.push(id.into());
        }
        self
    }
}

impl std::fmt::Debug for DataStreamSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DataStreamSink({})", self.graph.borrow().nodes[self.node].id)
    }
}
