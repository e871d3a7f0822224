//! Every step is told: to subscribers, in a bounded history, and by one log line.

use std::time::Duration;

use log::Level;
use millstream::JobEventKind;
use millstream::prelude::*;

use crate::captured_log::{capture, lines};
use crate::listener::listen;
use crate::rig::{Rig, environment, in_system, limits};

/// Runs a job that fails once after its checkpoint, and gives its handle and what a subscriber was told.
fn run(name: &str, history_len: usize) -> (JobHandle, Vec<JobEvent>) {
    in_system(async {
        let rig = Rig::default();
        let operator = rig.faults.operator.clone();
        let bounds = limits(|limits| {
            limits.history_len = history_len;
            // Each key group that is loaded is told of.
            limits.restore_progress_every = Duration::ZERO;
        });
        let env = environment(name).limits(bounds);
        let running = rig.start(env);
        let job = running.job.clone();
        let mut events = listen(&job);
        running.checkpoint_at_gate().await;
        operator.arm(1);
        running.finish_exactly().await;
        let mut told = Vec::new();
        while !matches!(told.last(), Some(JobEvent { kind: JobEventKind::Ended { .. }, .. })) {
            told.push(events.recv().await.expect("the end is told"));
        }
        (job, told)
    })
}

fn shown(events: &[JobEvent]) -> Vec<String> {
    events.iter().map(|event| format!("{event:?}")).collect()
}

#[test]
fn each_event_is_one_log_line_that_names_job_attempt_task_and_checkpoint() {
    capture();
    let (job, _) = run("told", 256);
    let lines = lines("told");
    let texts: Vec<_> = lines.iter().map(|(_, _, line)| line.clone()).collect();
    let events: Vec<_> = job.history().iter().map(|event| event.kind.to_string()).collect();
    assert_eq!(texts, events);

    let tells = |level: Level, target: &str, parts: &[&str]| {
        let mut found = lines.iter().filter(|line| line.0 == level && line.1 == target);
        assert!(found.any(|line| parts.iter().all(|part| line.2.contains(part))), "{target} {parts:?}: {lines:#?}");
    };
    tells(Level::Info, "millstream::supervisor", &["attempt=1 started: ", "no checkpoint to restore"]);
    tells(Level::Info, "millstream::checkpoint", &["checkpoint=1 completed in "]);
    let place = file!().replace("events.rs", "rig.rs");
    let failure =
        ["attempt=1 task=", " subtask=", "panicked: 'injected: operator'", &place, "in operator '", "input records "];
    tells(Level::Error, "millstream::supervisor", &failure);
    tells(Level::Warn, "millstream::supervisor", &["region=0 restarts now (failure 1 of 3 since checkpoint 1)"]);
    tells(Level::Info, "millstream::supervisor", &["attempt=2 ", " restores checkpoint 1: ", " keys after "]);
    tells(Level::Info, "millstream::supervisor", &["attempt=2 restored checkpoint 1 ("]);
    tells(Level::Info, "millstream::supervisor", &["attempt=2 running again ", " after the failure"]);
    tells(Level::Info, "millstream::supervisor", &["finished: "]);
}

#[test]
fn subscriber_is_told_each_step_in_its_order() {
    let (job, told) = run("subscribed", 256);
    let history = job.history();
    // What came before the subscription is in the history alone.
    assert_eq!(shown(&history)[history.len() - told.len()..], shown(&told));

    let mut steps = told.iter().map(|event| &event.kind);
    let mut then = |what: &str, is: fn(&JobEventKind) -> bool| {
        assert!(steps.any(is), "{what} is missing, or too early: {:#?}", shown(&told));
    };
    then("completion", |kind| matches!(kind, JobEventKind::CheckpointCompleted { .. }));
    then("failure", |kind| matches!(kind, JobEventKind::SubtaskFailed { .. }));
    then("restart", |kind| matches!(kind, JobEventKind::RegionRestarting { .. }));
    then("progress of the restore", |kind| match kind {
        JobEventKind::Restoring { bytes, bytes_total, entries, .. } => *entries > 0 && bytes <= bytes_total,
        _ => false,
    });
    then("restore", |kind| matches!(kind, JobEventKind::Restored { .. }));
    then("running", |kind| matches!(kind, JobEventKind::RegionRunning { downtime: Some(_), .. }));
    then("final checkpoint", |kind| matches!(kind, JobEventKind::CheckpointCompleted { .. }));
    then("end", |kind| matches!(kind, JobEventKind::Ended { result: Ok(_), .. }));
}

#[test]
fn history_keeps_the_newest_events_up_to_its_limit() {
    let (job, told) = run("bounded", 4);
    assert_eq!(shown(&job.history()), shown(&told[told.len() - 4..]));
}

#[test]
fn stream_that_ends_in_no_sink_is_told_when_the_job_starts() {
    capture();
    in_system(async {
        let env = environment("dead-ends");
        let numbers = env.source("numbers", SequenceSource::new(0..10));
        let _ = numbers.clone().map(|n| n + 1).name("added");
        numbers.filter(|n| n % 2 == 0).sink("even", CollectSink::new());
        let _ = env.start().unwrap().await;
    });
    let told: Vec<String> = lines("dead-ends").into_iter().map(|(_, _, line)| line).collect();
    let dead: Vec<&String> = told.iter().filter(|line| line.contains("ends in no sink")).collect();
    assert_eq!(dead.len(), 1, "{told:?}");
    assert!(dead[0].starts_with("drops what 'map#1' (tests/supervision/events.rs:"), "{dead:?}");
}
