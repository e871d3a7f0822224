//! Where an event's line of the log goes.

use log::Level;

use super::JobEventKind;

impl JobEventKind {
    /// The level of its log line.
    pub fn level(&self) -> Level {
        match self {
            Self::CheckpointTriggered { .. } | Self::IntervalAdvised { is_news: false, .. } => Level::Debug,
            Self::Started { .. }
            | Self::CheckpointInProgress { .. }
            | Self::CheckpointCompleted { .. }
            | Self::SavepointWritten { .. }
            | Self::Restored { .. }
            | Self::Restoring { .. }
            | Self::RegionRunning { .. }
            | Self::CarefulWorkEnded { .. }
            | Self::EndAwaitsRegion { .. }
            | Self::EventTimeHeldBack { .. }
            | Self::IntervalAdvised { is_news: true, .. }
            | Self::IdsPassedOver { .. }
            | Self::Paused { .. }
            | Self::Resumed { .. }
            | Self::Rescaling { .. }
            | Self::Rescaled { .. }
            | Self::RegionResumed { .. }
            | Self::Ended { result: Ok(_) } => Level::Info,
            Self::SubtaskFailed { .. }
            | Self::ActorRestarted { .. }
            | Self::Escalated { .. }
            | Self::Ended { result: Err(_) } => Level::Error,
            _ => Level::Warn,
        }
    }

    /// The target of its log line.
    pub(in crate::control) fn target(&self) -> &'static str {
        match self {
            Self::CheckpointTriggered { .. }
            | Self::CheckpointInProgress { .. }
            | Self::CheckpointCompleted { .. }
            | Self::CheckpointAborted { .. }
            | Self::CheckpointNotTriggered { .. }
            | Self::CheckpointDeclined { .. }
            | Self::SavepointWritten { .. }
            | Self::SavepointFailed { .. }
            | Self::IntervalAdvised { .. }
            | Self::IdsPassedOver { .. }
            | Self::RecoveryObjectiveMissed { .. } => "millstream::checkpoint",
            _ => "millstream::supervisor",
        }
    }
}
