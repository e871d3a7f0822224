//! What a rescale has to do with checkpoints.

use super::Participant;
use super::participants::Participants;
use super::waiters::Waiters;

/// A step of a rescale.
#[derive(Clone, Debug)]
pub(crate) enum RescaleStep {
    /// Somebody wants a checkpoint now, from which the job goes on with other tasks: none follows before that.
    Requested { waiter: u64 },
    /// No region has a task left: those that start from now on are these.
    TasksReplaced { by: Vec<Participant> },
    /// The job goes on, with other tasks or with those that it had.
    Over,
}

impl RescaleStep {
    pub(super) fn apply(self, waiters: &mut Waiters, participants: &mut Participants) {
        match self {
            Self::Requested { waiter } => waiters.add_for_rescale(waiter),
            Self::TasksReplaced { by } => participants.replace(by),
            Self::Over => waiters.rescale_over(),
        }
    }
}
