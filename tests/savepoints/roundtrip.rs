//! What a savepoint holds is what an undisturbed run would have at that point.

use std::sync::Arc;

use millstream::prelude::*;
use millstream::snapshot::SavepointFile;
use millstream::testing::{FaultyStore, Gate, StoreCall, StoreFault};
use millstream::{CheckpointId, JobEventKind};

use crate::crash_common::{job, published};
use crate::listener::events_of;
use crate::rig::{self, Place, assert_exact, from, gather, on};
use crate::run::{Trap, block_on};

/// S1, S2. Each life is disturbed by panics, also while its savepoint is made, and goes on after it, into an output that
/// counts only up to the savepoint.
#[test]
fn chain_of_savepoints_at_parallelism_1_3_and_2_gives_the_output_of_one_run() {
    let place = Place::new();
    let all = place.at("all");
    for (life, parallelism) in [(0, 1), (1, 3)] {
        let (store, out) = (format!("store-{life}"), place.at(&format!("out-{life}")));
        let env = match life {
            0 => on(&place, &store, parallelism),
            _ => from(&place, &store, parallelism, &format!("savepoint-{life}")),
        };
        let written = block_on("a life that ends after its savepoint", async {
            let trap = Trap::default();
            let job = rig::start(env, &trap, &out).unwrap();
            let mut events = events_of(&job);
            events.checkpoints(2).await;
            trap.set();
            let written = job.savepoint(place.at(&format!("savepoint-{}", life + 1)));
            events.until(|kind| matches!(kind, JobEventKind::Restored { .. })).await;
            let written = written.await.unwrap();
            trap.set();
            events.checkpoints(3).await;
            job.cancel().await.unwrap();
            written
        });
        gather(&all, &out, written.checkpoint);
    }
    let out = place.at("out-2");
    block_on("the last life", async {
        let job = rig::start(from(&place, "store-2", 2, "savepoint-2"), &Trap::default(), &out).unwrap();
        rig::finish(job).await;
    });
    gather(&all, &out, CheckpointId(u64::MAX));
    assert_exact(&all);
}

/// S3. Once on a fresh store, once on its own.
#[test]
fn job_stopped_with_a_savepoint_goes_on_from_it_exactly() {
    for store in ["fresh", "first"] {
        let place = Place::new();
        let out = place.at("out");
        block_on("a job that stops with a savepoint", async {
            let job = rig::start(on(&place, "first", 2), &Trap::default(), &out).unwrap();
            events_of(&job).checkpoints(2).await;
            let (outcome, written) = job.stop_with_savepoint(place.at("savepoint")).await.unwrap();
            assert_eq!((outcome.kind, outcome.last_checkpoint), (OutcomeKind::Drained, Some(written.checkpoint)));
            let file = SavepointFile::open(&written.path).unwrap();
            assert_eq!(file.header().checkpoint, written.checkpoint);
            file.verify().unwrap();
        });
        for _ in 0..2 {
            block_on("the same command line again", async {
                let job = rig::start(from(&place, store, 3, "savepoint"), &Trap::default(), &out).unwrap();
                events_of(&job).checkpoints(2).await;
                job.cancel().await.unwrap();
            });
        }
        block_on("the last life", async {
            let job = rig::start(from(&place, store, 1, "savepoint"), &Trap::default(), &out).unwrap();
            rig::finish(job).await;
        });
        assert_exact(&out);
    }
}

/// S1. Pending commits are beside the job's output, and none is in the file.
#[test]
fn savepoint_holds_no_pending_commit() {
    let place = Place::new();
    block_on("a job", async {
        let job = rig::start(on(&place, "store", 2), &Trap::default(), &place.at("out")).unwrap();
        // The first checkpoints may come before the first record.
        while published::files(&place.at("out")).is_empty() {
            job.checkpoint().await.unwrap();
        }
        let written = job.savepoint(place.at("savepoint")).await.unwrap();
        assert!(published::files(&place.at("out")).keys().any(|(checkpoint, ..)| *checkpoint <= written.checkpoint.0));
        job.cancel().await.unwrap();
    });
    let file = SavepointFile::open(place.at("savepoint")).unwrap();
    let operators: Vec<_> = file.header().states.iter().map(|state| state.operator.as_str()).collect();
    assert!(operators.contains(&"figures") && operators.contains(&"left"), "{operators:?}");
    assert!(!operators.contains(&"out"), "{operators:?}");
}

/// S2. A checkpoint is taken for it, though none is otherwise.
#[test]
fn job_without_checkpoints_has_savepoints() {
    let place = Place::new();
    let out = place.at("out");
    block_on("a job without checkpoints", async {
        let env = on(&place, "store", 2).checkpointing(Checkpointing::disabled());
        let trap = Trap::default();
        let job = rig::start(env, &trap, &out).unwrap();
        trap.passed(40).await;
        job.savepoint(place.at("savepoint")).await.unwrap();
        let (outcome, _) = job.stop_with_savepoint(place.at("savepoint-last")).await.unwrap();
        assert_eq!(outcome.checkpoints, 2);
    });
    block_on("from its last one", async {
        let job = rig::start(from(&place, "other", 3, "savepoint-last"), &Trap::default(), &out).unwrap();
        rig::finish(job).await;
    });
    assert_exact(&out);
}

/// S2.
#[test]
fn many_savepoints_at_once_are_all_whole_and_none_replaces_another() {
    let place = Place::new();
    let out = place.at("out");
    block_on("a job", async {
        let job = rig::start(on(&place, "store", 2), &Trap::default(), &out).unwrap();
        events_of(&job).checkpoints(1).await;
        let names = ["a", "b", "c", "d", "same", "same"];
        let asked: Vec<_> = names.iter().map(|name| job.savepoint(place.at(&format!("savepoint-{name}")))).collect();
        let mut written = 0;
        for asked in asked {
            match asked.await {
                Ok(_) => written += 1,
                Err(error) => assert!(error.to_string().contains("savepoint-same exists"), "{error}"),
            }
        }
        assert_eq!(written, 5);
        let many: Vec<_> = (0..40).map(|n| job.savepoint(place.at(&format!("savepoint-{n}")))).collect();
        let mut refused = 0;
        for asked in many {
            refused += u32::from(matches!(asked.await, Err(millstream::SavepointError::TooMany { limit: 16, .. })));
        }
        assert!((1..=24).contains(&refused), "{refused} refused");
        assert_eq!(place.savepoints().len(), 5 + 40 - refused as usize);
        rig::finish(job).await;
    });
    for name in place.savepoints() {
        SavepointFile::open(place.at(&name)).unwrap().verify().unwrap();
    }
    assert_exact(&out);
}

/// S4. The input has ended; what starts from there has nothing left to do.
#[test]
fn savepoint_of_a_finished_job_is_already_complete() {
    let place = Place::new();
    let out = place.at("out");
    block_on("a job that is finished", async {
        let store = FaultyStore::new(Arc::new(MemoryStore::new()));
        let env = rig::shape(2).environment().checkpointing(Checkpointing::disabled()).snapshot_store(store.clone());
        let trap = Trap::default();
        let job = rig::start(env, &trap, &out).unwrap();
        trap.passed(40).await;
        job.checkpoint().await.unwrap();
        let gate = Gate::new();
        store.inject_next(StoreCall::Finalise, StoreFault::Hold(gate.clone()));
        let ended = job.finish();
        gate.wait_for_arrival();
        let asked = [job.savepoint(place.at("savepoint")), job.savepoint(place.at("savepoint-2"))];
        let stopped = job.stop_with_savepoint(place.at("savepoint-3"));
        gate.open();
        let outcome = ended.await.unwrap();
        for asked in asked {
            assert_eq!(Some(asked.await.unwrap().checkpoint), outcome.last_checkpoint);
        }
        assert_eq!(stopped.await.unwrap().0.kind, OutcomeKind::Finished);
    });
    assert_exact(&out);
    let records = published::records(&published::files(&out)).len();
    for _ in 0..2 {
        let outcome = block_on("from the savepoint of a finished job", async {
            rig::start(from(&place, "other", 3, "savepoint"), &Trap::default(), &out).unwrap().await.unwrap()
        });
        assert!(outcome.already_complete && outcome.kind == OutcomeKind::Finished, "{outcome:?}");
    }
    assert_eq!(published::records(&published::files(&out)).len(), records);
}

/// S3. The actors are dropped where they are; nobody closes the store.
#[test]
fn death_between_the_export_and_the_end_of_the_job_loses_nothing() {
    for (parallelism, is_own_store) in [(3, false), (1, true)] {
        let place = Place::new();
        let out = place.at("out");
        let store = MemoryStore::new();
        block_on("a job that dies while it stops", async {
            let env = rig::shape(2).environment().snapshot_store(store.clone());
            let job = rig::start(env, &Trap::default(), &out).unwrap();
            let mut events = events_of(&job);
            events.checkpoints(2).await;
            let _stopped = job.stop_with_savepoint(place.at("savepoint"));
            events.until(|kind| matches!(kind, JobEventKind::SavepointWritten { .. })).await;
        });
        block_on("the next life", async {
            let env = rig::shape(parallelism).environment().restore_from(place.at("savepoint"));
            let env = env.snapshot_store(if is_own_store { store.clone() } else { MemoryStore::new() });
            let job = rig::start(env, &Trap::default(), &out).unwrap();
            rig::finish(job).await;
        });
        assert_exact(&out);
    }
}

/// S5. Another job takes the state over, under its own name.
#[test]
fn fork_under_another_name_starts_with_the_state() {
    let place = Place::new();
    let (out, forked) = (place.at("out"), place.at("all"));
    let written = block_on("a job", async {
        let job = rig::start(on(&place, "store", 2), &Trap::default(), &out).unwrap();
        events_of(&job).checkpoints(2).await;
        let written = job.savepoint(place.at("savepoint")).await.unwrap();
        job.cancel().await.unwrap();
        written
    });
    gather(&forked, &out, written.checkpoint);
    let sink = CollectSink::new();
    let collected = sink.handle();
    block_on("a fork", async {
        let env = StreamEnvironment::new("fork").restore_from(place.at("savepoint"));
        let trap = Trap::default();
        let passes = trap.clone();
        job::write(&env, rig::shape(1), move |_| passes.pass(), sink);
        let job = env.start().unwrap();
        trap.passed(1).await;
        job.checkpoint().await.unwrap();
        job.finish().await.unwrap();
    });
    let mut records = published::records(&published::files(&forked));
    let before = records.len();
    records.extend(collected.snapshot());
    assert!(before > 0 && records.len() > before, "{before} of {}", records.len());
    published::assert_prefix(&records, rig::shape(1));
}
