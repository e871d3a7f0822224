//! From a program to a job: the logical graph, its checks, chaining, and the tasks that come out.

mod builder;
mod chaining;
mod compile;
mod directives;
mod error;
mod explain;
mod names;
mod node;
mod prototype;
mod regions;
mod settings;
mod stand_ins;

pub(crate) use builder::{GraphBuilder, GraphHandle, JobSettings};
pub(crate) use chaining::{ChainedGraph, chain};
pub(crate) use compile::compile;
pub(crate) use directives::PlacedDirective;
pub use error::{GraphError, GraphErrors};
pub use explain::Explanation;
pub(crate) use explain::explain;
pub(crate) use names::StateNames;
pub(crate) use node::{
    AnyChain, AnyPort, AnyRouting, EdgeKind, InputEdge, Node, NodeContext, NodeId, NodeKind, OperatorNode, Port,
    PortRef, RouteContext, Routes, SinkNode, SourceNode, StreamRef,
};
pub(crate) use prototype::Prototype;
pub(crate) use settings::{
    Placed, check_checkpointing, check_limits, check_max_parallelism, check_restart, check_state_backend, check_store,
    name_mistake,
};
pub(crate) use stand_ins::{OtherRecords, StandIns};
