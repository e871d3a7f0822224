//! The region supervisor.

use actix::Message;

use crate::protocol::{ActorName, Cause, Execution, SubtaskId};
use crate::task::RestoreFigures;

/// A subtask has restored its state, opened its connector and waits for input (a source: for `BeginReading`).
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct SubtaskReady {
    /// Who, in time.
    pub execution: Execution,
    /// Who.
    pub subtask: SubtaskId,
    /// What restoring took.
    pub restored: RestoreFigures,
}

/// A subtask has come to its end: nothing of it runs any more.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct ChildExit {
    /// Who, in time.
    pub execution: Execution,
    /// Who.
    pub subtask: SubtaskId,
    /// Its name.
    pub name: ActorName,
    /// Why.
    pub cause: Cause,
    /// Input records it had taken in this attempt.
    pub records_in: u64,
}
