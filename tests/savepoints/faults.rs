//! Savepoints on stores that fail, and under engines whose actors panic. Proves S2 and S3.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use millstream::prelude::*;
use millstream::snapshot::{Savepoint, SavepointFile, SnapshotStore};
use millstream::testing::{FaultyStore, Gate, StoreCall, StoreFault};
use millstream::{
    ActorName, CheckpointProgress, Incarnation, JobEventKind, Probe, SavepointError, Step, TriggerReason,
};

use crate::listener::{Events, events_from_the_start, events_of};
use crate::rig::{self, Place, assert_exact, from, shape};
use crate::run::{Trap, block_on};

fn faulty() -> FaultyStore {
    FaultyStore::new(Arc::new(MemoryStore::new()))
}

fn start_on(store: &FaultyStore, place: &Place) -> JobHandle {
    rig::start(shape(2).environment().snapshot_store(store.clone()), &Trap::default(), &place.at("out")).unwrap()
}

#[test]
fn checkpoint_that_fails_on_the_way_is_taken_again_and_a_full_disk_is_a_typed_error() {
    let (place, store) = (Place::new(), faulty());
    block_on("a job on a store that fails", async {
        let job = start_on(&store, &place);
        events_of(&job).checkpoints(1).await;
        for fault in [StoreFault::Fail, StoreFault::FailAfter] {
            store.inject_next(StoreCall::Finalise, fault);
            job.savepoint(place.at(&format!("savepoint-{}", place.savepoints().len()))).await.unwrap();
        }
        store.inject_next(StoreCall::PutChunks, StoreFault::DiskFull);
        let full = job.savepoint(place.at("savepoint-full")).await.unwrap_err();
        assert!(matches!(full, SavepointError::Checkpoint { tries: 3.., .. }), "{full}");
        store.free_space();
        job.savepoint(place.at("savepoint-full")).await.unwrap();
        rig::finish(job).await;
    });
    assert_eq!(place.savepoints(), ["savepoint-0", "savepoint-1", "savepoint-full"]);
    assert_exact(&place.at("out"));
}

#[test]
fn export_that_fails_leaves_nothing_and_a_job_that_was_to_stop_reads_on() {
    let (place, store) = (Place::new(), faulty());
    block_on("a job whose store cannot be read", async {
        let job = start_on(&store, &place);
        let mut events = events_of(&job);
        events.checkpoints(1).await;
        store.inject_next(StoreCall::ReadChunk, StoreFault::Fail);
        let failed = job.savepoint(place.at("savepoint")).await.unwrap_err();
        assert!(matches!(failed, SavepointError::File(_)) && failed.to_string().contains("injected"), "{failed}");
        assert_eq!(job.status().restarts, 0);
        for _ in 0..2 {
            store.inject_next(StoreCall::ReadChunk, StoreFault::Fail);
            let failed = job.stop_with_savepoint(place.at("savepoint")).await.unwrap_err();
            assert!(matches!(failed, SavepointError::File(_)), "{failed}");
            events.until(|kind| matches!(kind, JobEventKind::SavepointFailed { .. })).await;
            events.until(|kind| matches!(kind, JobEventKind::RegionRunning { .. })).await;
            events.checkpoints(2).await;
        }
        assert!(place.savepoints().is_empty());
        job.stop_with_savepoint(place.at("savepoint")).await.unwrap();
    });
    block_on("from the savepoint", async {
        let job = rig::start(from(&place, "other", 3, "savepoint"), &Trap::default(), &place.at("out")).unwrap();
        rig::finish(job).await;
    });
    assert_exact(&place.at("out"));
}

#[test]
fn job_that_was_to_drain_as_well_ends_though_its_savepoint_failed() {
    let (place, store) = (Place::new(), faulty());
    block_on("a job that is drained while it stops", async {
        let job = start_on(&store, &place);
        events_of(&job).checkpoints(1).await;
        store.inject_next(StoreCall::ReadChunk, StoreFault::Fail);
        let stopped = job.stop_with_savepoint(place.at("savepoint"));
        let drained = job.drain();
        stopped.await.unwrap_err();
        assert_eq!(drained.await.unwrap().kind, OutcomeKind::Drained);
    });
    assert!(place.savepoints().is_empty());
}

/// Asks for a savepoint, whose export waits at the gate by the time this returns.
async fn held_export(
    job: &JobHandle,
    store: &FaultyStore,
    place: &Place,
    events: &mut Events,
) -> (impl Future<Output = Result<Savepoint, SavepointError>> + use<>, Gate) {
    events.checkpoints(1).await;
    let gate = Gate::new();
    store.inject_next(StoreCall::ReadChunk, StoreFault::Hold(gate.clone()));
    let asked = job.savepoint(place.at("savepoint"));
    while store.calls(StoreCall::ReadChunk) == 0 {
        events.checkpoints(1).await;
    }
    (asked, gate)
}

#[test]
fn export_is_of_a_checkpoint_that_would_have_expired() {
    let (place, store) = (Place::new(), faulty());
    block_on("a job that keeps one checkpoint", async {
        let checkpointing = Checkpointing::every(Duration::from_millis(4)).retain(1);
        let env = shape(2).environment().checkpointing(checkpointing).snapshot_store(store.clone());
        let job = rig::start(env, &Trap::default(), &place.at("out")).unwrap();
        let mut events = events_of(&job);
        let (asked, gate) = held_export(&job, &store, &place, &mut events).await;
        events.checkpoints(3).await;
        gate.open();
        let written = asked.await.unwrap();
        assert!(Some(written.checkpoint) < job.status().newest_checkpoint);
        rig::finish(job).await;
    });
    SavepointFile::open(place.at("savepoint")).unwrap().verify().unwrap();
    assert_exact(&place.at("out"));
}

/// M4. The status tells of each from when its checkpoint is triggered until it is written.
#[test]
fn savepoint_under_way_is_in_the_status() {
    let (place, store) = (Place::new(), faulty());
    block_on("a job whose store waits", async {
        let env = shape(2).environment().checkpointing(Checkpointing::disabled()).snapshot_store(store.clone());
        let job = rig::start(env, &Trap::default(), &place.at("out")).unwrap();
        let mut events = events_of(&job);
        let (finalises, reads) = (Gate::new(), Gate::new());
        store.inject_next(StoreCall::Finalise, StoreFault::Hold(finalises.clone()));
        store.inject_next(StoreCall::ReadChunk, StoreFault::Hold(reads.clone()));
        let asked = job.savepoint(place.at("savepoint"));
        finalises.wait_for_arrival();
        let progress = job.status().checkpoint_in_progress.unwrap();
        assert_eq!((progress.reason, progress.acknowledged), (TriggerReason::Savepoint, progress.of));
        let CheckpointProgress { checkpoint, since_unix_ms, of, bytes, .. } = progress;
        let json = serde_json::json!({
            "checkpoint": checkpoint.0, "reason": "savepoint", "since_unix_ms": since_unix_ms, "acknowledged": of, "of": of, "bytes": bytes,
        });
        assert_eq!(serde_json::to_value(progress).unwrap(), json);
        assert!(bytes > 0 && job.status().savepoints_in_progress.is_empty());
        finalises.open();
        reads.wait_for_arrival();
        let status = job.status();
        let [written] = &status.savepoints_in_progress[..] else { panic!("{status:?}") };
        assert_eq!((&written.path, written.checkpoint), (&place.at("savepoint"), progress.checkpoint));
        // It has no pending commits.
        let state_bytes = status.checkpoint.unwrap().state_bytes;
        assert!(written.bytes == 0 && written.of_bytes > 0 && written.of_bytes < state_bytes, "{written:?}");
        assert_eq!(status.checkpoint_in_progress, None);
        reads.open();
        events.until(|kind| matches!(kind, JobEventKind::SavepointWritten { .. })).await;
        assert_eq!(asked.await.unwrap().checkpoint, progress.checkpoint);
        assert!(job.status().savepoints_in_progress.is_empty());
        assert_eq!(job.finish().await.unwrap().kind, OutcomeKind::Finished);
    });
}

#[test]
fn cancelled_job_leaves_its_savepoint_unwritten() {
    let (place, store) = (Place::new(), faulty());
    block_on("a job that is cancelled during an export", async {
        let job = start_on(&store, &place);
        let mut events = events_of(&job);
        let (asked, gate) = held_export(&job, &store, &place, &mut events).await;
        let cancelled = job.cancel();
        assert!(matches!(asked.await, Err(SavepointError::Interrupted)));
        gate.open();
        assert_eq!(cancelled.await.unwrap().kind, OutcomeKind::Cancelled);
    });
    assert!(place.savepoints().is_empty());
}

/// Panics once at a step, while armed.
#[derive(Clone)]
struct PanicAt(Step, Arc<AtomicBool>);

impl Probe for PanicAt {
    fn reached(&self, step: Step, _: &ActorName) {
        if step == self.0 && self.1.swap(false, Ordering::Relaxed) {
            panic!("injected at {step:?}");
        }
    }
}

#[test]
fn panics_of_control_actors_during_a_savepoint_leave_a_job_that_can_be_stopped_with_one() {
    for step in [Step::Exporting, Step::ExportStarting, Step::Exported, Step::Completed, Step::ManifestCommitted] {
        for then_stop in [false, true] {
            let place = Place::new();
            block_on(&format!("a panic at {step:?}, {then_stop}"), async {
                let armed = Arc::new(AtomicBool::new(false));
                let env = shape(2).environment().snapshot_store(MemoryStore::new());
                let env = env.probe(PanicAt(step, armed.clone()));
                let job = rig::start(env, &Trap::default(), &place.at("out")).unwrap();
                let mut events = events_of(&job);
                events.checkpoints(1).await;
                armed.store(true, Ordering::Relaxed);
                let result = if then_stop {
                    job.stop_with_savepoint(place.at("savepoint-0")).await.map(|(_, written)| written)
                } else {
                    job.savepoint(place.at("savepoint-0")).await
                };
                assert!(!armed.load(Ordering::Relaxed), "{step:?} was not reached");
                match result {
                    Ok(written) => drop(SavepointFile::open(written.path).unwrap()),
                    Err(error) => assert!(matches!(error, SavepointError::Interrupted), "{error}"),
                }
                // Unless it has stopped, it goes on, and stops when asked again.
                let again = job.stop_with_savepoint(place.at("savepoint")).await;
                match again {
                    Ok((outcome, _)) => assert_eq!(outcome.kind, OutcomeKind::Drained),
                    Err(_) => assert_eq!(job.await.unwrap().kind, OutcomeKind::Drained),
                }
            });
            let last = if place.savepoints().contains(&"savepoint".to_owned()) { "savepoint" } else { "savepoint-0" };
            block_on("from the last savepoint", async {
                let job = rig::start(from(&place, "other", 3, last), &Trap::default(), &place.at("out")).unwrap();
                rig::finish(job).await;
            });
            assert_exact(&place.at("out"));
        }
    }
}

/// Flips a bit of every chunk of the newest checkpoint in the store at `path` that holds figures.
pub(crate) fn damage_newest(path: &Path) {
    let chunks: Vec<Vec<u8>> = {
        let store = RedbStore::open(path).unwrap();
        let newest = store.open_job("figures", Incarnation(0)).unwrap().retained.pop().unwrap();
        let figures = newest.chunks.iter().filter(|chunk| chunk.address.operator.as_str() == "figures");
        let chunks = figures.map(|chunk| store.read_chunk(chunk).unwrap()).collect();
        store.close();
        chunks
    };
    let mut bytes = fs::read(path).unwrap();
    for chunk in chunks.iter().filter(|chunk| chunk.len() > 8) {
        let places: Vec<usize> = (0..bytes.len() - chunk.len()).filter(|at| bytes[*at..].starts_with(chunk)).collect();
        assert!(!places.is_empty(), "the chunk is not found in the file");
        for at in places {
            bytes[at + chunk.len() / 2] ^= 1;
        }
    }
    fs::write(path, bytes).unwrap();
}

/// S4. The sinks withdraw what was published since.
#[test]
fn job_whose_only_checkpoint_is_damaged_falls_back_to_its_savepoint() {
    let (place, store) = (Place::new(), faulty());
    let taken = block_on("a job that stops with a savepoint", async {
        let job = start_on(&store, &place);
        events_of(&job).checkpoints(2).await;
        job.stop_with_savepoint(place.at("savepoint")).await.unwrap().1.checkpoint
    });
    let checkpointing = Checkpointing::every(Duration::from_millis(4)).retain(1);
    let env = || from(&place, "fresh", 2, "savepoint").checkpointing(checkpointing.clone());
    block_on("a life whose checkpoint is damaged then", async {
        let job = rig::start(env(), &Trap::default(), &place.at("out")).unwrap();
        events_of(&job).checkpoints(3).await;
        job.cancel().await.unwrap();
    });
    damage_newest(&place.at("fresh"));
    block_on("a fallback", async {
        let job = rig::start(env(), &Trap::default(), &place.at("out")).unwrap();
        let mut events = events_from_the_start(&job);
        events.until(|kind| matches!(kind, JobEventKind::FellBack { to, .. } if *to == taken)).await;
        events.until(|kind| matches!(kind, JobEventKind::Restored { checkpoint, .. } if *checkpoint == taken)).await;
        rig::finish(job).await;
    });
    assert_exact(&place.at("out"));
}
