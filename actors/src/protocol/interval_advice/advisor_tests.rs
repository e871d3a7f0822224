use std::time::Duration;

use super::*;
use crate::protocol::{CheckpointId, CheckpointMode, Checkpointing, RegionId, SubtaskId, TaskId};

const REGION: RegionId = RegionId(0);
const SOURCE: SubtaskId = SubtaskId { task: TaskId(0), index: 0 };
const DAY: Duration = Duration::from_secs(86_400);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Takes the measurements of a job of one region that runs since the beginning.
struct Measured {
    advisor: IntervalAdvisor,
    next: u64,
}

impl Measured {
    fn new() -> Self {
        let mut advisor = IntervalAdvisor::default();
        advisor.running(Duration::ZERO, REGION, None);
        Self { advisor, next: 1 }
    }

    fn checkpoint(&mut self, costs: &[u64], latency: Duration, state_bytes: u64) {
        let checkpoint = CheckpointId(self.next);
        self.next += 1;
        for cost in costs {
            self.advisor.acknowledged(checkpoint, CheckpointMode::ExactlyOnce, ms(cost / 2), ms(cost - cost / 2));
        }
        self.advisor.completed(checkpoint, latency, state_bytes);
    }

    fn fail(&mut self, failed: Duration, downtime: Duration) {
        self.advisor.failed(failed, REGION);
        let recovered = Recovered { downtime, rewinds: 0, age: None };
        self.advisor.running(failed + downtime, REGION, Some(recovered));
    }

    fn plan(&mut self, now: Duration, checkpointing: &Checkpointing) -> IntervalPlan {
        self.advisor.plan(now, checkpointing)
    }
}

#[test]
fn without_objective_the_interval_stays_and_only_advice_is_given() {
    let every = Checkpointing::every(at(10));
    let mut measured = Measured::new();
    let before = measured.plan(at(1), &every);
    assert_eq!((before.interval, before.advice, before.recovery), (Some(at(10)), None, None));
    assert!(!before.tells_advice);

    measured.checkpoint(&[1, 50, 20], ms(200), 0);
    let plan = measured.plan(at(1), &every);
    assert_eq!((plan.interval, plan.tells_advice, plan.tells_missed), (Some(at(10)), true, None));
    let advice = plan.advice.unwrap();
    assert_eq!((advice.cost, advice.failure_spacing, advice.failures), (ms(50), DAY, 0));
    // Root of 2 * 0.05 s * 86,400 s.
    assert_eq!(advice.young.as_millis(), 92_951);
    // Daly adds sqrt(0.05 / 172,800) / 3 of it, 16.7 ms, and takes the cost off, which the interval counts again.
    assert_eq!((advice.daly.as_millis(), advice.interval.as_millis()), (92_918, 92_968));
    // 10 s and 200 ms of work again, and a restart of 100 ms, which is assumed.
    assert_eq!(plan.recovery.unwrap().total(), ms(10_300));

    let disabled = measured.plan(at(1), &Checkpointing::disabled());
    assert_eq!((disabled.interval, disabled.recovery, disabled.advice), (None, None, Some(advice)));
}

#[test]
fn cost_is_the_mean_of_the_longest_hold_ups_of_each_checkpoint() {
    let mut measured = Measured::new();
    measured.checkpoint(&[10, 2], ms(1), 0);
    measured.checkpoint(&[3, 30], ms(1), 0);
    // Of one that is over.
    measured.advisor.acknowledged(CheckpointId(1), CheckpointMode::ExactlyOnce, at(100), at(100));
    // Completed by a predecessor of the coordinator: nobody knows what it cost.
    measured.advisor.completed(CheckpointId(9), ms(1), 0);
    let advice = measured.plan(at(1), &Checkpointing::default()).advice.unwrap();
    assert_eq!(advice.cost, ms(20));
}

#[test]
fn at_least_once_waits_for_no_alignment() {
    let mut measured = Measured::new();
    measured.advisor.acknowledged(CheckpointId(1), CheckpointMode::AtLeastOnce, at(9), ms(7));
    measured.advisor.completed(CheckpointId(1), ms(1), 0);
    assert_eq!(measured.plan(at(1), &Checkpointing::default()).advice.unwrap().cost, ms(7));
}

#[test]
fn interval_that_the_objective_changes_is_told_as_well() {
    let objective = Checkpointing::every(at(10)).recover_within(at(5));
    let mut measured = Measured::new();
    let mut tells = |state_mib: u64| {
        measured.checkpoint(&[50], ms(0), state_mib << 20);
        let plan = measured.plan(at(1), &objective);
        (plan.interval, plan.tells_advice)
    };
    assert_eq!(tells(0), (Some(ms(4_900)), true));
    assert_eq!(tells(32), (Some(ms(4_400)), false));
    assert_eq!(tells(64), (Some(ms(3_900)), true), "4.9 s is more than a quarter longer");
    assert_eq!(tells(64), (Some(ms(3_900)), false));
}

#[test]
fn advice_is_told_when_it_has_changed_by_a_quarter() {
    let every = Checkpointing::every(at(10));
    let mut measured = Measured::new();
    let mut tells = |costs: u64, now: u64| {
        measured.checkpoint(&[costs], ms(1), 0);
        measured.plan(at(now), &every).tells_advice
    };
    assert!(tells(100, 1), "the first");
    assert!(!tells(100, 1));
    // The mean cost goes from 100 to 150 ms, its root by 1.22; then to 187.5, by 1.37.
    assert!(!(0..2).any(|_| tells(200, 1)));
    assert!((0..6).any(|_| tells(200, 1)));
    measured.fail(at(3_600), ms(10));
    assert!(measured.plan(at(3_601), &every).tells_advice, "a failure an hour, not a day");
    assert!(!measured.plan(at(3_601), &every).tells_advice);
}

/// A cost of some microseconds is never the same for long.
#[test]
fn advice_that_goes_up_and_down_is_news_once() {
    let every = Checkpointing::every(at(10));
    let mut measured = Measured::new();
    let (mut told, mut news) = (0, 0);
    for round in 0..200 {
        measured.checkpoint(&[if round % 40 < 20 { 100 } else { 250 }], ms(1), 0);
        let plan = measured.plan(at(1), &every);
        told += u32::from(plan.tells_advice);
        news += u32::from(plan.is_news);
    }
    assert!(told > 8, "{told} times");
    assert_eq!(news, 1, "the root of 2.5 is less than 2");
    measured.fail(at(3_600), ms(10));
    assert!(measured.plan(at(3_601), &every).is_news, "a failure an hour, not a day");
}

#[test]
fn objective_makes_the_interval_follow_the_advice_within_its_bounds() {
    let objective = Checkpointing::every(at(10)).recover_within(at(3_600)).interval_max(at(60));
    let mut measured = Measured::new();
    assert_eq!(measured.plan(at(1), &objective).interval, Some(at(10)), "nothing is known yet");
    measured.checkpoint(&[50], ms(200), 0);
    assert_eq!(measured.plan(at(1), &objective).interval, Some(at(60)), "92 s are above the bound");
    let wider = objective.clone().interval_max(at(600));
    let plan = measured.plan(at(1), &wider);
    assert_eq!((plan.interval, plan.tells_missed), (plan.advice.map(|advice| advice.interval), None));
    // 16 failures a second apart: sqrt(2 * 0.05 s * 1 s) is 0.32 s.
    for failure in 0..16 {
        measured.fail(at(100 + failure), Duration::ZERO);
    }
    let often = measured.plan(at(116), &wider);
    assert!(often.interval < Some(at(2)), "{often:?}");
    assert_eq!(measured.plan(at(116), &wider.interval_min(at(30))).interval, Some(at(30)));
}

#[test]
fn objective_shortens_the_interval_to_what_leaves_time_for_the_rest() {
    let objective = Checkpointing::every(at(10)).recover_within(at(5));
    let mut measured = Measured::new();
    // Only the assumed restart of 100 ms is known.
    assert_eq!(measured.plan(at(1), &objective).interval, Some(ms(4_900)));
    // 64 MiB would be read in a second; the checkpoint takes 0.4 s, which is lost as well.
    measured.checkpoint(&[50], ms(400), 64 << 20);
    let plan = measured.plan(at(1), &objective);
    assert_eq!((plan.interval, plan.recovery.unwrap().total()), (Some(ms(3_500)), at(5)));
    // A restart that took 600 ms, 500 of them for reading the state.
    measured.advisor.failed(at(3_600), REGION);
    measured.advisor.restored(REGION, 64 << 20, ms(500));
    let recovered = Recovered { downtime: ms(600), rewinds: 10_000, age: Some(ms(1_600)) };
    measured.advisor.running(at(4_000), REGION, Some(recovered));
    let plan = measured.plan(at(4_000), &objective);
    assert_eq!(plan.interval, Some(ms(4_000)), "5 s without 0.1, 0.5 and 0.4 s");
    // 10,000 records of a second, read again twice as fast.
    measured.advisor.barrier(at(4_004), REGION, CheckpointId(2), SOURCE, 80_000);
    measured.checkpoint(&[50], ms(400), 64 << 20);
    let plan = measured.plan(at(4_005), &objective);
    assert_eq!(plan.recovery.unwrap().catch_up_percent, 200);
    assert_eq!(plan.interval, Some(ms(8_400)), "twice 4.4 s, without 0.4 s");
}

#[test]
fn objective_out_of_reach_is_told_once_until_it_is_well_within_reach() {
    let objective = Checkpointing::every(at(10)).recover_within(at(2)).interval_min(ms(500));
    let mut measured = Measured::new();
    assert_eq!(measured.plan(at(1), &objective).tells_missed, None);
    // 128 MiB would be read in 2 s.
    measured.checkpoint(&[1], ms(10), 128 << 20);
    let plan = measured.plan(at(1), &objective);
    assert_eq!((plan.interval, plan.tells_missed), (Some(ms(500)), Some(at(2))));
    assert_eq!(plan.recovery.unwrap().longest(), RecoveryPart::Restore);
    measured.checkpoint(&[1], ms(10), 128 << 20);
    assert_eq!(measured.plan(at(2), &objective).tells_missed, None, "was told");
    // 76.8 MiB: 100 + 1,200 + 510 ms are within 2 s, but not well.
    for bytes in [80_530_636, 128 << 20] {
        measured.checkpoint(&[1], ms(10), bytes);
        assert_eq!(measured.plan(at(3), &objective).tells_missed, None);
    }
    measured.checkpoint(&[1], ms(10), 0);
    assert_eq!(measured.plan(at(4), &objective).tells_missed, None);
    measured.checkpoint(&[1], ms(10), 128 << 20);
    assert_eq!(measured.plan(at(5), &objective).tells_missed, Some(at(2)), "again");
}

#[test]
fn slow_checkpoints_and_pauses_put_an_objective_out_of_reach() {
    let objective = Checkpointing::every(at(10)).recover_within(at(2)).min_pause(at(1));
    let mut measured = Measured::new();
    measured.checkpoint(&[1], ms(600), 0);
    let plan = measured.plan(at(1), &objective);
    assert_eq!((plan.interval, plan.tells_missed), (Some(ms(1_300)), Some(at(2))));
    let recovery = plan.recovery.unwrap();
    assert_eq!((recovery.reprocessing, recovery.longest()), (ms(2_200), RecoveryPart::Reprocessing));
}
