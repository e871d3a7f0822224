//! Checkpoints that waiting requests trigger, and share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use millstream::prelude::*;
use millstream::request::{Ask, RequestOptions};
use millstream::source::IngestOptions;
use millstream::{JobEventKind, TriggerReason};

use crate::common::{run, watched};
use crate::other_log::{self, Wish, until};
use crate::{assert_each_once, bank, deposit, open, options};

/// A job whose interval never passes.
fn rare(parallelism: u32) -> StreamEnvironment {
    StreamEnvironment::new("rare")
        .parallelism(parallelism)
        .snapshot_store(MemoryStore::new())
        .checkpointing(Checkpointing::every(Duration::from_secs(24 * 3600)))
}

fn triggered(job: &JobHandle) -> Vec<TriggerReason> {
    let reason = |kind: &JobEventKind| match kind {
        JobEventKind::CheckpointTriggered { reason, .. } => Some(*reason),
        _ => None,
    };
    job.history().iter().filter_map(|event| reason(&event.kind)).collect()
}

// Guarantee A1.
#[test]
fn whoever_waits_has_a_checkpoint_taken_which_all_who_wait_share() {
    run("shared checkpoints", |handles| async move {
        let folder = tempfile::tempdir().unwrap();
        let (source, requests) = open(folder.path(), options());
        let env = rare(2);
        bank(&env, (source, &requests), || {});
        let asks: Vec<_> = (1..=2_000).map(|n| actix_rt::spawn(requests.ask(deposit(n)))).collect();
        while requests.status().waiting < 2_000 {
            actix_rt::task::yield_now().await;
        }
        let job = env.start().unwrap();
        watched(&handles, &job);
        let answers = join_all(asks).await.into_iter().zip(1..);
        let answers: Vec<_> = answers.map(|(answer, n)| (n, answer.unwrap().unwrap())).collect();
        assert_each_once(&answers);
        let taken = job.status().checkpoints;
        assert!((1..1_000).contains(&taken), "{taken} checkpoints for 2,000 answers");
        // Alone, each has one of its own.
        for n in 2_001..2_006 {
            requests.ask(deposit(n)).await.unwrap();
        }
        assert!(job.status().checkpoints >= taken + 5);
        assert!(triggered(&job).iter().all(|reason| *reason == TriggerReason::Awaited));
        job.drain().await.unwrap();
    });
}

// Guarantee A1.
#[test]
fn no_checkpoint_is_taken_for_answers_that_nobody_waits_for() {
    run("nobody waits", |handles| async move {
        let folder = tempfile::tempdir().unwrap();
        let (source, requests) = open(folder.path(), options());
        let (env, seen) = (rare(1), Arc::new(AtomicU64::new(0)));
        let count = seen.clone();
        bank(&env, (source, &requests), move || {
            count.fetch_add(1, Ordering::SeqCst);
        });
        for n in 1..=20 {
            let ask = actix_rt::spawn(requests.ask(deposit(n)));
            while requests.status().waiting == 0 {
                actix_rt::task::yield_now().await;
            }
            ask.abort();
            assert!(ask.await.unwrap_err().is_cancelled());
        }
        let job = env.start().unwrap();
        watched(&handles, &job);
        while seen.load(Ordering::SeqCst) < 20 {
            actix_rt::task::yield_now().await;
        }
        job.checkpoint().await.unwrap();
        assert_eq!(triggered(&job), [TriggerReason::OnDemand]);
        // Somebody comes back.
        for n in 1..=20 {
            requests.ask(deposit(n)).await.unwrap();
        }
        job.drain().await.unwrap();
    });
}

// Guarantee A1. The answer of the first ask lies in the sink when it is given up, and the second must not wait for the interval.
#[test]
fn retry_for_an_answer_that_lies_in_the_sink_has_a_checkpoint_taken() {
    run("an answer that lies in the sink", |handles| async move {
        let folder = tempfile::tempdir().unwrap();
        let (source, requests) = open(folder.path(), options());
        let ask = actix_rt::spawn(requests.ask(deposit(1)));
        while requests.status().waiting == 0 {
            actix_rt::task::yield_now().await;
        }
        ask.abort();
        assert!(ask.await.unwrap_err().is_cancelled());
        let (env, seen) = (rare(1), Arc::new(AtomicU64::new(0)));
        let count = seen.clone();
        bank(&env, (source, &requests), move || {
            count.fetch_add(1, Ordering::SeqCst);
        });
        let job = env.start().unwrap();
        watched(&handles, &job);
        while seen.load(Ordering::SeqCst) == 0 {
            actix_rt::task::yield_now().await;
        }
        assert_eq!(requests.ask(deposit(1)).await.unwrap().sum, 1);
        job.drain().await.unwrap();
    });
}

// Guarantee A1. A retry asks for none while its request is held by the job.
#[test]
fn no_checkpoint_is_taken_for_retries_while_the_sink_has_no_answer() {
    run("retries of a request that is held", |handles| async move {
        let folder = tempfile::tempdir().unwrap();
        let (job, requests) = other_log::start(&folder);
        watched(&handles, &job);
        let hold = || requests.ask(Ask::new(Wish::Hold(1)).idempotency_key("hold"));
        for n in 0..20 {
            let ask = actix_rt::spawn(hold());
            until(|| requests.status().waiting == 1).await;
            ask.abort();
            assert!(ask.await.unwrap_err().is_cancelled(), "ask {n}");
        }
        let held = actix_rt::spawn(hold());
        until(|| requests.status().waiting == 1).await;
        requests.ask(Wish::Release(1)).await.unwrap();
        assert_eq!(held.await.unwrap().unwrap(), "of account 1");
        assert_eq!(triggered(&job), [TriggerReason::Awaited], "one, for what was released");
        job.drain().await.unwrap();
    });
}

// Guarantee A1.
#[test]
fn checkpoint_that_times_out_behind_a_slow_function_is_taken_again_for_those_who_wait() {
    run("a checkpoint that times out", |handles| async move {
        let folder = tempfile::tempdir().unwrap();
        let options = RequestOptions::new().timeout(Duration::from_secs(100)).log(IngestOptions::new().splits(1));
        let (source, requests) = RequestSource::<u64, u64>::open(folder.path().join("log"), options).unwrap();
        let checkpointing = Checkpointing::every(Duration::from_secs(24 * 3600));
        let env = rare(1)
            .checkpointing(checkpointing.min_pause(Duration::from_millis(300)).timeout(Duration::from_millis(200)));
        let (seen, gate) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (told, open) = (seen.clone(), gate.clone());
        let slow = move |request: Request<u64>| {
            told.fetch_max(*request.body(), Ordering::SeqCst);
            while *request.body() == 3 && !open.load(Ordering::SeqCst) {
                std::thread::yield_now();
            }
            request.answer(*request.body())
        };
        env.source("requests", source).map(slow).sink("answers", requests.answers());
        let job = env.start().unwrap();
        watched(&handles, &job);
        assert_eq!(requests.ask(1).await.unwrap(), 1);
        // Its answer comes to the sink within the pause, and the third holds the barrier back.
        let second = actix_rt::spawn(requests.ask(2));
        until(|| seen.load(Ordering::SeqCst) == 2).await;
        let third = actix_rt::spawn(requests.ask(3));
        until(|| aborted(&job) || second.is_finished()).await;
        gate.store(true, Ordering::SeqCst);
        assert_eq!(second.await.unwrap().unwrap(), 2);
        assert_eq!(third.await.unwrap().unwrap(), 3);
        assert_eq!(requests.ask(4).await.unwrap(), 4);
        job.drain().await.unwrap();
    });
}

fn aborted(job: &JobHandle) -> bool {
    job.history().iter().any(|event| matches!(event.kind, JobEventKind::CheckpointAborted { .. }))
}
