//! The contract of queries: what an operator says when its state is asked for.

use std::any::Any;

use super::RestoredSection;
use crate::protocol::CheckpointId;

/// What has become of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// The answer is in it.
    Answered,
    /// It is to be asked again: its time is up.
    Suspended,
    /// The operator has no state of keys.
    NotForQueries,
}

/// What a checkpoint has of one state in a key group.
#[derive(Clone, Copy, Debug)]
pub struct StoredGroup<'a> {
    /// The checkpoint.
    pub checkpoint: CheckpointId,
    /// Whether it was written by the job that is asked, and not by one that ran before.
    pub is_of_this_run: bool,
    /// The key group.
    pub group: u32,
    /// The whole section and then its changes, in the order of their checkpoints; none, if the checkpoint has nothing of it.
    pub sections: &'a [RestoredSection],
}

/// Answers queries from what a checkpoint has of an operator.
pub trait StoredStates: Send {
    /// Answers a query from what a checkpoint has of the state in a key group. The answer is put into the query;
    /// one that is there is replaced.
    fn query(&mut self, stored: StoredGroup<'_>, query: &mut (dyn Any + Send));
}
