//! Operators chained in one task, and the edges that leave it.

mod builder;
mod exit;
mod head;
mod link;
mod walk;

pub use builder::{Consumers, PipelineBuilder, PipelineFactory};
pub use head::{Chain, Head, TwoInputChain};
pub(crate) use walk::GroupLoaders;
pub use walk::{LoadedState, Pipeline};
