//! Regions with a policy of their own.

use std::time::Duration;

use millstream::prelude::*;
use millstream::{GraphError, JobEventKind, OnExhausted, RegionPolicy};

use crate::rig::{assert_exact, environment, in_system};
use crate::several::{SECOND, Told, attempts, three};

/// P2.
#[test]
fn each_region_has_the_strategy_that_is_said_for_it() {
    in_system(async {
        // That of the job allows none.
        let env = environment("policies").restart_strategy(RestartStrategy::none());
        let policy = RegionPolicy::new().restart_strategy(RestartStrategy::fixed_delay(2, Duration::ZERO));
        let (parts, figures) = three(&env, policy);
        parts[1].faults.operator.arm(2);
        let job = env.start().expect("the job starts");
        parts.iter().for_each(|part| part.gate.open());
        job.clone().await.expect("the second region may fail twice");
        figures.iter().for_each(assert_exact);
        assert_eq!(attempts(&job), [1, 3, 1]);
    });
}

/// P2.
#[test]
fn region_without_a_policy_ends_the_job_though_another_one_would_be_parked() {
    in_system(async {
        let env = environment("policies").restart_strategy(RestartStrategy::none());
        let (parts, _) = three(&env, RegionPolicy::new().on_exhausted(OnExhausted::Park));
        let mut told = Told::of(&env);
        parts[1].faults.operator.arm(1);
        let job = env.start().expect("the job starts");
        told.until_parked().await;
        parts[0].faults.operator.arm(1);
        parts[0].gate.open();
        let error = job.await.expect_err("nobody said that the first region is to be parked");
        assert!(matches!(error, JobError::GaveUp { region: millstream::RegionId(0), failures: 1, .. }), "{error}");
    });
}

/// P2: said of all by the job, and of one otherwise.
#[test]
fn policy_of_a_region_goes_before_that_of_the_job() {
    in_system(async {
        let env = environment("policies").restart_strategy(RestartStrategy::none()).on_exhausted(OnExhausted::Park);
        let (parts, _) = three(&env, RegionPolicy::new().on_exhausted(OnExhausted::EndJob));
        let mut told = Told::of(&env);
        parts[0].faults.operator.arm(1);
        let job = env.start().expect("the job starts");
        told.until_parked().await;
        parts[1].faults.operator.arm(1);
        parts[1].gate.open();
        let error = job.clone().await.expect_err("the second region ends it");
        assert!(matches!(error, JobError::GaveUp { region: SECOND, .. }), "{error}");
        let escalated = job.history().into_iter().filter(|event| matches!(event.kind, JobEventKind::Escalated { .. }));
        assert_eq!(escalated.count(), 2);
    });
}

fn mistakes(env: StreamEnvironment) -> Vec<GraphError> {
    env.explain().expect_err("it has mistakes").0
}

#[test]
fn contradicting_policies_of_one_region_are_a_mistake_with_both_places() {
    let env = environment("contradicting");
    let restarts =
        |attempts| RegionPolicy::new().restart_strategy(RestartStrategy::fixed_delay(attempts, Duration::ZERO));
    let left = env.source("left", SequenceSource::new(0..10)).region_policy(restarts(1));
    let right = env.source("right", SequenceSource::new(0..10)).region_policy(restarts(2));
    // Another region may have another one, and one may be said in parts.
    env.source("apart", SequenceSource::new(0..10))
        .region_policy(restarts(3))
        .filter(|_| true)
        .region_policy(RegionPolicy::new().on_exhausted(OnExhausted::Park))
        .for_each("apart-out", |_| {});
    left.union(right).for_each("out", |_| {});
    let mistakes = mistakes(env);
    let [GraphError::RegionPolicies { what: "restart strategies", first, second, .. }] = &mistakes[..] else {
        panic!("{mistakes:?}")
    };
    assert!(first.file().ends_with("policies.rs") && first.line() + 1 == second.line(), "{first} {second}");
    let text = mistakes[0].to_string();
    assert!(text.contains(&first.to_string()) && text.contains(&second.to_string()), "{text}");
}

#[test]
fn strategy_of_a_region_that_cannot_work_is_a_mistake() {
    let env = environment("broken");
    let broken = RestartStrategy::failure_rate(1, Duration::ZERO, Duration::ZERO);
    env.source("numbers", SequenceSource::new(0..10))
        .region_policy(RegionPolicy::new().restart_strategy(broken))
        .for_each("out", |_| {});
    let mistakes = mistakes(env);
    let is_said = |error: &GraphError| matches!(error, GraphError::InvalidSetting { setting: "region_policy(..)", .. });
    assert!(matches!(&mistakes[..], [only] if is_said(only)), "{mistakes:?}");
}
