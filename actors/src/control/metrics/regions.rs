//! How often the regions of a job have failed, and how long that has taken.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::control::escalation::EscalationDecision;
use crate::control::event::JobEventKind;
use crate::protocol::serialised;
use crate::protocol::{Attempt, RegionId};

/// Figures of one region in this run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RegionMetrics {
    /// The region.
    pub region: RegionId,
    /// The newest attempt that has run.
    pub attempt: Attempt,
    /// Whether that runs still.
    pub is_running: bool,
    /// Restarts, as they are counted for the job.
    pub restarts: u64,
    /// How long it was down in all: from each failure until it ran again.
    #[serde(rename = "downtime_ms", serialize_with = "serialised::millis")]
    pub downtime: Duration,
    /// Since when it restarts, is rescaled or is resumed, Unix milliseconds of the job's clock; `None` if it runs or is parked.
    pub restarting_since_unix_ms: Option<u64>,
    /// How often it has loaded a checkpoint.
    pub restores: u64,
    /// Bytes of state that were read for that.
    pub restored_bytes: u64,
    /// How long that took, each time of the subtask that took longest.
    #[serde(rename = "restore_ms", serialize_with = "serialised::millis")]
    pub restore: Duration,
}

/// The regions of a job.
#[derive(Clone, Debug, Default)]
pub(crate) struct RegionLog(BTreeMap<RegionId, RegionMetrics>);

impl RegionLog {
    /// Counts an event.
    pub(crate) fn count(&mut self, kind: &JobEventKind, unix_ms: u64) {
        match kind {
            JobEventKind::RegionRestarting { region, .. }
            | JobEventKind::RegionMoving { region, .. }
            | JobEventKind::RegionRestartsAlong { region, .. }
            | JobEventKind::EscalationAnswered { region, decision: EscalationDecision::Restart, .. } => {
                let region = self.region(*region);
                region.restarts += 1;
                region.is_running = false;
                region.restarting_since_unix_ms.get_or_insert(unix_ms);
            }
            JobEventKind::Escalated { region, .. } => self.region(*region).is_running = false,
            JobEventKind::RegionParked { region, .. } => {
                let region = self.region(*region);
                region.is_running = false;
                region.restarting_since_unix_ms = None;
            }
            JobEventKind::RegionResumed { region, .. } => {
                self.region(*region).restarting_since_unix_ms.get_or_insert(unix_ms);
            }
            JobEventKind::Rescaling { .. } => {
                for region in self.0.values_mut().filter(|region| region.is_running) {
                    region.is_running = false;
                    region.restarting_since_unix_ms = Some(unix_ms);
                }
            }
            JobEventKind::Restored { region, bytes, took, .. } => {
                let region = self.region(*region);
                region.restores += 1;
                region.restored_bytes += bytes;
                region.restore += *took;
            }
            JobEventKind::RegionRunning { region, attempt, downtime } => {
                let region = self.region(*region);
                region.attempt = *attempt;
                region.is_running = true;
                region.downtime += downtime.unwrap_or_default();
                region.restarting_since_unix_ms = None;
            }
            JobEventKind::Ended { .. } => {
                for region in self.0.values_mut() {
                    region.is_running = false;
                    region.restarting_since_unix_ms = None;
                }
            }
            _ => {}
        }
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &RegionMetrics> {
        self.0.values()
    }

    fn region(&mut self, region: RegionId) -> &mut RegionMetrics {
        self.0.entry(region).or_insert_with(|| RegionMetrics { region, ..RegionMetrics::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::outcome::JobError;
    use crate::protocol::CheckpointId;

    #[test]
    fn downtimes_add_up_and_one_that_lasts_is_told_by_when_it_began() {
        let mut log = RegionLog::default();
        let region = RegionId(1);
        let restarting =
            JobEventKind::RegionRestarting { region, delay: Duration::ZERO, failure: 1, of: 16, since: None };
        let running = |attempt, downtime| JobEventKind::RegionRunning { region, attempt: Attempt(attempt), downtime };
        log.count(&running(1, None), 10);
        log.count(&restarting, 20);
        log.count(&restarting, 25);
        assert_eq!(log.all().next().and_then(|region| region.restarting_since_unix_ms), Some(20));
        log.count(&running(3, Some(Duration::from_millis(30))), 50);
        log.count(&restarting, 60);
        log.count(&running(4, Some(Duration::from_millis(5))), 65);
        let region = log.all().next().expect("one");
        assert_eq!((region.restarts, region.downtime, region.attempt), (3, Duration::from_millis(35), Attempt(4)));
        assert_eq!((region.is_running, region.restarting_since_unix_ms), (true, None));
    }

    #[test]
    fn parked_region_does_not_run_and_does_not_restart_also_when_the_others_are_rescaled() {
        let mut log = RegionLog::default();
        let (parked, other) = (RegionId(0), RegionId(1));
        let running =
            |region, attempt| JobEventKind::RegionRunning { region, attempt: Attempt(attempt), downtime: None };
        for region in [parked, other] {
            log.count(&running(region, 1), 10);
        }
        let of = |log: &RegionLog| -> Vec<(bool, Option<u64>, u64)> {
            log.all().map(|region| (region.is_running, region.restarting_since_unix_ms, region.restarts)).collect()
        };
        let answer = |decision| JobEventKind::EscalationAnswered { region: parked, decision, by_host: true };
        log.count(&answer(EscalationDecision::Restart), 20);
        log.count(&JobEventKind::RegionRestartsAlong { region: other, cause: parked, delay: Duration::ZERO }, 20);
        assert_eq!(of(&log), [(false, Some(20), 1), (false, Some(20), 1)]);
        log.count(&running(other, 2), 25);
        log.count(&answer(EscalationDecision::Park), 25);
        let error = JobError::SystemStopped;
        log.count(&JobEventKind::RegionParked { region: parked, error, checkpoint: None }, 30);
        log.count(&JobEventKind::Rescaling { from: 1, to: 2, checkpoint: CheckpointId(1) }, 40);
        assert_eq!(of(&log), [(false, None, 1), (false, Some(40), 1)]);
        log.count(&JobEventKind::RegionResumed { region: parked, parked_since_unix_ms: 30 }, 50);
        assert_eq!(of(&log), [(false, Some(50), 1), (false, Some(40), 1)]);
        [parked, other].into_iter().for_each(|region| log.count(&running(region, 3), 60));
        assert_eq!(of(&log), [(true, None, 1), (true, None, 1)]);
    }
}
