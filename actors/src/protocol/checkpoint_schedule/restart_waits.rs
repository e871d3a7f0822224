//! Regions that wait for their restart, and until when.

use std::collections::BTreeMap;
use std::time::Duration;

use super::RestartWait;
use crate::protocol::{RESTART_DELAY_BORNE, RegionId};

#[derive(Debug, Default)]
pub(super) struct RestartWaits(BTreeMap<RegionId, Duration>);

impl RestartWaits {
    /// The region runs no more, and waits until then, if it does.
    pub(super) fn told(&mut self, region: RegionId, until: Option<Duration>) {
        self.0.extend(until.map(|until| (region, until)));
    }

    /// It waits no more.
    pub(super) fn over(&mut self, region: RegionId) {
        self.0.remove(&region);
    }

    /// The longest wait, if it is longer than whoever wants a checkpoint should be kept.
    pub(super) fn too_long(&self, now: Duration) -> Option<RestartWait> {
        let (region, until) = self.0.iter().max_by_key(|(_, until)| **until)?;
        let next_attempt_in = until.saturating_sub(now);
        (next_attempt_in > RESTART_DELAY_BORNE).then_some(RestartWait { region: *region, next_attempt_in })
    }
}
