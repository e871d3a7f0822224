//! Keyed operators: functions on the records of a stream that was grouped by key, with states of their own for each key.
//!
//! | for | take | it sees |
//! |---|---|---|
//! | a running value of the records' own type | [`KeyedStream::reduce`](crate::stream::KeyedStream::reduce), or [`Reduce`] where the value's type has versions | a value |
//! | a running value of another type | [`KeyedStream::fold`](crate::stream::KeyedStream::fold), or [`Fold`] where the accumulator's type has versions | an accumulator |
//! | anything else | [`KeyedProcessFunction`] | any number of [states](crate::state), timers ([`Timers`]), side outputs, the end of input; every key when it opens ([`EveryKey`]) |
//! | the same where a record may be refused | [`TryKeyedProcessFunction`] | the same |
//! | a keyed stream by what a broadcast stream says | [`KeyedBroadcastProcessFunction`] | the same, and states that all subtasks have |
//! | two keyed streams together | [`KeyedCoProcessFunction`] | the same, shared by both |
//!
//! They all stand on one kernel, which finds the states of a record's key, lends them, and keeps them in snapshots.

mod broadcast_function;
mod broadcast_operator;
mod calls;
mod careful_timers;
mod co_function;
mod co_operator;
mod event_time;
mod every_key;
mod firsts;
mod function;
mod kernel;
mod key_text;
mod of_either;
mod on_kernel;
mod operator;
mod reduce;
mod run;
mod timers;
mod top;
mod try_function;

pub use broadcast_function::{BroadcastRow, KeyedBroadcastProcessFunction, KeyedRow};
pub(crate) use broadcast_operator::KeyedBroadcastOperator;
pub(crate) use careful_timers::CarefulTimers;
pub use co_function::{CoRow, KeyedCoProcessFunction};
pub(crate) use co_operator::KeyedCoOperator;
pub use every_key::EveryKey;
pub(crate) use firsts::{First, FirstSince};
pub use function::{KeyedContext, KeyedProcessFunction, Row};
pub(crate) use kernel::{Kernel, KeyedInput};
pub(crate) use of_either::OfEither;
pub(crate) use on_kernel::{OnKernel, Process};
// What `process` and `fold` make. Benches name them, programs do not.
#[doc(hidden)]
pub use operator::KeyedOperator;
#[doc(hidden)]
pub use reduce::fold_pairs;
pub use reduce::{Fold, Reduce};
pub(crate) use top::Top;
pub use try_function::{TryKeyedProcessFunction, TryRow};

pub use crate::state::kinds::{Timer, Timers, TimersHandle};
