//! Calls of the store that fail, one or many.

use std::sync::Arc;
use std::time::Duration;

use millstream::prelude::*;
use millstream::testing::{FaultyStore, Gate, StoreCall, StoreFault};
use millstream::{AbortReason, CheckpointError, JobEventKind};

use crate::crash_common::{job, published};
use crate::listener::events_of;
use crate::run::{ENDLESS, Trap, block_on, finish, start, start_with};

fn faulty_store() -> FaultyStore {
    FaultyStore::new(Arc::new(MemoryStore::new()))
}

/// Runs the job with a panic on the way.
fn run_with_a_panic(what: &str, store: &FaultyStore) {
    let out = tempfile::tempdir().unwrap();
    let outcome = block_on(what, async {
        let trap = Trap::default();
        let job = start_with(ENDLESS.environment(), ENDLESS, store.clone(), &trap, job::files(out.path())).unwrap();
        let mut events = events_of(&job);
        events.checkpoints(2).await;
        trap.set();
        events.until(|kind| matches!(kind, JobEventKind::Restored { .. })).await;
        events.checkpoints(2).await;
        job.finish().await.unwrap_or_else(|error| panic!("{what}: {error}"))
    });
    assert_eq!(outcome.kind, OutcomeKind::Finished, "{what}");
    published::assert_ended(out.path(), ENDLESS);
}

#[test]
fn any_call_that_fails_once_changes_nothing_in_the_output() {
    use StoreCall::*;
    for (call, most) in [(ReserveIds, 1), (PutChunks, 4), (Finalise, 4), (Discard, 1), (ReadChunk, 3), (Reopen, 2)] {
        for nth in 1..=most {
            for fault in [StoreFault::Fail, StoreFault::FailAfter, StoreFault::Torn] {
                let what = format!("call {nth} of {call:?} meets {fault:?}");
                let store = faulty_store();
                if matches!(call, Discard | Reopen) {
                    store.inject(PutChunks, 2, StoreFault::Fail);
                }
                // It is opened again until it opens.
                for earlier in if call == Reopen { 1..nth } else { 1..1 } {
                    store.inject(call, earlier, fault.clone());
                }
                store.inject(call, nth, fault);
                run_with_a_panic(&what, &store);
                assert!(store.calls(call) >= nth, "{what}: it was not called");
            }
        }
    }
}

#[test]
fn checkpoints_resume_once_a_full_disk_has_space_again() {
    let store = faulty_store();
    let out = tempfile::tempdir().unwrap();
    let outcome = block_on("a full disk", async {
        let job = start(ENDLESS, store.clone(), job::files(out.path())).unwrap();
        let mut events = events_of(&job);
        events.checkpoints(2).await;
        store.inject_next(StoreCall::PutChunks, StoreFault::DiskFull);
        for _ in 0..3 {
            let aborted = events.until(|kind| matches!(kind, JobEventKind::CheckpointAborted { .. })).await;
            let full = matches!(&aborted, JobEventKind::CheckpointAborted { reason: AbortReason::Store(_), .. });
            assert!(full, "{aborted:?}");
        }
        let refused = job.checkpoint().await;
        assert!(matches!(&refused, Err(CheckpointError::Aborted(AbortReason::Store(_)))), "{refused:?}");
        let status = job.status();
        let reason = status.last_failed_checkpoint.expect("some have failed");
        assert!(
            status.failed_checkpoints >= 4 && reason.contains("aborted: "),
            "{}: {reason}",
            status.failed_checkpoints
        );
        store.free_space();
        job.checkpoint().await.unwrap();
        job.finish().await.unwrap()
    });
    assert_eq!((outcome.kind, outcome.restarts), (OutcomeKind::Finished, 0));
    published::assert_ended(out.path(), ENDLESS);
}

/// No checkpoint has an id then, so none is aborted.
#[test]
fn checkpoint_without_ids_is_told_and_counted_as_failed() {
    let store = faulty_store();
    let out = tempfile::tempdir().unwrap();
    block_on("ids that cannot be reserved", async {
        store.inject(StoreCall::ReserveIds, 1, StoreFault::Fail);
        let job = start(ENDLESS, store.clone(), job::files(out.path())).unwrap();
        events_of(&job).checkpoints(1).await;
        let told = |event: &millstream::JobEvent| matches!(event.kind, JobEventKind::CheckpointNotTriggered { .. });
        assert_eq!(job.history().iter().filter(|event| told(event)).count(), 1);
        let status = job.status();
        assert_eq!(status.failed_checkpoints, 1);
        assert!(status.last_failed_checkpoint.expect("one has failed").starts_with("no checkpoint could be triggered"));
        job.cancel().await.unwrap();
    });
}

#[test]
fn failing_checkpoints_fail_the_job_past_the_tolerance_and_the_next_start_continues() {
    let store = faulty_store();
    let out = tempfile::tempdir().unwrap();
    let error = block_on("a job past its tolerance", async {
        let checkpointing = Checkpointing::every(Duration::from_millis(4)).tolerate_failures(2);
        let env = ENDLESS.environment().checkpointing(checkpointing);
        let job = start_with(env, ENDLESS, store.clone(), &Trap::default(), job::files(out.path())).unwrap();
        events_of(&job).checkpoints(2).await;
        store.inject_next(StoreCall::PutChunks, StoreFault::DiskFull);
        job.await.unwrap_err()
    });
    let named = matches!(&error, JobError::CheckpointFailures { failures: 3, last: AbortReason::Store(_), .. });
    assert!(named, "{error}");
    published::assert_prefix(&published::records(&published::files(out.path())), ENDLESS);

    store.free_space();
    finish(store, out.path());
}

#[test]
fn panic_during_a_held_commit_is_answered_before_the_commit_is() {
    for fault in [StoreCall::Finalise, StoreCall::PutChunks] {
        let store = faulty_store();
        let out = tempfile::tempdir().unwrap();
        let trap = Trap::default();
        let gate = Gate::new();
        let outcome = block_on("a held commit", async {
            let env = ENDLESS.environment();
            let job = start_with(env, ENDLESS, store.clone(), &trap, job::files(out.path())).unwrap();
            let mut events = events_of(&job);
            events.checkpoints(2).await;
            store.inject_next(fault, StoreFault::Hold(gate.clone()));
            let arrival = gate.clone();
            actix_rt::task::spawn_blocking(move || arrival.wait_for_arrival()).await.unwrap();
            trap.set();
            events.until(|kind| matches!(kind, JobEventKind::SubtaskFailed { .. })).await;
            events.until(|kind| matches!(kind, JobEventKind::RegionRestarting { .. })).await;
            // What to restore is known only once the commit has an outcome.
            gate.open();
            events.until(|kind| matches!(kind, JobEventKind::Restored { .. })).await;
            events.checkpoints(1).await;
            job.finish().await.unwrap()
        });
        assert_eq!((outcome.kind, outcome.restarts), (OutcomeKind::Finished, 1));
        published::assert_ended(out.path(), ENDLESS);
    }
}

#[test]
fn slow_commits_delay_checkpoints_and_nothing_else() {
    let store = faulty_store();
    for nth in 1..=4 {
        store.inject(StoreCall::Finalise, nth, StoreFault::Slow(Duration::from_millis(120)));
    }
    run_with_a_panic("slow commits", &store);
}

#[test]
fn cancel_during_a_held_commit_ends_the_job_once_the_commit_returns() {
    let store = faulty_store();
    let out = tempfile::tempdir().unwrap();
    let gate = Gate::new();
    store.inject(StoreCall::Finalise, 3, StoreFault::Hold(gate.clone()));
    let outcome = block_on("a cancel during a commit", async {
        let job = start(ENDLESS, store.clone(), job::files(out.path())).unwrap();
        let arrival = gate.clone();
        actix_rt::task::spawn_blocking(move || arrival.wait_for_arrival()).await.unwrap();
        let cancelled = job.cancel();
        gate.open();
        cancelled.await.unwrap()
    });
    assert_eq!(outcome.kind, OutcomeKind::Cancelled);
    finish(store, out.path());
}

#[test]
fn store_that_never_opens_again_ends_the_job_with_its_name() {
    let store = faulty_store();
    let out = tempfile::tempdir().unwrap();
    let error = block_on("a lost store", async {
        let job = start(ENDLESS, store.clone(), job::files(out.path())).unwrap();
        events_of(&job).checkpoints(2).await;
        for nth in 1..100 {
            store.inject(StoreCall::Reopen, nth, StoreFault::Fail);
        }
        store.inject_next(StoreCall::Finalise, StoreFault::Fail);
        job.await.unwrap_err()
    });
    assert!(matches!(&error, JobError::StoreLost { store , .. } if store.contains("memory")), "{error}");
    finish(store, out.path());
}
