//! Asynchronous functions: what a record needs from outside is asked for while other records are worked on.
//!
//! [`DataStream::async_map`](crate::stream::DataStream::async_map) calls one; [`AsyncWait`] says how its answers are waited for, and
//! [`AsyncRetry`] when a record is asked for again. Follows Flink's `AsyncDataStream` and its `AsyncWaitOperator`.
//!
//! | file | has |
//! |---|---|
//! | `settings`, `error` | what users say |
//! | `waiting` | the records that wait and the marks between them: which of them may leave |
//! | `requests` | the futures that were asked, and the times at which something is to be done about them |
//! | `operator` | the operator, over both |

mod error;
mod operator;
mod requests;
mod settings;
mod waiting;

pub use error::AsyncError;
#[doc(hidden)]
pub use operator::AsyncMap;
pub(crate) use operator::IN_FLIGHT;
pub use settings::{AsyncRetry, AsyncWait};

#[cfg(test)]
mod tests;
