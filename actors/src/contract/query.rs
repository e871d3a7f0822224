//! The contract of queries: what an operator says when its state is asked for.

use std::any::Any;

use super::RestoredSection;

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

/// Answers queries from what a checkpoint has of an operator.
pub trait StoredStates: Send {
    /// Answers a query from the sections of one state in a key group: the whole section and then its changes, in the order of
    /// their checkpoints; or none, if the checkpoint has nothing of it. The answer is put into the query;
    /// one that is there is replaced.
    fn query(&mut self, group: u32, sections: &[RestoredSection], query: &mut (dyn Any + Send));
}
