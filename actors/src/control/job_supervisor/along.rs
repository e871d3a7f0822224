//! The strategy between regions: the root's part, which has others restart along with one that does.

use super::*;
use crate::control::region_supervisor::{RegionRestarts, RestartAlong};

impl Handler<RegionRestarts> for JobSupervisor {
    type Result = ();

    fn handle(&mut self, RegionRestarts { region: cause, delay }: RegionRestarts, _: &mut Self::Context) {
        for along in self.job.supervision.strategy.along_with(cause, self.job.layout().spec.regions) {
            if let Some(region) = self.below.restart_along.get(along.0 as usize) {
                region.do_send(RestartAlong { cause, delay });
            }
        }
    }
}
