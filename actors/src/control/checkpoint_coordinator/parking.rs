//! Parked regions: the coordinator's part, which goes on without them.

use super::*;
use crate::control::outcome::SavepointError;
use crate::protocol::RegionId;

/// A region, none of whose subtasks is left, is to be parked.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct ParkRegion {
    pub(crate) execution: Execution,
}

/// The coordinator's answer: checkpoints go on without the region, after `newest`; or they cannot, if `is_refused`.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct ParkAnswered {
    pub(crate) execution: Execution,
    pub(crate) newest: Option<CheckpointId>,
    pub(crate) is_refused: bool,
}

impl CheckpointCoordinator {
    pub(super) fn answer_park(&mut self, execution: Execution, newest: Option<CheckpointId>, is_refused: bool) {
        let region = execution.region;
        let mut memory = lock(&self.seed.job.memory);
        memory.parks.remove(&region);
        if !is_refused {
            memory.parked.insert(region, newest);
        }
        drop(memory);
        if !is_refused {
            let schedule = &self.schedule;
            let committed = |checkpoint| schedule.sinks_have_committed(checkpoint);
            self.savepoints.region_parked(committed, &mut self.savepoint_commands);
        }
        let answer = ParkAnswered { execution, newest, is_refused };
        self.seed.regions[region.0 as usize].park_answered.do_send(answer);
    }

    /// Why there can be no savepoint now, if a region is parked.
    pub(super) fn parked(&self) -> Option<SavepointError> {
        let regions: Vec<RegionId> = lock(&self.seed.job.memory).parked.keys().copied().collect();
        (!regions.is_empty()).then_some(SavepointError::Parked { regions })
    }

    /// There is no savepoint, since a region is parked.
    pub(super) fn refuse_savepoint(&mut self, request: u64) {
        self.savepoints.over(request, false);
        self.answer_savepoint(request, Err(self.parked().unwrap_or(SavepointError::Interrupted)));
    }

    /// What a coordinator that was restarted is told of parked regions.
    pub(super) fn parked_before(&self) -> Vec<Event> {
        let memory = lock(&self.seed.job.memory);
        let parked = memory.parked.iter().map(|(region, newest)| {
            let (region, newest) = (*region, newest.unwrap_or_default());
            Event::IsParked { region, newest }
        });
        let parks = memory.parks.values().map(|execution| Event::ParkRequested { execution: *execution });
        parked.chain(parks).collect()
    }
}

impl Handler<ParkRegion> for CheckpointCoordinator {
    type Result = ();

    fn handle(&mut self, ParkRegion { execution }: ParkRegion, ctx: &mut Self::Context) {
        let mut memory = lock(&self.seed.job.memory);
        memory.restarts_at.remove(&execution.region);
        memory.parks.insert(execution.region, execution);
        drop(memory);
        self.apply(Event::ParkRequested { execution }, ctx);
    }
}
