//! Restart strategies: how often, how soon, and what follows when they give up.

use std::time::Duration;

use millstream::prelude::*;
use millstream::time::ManualClock;
use millstream::{Attempt, Cause, FailureRecord, JobEventKind, JobState, RegionId};

use crate::gated::{Gate, GatedSource};
use crate::listener::listen;
use crate::rig::{Faults, Rig, environment, in_system};

/// Runs the job, whose operator panics `panics` times, with a strategy that gives up.
fn give_up(strategy: RestartStrategy, panics: u32) -> (u32, Vec<FailureRecord>, Vec<JobEventKind>) {
    in_system(async {
        let rig = Rig::default();
        rig.faults.operator.arm(panics);
        let running = rig.start(environment("gives up").restart_strategy(strategy));
        let error = running.job.clone().await.expect_err("it gives up");
        assert_eq!(running.job.status().state, JobState::Ended);
        assert!(running.figures.is_empty(), "nothing was committed");
        let JobError::GaveUp { region: RegionId(0), failures, history, .. } = error else { panic!("{error}") };
        (failures, history, running.job.history().into_iter().map(|event| event.kind).collect())
    })
}

fn delays(events: &[JobEventKind]) -> Vec<Duration> {
    let restarts = events.iter().filter_map(|event| match event {
        JobEventKind::RegionRestarting { delay, .. } => Some(*delay),
        _ => None,
    });
    restarts.collect()
}

/// One attempt may fail more than once: both subtasks of the operator can be at fault.
fn assert_history(history: &[FailureRecord], attempts: u32) {
    assert!(history.iter().all(|failure| match &failure.cause {
        Cause::Panicked(report) => report.message == "injected: operator",
        _ => false,
    }));
    let mut failed: Vec<_> = history.iter().map(|failure| failure.attempt).collect();
    failed.dedup();
    assert_eq!(failed, (1..=attempts).map(Attempt).collect::<Vec<_>>());
}

#[test]
fn without_restarts_the_first_failure_ends_the_job() {
    let (failures, history, events) = give_up(RestartStrategy::none(), 1);
    assert_eq!(failures, 1);
    assert_history(&history, 1);
    assert!(delays(&events).is_empty());
    assert!(matches!(events.last(), Some(JobEventKind::Ended { result: Err(JobError::GaveUp { .. }), .. })));
}

#[test]
fn fixed_delay_gives_up_after_its_attempts_and_tells_the_history() {
    let delay = Duration::from_millis(1);
    let (failures, history, events) = give_up(RestartStrategy::fixed_delay(2, delay), 1_000);
    assert_eq!(failures, 3);
    assert_history(&history, 3);
    assert_eq!(delays(&events), [delay; 2]);
}

#[test]
fn exponential_delay_starts_at_once_and_doubles_up_to_its_maximum() {
    let [initial, max] = [1, 3].map(Duration::from_millis);
    let strategy = RestartStrategy::ExponentialDelay { initial, max, jitter: 0.0, attempts: 5 };
    let (failures, history, events) = give_up(strategy, 1_000);
    assert_eq!(failures, 6);
    assert_history(&history, 6);
    assert_eq!(delays(&events), [0, 1, 2, 3, 3].map(Duration::from_millis));
}

#[test]
fn failure_rate_gives_up_when_failures_come_too_fast() {
    let strategy = RestartStrategy::failure_rate(2, Duration::from_secs(3_600), Duration::ZERO);
    let (failures, history, events) = give_up(strategy, 1_000);
    assert_eq!(failures, 3);
    assert_history(&history, 3);
    assert_eq!(delays(&events), [Duration::ZERO; 2]);
}

#[test]
fn checkpoint_beyond_a_failure_has_the_counting_start_over() {
    in_system(async {
        let rig = Rig::default();
        let operator = rig.faults.operator.clone();
        operator.arm(1);
        let env = environment("counts").clock(ManualClock::new());
        let running = rig.start(env.restart_strategy(RestartStrategy::fixed_delay(1, Duration::ZERO)));
        let mut events = listen(&running.job);
        let is_back = |event: &JobEvent| matches!(event.kind, JobEventKind::RegionRunning { attempt: Attempt(2), .. });
        if !running.job.history().iter().any(is_back) {
            while !events.recv().await.as_ref().is_some_and(is_back) {}
        }
        // No attempt reads beyond the gate: a checkpoint there covers all that was read.
        running.checkpoint_at_gate().await;
        operator.arm(1);
        let ended = running.finish_exactly().await;
        assert_eq!((ended.panics().len(), ended.outcome.restarts), (2, 2));
    });
}

/// Adds a region of its own, which waits at the gate that is given.
fn add_region(env: &StreamEnvironment) -> Gate {
    let gate = Gate::default();
    let source = GatedSource { gate: gate.clone(), faults: Faults::default(), blocking: false, pauses: false };
    env.source("other", source).parallelism(1).sink("others", CollectSink::new());
    gate
}

#[test]
fn region_that_restarts_leaves_the_others_alone() {
    in_system(async {
        let rig = Rig::default();
        let operator = rig.faults.operator.clone();
        let env = environment("regions");
        let other = add_region(&env);
        let running = rig.start(env);
        running.checkpoint_at_gate().await;
        other.reached().await;
        let mut events = listen(&running.job);
        operator.arm(1);
        running.gate.open();
        let is_back = |event: JobEvent| match event.kind {
            JobEventKind::RegionRunning { attempt, .. } => Some(attempt),
            _ => None,
        };
        while events.recv().await.and_then(is_back) != Some(Attempt(2)) {}
        let mut attempts: Vec<_> = running.job.status().attempts.into_values().collect();
        attempts.sort();
        assert_eq!(attempts, [Attempt(1), Attempt(2)]);
        other.open();
        assert_eq!(running.finish_exactly().await.outcome.restarts, 1);
    });
}

#[test]
fn region_that_gives_up_ends_the_whole_job() {
    in_system(async {
        let rig = Rig::default();
        rig.faults.operator.arm(1);
        let env = environment("escalation").restart_strategy(RestartStrategy::none());
        let _never_opened = add_region(&env);
        let error = rig.start(env).job.await.expect_err("the job ends though one region is well");
        assert!(matches!(error, JobError::GaveUp { failures: 1, .. }), "{error}");
    });
}
