//! State of functions that are not keyed: each subtask has its own, and a restore at another parallelism deals it out.

mod broadcast;
mod ended;
mod list;
mod section;
mod set;
mod share;

#[cfg(test)]
mod tests;

pub use broadcast::{BroadcastHandle, BroadcastState};
pub(crate) use ended::{END_OF_INPUT, take_ended, write_ended};
pub use list::{OperatorListHandle, OperatorListState};
pub(crate) use section::{CopyError, StoredCopy};
pub use set::{OperatorState, OperatorStateSet};
pub(crate) use share::Share;
