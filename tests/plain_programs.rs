//! Programs without a line of actix code: on tokio with one thread or several, and with no runtime at all.

use std::collections::HashMap;
use std::thread;

use millstream::prelude::*;
use millstream::sink::Collected;
use millstream::{JobEventKind, JobState};
use serde_json::{Value, json};

/// A job that numbers pass through.
fn job_of(name: &str, records: u64) -> (StreamEnvironment, Collected<u64>) {
    let sink = CollectSink::new();
    let collected = sink.handle();
    let env = StreamEnvironment::new(name).snapshot_store(MemoryStore::new()).checkpointing(Checkpointing::disabled());
    env.source("numbers", SequenceSource::new(0..records)).sink("all", sink);
    (env, collected)
}

/// As lines of JSON, read back.
fn as_json(value: &impl serde::Serialize) -> Value {
    serde_json::from_str(&serde_json::to_string(value).expect("it is serialised")).expect("it is JSON")
}

#[test]
fn program_without_any_runtime_starts_a_job_on_one_thread_and_waits_on_another() {
    let (env, collected) = job_of("bare", 5_000);
    let job = env.start().expect("the job starts");
    let waits = thread::spawn({
        let job = job.clone();
        move || job.wait()
    });
    let outcome = job.wait().expect("it ends");
    assert_eq!(waits.join().expect("no panic").expect("it ends"), outcome);
    assert_eq!(outcome.kind, OutcomeKind::Finished);
    assert_eq!(job.wait().expect("it has ended"), outcome, "waiting after the end is no waiting");
    assert!(collected.snapshot().into_iter().eq(0..5_000));
    assert!(actix_rt::System::try_current().is_none(), "starting a job leaves nothing on the thread");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn task_of_a_tokio_runtime_starts_a_job_and_awaits_it() {
    let outcome = tokio::spawn(async {
        let job = job_of("spawned", 5_000).0.start().expect("the job starts");
        job.await
    });
    assert_eq!(outcome.await.expect("no panic").expect("it ends").kind, OutcomeKind::Finished);
}

#[tokio::test]
async fn stream_from_before_the_start_has_every_event_and_ends_with_the_job() {
    let (env, _) = job_of("told", 5_000);
    let mut events = env.events(10_000);
    let job = env.start().expect("the job starts");
    let mut told = Vec::new();
    while let Some(event) = events.next().await {
        told.push(event.kind.to_string());
    }
    assert_eq!(events.dropped(), 0);
    let history: Vec<String> = job.history().into_iter().map(|event| event.kind.to_string()).collect();
    assert_eq!(told, history);
    assert!(told[0].contains("started") && told[told.len() - 1].contains("finished"), "{told:?}");
    let mut late = job.events(1);
    assert!(late.next().await.is_none(), "after the end there is nothing to wait for");
}

#[tokio::test]
async fn stream_that_is_full_keeps_the_newest_and_counts_the_others() {
    let (env, _) = job_of("full", 10);
    let mut events = env.events(1);
    let job = env.start().expect("the job starts");
    job.clone().await.expect("it ends");
    let last = events.next().await.expect("the newest");
    assert!(matches!(last.kind, JobEventKind::Ended { .. }), "{}", last.kind);
    assert_eq!(events.dropped() + 1, job.history().len() as u64);
    assert!(events.next().await.is_none());
}

#[test]
fn stream_of_a_job_that_does_not_start_ends() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let env = StreamEnvironment::new("empty");
    let mut events = env.events(1);
    env.start().map(drop).expect_err("there is no source");
    assert!(runtime.block_on(events.next()).is_none());
}

// The shape of the documentation of `JobEvent`, `JobStatus` and `JobOutcome`.
#[test]
fn events_status_and_outcome_are_serialised_as_documented() {
    let sink = CollectSink::new();
    let env =
        StreamEnvironment::new("json").restart_strategy(RestartStrategy::fixed_delay(1, std::time::Duration::ZERO));
    env.source("numbers", SequenceSource::new(0..10)).inspect(|n| assert_ne!(*n, 7, "seven")).sink("all", sink);
    let job = env.start().expect("the job starts");
    job.wait().expect_err("it gives up");
    let lines: Vec<Value> = job.history().iter().map(as_json).collect();
    let by_name: HashMap<&str, &Value> =
        lines.iter().map(|line| (line["event"].as_str().expect("its name"), line)).collect();
    assert_eq!(by_name["started"]["job"], "json");
    assert_eq!(by_name["started"]["restores"], Value::Null);
    let failed = by_name["subtask_failed"];
    let (actor, cause) = (failed["actor"].as_str().expect("text"), failed["cause"].as_str().expect("text"));
    assert!(actor.contains("subtask=1/1") && cause.contains("seven"), "{failed}");
    assert_eq!(by_name["region_restarting"]["delay_ms"], json!(0.0));
    let ended = by_name["ended"];
    assert!(ended["error"].as_str().is_some_and(|error| error.contains("gave up")) && ended.get("outcome").is_none());

    let status = as_json(&job.status());
    assert_eq!((&status["state"], &status["restarts"]), (&json!("ended"), &json!(1)));
    assert_eq!(job.status().state, JobState::Ended);
    assert_eq!(status["attempts"], json!({ "0": 2 }));

    let job = job_of("whole", 10).0.start().expect("the job starts");
    let outcome = as_json(&job.wait().expect("it ends"));
    assert_eq!((&outcome["kind"], &outcome["already_complete"]), (&json!("finished"), &json!(false)));
    let history = job.history();
    let last = as_json(history.last().expect("the end"));
    assert_eq!((&last["event"], &last["outcome"]), (&json!("ended"), &outcome));
}
