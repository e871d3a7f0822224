//! What a job has for the supervision of its regions.

use std::collections::BTreeMap;

use crate::control::escalation::EscalationPort;
use crate::protocol::{OnExhausted, RegionId, RegionPolicy, RegionStrategy, RestartStrategy};

/// How the regions of a job are supervised.
#[derive(Clone, Default)]
pub struct RegionSettings {
    /// Which of them restart when one fails.
    pub strategy: RegionStrategy,
    /// What becomes of one that gives up, if its own policy does not say.
    pub on_exhausted: OnExhausted,
    /// The policies of those that have one of their own.
    pub policies: BTreeMap<RegionId, RegionPolicy>,
    /// Who is asked when one gives up, if anybody is.
    pub escalation: Option<EscalationPort>,
}

impl RegionSettings {
    /// The restart strategy of a region, of a job that has this one for all.
    pub(crate) fn restart(&self, region: RegionId, of_job: &RestartStrategy) -> RestartStrategy {
        self.policies.get(&region).and_then(RegionPolicy::restart).unwrap_or(of_job).clone()
    }

    /// What becomes of a region that gives up.
    pub(crate) fn on_exhausted(&self, region: RegionId) -> OnExhausted {
        self.policies.get(&region).and_then(RegionPolicy::exhausted).unwrap_or(self.on_exhausted)
    }
}
