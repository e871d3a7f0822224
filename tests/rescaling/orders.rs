//! What a rescale is to a job, and to every other order.

use std::collections::BTreeMap;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use millstream::prelude::*;
use millstream::testing::{FaultyStore, Gate, StoreCall, StoreFault};
use millstream::{CheckpointError, JobError, JobEventKind, JobOutcome, JobState, RescaleError, SubtaskFigures};

use crate::common::{QueueSource, events_of, run, watched};
use crate::{NEVER, Seen, counting};

/// How many subtasks there are of each task.
fn widths(job: &JobHandle) -> BTreeMap<Arc<str>, usize> {
    let mut widths = BTreeMap::new();
    for SubtaskFigures { task, .. } in job.figures() {
        *widths.entry(task).or_default() += 1;
    }
    widths
}

/// L6: status, events, figures; a handle, events and counts that go on; no failure, and nothing that is done twice.
#[test]
fn rescaled_job_is_the_same_job_with_other_tasks() {
    run("a job that is rescaled", |handles| async move {
        let (numbers, seen) = (QueueSource::default(), Seen::default());
        // No restart is allowed, so none is used.
        let env = counting("same", &numbers, &seen).restart_strategy(RestartStrategy::none());
        let job = env.start().unwrap();
        watched(&handles, &job);
        let mut events = events_of(&job);
        numbers.push(0..10);
        seen.until(10, &job).await;
        assert_eq!(job.status().parallelism, 1);
        let mut pushed = 10;
        for (from, to) in [(1, 3), (3, 2), (2, 1), (1, 16)] {
            numbers.push(pushed..pushed + 10);
            pushed += 10;
            let done = job.rescale(to).await.unwrap();
            assert_eq!((done.from, done.to), (from, to));
            let status = job.status();
            assert_eq!((status.state, status.parallelism, status.restarts), (JobState::Running, to, 0));
            assert_eq!(
                status.restore.map(|restore| (restore.checkpoint, restore.rewinds)),
                done.checkpoint.map(|id| (id, Some(0)))
            );
            seen.until(pushed, &job).await;
            assert_eq!(seen.now(), pushed, "nothing is read again");
            let widths = widths(&job);
            let expected = if to == 1 { vec![1, 1] } else { vec![to as usize, 1, to as usize] };
            assert_eq!(widths.values().copied().collect::<Vec<_>>(), expected, "{widths:?}");
            let told = events.until(|kind| matches!(kind, JobEventKind::Rescaling { .. })).await;
            assert!(matches!(told, JobEventKind::Rescaling { from: f, to: t, .. } if (f, t) == (from, to)), "{told}");
            let told = events.until(|kind| matches!(kind, JobEventKind::Rescaled { .. })).await;
            assert!(told.to_string().starts_with(&format!("rescaled from parallelism {from} to {to} at ")), "{told}");
        }
        assert_eq!(job.drain().await.unwrap().restarts, 0);
    });
}

/// L6: operators with a parallelism of their own keep it; where that is all of them, or it is the job's, nothing is done.
#[test]
fn operators_keep_a_parallelism_of_their_own_and_what_makes_no_difference_is_not_done() {
    run("jobs that are rescaled to what they are", |handles| async move {
        let (numbers, seen) = (QueueSource::default(), Seen::default());
        let job = counting("some", &numbers, &seen).start().unwrap();
        watched(&handles, &job);
        let first = job.checkpoint().await.unwrap();
        let same = job.rescale(1).await.unwrap();
        assert_eq!((same.from, same.to, same.checkpoint), (1, 1, None));
        let env = StreamEnvironment::new("own");
        env.source("numbers", numbers.clone()).parallelism(1).for_each("see", |_| {}).parallelism(2);
        let own = env.start().unwrap();
        watched(&handles, &own);
        own.checkpoint().await.unwrap();
        assert_eq!(own.rescale(3).await.unwrap().checkpoint, None);
        assert_eq!(widths(&own).values().copied().collect::<Vec<_>>(), [1, 2]);
        // As many tasks with as many subtasks each, and not of the same operators.
        let (env, counted) = (StreamEnvironment::new("between"), seen.clone());
        env.source("numbers", SequenceSource::unbounded().rate_per_second(1_000))
            .parallelism(1)
            .map(|n| n)
            .map(|n| n + 1)
            .parallelism(2)
            .for_each("see", move |_| counted.count())
            .parallelism(2);
        let between = env.start().unwrap();
        watched(&handles, &between);
        between.checkpoint().await.unwrap();
        let before = widths(&between);
        assert!(between.rescale(2).await.unwrap().checkpoint.is_some());
        assert_eq!(widths(&between).values().collect::<Vec<_>>(), before.values().collect::<Vec<_>>());
        between.cancel().await.unwrap();
        for job in [job, own] {
            let attempts = job.status().attempts;
            assert!(attempts.values().all(|attempt| attempt.0 == 1), "{attempts:?}");
            assert!(job.status().newest_checkpoint <= Some(first));
            job.cancel().await.unwrap();
        }
    });
}

/// L9: what cannot be is refused, and changes nothing.
#[test]
fn impossible_parallelisms_are_refused() {
    run("a job", |handles| async move {
        let (numbers, seen) = (QueueSource::default(), Seen::default());
        let job = counting("refuses", &numbers, &seen).max_parallelism(5).start().unwrap();
        watched(&handles, &job);
        let refused = job.rescale(0).await.unwrap_err();
        assert!(matches!(refused, RescaleError::Zero) && !refused.is_retryable(), "{refused}");
        let refused = job.rescale(6).await.unwrap_err();
        assert!(matches!(refused, RescaleError::AboveMax { parallelism: 6, max: 5, .. }), "{refused}");
        assert_eq!(job.rescale(5).await.unwrap().to, 5);
        job.cancel().await.unwrap();
        assert!(matches!(job.rescale(2).await, Err(RescaleError::Ended)));
        let env = StreamEnvironment::new("fails").restart_strategy(RestartStrategy::none()).tell_panic_hook(false);
        env.source("numbers", SequenceSource::new(0..10)).for_each("see", |_| panic!("injected"));
        let failed = env.start().unwrap();
        assert!(failed.clone().await.is_err());
        assert!(matches!(failed.rescale(2).await, Err(RescaleError::JobFailed(_))));
    });
}

/// L6: orders are carried out in turn, with checkpoints and savepoints in between, of which none is cut off.
#[test]
fn orders_follow_one_another_and_checkpoints_and_savepoints_are_taken_between_them() {
    let dir = tempfile::tempdir().unwrap();
    let savepoint = dir.path().join("savepoint");
    run("a job with many orders", move |handles| async move {
        let (numbers, seen) = (QueueSource::default(), Seen::default());
        let job = counting("turns", &numbers, &seen).start().unwrap();
        watched(&handles, &job);
        numbers.push(0..100);
        for round in 0..5 {
            let rescales = [3, 1, 2].map(|to| job.rescale(to));
            let checkpoints = [job.checkpoint(), job.checkpoint()];
            let file = savepoint.with_extension(round.to_string());
            let written = job.savepoint(&file);
            let (paused, resumed) = (job.pause(), job.resume());
            let last = job.rescale(4);
            for (rescale, to) in rescales.into_iter().zip([3, 1, 2]) {
                assert_eq!(rescale.await.unwrap().to, to);
            }
            for checkpoint in checkpoints {
                checkpoint.await.unwrap();
            }
            assert_eq!(written.await.unwrap().path, file);
            paused.await.unwrap();
            resumed.await.unwrap();
            assert_eq!(last.await.unwrap().to, 4);
        }
        seen.until(100, &job).await;
        job.drain().await.unwrap();
        // A savepoint is of whichever parallelism, and starts at any.
        let env = counting("turns", &numbers, &seen).restore_from(savepoint.with_extension("3"));
        let job = env.start().unwrap();
        watched(&handles, &job);
        numbers.push(100..110);
        seen.until(110, &job).await;
        job.cancel().await.unwrap();
    });
}

/// L6, L1: a paused job is rescaled and stays paused; one that is paused while it is rescaled is so afterwards.
#[test]
fn pause_outlives_a_rescale_and_the_other_way_round() {
    run("a job that is paused", |handles| async move {
        let (numbers, seen) = (QueueSource::default(), Seen::default());
        let job = counting("paused", &numbers, &seen).start().unwrap();
        watched(&handles, &job);
        job.pause().await.unwrap();
        let since = job.status().paused_since_unix_ms;
        numbers.push(0..10);
        job.rescale(3).await.unwrap();
        assert_eq!(seen.after_a_checkpoint(&job).await, 0);
        assert_eq!(job.status().paused_since_unix_ms, since);
        let (rescaled, resumed) = (job.rescale(2), job.resume());
        resumed.await.unwrap();
        rescaled.await.unwrap();
        seen.until(10, &job).await;
        let (rescaled, paused) = (job.rescale(1), job.pause());
        paused.await.unwrap();
        rescaled.await.unwrap();
        numbers.push(10..20);
        assert_eq!(seen.after_a_checkpoint(&job).await, 10);
        job.resume().await.unwrap();
        seen.until(20, &job).await;
        job.cancel().await.unwrap();
    });
}

/// How a job is told to end.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Drain,
    Savepoint,
    Finish,
    Cancel,
}

const ENDS: [End; 4] = [End::Drain, End::Savepoint, End::Finish, End::Cancel];

/// Orders the end at once.
fn end(job: &JobHandle, how: End, savepoint: &Path) -> Pin<Box<dyn Future<Output = OutcomeKind>>> {
    let ended: Pin<Box<dyn Future<Output = Result<JobOutcome, JobError>> + Send>> = match how {
        End::Drain => Box::pin(job.drain()),
        End::Finish => Box::pin(job.finish()),
        End::Cancel => Box::pin(job.cancel()),
        End::Savepoint => {
            let stopped = job.stop_with_savepoint(savepoint);
            Box::pin(async { Ok(stopped.await.unwrap().0) })
        }
    };
    Box::pin(async { ended.await.unwrap().kind })
}

fn expected(how: End) -> OutcomeKind {
    match how {
        End::Drain | End::Savepoint => OutcomeKind::Drained,
        End::Finish => OutcomeKind::Finished,
        End::Cancel => OutcomeKind::Cancelled,
    }
}

/// L9: an end that comes before the checkpoint is complete refuses the rescale; the job ends as it would have.
#[test]
fn end_that_comes_before_the_checkpoint_is_complete_refuses_the_rescale() {
    let dir = tempfile::tempdir().unwrap();
    // A savepoint stops the job only once its file is prepared, by the writer that is held here.
    for how in [End::Drain, End::Finish, End::Cancel] {
        let savepoint = dir.path().join(format!("{how:?}"));
        run(&format!("{how:?} before the checkpoint"), move |handles| async move {
            let (numbers, seen) = (QueueSource::default(), Seen::default());
            let (store, gate) = (FaultyStore::new(Arc::new(MemoryStore::new())), Gate::new());
            let job = counting("ends", &numbers, &seen).snapshot_store(store.clone()).start().unwrap();
            watched(&handles, &job);
            numbers.push(0..10);
            seen.until(10, &job).await;
            store.inject_next(StoreCall::Finalise, StoreFault::Hold(gate.clone()));
            let (rescaled, second) = (job.rescale(3), job.rescale(2));
            gate.wait_for_arrival();
            numbers.push(10..20);
            let ended = end(&job, how, &savepoint);
            let refused = if how == End::Cancel {
                // Its regions wait for nobody, but the store does not close before.
                gate.open();
                rescaled.await.unwrap_err()
            } else {
                let refused = rescaled.await.unwrap_err();
                gate.open();
                refused
            };
            assert!(matches!(refused, RescaleError::Ending | RescaleError::Ended), "{refused}");
            assert!(matches!(second.await, Err(RescaleError::Ending | RescaleError::Ended)));
            assert_eq!(ended.await, expected(how));
            assert_eq!(job.status().parallelism, 1);
            assert!(matches!(job.rescale(2).await, Err(RescaleError::Ended)));
            let env = counting("ends", &numbers, &seen).snapshot_store(store);
            let job = env.start().unwrap();
            watched(&handles, &job);
            if how != End::Finish {
                seen.until(20, &job).await;
            }
            job.cancel().await.unwrap();
        });
    }
}

/// L9: one that comes while the tasks start anew ends the job with these.
#[test]
fn end_that_comes_while_the_new_tasks_start_is_theirs() {
    let dir = tempfile::tempdir().unwrap();
    for how in ENDS {
        let savepoint = dir.path().join(format!("{how:?}"));
        run(&format!("{how:?} at the start"), move |handles| async move {
            let (numbers, seen) = (QueueSource::default(), Seen::default());
            let (store, gate) = (FaultyStore::new(Arc::new(MemoryStore::new())), Gate::new());
            let job = counting("starts", &numbers, &seen).snapshot_store(store.clone()).start().unwrap();
            watched(&handles, &job);
            numbers.push(0..10);
            seen.until(10, &job).await;
            store.inject_next(StoreCall::ReadChunk, StoreFault::Hold(gate.clone()));
            let rescaled = job.rescale(3);
            gate.wait_for_arrival();
            assert_eq!((job.status().state, job.status().parallelism), (JobState::Restarting, 3));
            let ended = end(&job, how, &savepoint);
            crate::turns(20).await;
            let refused = job.rescale(2);
            gate.open();
            assert_eq!(ended.await, expected(how));
            assert!(matches!(refused.await, Err(RescaleError::Ending | RescaleError::Ended)));
            match rescaled.await {
                Ok(done) => assert_eq!(done.to, 3),
                Err(error) => assert!(how == End::Cancel && matches!(error, RescaleError::Ended), "{error}"),
            }
        });
    }
}

/// L9: while a region waits for its restart there is no checkpoint, and so no rescale; that changes nothing about the delay.
#[test]
fn job_that_waits_for_a_restart_is_not_rescaled() {
    run("a job that waits", |handles| async move {
        let clock = millstream::time::ManualClock::new();
        let env = StreamEnvironment::new("waits")
            .clock(clock.clone())
            .tell_panic_hook(false)
            .checkpointing(Checkpointing::every(NEVER).timeout(NEVER))
            .restart_strategy(RestartStrategy::fixed_delay(1, Duration::from_secs(60)));
        let (numbers, fails) = (QueueSource::default(), AtomicBool::new(true));
        let fails = Arc::new(fails);
        let seen = Seen::default();
        let counted = seen.clone();
        env.source("numbers", numbers.clone()).parallelism(1).for_each("see", move |_| {
            assert!(!fails.swap(false, Ordering::SeqCst), "injected");
            counted.count();
        });
        let job = env.start().unwrap();
        watched(&handles, &job);
        let mut events = events_of(&job);
        job.checkpoint().await.unwrap();
        numbers.push([1]);
        events.until(|kind| matches!(kind, JobEventKind::RegionRestarting { .. })).await;
        let refused = job.rescale(3).await.unwrap_err();
        assert!(matches!(&refused, RescaleError::Checkpoint(CheckpointError::Restarting(_))), "{refused}");
        assert!(refused.is_retryable());
        clock.advance(Duration::from_secs(60));
        assert_eq!(job.rescale(3).await.unwrap().to, 3);
        numbers.push([2]);
        seen.until(1, &job).await;
        assert_eq!(job.cancel().await.unwrap().restarts, 1);
    });
}

/// L6: all regions of a job have other tasks, and none others' records.
#[test]
fn every_region_is_rescaled() {
    run("a job with two regions", |handles| async move {
        let (one, other, seen) = (QueueSource::default(), QueueSource::default(), Seen::default());
        let env = counting("regions", &one, &seen);
        let counted = seen.clone();
        env.source("others", other.clone())
            .parallelism(1)
            .key_by(|n| *n)
            .fold("fold", 0, |_, _| {})
            .for_each("see-others", move |_| counted.count());
        let job = env.start().unwrap();
        watched(&handles, &job);
        let mut pushed = 0;
        for to in [2, 4, 1, 3] {
            one.push(0..5);
            other.push(0..5);
            pushed += 10;
            job.rescale(to).await.unwrap();
            seen.until(pushed, &job).await;
            assert_eq!(seen.now(), pushed);
        }
        let attempts = job.status().attempts;
        assert!(attempts.len() == 2 && attempts.values().all(|attempt| attempt.0 == 5), "{attempts:?}");
        job.drain().await.unwrap();
    });
}

/// L6, Q1: queries by a handle that was there before find the state where it is now.
#[test]
fn queries_find_state_at_any_parallelism() {
    run("a job that is asked", |handles| async move {
        let (numbers, seen) = (QueueSource::default(), Seen::default());
        let (env, counted) = (StreamEnvironment::new("asked"), seen.clone());
        env.source("numbers", numbers.clone())
            .parallelism(1)
            .key_by(|n| n % 40)
            .fold("sums", 0u64, |sum, n| *sum += n)
            .for_each("see", move |_| counted.count());
        let job = env.start().unwrap();
        watched(&handles, &job);
        let sums = job.query::<u64, u64>("sums", "accumulator");
        for (round, to) in (1..).zip([4, 2, 1, 3]) {
            numbers.push(0..40);
            seen.until(40 * round, &job).await;
            job.rescale(to).await.unwrap();
            for key in 0..40 {
                assert_eq!(sums.get(&key).await.unwrap().value, Some(key * round));
            }
            let keys: Vec<u64> = (0..41).collect();
            assert_eq!(sums.get_all(&keys).await.unwrap().value.iter().flatten().sum::<u64>(), 780 * round);
        }
        job.cancel().await.unwrap();
    });
}
