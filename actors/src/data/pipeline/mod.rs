//! Operators chained in one task, and the edges that leave it.

mod builder;
mod careful;
mod exit;
mod head;
mod link;
mod record_type;
mod two_inputs;
mod walk;

pub use builder::{Consumers, PipelineBuilder, PipelineFactory};
pub use careful::{CarefulFirings, CarefulInput, CarefulInputs};
pub use head::{Chain, Head, TwoInputChain};
pub use record_type::RecordType;
pub(crate) use walk::GroupLoaders;
pub use walk::{LoadedState, Pipeline};
