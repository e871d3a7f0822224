//! Restarting along with another region, as the strategy between regions has it.

use super::*;

/// A region restarts after a failure, when this delay is over.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct RegionRestarts {
    pub(crate) region: RegionId,
    pub(crate) delay: Duration,
}

/// Another region restarts after this delay, and so is this one to.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct RestartAlong {
    pub(crate) cause: RegionId,
    pub(crate) delay: Duration,
}

impl Handler<RestartAlong> for RegionSupervisor {
    type Result = ();

    /// One that is down restarts by itself, or is parked; one that restarts along spends nothing of its budget.
    fn handle(&mut self, RestartAlong { cause, delay }: RestartAlong, ctx: &mut Self::Context) {
        if !self.state.is_stopping() && self.go(RegionEvent::Failed) {
            let region = self.seed.region;
            self.seed.job.emit(JobEventKind::RegionRestartsAlong { region, cause, delay });
            self.delay = delay;
            self.stop_subtasks(false, ctx);
        }
    }
}
