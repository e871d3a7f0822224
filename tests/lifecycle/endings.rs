//! How a paused job ends, and what its next start finds.

use std::sync::{Arc, Mutex, mpsc};

use millstream::prelude::*;
use millstream::source::{IngestOptions, SequenceSource};
use millstream::testing::{FaultyStore, Gate, StoreCall, StoreFault};
use millstream::{JobEventKind, PauseError};

use crate::common::{QueueSource, events_of, run, watched};
use crate::{Seen, counting};

/// L3: after `drain`, `cancel` and `stop_with_savepoint` the next start on the store is paused; from the savepoint, on another
/// store, it is not.
#[test]
fn job_that_ends_paused_starts_paused() {
    let dir = tempfile::tempdir().unwrap();
    let savepoint = dir.path().join("savepoint");
    for how in ["drain", "cancel", "stop_with_savepoint"] {
        let savepoint = savepoint.clone();
        run("a job that ends paused", move |handles| async move {
            let (store, numbers, seen) = (MemoryStore::new(), QueueSource::default(), Seen::default());
            let job = counting("ends", &numbers, &seen).snapshot_store(store.clone()).start().unwrap();
            watched(&handles, &job);
            job.pause().await.unwrap();
            let since = job.status().paused_since_unix_ms;
            let outcome = match how {
                "drain" => job.drain().await.unwrap(),
                "cancel" => job.cancel().await.unwrap(),
                _ => job.stop_with_savepoint(&savepoint).await.unwrap().0,
            };
            let expected = if how == "cancel" { OutcomeKind::Cancelled } else { OutcomeKind::Drained };
            assert_eq!(outcome.kind, expected);
            assert_eq!(job.status().paused_since_unix_ms, since);

            let job = counting("ends", &numbers, &seen).snapshot_store(store).start().unwrap();
            watched(&handles, &job);
            assert_eq!(job.status().paused_since_unix_ms, since);
            numbers.push(0..5);
            assert_eq!(seen.after_a_checkpoint(&job).await, 0);
            job.resume().await.unwrap();
            seen.until(5, &job).await;
            job.cancel().await.unwrap();

            if how == "stop_with_savepoint" {
                let job = counting("fork", &numbers, &seen).restore_from(&savepoint).start().unwrap();
                watched(&handles, &job);
                assert_eq!(job.status().paused_since_unix_ms, None);
                job.cancel().await.unwrap();
            }
        });
    }
}

/// L3: `finish` reads what is to be read before the end, pause or not, and the job is complete.
#[test]
fn paused_job_that_is_told_to_finish_reads_what_was_acknowledged_and_is_complete() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    run("a paused job that finishes", move |handles| async move {
        let (store, sink) = (MemoryStore::new(), CollectSink::new());
        let collected = sink.handle();
        let (source, senders) = IngestSource::<u64>::open(log, IngestOptions::new()).unwrap();
        let env = StreamEnvironment::new("finishes").snapshot_store(store.clone());
        env.source("records", source).sink("out", sink);
        let job = env.start().unwrap();
        watched(&handles, &job);
        job.pause().await.unwrap();
        for record in 0..10 {
            senders.send(record).await.unwrap();
        }
        let outcome = job.finish().await.unwrap();
        assert_eq!((outcome.kind, job.status().paused_since_unix_ms), (OutcomeKind::Finished, None));
        assert_eq!(crate::common::sorted(collected.snapshot()), (0..10).collect::<Vec<_>>());

        let env = StreamEnvironment::new("finishes").snapshot_store(store);
        env.source("records", VecSource::<u64>::new(Vec::new())).sink("out", CollectSink::new());
        let job = env.start().unwrap();
        assert_eq!(job.status().paused_since_unix_ms, None, "there is nothing to resume");
        assert!(job.await.unwrap().already_complete);
    });
}

/// L3: a bounded source that has ended stays so, beside one that is paused.
#[test]
fn source_that_has_ended_stays_ended_through_a_pause() {
    run("a job with a source that has ended", |handles| async move {
        let (numbers, sink) = (QueueSource::default(), CollectSink::new());
        let collected = sink.handle();
        let env = StreamEnvironment::new("partly");
        let few = env.source("few", SequenceSource::new(0..10));
        let rest = env.source("rest", numbers.clone());
        few.union(rest).sink("out", sink);
        let job = env.start().unwrap();
        watched(&handles, &job);
        while collected.snapshot().len() < 10 {
            job.checkpoint().await.unwrap();
        }
        job.pause().await.unwrap();
        numbers.push(10..20);
        job.checkpoint().await.unwrap();
        job.resume().await.unwrap();
        while collected.snapshot().len() < 20 {
            job.checkpoint().await.unwrap();
        }
        assert_eq!(job.finish().await.unwrap().kind, OutcomeKind::Finished);
        assert_eq!(crate::common::sorted(collected.snapshot()), (0..20).collect::<Vec<_>>());
    });
}

/// L3: of a job that is about to end, or has ended.
#[test]
fn job_that_ends_or_has_ended_refuses_to_be_paused() {
    run("a job that is about to end", |handles| async move {
        let (numbers, seen, gate) = (QueueSource::default(), Seen::default(), Gate::new());
        let store = FaultyStore::new(std::sync::Arc::new(MemoryStore::new()));
        let job = counting("about to end", &numbers, &seen).snapshot_store(store.clone()).start().unwrap();
        watched(&handles, &job);
        seen.after_a_checkpoint(&job).await;
        store.inject_next(StoreCall::Finalise, StoreFault::Hold(gate.clone()));
        let drained = job.drain();
        for order in [PauseOrder::Pause, PauseOrder::Resume] {
            let refused = order.give(&job).await;
            assert!(matches!(refused, Err(PauseError::Ending)), "{refused:?}");
        }
        gate.open();
        drained.await.unwrap();
        assert!(matches!(job.pause().await, Err(PauseError::Ended)));
        assert!(matches!(job.resume().await, Err(PauseError::Ended)));
    });
    run("a job that fails", |_| async move {
        let env = StreamEnvironment::new("fails").restart_strategy(RestartStrategy::none()).tell_panic_hook(false);
        env.source("numbers", SequenceSource::new(0..10)).for_each("fail", |_| panic!("injected"));
        let job = env.start().unwrap();
        job.clone().await.unwrap_err();
        assert!(matches!(job.pause().await, Err(PauseError::JobFailed(_))));
    });
}

#[derive(Clone, Copy)]
enum PauseOrder {
    Pause,
    Resume,
}

impl PauseOrder {
    async fn give(self, job: &JobHandle) -> Result<(), PauseError> {
        match self {
            Self::Pause => job.pause().await,
            Self::Resume => job.resume().await,
        }
    }
}

/// L3: a pause that is being made durable when the job is told to finish, or to drain, is refused, or there at the next start.
#[test]
fn pause_that_is_on_its_way_when_the_job_is_told_to_end_leaves_one_or_the_other() {
    for finishes in [false, true] {
        run("a job that is paused and ended at once", move |handles| async move {
            let (numbers, seen, gate) = (QueueSource::default(), Seen::default(), Gate::new());
            let (memory, held) = (MemoryStore::new(), gate.clone());
            let store = FaultyStore::new(std::sync::Arc::new(memory.clone()));
            let job = counting("at once", &numbers, &seen).snapshot_store(store.clone()).start().unwrap();
            watched(&handles, &job);
            seen.after_a_checkpoint(&job).await;
            store.inject_next(StoreCall::KeepPause, StoreFault::Hold(gate));
            let paused = job.pause();
            let (finished, drained) = (finishes.then(|| job.finish()), (!finishes).then(|| job.drain()));
            held.open();
            let outcome = match (finished, drained) {
                (Some(finished), _) => finished.await.unwrap(),
                (_, Some(drained)) => drained.await.unwrap(),
                _ => unreachable!("it is one or the other"),
            };
            let answer = paused.await;
            let next = counting("at once", &numbers, &seen).snapshot_store(memory).start().unwrap();
            watched(&handles, &next);
            if finishes {
                assert_eq!(outcome.kind, OutcomeKind::Finished);
                assert!(matches!(answer, Err(PauseError::Ending | PauseError::Ended)), "{answer:?}");
                assert_eq!(next.status().paused_since_unix_ms, None);
            } else {
                assert!(answer.is_ok(), "{answer:?}");
                assert!(next.status().paused_since_unix_ms.is_some());
            }
            next.cancel().await.unwrap();
        });
    }
}

/// L3: events tell of the end of a pause only if they have told of the pause. A source that is busy has not heard of it.
#[test]
fn job_that_finishes_while_its_sources_are_told_of_a_pause_tells_of_both_or_of_neither() {
    for rounds_between in [0, 1, 100, 10_000] {
        run("a job that finishes while it is paused", move |handles| async move {
            let (release, held) = mpsc::channel::<()>();
            let (holds, in_hand) = mpsc::channel();
            let held = Arc::new(Mutex::new(held));
            let env = StreamEnvironment::new("told").parallelism(1);
            env.source("numbers", SequenceSource::new(0..1)).for_each("held", move |_| {
                holds.send(()).unwrap();
                let _ = held.lock().unwrap().recv();
            });
            let job = env.start().unwrap();
            watched(&handles, &job);
            let mut events = events_of(&job);
            while in_hand.try_recv().is_err() {
                tokio::task::yield_now().await;
            }
            let paused = job.pause();
            for _ in 0..rounds_between {
                tokio::task::yield_now().await;
            }
            let finished = job.finish();
            drop(release);
            finished.await.unwrap();
            // Either is an answer.
            let _ = paused.await;
            let mut is_paused = false;
            loop {
                let before = is_paused;
                match events.next().await {
                    JobEventKind::Paused { .. } => is_paused = true,
                    JobEventKind::Resumed { .. } => is_paused = false,
                    JobEventKind::Ended { .. } => break,
                    _ => continue,
                }
                assert_ne!(is_paused, before, "after {rounds_between} rounds");
            }
            assert!(!is_paused);
        });
    }
}

/// L3: a stop whose savepoint cannot be written leaves a paused job paused.
#[test]
fn stop_with_a_savepoint_that_fails_leaves_the_job_paused() {
    run("a job whose savepoint cannot be written", |handles| async move {
        let (numbers, seen) = (QueueSource::default(), Seen::default());
        let job = counting("stays", &numbers, &seen).start().unwrap();
        watched(&handles, &job);
        job.pause().await.unwrap();
        job.stop_with_savepoint("/nowhere/at/all").await.unwrap_err();
        numbers.push(0..5);
        assert_eq!(seen.after_a_checkpoint(&job).await, 0);
        job.resume().await.unwrap();
        seen.until(5, &job).await;
        job.cancel().await.unwrap();
    });
}
