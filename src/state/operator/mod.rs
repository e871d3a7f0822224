//! State of functions that are not keyed: each subtask has its own, and a restore at another parallelism deals it out.

mod broadcast;
mod list;
mod notes;
mod section;
mod set;
mod share;

#[cfg(test)]
mod tests;

pub use broadcast::{BroadcastHandle, BroadcastState};
pub use list::{OperatorListHandle, OperatorListState};
pub(crate) use notes::{Ended, Reached, Said, take_notes, use_of_name, write_notes};
pub(crate) use section::{CopyError, StoredCopy};
pub use set::{BroadcastStateSet, OperatorState, OperatorStateSet};
pub(crate) use share::Share;
