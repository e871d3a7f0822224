//! Checkpoints that waiting requests trigger, and share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use millstream::prelude::*;
use millstream::{JobEventKind, TriggerReason};

use crate::common::{run, watched};
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
