//! Keyed operators: functions on the records of a stream that was grouped by key, with states of their own for each key.
//!
//! They all stand on one kernel, which finds the states of a record's key, lends them, and keeps them in snapshots.

mod every_key;
mod function;
mod kernel;
mod key_text;
mod on_kernel;
mod operator;
mod reduce;

pub use every_key::EveryKey;
pub use function::{KeyedContext, KeyedProcessFunction, Row};
pub(crate) use kernel::{Kernel, KeyedInput};
pub(crate) use on_kernel::{OnKernel, Process};
pub use operator::KeyedOperator;
pub use reduce::{Fold, Reduce, fold_pairs};
