//! Operators: what functions are given and emit into, and the contracts of stages of your own.
//!
//! Closures on a [`DataStream`](crate::stream::DataStream) need nothing from here but [`Emitter`] and [`OutputTag`].
//!
//! | to write | implement | with |
//! |---|---|---|
//! | a function with state that is not keyed | [`ProcessFunction`] | [`States`], [`ProcessContext`], [`Emitter`] |
//! | the same where a record may be refused | [`TryProcessFunction`] | [`TryStates`], [`ProcessContext`], [`Emitter`] |
//! | a function on two streams | [`CoProcessFunction`] | [`CoStates`], [`ProcessContext`], [`Emitter`] |
//! | a function with state for each key | [`KeyedProcessFunction`](crate::keyed::KeyedProcessFunction) | see [`keyed`](crate::keyed) |
//! | a stage that takes whole batches and sees watermarks | [`BatchOperator`], or [`TwoInputOperator`] for two streams | [`Batch`], [`Output`], [`Mark`], [`RunBudget`] |
//! | the state of such a stage | [`Stateful`] | [`SectionWriter`], [`RestoredSection`]; [`GroupLoader`] if it is keyed |
//! | a way of spreading records over subtasks | [`Partitioner`] | [`Batch`] |
//! | a function that is generic over how a key is chosen | | [`KeySelector`], [`ByValue`], [`ByRef`] |

mod co_flat_map;
mod co_map;
mod co_process;
mod co_process_function;
mod dead_letter;
mod either;
mod emit_each;
mod emitter;
mod filter;
mod filter_map;
mod flat_map;
mod held_states;
mod inspect;
mod json_text;
mod key_selector;
mod map;
mod partitioners;
mod process;
mod process_function;
mod process_run;
mod side_output;
mod slices;
mod task_view;
mod timestamps_and_watermarks;
mod try_process_function;

pub use co_process_function::{CoProcessFunction, CoStates};
pub(crate) use dead_letter::Firings;
pub use dead_letter::{DeadFiring, DeadLetter, OnPanic};
pub use either::Either;
pub(crate) use emit_each::emit_each;
pub(crate) use emitter::Emission;
pub use emitter::Emitter;
pub(crate) use held_states::HeldStates;
#[cfg(test)]
pub(crate) use json_text::JSON_TEXT_MAX;
pub(crate) use json_text::json_text;
pub use key_selector::{ByRef, ByValue, KeySelector};
pub use process_function::{ProcessContext, ProcessFunction, States};
pub(crate) use side_output::Emit;
pub use side_output::OutputTag;
pub(crate) use slices::Slices;
pub(crate) use task_view::{TaskView, context_methods};
pub(crate) use try_process_function::Diverting;
pub use try_process_function::{TryProcessFunction, TryStates};

pub use millstream_actors::contract::{
    Batch, BatchOperator, Demand, Emitted, Front, GroupLoader, Held, LoadedGroup, Output, Partitioner, Progress,
    ReadingTime, RestoredSection, RunBudget, SectionWriter, StateError, Stateful, TwoInputOperator,
};
pub use millstream_actors::protocol::Mark;

// What the methods of streams make. Tests and benches name them, programs do not.
#[doc(hidden)]
pub use self::{
    co_flat_map::CoFlatMap,
    co_map::CoMap,
    co_process::CoProcessOperator,
    filter::Filter,
    filter_map::FilterMap,
    flat_map::FlatMap,
    inspect::Inspect,
    map::Map,
    partitioners::{CustomPartitioner, KeyGroupPartitioner, Rebalance},
    process::ProcessOperator,
    side_output::SideOutputs,
    timestamps_and_watermarks::TimestampsAndWatermarks,
};
