//! What becomes of those who wait when their job ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use millstream::prelude::*;
use millstream::source::{IngestError, IngestOptions, OffsetReset};

use crate::common::{checkpointed, run, watched};
use crate::{Balance, bank, deposit, open, options};

// Guarantee A3.
#[test]
fn request_that_the_job_did_not_come_to_is_answered_after_the_next_start() {
    run("ends", |handles| async move {
        for end in ["drain", "cancel", "fail"] {
            let folder = tempfile::tempdir().unwrap();
            let fails = Arc::new(AtomicBool::new(end == "fail"));
            let (source, requests) = open(folder.path(), options());
            let env = checkpointed("bank", 1, None)
                .restart_strategy(RestartStrategy::none())
                .snapshot_store(RedbStore::open(folder.path().join("store")).unwrap());
            let told = fails.clone();
            bank(&env, (source, &requests), move || assert!(!told.load(Ordering::SeqCst), "told to"));
            if end == "fail" {
                let waits = requests.ask(deposit(3));
                let job = env.start().unwrap();
                watched(&handles, &job);
                let error = waits.await.unwrap_err();
                assert!(matches!(error, AskError::Ended { .. }) && error.is_retryable(), "{error}");
                assert!(job.await.is_err());
            } else {
                let job = env.start().unwrap();
                watched(&handles, &job);
                let ended = if end == "drain" { job.drain().await } else { job.cancel().await };
                ended.unwrap();
                let error = requests.ask(deposit(3)).await.unwrap_err();
                let is_told =
                    matches!(error, AskError::NotTaken(IngestError::Ended { .. } | IngestError::Draining { .. }));
                assert!(is_told && error.is_retryable(), "{error}");
            }
            requests.closed().await;

            let (source, requests) = open(folder.path(), options());
            let env =
                checkpointed("bank", 2, None).snapshot_store(RedbStore::open(folder.path().join("store")).unwrap());
            bank(&env, (source, &requests), || {});
            let job = env.start().unwrap();
            watched(&handles, &job);
            assert_eq!(requests.ask(deposit(3)).await.unwrap(), Balance { deposits: 1, sum: 3 }, "{end}");
            job.drain().await.unwrap();
        }
    });
}

// Guarantee A3. The interval is long, and nobody waits when the answer is written: it comes with the drain.
#[test]
fn drain_gives_the_answers_of_all_that_was_read() {
    run("a drain", |handles| async move {
        let folder = tempfile::tempdir().unwrap();
        let (source, requests) = open(folder.path(), options());
        let env = StreamEnvironment::new("bank")
            .parallelism(2)
            .snapshot_store(MemoryStore::new())
            .checkpointing(Checkpointing::every(Duration::from_secs(3600)).min_pause(Duration::from_secs(3600)));
        let read = Arc::new(AtomicU64::new(0));
        let count = read.clone();
        bank(&env, (source, &requests), move || {
            count.fetch_add(1, Ordering::SeqCst);
        });
        let job = env.start().unwrap();
        watched(&handles, &job);
        requests.ask(deposit(1)).await.unwrap();
        // Within the pause after that checkpoint no other is taken for them.
        let asks: Vec<_> = (2..30).map(|n| actix_rt::spawn(requests.ask(deposit(n)))).collect();
        while read.load(Ordering::SeqCst) < 29 {
            actix_rt::task::yield_now().await;
        }
        assert_eq!(job.status().checkpoints, 1);
        job.drain().await.unwrap();
        for ask in asks {
            ask.await.unwrap().unwrap();
        }
    });
}

// Guarantees A3, A4. Such a start reads nothing, so nothing of the request is processed.
#[test]
fn request_to_a_job_that_had_finished_is_not_said_to_be_processed() {
    run("a finished store", |handles| async move {
        let folder = tempfile::tempdir().unwrap();
        for life in 0..2 {
            let (source, requests) = open(folder.path(), options());
            let env =
                checkpointed("bank", 1, None).snapshot_store(RedbStore::open(folder.path().join("store")).unwrap());
            bank(&env, (source, &requests), || {});
            let ask = actix_rt::spawn(requests.ask(deposit(5 + life)));
            while requests.status().waiting == 0 {
                actix_rt::task::yield_now().await;
            }
            let job = env.start().unwrap();
            watched(&handles, &job);
            if life == 0 {
                assert_eq!(ask.await.unwrap().unwrap(), Balance { deposits: 1, sum: 5 });
                job.finish().await.unwrap();
            } else {
                let outcome = job.await.unwrap();
                assert!(outcome.already_complete);
                let error = ask.await.unwrap().unwrap_err();
                assert!(matches!(error, AskError::Ended { .. }) && error.is_retryable(), "{error}");
            }
            requests.closed().await;
        }
        // The log has it, for a job that reads on.
        let (source, requests) = open(folder.path(), options().log(from_the_first_that_is_there()));
        let env = checkpointed("bank", 1, None).snapshot_store(MemoryStore::new());
        bank(&env, (source, &requests), || {});
        let job = env.start().unwrap();
        watched(&handles, &job);
        assert!(requests.ask(deposit(6)).await.unwrap().sum >= 6);
        job.drain().await.unwrap();
    });
}

fn from_the_first_that_is_there() -> IngestOptions {
    IngestOptions::new().splits(3).offset_reset(OffsetReset::Earliest)
}

// Guarantee A3.
#[test]
fn source_that_is_dropped_ends_those_who_wait() {
    run("a drop", |_| async move {
        let folder = tempfile::tempdir().unwrap();
        let (source, requests) = open(folder.path(), options());
        let ask = actix_rt::spawn(requests.ask(deposit(1)));
        while requests.status().waiting == 0 {
            actix_rt::task::yield_now().await;
        }
        drop(source);
        assert!(matches!(ask.await.unwrap(), Err(AskError::Ended { .. })));
    });
}
