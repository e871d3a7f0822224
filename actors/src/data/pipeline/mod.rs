//! Operators chained in one task, and the edges that leave it.

mod builder;
mod exit;
mod link;
mod walk;

pub use builder::{Chain, Consumers, PipelineBuilder, PipelineFactory};
pub(crate) use walk::GroupLoaders;
pub use walk::{LoadedState, Pipeline};
