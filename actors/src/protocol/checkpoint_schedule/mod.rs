//! When checkpoints are taken, and what becomes of them: the rules of the coordinator.

mod schedule;
#[cfg(test)]
mod tests;
mod vocabulary;

pub(crate) use schedule::{CheckpointSchedule, ScheduleSettings};
pub use vocabulary::{AbortReason, NoRestore, TriggerReason};
pub(crate) use vocabulary::{Now, Participant, RestoreDecision, ScheduleCommand, ScheduleEvent};
