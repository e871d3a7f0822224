//! What regions restore, and which of them take no part.

use super::*;

impl CheckpointSchedule {
    pub(super) fn restore_requested(
        &mut self,
        now: Now,
        execution: Execution,
        damaged: Option<CheckpointId>,
        out: &mut Vec<Command>,
    ) {
        let region = execution.region;
        // What is in flight without a parked region is not disturbed: the region restores it, once it is complete.
        if !self.participants.unpark(region) {
            self.forget_region(now, AbortReason::RegionFailed(region), region, out);
        }
        self.restart_waits.over(region);
        self.parks.remove(&region);
        self.restores.insert(region, (execution, damaged));
    }

    pub(super) fn abandoned(&mut self, above: CheckpointId, completed: Vec<CheckpointId>) {
        self.retained.abandon(completed);
        self.retained.remove_above(above);
        self.drained = self.drained.filter(|drained| *drained <= above);
        if matches!(self.phase, Phase::Abandoning { above: asked, .. } if asked == above) {
            self.phase = Phase::Idle;
        }
    }

    pub(super) fn abandon_failed(&mut self, now: Now, error: Arc<SnapshotError>, out: &mut Vec<Command>) {
        let Phase::Abandoning { above, failures, .. } = self.phase else { return };
        if error.is_retryable() && failures < STORE_RETRIES_MAX {
            let failures = failures + 1;
            self.phase = Phase::Abandoning { above, retry_at: Some(now.at + retry_delay(failures)), failures };
            return;
        }
        self.phase = Phase::Idle;
        for (_, (execution, _)) in std::mem::take(&mut self.restores) {
            let decision = RestoreDecision::Refused(NoRestore::Store(error.clone()));
            out.push(Command::AnswerRestore { execution, decision });
        }
    }

    pub(super) fn park(&mut self, execution: Execution, out: &mut Vec<Command>) {
        let newest = self.retained.newest().map(|newest| newest.checkpoint);
        // What the savepoint has of the region is not in the store, and no checkpoint could carry it. And a region that has fallen back
        // may have output to withdraw, of which nothing is known any more once a checkpoint completes.
        let has_nothing_to_carry = newest.is_none() && self.settings.origin.is_some();
        let is_refused = has_nothing_to_carry || self.retained.has_abandoned();
        if !is_refused {
            self.participants.park(execution.region, newest.unwrap_or_default());
        }
        out.push(Command::AnswerPark { execution, newest, is_refused });
    }

    pub(super) fn choose_restore(&mut self, region: RegionId, out: &mut Vec<Command>) {
        let Some((execution, damaged)) = self.restores.get(&region).copied() else { return };
        let (origin, parked) = (self.settings.origin.as_ref(), self.participants.parked_from());
        match self.retained.choose(damaged, origin, self.settings.may_fall_back, parked) {
            RestoreChoice::Answer(decision) => {
                self.restores.remove(&region);
                out.push(Command::AnswerRestore { execution, decision });
            }
            RestoreChoice::Abandon { above, completed } => {
                self.retained.abandon(completed.iter().copied());
                self.phase = Phase::Abandoning { above, retry_at: None, failures: 0 };
                out.push(Command::AbandonAbove { checkpoint: above, completed });
            }
        }
    }
}
