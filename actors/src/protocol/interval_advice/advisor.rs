//! Puts measurements together: facts of checkpoints, failures and restarts in, the interval and its reasons out.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::catch_up::{CatchUp, Rewound};
use super::failure_spacing::FailureSpacing;
use super::recent::Recent;
use super::recovery::{MeasuredRestore, Outlook};
use super::{IntervalAdvice, RecoveryEstimate};
use crate::protocol::{CheckpointId, CheckpointMode, Checkpointing, RegionId, SubtaskId};

/// A region that runs again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recovered {
    /// Since its failure became known.
    pub(crate) downtime: Duration,
    /// Records that its sources read again.
    pub(crate) rewinds: u64,
    /// The age of the checkpoint that it restored; `None` if it began anew.
    pub(crate) age: Option<Duration>,
}

/// What follows from the measurements so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IntervalPlan {
    /// The interval to keep; `None` if there are no periodic checkpoints.
    pub(crate) interval: Option<Duration>,
    /// `None` before the first checkpoint.
    pub(crate) advice: Option<IntervalAdvice>,
    /// The recovery to expect with that interval; `None` before the first checkpoint, or without an interval.
    pub(crate) recovery: Option<RecoveryEstimate>,
    /// The advice, or the interval to keep, has changed by more than a quarter since they were told last.
    pub(crate) tells_advice: bool,
    /// One of them has become twice or half as long since this was the case last, or is told for the first time.
    pub(crate) is_news: bool,
    /// The objective, if it cannot be met since it was last met.
    pub(crate) tells_missed: Option<Duration>,
}

/// The measurements of one job.
#[derive(Clone, Debug, Default)]
pub(crate) struct IntervalAdvisor {
    /// The newest checkpoint that was acknowledged, and the longest time for which it held up a task so far.
    held_up: (CheckpointId, Duration),
    costs: Recent<Duration>,
    latencies: Recent<Duration>,
    restarts: Recent<Duration>,
    restores: BTreeMap<RegionId, MeasuredRestore>,
    running: BTreeSet<RegionId>,
    state_bytes: u64,
    spacing: FailureSpacing,
    catch_up: CatchUp,
    /// As told last.
    told: Option<Told>,
    /// As told last as news.
    news: Option<Told>,
    is_missed: bool,
}

impl IntervalAdvisor {
    /// A task acknowledged a checkpoint: that long from its first barrier to the last, that long for its snapshot.
    pub(crate) fn acknowledged(
        &mut self,
        checkpoint: CheckpointId,
        mode: CheckpointMode,
        alignment: Duration,
        snapshot: Duration,
    ) {
        let held_up = match mode {
            CheckpointMode::ExactlyOnce => alignment.saturating_add(snapshot),
            // Nothing waits for the barriers.
            CheckpointMode::AtLeastOnce => snapshot,
        };
        let (newest, longest) = &mut self.held_up;
        if checkpoint > *newest {
            (*newest, *longest) = (checkpoint, held_up);
        } else if checkpoint == *newest {
            *longest = held_up.max(*longest);
        }
    }

    /// A source emitted a barrier after it had read this many records in its attempt.
    pub(crate) fn barrier(
        &mut self,
        now: Duration,
        region: RegionId,
        checkpoint: CheckpointId,
        subtask: SubtaskId,
        records: u64,
    ) {
        self.catch_up.barrier(now, region, checkpoint, subtask, records);
    }

    /// A checkpoint is durable, this long after its trigger.
    pub(crate) fn completed(&mut self, checkpoint: CheckpointId, latency: Duration, state_bytes: u64) {
        if self.held_up.0 == checkpoint {
            self.costs.push(self.held_up.1);
        }
        self.latencies.push(latency);
        self.state_bytes = state_bytes;
        self.catch_up.completed(checkpoint, self.running.iter().copied());
    }

    /// A region has loaded its part of a checkpoint of `state_bytes`.
    pub(crate) fn restored(&mut self, region: RegionId, state_bytes: u64, took: Duration) {
        self.restores.insert(region, MeasuredRestore { state_bytes, took });
    }

    /// A region runs; `recovered` if it had failed before. What it restored was told before.
    pub(crate) fn running(&mut self, now: Duration, region: RegionId, recovered: Option<Recovered>) {
        self.running.insert(region);
        self.spacing.running(now, region);
        let Some(Recovered { downtime, rewinds, age }) = recovered else { return };
        let restored = age.and_then(|_| self.restores.get(&region)).unwrap_or(&MeasuredRestore::NONE);
        self.restarts.push(downtime.saturating_sub(restored.took));
        let rewound = age.map(|age| Rewound { records: rewinds, time: age.saturating_sub(downtime) });
        self.catch_up.running(now, region, rewound);
    }

    /// A region failed.
    pub(crate) fn failed(&mut self, now: Duration, region: RegionId) {
        self.running.remove(&region);
        self.spacing.failed(now, region);
        self.catch_up.failed(region);
    }

    /// What follows now. What it has told it does not tell again.
    pub(crate) fn plan(&mut self, now: Duration, checkpointing: &Checkpointing) -> IntervalPlan {
        let cost = self.costs.mean();
        let advice = cost.map(|cost| IntervalAdvice::new(cost, self.spacing.mean(now), self.spacing.seen()));
        let outlook = self.outlook(checkpointing);
        let interval = checkpointing.interval.map(|configured| match checkpointing.recover_within {
            None => configured,
            Some(objective) => {
                let wanted = advice.map_or(configured, |advice| advice.interval);
                let allowed = wanted.min(outlook.longest_interval(objective));
                allowed.min(checkpointing.interval_max).max(checkpointing.interval_min)
            }
        });
        let is_measured = self.latencies.worst().is_some();
        let recovery = interval.filter(|_| is_measured).map(|interval| outlook.with_interval(interval));
        let now_told = advice.map(|advice| Told { advised: advice.interval, kept: interval });
        let is_news = now_told.is_some_and(|now| now.is_new(self.news, differ_much));
        let tells_advice = is_news || now_told.is_some_and(|now| now.is_new(self.told, differ));
        if tells_advice {
            self.told = now_told;
        }
        if is_news {
            self.news = now_told;
        }
        let tells_missed = recovery.and_then(|_| self.judge(checkpointing, &outlook));
        IntervalPlan { interval, advice, recovery, tells_advice, is_news, tells_missed }
    }

    fn outlook(&self, checkpointing: &Checkpointing) -> Outlook {
        let unknown = MeasuredRestore::NONE.scaled_to(self.state_bytes);
        let restores = self.restores.values().map(|measured| measured.scaled_to(self.state_bytes));
        Outlook {
            restart: self.restarts.worst(),
            restore: restores.max().unwrap_or(unknown),
            latency: self.latencies.worst().unwrap_or_default(),
            min_pause: checkpointing.min_pause,
            catch_up_percent: self.catch_up.percent(),
        }
    }

    /// The objective, if it is missed even with the shortest interval and this has not been reported. An objective that
    /// is barely met again still counts as missed, so that one on the edge is not reported with each checkpoint.
    fn judge(&mut self, checkpointing: &Checkpointing, outlook: &Outlook) -> Option<Duration> {
        let objective = checkpointing.recover_within?;
        let shortest = outlook.with_interval(checkpointing.interval_min).total();
        let was_missed = self.is_missed;
        self.is_missed = shortest > objective || was_missed && !differ(shortest, objective);
        (self.is_missed && !was_missed).then_some(objective)
    }
}

/// An advice, and the interval that was kept.
#[derive(Clone, Copy, Debug)]
struct Told {
    advised: Duration,
    kept: Option<Duration>,
}

impl Told {
    /// Whether nothing was told before, or something that differs.
    fn is_new(self, before: Option<Self>, differ: fn(Duration, Duration) -> bool) -> bool {
        before.is_none_or(|before| {
            let kept = before.kept.zip(self.kept);
            differ(before.advised, self.advised) || kept.is_some_and(|(before, now)| differ(before, now))
        })
    }
}

/// Whether one is at least twice as long as the other.
fn differ_much(one: Duration, other: Duration) -> bool {
    one.max(other) >= one.min(other).saturating_mul(2)
}

/// Whether one is more than a quarter longer than the other.
fn differ(one: Duration, other: Duration) -> bool {
    let (shorter, longer) = (one.min(other), one.max(other));
    longer.saturating_mul(4) > shorter.saturating_mul(5)
}
