//! How far a checkpoint is: the coordinator's part, which says so in the log while one takes long.

use super::*;
use crate::control::progress::CheckpointProgress;

impl CheckpointCoordinator {
    /// A checkpoint begins.
    pub(super) fn triggered(&mut self, now: Now, checkpoint: CheckpointId, reason: TriggerReason) {
        let is_for_savepoint = reason == TriggerReason::OnDemand && self.savepoints.await_checkpoint();
        let reason = if is_for_savepoint { TriggerReason::Savepoint } else { reason };
        let job = &self.seed.job;
        job.emit(JobEventKind::CheckpointTriggered { checkpoint, reason });
        job.events.expects(self.schedule.missing() as u32);
        self.tells_at = Some(now.at.saturating_add(job.limits.checkpoint_progress_every));
    }

    /// Says how far the checkpoint is that is under way, when it is time to. Short ones never wait for that time: it goes with them, and
    /// a job between its checkpoints has no timer for it.
    pub(super) fn tell_progress(&mut self, now: Now) {
        let Some(tells_at) = self.tells_at else { return };
        let job = &self.seed.job;
        let Some(progress) = job.events.checkpoint_in_progress() else {
            self.tells_at = None;
            return;
        };
        if tells_at <= now.at {
            let CheckpointProgress { checkpoint, reason, since_unix_ms, acknowledged, of, bytes } = progress;
            let elapsed = Duration::from_millis(now.unix_ms.saturating_sub(since_unix_ms));
            job.emit(JobEventKind::CheckpointInProgress { checkpoint, reason, acknowledged, of, bytes, elapsed });
            self.tells_at = Some(now.at.saturating_add(job.limits.checkpoint_progress_every));
        }
    }
}
