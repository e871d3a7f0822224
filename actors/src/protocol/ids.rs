//! The names of things in a job: newtypes, so that one cannot be taken for another.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

macro_rules! numeric_id {
    ($(#[$doc:meta])* $name:ident($int:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $int);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

numeric_id! {
    /// One checkpoint of a job. Counts from 1; 0 means "before the first". Never reused in the life of a store.
    CheckpointId(u64)
}
numeric_id! {
    /// One life of the process on a store. Raised durably at each start, and at least the wall clock in Unix
    /// milliseconds, so that two stores that write into one directory do not meet.
    Incarnation(u64)
}
numeric_id! {
    /// One execution of a region between restarts, counted from 1 in each incarnation.
    Attempt(u32)
}
numeric_id! {
    /// A connected component of the graph: what restarts together.
    RegionId(u32)
}
numeric_id! {
    /// Operators chained to run together; counts from 0 in topological order.
    TaskId(u32)
}
numeric_id! {
    /// An input of a task that takes one type of records; counts from 0 in each task. Most tasks have one.
    PortId(u8)
}

impl PortId {
    /// The only port of most tasks, and the first of those that have two.
    pub const FIRST: Self = Self(0);
    /// The second port of a task that has two.
    pub const SECOND: Self = Self(1);
}

impl CheckpointId {
    /// "Before the first checkpoint": the base of a full snapshot.
    pub const NONE: Self = Self(0);
}

/// One parallel instance of a task: one actor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SubtaskId {
    /// The task.
    pub task: TaskId,
    /// Index from 0 up to the task's parallelism.
    pub index: u32,
}

impl fmt::Display for SubtaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.task, self.index)
    }
}

/// One execution of a region. Messages bear it, so that late answers of an execution that has ended are recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Execution {
    /// The life of the process.
    pub incarnation: Incarnation,
    /// The region.
    pub region: RegionId,
    /// The region's attempt.
    pub attempt: Attempt,
}

impl fmt::Display for Execution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.incarnation, self.region, self.attempt)
    }
}

/// The stable id under which an operator's state is found again, given by the user (sources, keyed operators, sinks)
/// or derived from the position in the graph (stateless operators).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OperatorId(Arc<str>);

impl OperatorId {
    /// An id with this text.
    pub fn new(id: impl Into<Arc<str>>) -> Self {
        Self(id.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for OperatorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for OperatorId {
    fn from(id: &str) -> Self {
        Self::new(id)
    }
}
