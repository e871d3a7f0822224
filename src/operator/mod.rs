//! Operators.

mod co_flat_map;
mod co_map;
mod emit_each;
mod emitter;
mod filter;
mod filter_map;
mod flat_map;
mod inspect;
mod key_selector;
mod map;
mod partitioners;
mod process;
mod process_function;
mod side_output;
mod slices;
mod task_view;

pub use co_flat_map::CoFlatMap;
pub use co_map::CoMap;
pub(crate) use emitter::Emission;
pub use emitter::Emitter;
pub use filter::Filter;
pub use filter_map::FilterMap;
pub use flat_map::FlatMap;
pub use inspect::Inspect;
pub use key_selector::{ByRef, ByValue, KeySelector};
pub use map::Map;
pub use partitioners::{CustomPartitioner, KeyGroupPartitioner, Rebalance};
pub use process::ProcessOperator;
pub use process_function::{ProcessContext, ProcessFunction, States};
pub use side_output::{OutputTag, SideOutputs};
pub(crate) use slices::Slices;
pub(crate) use task_view::{TaskView, task_view_methods};

pub use millstream_actors::contract::{
    Batch, BatchOperator, Emitted, Front, GroupLoader, LoadedGroup, Output, Partitioner, Progress, RestoredSection,
    RunBudget, SnapshotWriter, StateError, Stateful, TwoInputOperator,
};
pub use millstream_actors::protocol::Mark;
