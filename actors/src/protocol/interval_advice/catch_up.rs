//! How fast work is done again after a failure, compared with the first time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::recent::Recent;
use crate::protocol::{CheckpointId, RegionId, SubtaskId};

/// As long as nothing was measured: work is done again as fast as it was done. Right for input that is read as fast as
/// it can be worked off; too careful for input that had to be waited for.
const PERCENT_UNKNOWN: u32 = 100;
/// A measurement is taken to lie in this range: outside it shows a pause.
const PERCENT_MIN: u32 = 10;
const PERCENT_MAX: u32 = 10_000;
/// Shortest time over which a speed is measured.
const TIME_MIN: Duration = Duration::from_millis(10);

/// What a failed attempt had done since the checkpoint from which the next starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rewound {
    /// Records that the sources read again.
    pub(super) records: u64,
    /// From the trigger of the checkpoint to the failure.
    pub(super) time: Duration,
}

#[derive(Clone, Debug)]
struct Recovering {
    since: Duration,
    /// Records a second of the lost work.
    first: f64,
    checkpoint: CheckpointId,
    /// Records a second of each source since the restart.
    again: BTreeMap<SubtaskId, f64>,
}

/// Measures how fast sources read from their restart to the barrier of the next checkpoint that completes, compared
/// with the work that was lost. If they had caught up before, they have waited for input since: the measurement is then
/// less than what they are able to, which errs on the careful side.
#[derive(Clone, Debug, Default)]
pub(super) struct CatchUp {
    recovering: BTreeMap<RegionId, Recovering>,
    /// Regions that run and have completed a checkpoint since their start. The work lost by others is not of one piece:
    /// it spans a restart.
    undisturbed: BTreeSet<RegionId>,
    /// Regions that failed out of those.
    measurable: BTreeSet<RegionId>,
    percents: Recent<u32>,
}

impl CatchUp {
    /// A region failed.
    pub(super) fn failed(&mut self, region: RegionId) {
        self.recovering.remove(&region);
        if self.undisturbed.remove(&region) {
            self.measurable.insert(region);
        } else {
            self.measurable.remove(&region);
        }
    }

    /// It runs again.
    pub(super) fn running(&mut self, now: Duration, region: RegionId, rewound: Option<Rewound>) {
        let Some(Rewound { records, time }) = rewound else { return };
        if self.measurable.remove(&region) && records > 0 && time >= TIME_MIN {
            let first = records as f64 / time.as_secs_f64();
            let (checkpoint, again) = (CheckpointId::NONE, BTreeMap::new());
            self.recovering.insert(region, Recovering { since: now, first, checkpoint, again });
        }
    }

    /// A source emitted the barrier after it had read this many records since its start.
    pub(super) fn barrier(
        &mut self,
        now: Duration,
        region: RegionId,
        checkpoint: CheckpointId,
        subtask: SubtaskId,
        records: u64,
    ) {
        let Some(recovering) = self.recovering.get_mut(&region) else { return };
        if checkpoint > recovering.checkpoint {
            recovering.checkpoint = checkpoint;
            recovering.again.clear();
        }
        let time = now.saturating_sub(recovering.since);
        if checkpoint == recovering.checkpoint && time >= TIME_MIN {
            recovering.again.insert(subtask, records as f64 / time.as_secs_f64());
        }
    }

    /// A checkpoint is complete, of which these regions that run are part.
    pub(super) fn completed(&mut self, checkpoint: CheckpointId, running: impl IntoIterator<Item = RegionId>) {
        for region in running {
            self.undisturbed.insert(region);
            let Some(recovering) = self.recovering.remove(&region) else { continue };
            if recovering.checkpoint == checkpoint && !recovering.again.is_empty() {
                let percent = 100.0 * recovering.again.values().sum::<f64>() / recovering.first;
                self.percents.push((percent as u32).clamp(PERCENT_MIN, PERCENT_MAX));
            }
        }
    }

    /// The speed in percent of the first time, 10 to 10,000: the mean of the newest 8 measurements, 100 before there is
    /// one.
    pub(super) fn percent(&self) -> u32 {
        self.percents.mean().unwrap_or(PERCENT_UNKNOWN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::TaskId;

    const REGION: RegionId = RegionId(0);
    const FIRST: SubtaskId = SubtaskId { task: TaskId(0), index: 0 };
    const SECOND: SubtaskId = SubtaskId { task: TaskId(0), index: 1 };

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn rewound(records: u64, seconds: u64) -> Option<Rewound> {
        Some(Rewound { records, time: at(seconds) })
    }

    /// One that runs again at 100 s, having lost 1,000 records of 10 s.
    fn recovering() -> CatchUp {
        let mut catch_up = CatchUp::default();
        catch_up.completed(CheckpointId(1), [REGION]);
        catch_up.failed(REGION);
        catch_up.running(at(100), REGION, rewound(1_000, 10));
        catch_up
    }

    #[test]
    fn speed_is_that_of_all_sources_up_to_the_next_checkpoint() {
        let mut catch_up = recovering();
        assert_eq!(catch_up.percent(), 100, "not measured yet");
        catch_up.barrier(at(102), REGION, CheckpointId(2), FIRST, 300);
        catch_up.barrier(at(104), REGION, CheckpointId(2), SECOND, 400);
        catch_up.completed(CheckpointId(2), [REGION]);
        assert_eq!(catch_up.percent(), 250, "150 and 100 a second, instead of 100");
        catch_up.barrier(at(200), REGION, CheckpointId(3), FIRST, 300);
        catch_up.completed(CheckpointId(3), [REGION]);
        assert_eq!(catch_up.percent(), 250, "only the first is measured");
    }

    #[test]
    fn checkpoint_that_is_aborted_is_not_measured() {
        let mut catch_up = recovering();
        catch_up.barrier(at(101), REGION, CheckpointId(2), FIRST, 100);
        catch_up.barrier(at(101), REGION, CheckpointId(2), SECOND, 100);
        catch_up.barrier(at(110), REGION, CheckpointId(3), FIRST, 2_000);
        catch_up.barrier(at(111), REGION, CheckpointId(2), SECOND, 9_999);
        catch_up.completed(CheckpointId(3), [REGION]);
        assert_eq!(catch_up.percent(), 200);
    }

    #[test]
    fn work_that_spans_a_restart_is_not_measured() {
        let mut catch_up = recovering();
        catch_up.failed(REGION);
        catch_up.running(at(200), REGION, rewound(1_000, 100));
        catch_up.barrier(at(201), REGION, CheckpointId(2), FIRST, 1_000);
        catch_up.completed(CheckpointId(2), [REGION]);
        assert_eq!(catch_up.percent(), 100);
    }

    #[test]
    fn pauses_and_short_times_do_not_pass_for_speeds() {
        let mut catch_up = recovering();
        catch_up.barrier(at(1_100), REGION, CheckpointId(2), FIRST, 1);
        catch_up.completed(CheckpointId(2), [REGION]);
        assert_eq!(catch_up.percent(), PERCENT_MIN);
        let mut catch_up = recovering();
        catch_up.barrier(at(100) + TIME_MIN / 2, REGION, CheckpointId(2), FIRST, 1_000);
        catch_up.completed(CheckpointId(2), [REGION]);
        assert_eq!(catch_up.percent(), 100);
        let mut catch_up = CatchUp::default();
        catch_up.completed(CheckpointId(1), [REGION]);
        catch_up.failed(REGION);
        catch_up.running(at(100), REGION, Some(Rewound { records: 10, time: TIME_MIN / 2 }));
        catch_up.barrier(at(110), REGION, CheckpointId(2), FIRST, 1_000);
        catch_up.completed(CheckpointId(2), [REGION]);
        assert_eq!(catch_up.percent(), 100);
    }
}
