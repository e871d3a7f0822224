//! How far apart failures are, from those seen.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::protocol::RegionId;

/// Failures that count. 16: the mean is known to about a quarter, and follows when times get better or worse.
const WINDOW: usize = 16;
/// Assumed before the first failure: a day, so that a job that never fails is not slowed by checkpoints that it does
/// not need. One that has run longer without a failure is taken to fail that seldom.
const PRIOR: Duration = Duration::from_secs(24 * 3_600);
/// Shortest mean: of no time at all there is no optimum.
const SPACING_MIN: Duration = Duration::from_millis(1);

/// Estimates the mean time between failures of a job. Only time in which all its regions run counts, and only failures
/// of running regions: an attempt that fails at its start has no work to lose.
///
/// The estimate is the maximum likelihood one for failures at random times: time observed, up to now, by failures seen.
#[derive(Clone, Debug, Default)]
pub(super) struct FailureSpacing {
    /// Whether each region that has run does.
    regions: BTreeMap<RegionId, bool>,
    /// Since when all do.
    up_since: Option<Duration>,
    /// Time for which all ran, before that.
    up_before: Duration,
    /// The time for which all had run, at each failure that counts.
    failed_after: VecDeque<Duration>,
    /// The same, at the failure before those.
    window_starts: Duration,
    seen: u64,
}

impl FailureSpacing {
    /// All subtasks of a region run.
    pub(super) fn running(&mut self, now: Duration, region: RegionId) {
        self.regions.insert(region, true);
        self.settle(now);
    }

    /// A region failed.
    pub(super) fn failed(&mut self, now: Duration, region: RegionId) {
        let Some(runs @ true) = self.regions.get_mut(&region) else { return };
        *runs = false;
        self.settle(now);
        if self.failed_after.len() == WINDOW {
            self.window_starts = self.failed_after.pop_front().expect("it is full");
        }
        self.failed_after.push_back(self.up_before);
        self.seen += 1;
    }

    /// Failures seen.
    pub(super) fn seen(&self) -> u64 {
        self.seen
    }

    /// The mean time between failures.
    pub(super) fn mean(&self, now: Duration) -> Duration {
        let up = self.up_before.saturating_add(self.up_since.map_or(Duration::ZERO, |since| now.saturating_sub(since)));
        match u32::try_from(self.failed_after.len()).expect("16 at most") {
            0 => up.max(PRIOR),
            failures => (up.saturating_sub(self.window_starts) / failures).max(SPACING_MIN),
        }
    }

    fn settle(&mut self, now: Duration) {
        if let Some(since) = self.up_since.take() {
            self.up_before += now.saturating_sub(since);
        }
        if self.regions.values().all(|runs| *runs) {
            self.up_since = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REGION: RegionId = RegionId(0);
    const OTHER: RegionId = RegionId(1);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn before_the_first_failure_a_day_is_assumed_or_the_time_already_run() {
        let mut spacing = FailureSpacing::default();
        assert_eq!(spacing.mean(at(5)), at(86_400));
        spacing.running(at(100), REGION);
        assert_eq!(spacing.mean(at(100 + 3_600)), at(86_400));
        assert_eq!(spacing.mean(at(100 + 172_800)), at(172_800));
        assert_eq!(spacing.seen(), 0);
    }

    #[test]
    fn spacing_is_the_time_run_by_the_failures_seen_without_time_down() {
        let mut spacing = FailureSpacing::default();
        spacing.running(at(0), REGION);
        spacing.failed(at(60), REGION);
        assert_eq!(spacing.mean(at(500)), at(60), "down since then");
        spacing.running(at(1_000), REGION);
        assert_eq!(spacing.mean(at(1_040)), at(100));
        spacing.failed(at(1_040), REGION);
        assert_eq!((spacing.mean(at(1_040)), spacing.seen()), (at(50), 2));
    }

    #[test]
    fn attempt_that_fails_at_its_start_does_not_count() {
        let mut spacing = FailureSpacing::default();
        spacing.failed(at(1), REGION);
        spacing.running(at(2), REGION);
        spacing.failed(at(10), REGION);
        spacing.failed(at(11), REGION);
        assert_eq!((spacing.mean(at(11)), spacing.seen()), (at(8), 1));
    }

    #[test]
    fn job_is_up_while_all_its_regions_run() {
        let mut spacing = FailureSpacing::default();
        spacing.running(at(0), REGION);
        spacing.running(at(0), OTHER);
        spacing.failed(at(10), REGION);
        spacing.failed(at(15), OTHER);
        spacing.running(at(20), REGION);
        assert_eq!(spacing.mean(at(30)), at(5), "10 s, 2 failures");
        spacing.running(at(30), OTHER);
        assert_eq!(spacing.mean(at(40)), at(10));
    }

    #[test]
    fn only_the_newest_sixteen_failures_count() {
        let mut spacing = FailureSpacing::default();
        let mut now = 0;
        for apart in [100_000].into_iter().chain([10; 16]) {
            spacing.running(at(now), REGION);
            now += apart;
            spacing.failed(at(now), REGION);
        }
        assert_eq!((spacing.mean(at(now)), spacing.seen()), (at(10), 17));
    }

    #[test]
    fn failures_at_once_give_a_spacing_above_zero() {
        let mut spacing = FailureSpacing::default();
        spacing.running(at(0), REGION);
        spacing.failed(at(0), REGION);
        assert_eq!(spacing.mean(at(0)), SPACING_MIN);
    }
}
