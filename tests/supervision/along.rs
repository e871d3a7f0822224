//! Which regions restart when one fails.

use std::time::Duration;

use millstream::prelude::*;
use millstream::{JobEventKind, OnExhausted, RegionId, RegionPolicy, RegionStrategy};

use crate::rig::{assert_exact, environment, in_system};
use crate::several::{SECOND, Told, attempts, three};

/// P1, P2: the second region panics `panics` times, one after the other, at records behind the last checkpoint. The others may not fail at all:
/// they would end the job.
fn run(strategy: RegionStrategy, panics: u32) -> (Vec<u32>, Vec<(RegionId, RegionId)>) {
    in_system(async {
        let env = environment("along").restart_strategy(RestartStrategy::none()).region_strategy(strategy);
        let mut told = Told::of(&env);
        let policy = RegionPolicy::new().restart_strategy(RestartStrategy::fixed_delay(panics, Duration::ZERO));
        let (parts, figures) = three(&env, policy);
        let job = env.start().expect("the job starts");
        for part in &parts {
            part.gate.reached().await;
        }
        job.checkpoint().await.expect("nothing fails");
        parts[1].faults.operator.arm(panics);
        // The others stand at their gates, and are begun again there.
        parts[1].gate.open();
        for _ in 0..panics {
            told.until(|kind| matches!(kind, JobEventKind::RegionRestarting { region: SECOND, .. })).await;
        }
        parts.iter().for_each(|part| part.gate.open());
        let outcome = job.clone().await.expect("no region but the second has failed");
        assert_eq!(outcome.kind, OutcomeKind::Finished);
        figures.iter().for_each(assert_exact);
        let along = job.history().into_iter().filter_map(|event| match event.kind {
            JobEventKind::RegionRestartsAlong { region, cause, delay, .. } => {
                assert_eq!(delay, Duration::ZERO);
                let line = event.kind.to_string();
                assert!(line.contains(&format!("along with region {cause}")), "{line}");
                Some((region, cause))
            }
            _ => None,
        });
        let along: Vec<_> = along.collect();
        assert_eq!(outcome.restarts, u64::from(panics) + along.len() as u64);
        (attempts(&job), along)
    })
}

#[test]
fn one_for_one_leaves_the_others_alone() {
    assert_eq!(run(RegionStrategy::OneForOne, 2), (vec![1, 3, 1], Vec::new()));
}

#[test]
fn rest_for_one_restarts_those_that_were_declared_later() {
    let (attempts, along) = run(RegionStrategy::RestForOne, 1);
    assert_eq!(attempts, [1, 2, 2]);
    assert_eq!(along, [(RegionId(2), SECOND)]);
}

#[test]
fn one_for_all_restarts_all() {
    let (attempts, along) = run(RegionStrategy::OneForAll, 1);
    assert_eq!(attempts, [2, 2, 2]);
    assert_eq!(along, [(RegionId(0), SECOND), (RegionId(2), SECOND)]);
}

/// P2: what is restarted along again and again has its budget whole.
#[test]
fn regions_that_restart_along_spend_nothing_of_their_budget() {
    for strategy in [RegionStrategy::RestForOne, RegionStrategy::OneForAll] {
        let (attempts, along) = run(strategy, 5);
        assert_eq!(attempts[1], 6);
        // One that is down already restarts by itself.
        assert!(attempts[2] >= 2 && !along.is_empty(), "{attempts:?}");
    }
}

/// P1.
#[test]
fn parked_region_stays_parked_when_others_restart_along() {
    in_system(async {
        let env = environment("parked").region_strategy(RegionStrategy::OneForAll);
        let mut told = Told::of(&env);
        let policy = RegionPolicy::new().restart_strategy(RestartStrategy::none()).on_exhausted(OnExhausted::Park);
        let (parts, figures) = three(&env, policy);
        parts[1].faults.operator.arm(1);
        let job = env.start().expect("the job starts");
        told.until_parked().await;
        parts[0].faults.operator.arm(1);
        parts[0].gate.open();
        let kind = told.until(|kind| matches!(kind, JobEventKind::RegionRestartsAlong { .. })).await;
        let is_third =
            matches!(kind, JobEventKind::RegionRestartsAlong { region: RegionId(2), cause: RegionId(0), .. });
        assert!(is_third, "{kind}");
        assert_eq!(job.status().parked.keys().collect::<Vec<_>>(), [&SECOND]);
        job.resume_region(SECOND).await.expect("it runs");
        parts.iter().for_each(|part| part.gate.open());
        job.await.expect("nothing fails any more");
        figures.iter().for_each(assert_exact);
    });
}

/// P1: with the delay of the region that failed.
#[test]
fn regions_that_restart_along_wait_for_the_delay_of_the_cause() {
    in_system(async {
        let env = environment("delays").region_strategy(RegionStrategy::OneForAll);
        let env = env.clock(millstream::time::ManualClock::new());
        let mut told = Told::of(&env);
        let long = Duration::from_secs(7);
        let policy = RegionPolicy::new().restart_strategy(RestartStrategy::fixed_delay(1, long));
        let (parts, _) = three(&env, policy);
        let job = env.start().expect("the job starts");
        for part in &parts {
            part.gate.reached().await;
        }
        parts[1].faults.operator.arm(1);
        parts[1].gate.open();
        let mut down = Vec::new();
        while down.len() < 2 {
            let kind = told.until(|kind| matches!(kind, JobEventKind::RegionRestartsAlong { .. })).await;
            let JobEventKind::RegionRestartsAlong { region, delay, .. } = kind else { panic!("{kind}") };
            assert_eq!(delay, long);
            down.push(region);
        }
        assert_eq!(down, [RegionId(0), RegionId(2)]);
        assert_eq!(attempts(&job), [1, 1, 1], "the clock stands still");
        // An end that is asked for cuts the delays of all of them short.
        assert_eq!(job.drain().await.expect("they start again for that").kind, OutcomeKind::Drained);
        assert_eq!(attempts(&job), [2, 2, 2]);
    });
}
