//! Rescaling: the region's part, which stops its tasks, waits, and starts others.

use super::*;
use crate::protocol::RegionReached;

/// Stop all subtasks, and start none before [`StartAnew`].
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct HoldRegion;

/// Start the subtasks of the job's plan.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct StartAnew;

/// A region rests, or runs.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct RegionReports {
    pub(crate) region: RegionId,
    pub(crate) reached: RegionReached,
}

impl RegionSupervisor {
    pub(super) fn report(&self, reached: RegionReached) {
        self.seed.reports.do_send(RegionReports { region: self.seed.region, reached });
    }

    /// No subtask is left: whether that is waited for, and no attempt follows yet.
    pub(super) fn rests(&self) -> bool {
        let has_none = matches!(self.state, RegionState::Waiting | RegionState::Parked);
        let rests = has_none && self.seed.job.regions_wait();
        if rests {
            self.report(RegionReached::Rest);
        }
        rests
    }
}

impl Handler<HoldRegion> for RegionSupervisor {
    type Result = ();

    /// A restart that it waits for is not waited for any more: it comes with the other tasks.
    fn handle(&mut self, _: HoldRegion, ctx: &mut Self::Context) {
        self.delay = Duration::ZERO;
        if let Some(timer) = self.restart_timer.take() {
            ctx.cancel_future(timer);
        }
        if !self.state.is_stopping() && self.go(RegionEvent::Failed) {
            self.stop_subtasks(false, ctx);
        }
        self.rests();
    }
}

impl Handler<StartAnew> for RegionSupervisor {
    type Result = ();

    /// A parked region stays so, and starts with these subtasks when it is resumed.
    fn handle(&mut self, _: StartAnew, _: &mut Self::Context) {
        match self.state {
            RegionState::Parked => self.report(RegionReached::Running),
            _ => self.begin_attempt(),
        }
    }
}
