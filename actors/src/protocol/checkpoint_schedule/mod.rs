//! When checkpoints are taken, and what becomes of them: the rules of the coordinator.

mod participants;
mod phase;
mod rescale_step;
mod restart_waits;
mod retained;
mod schedule;
#[cfg(test)]
mod tests;
mod vocabulary;
mod waiters;

pub(crate) use rescale_step::RescaleStep;
pub(crate) use schedule::CheckpointSchedule;
pub use vocabulary::{AbortReason, NoRestore, TriggerReason};
pub(crate) use vocabulary::{
    NoCheckpoint, Now, Participant, RestartWait, RestoreDecision, ScheduleCommand, ScheduleEvent, ScheduleSettings,
};
