//! Starts from before what is written.

use std::path::Path;
use std::sync::Arc;

use ::redb::Database;
use millstream::prelude::*;
use millstream::sink::RedbSinkError;
use millstream::snapshot::SnapshotStore;

use crate::common::{events_of, run, watched};
use crate::figures::{environment, expected, sink_error, write};
use crate::redb::{all, assert_whole, open, sink};

fn endless() -> SequenceSource {
    SequenceSource::unbounded().rate_per_second(20_000)
}

/// Lets a job run for some checkpoints, which also leaves a savepoint, and some more; ends it with `drain`.
fn run_on(service: &Arc<Database>, store: impl SnapshotStore, savepoint: &Path) {
    let (sink, savepoint) = (sink(service), savepoint.to_owned());
    run("the first job", move |handles| async move {
        let env = environment(2).snapshot_store(store);
        write(&env, endless(), |_| (), sink);
        let job = env.start().unwrap();
        watched(&handles, &job);
        events_of(&job).checkpoints(2).await;
        job.savepoint(savepoint).await.unwrap();
        events_of(&job).checkpoints(2).await;
        job.drain().await.unwrap();
    });
}

/// The refusal of a job in `env`.
fn refusal(service: &Arc<Database>, env: impl FnOnce() -> StreamEnvironment + Send + 'static) -> (u64, Option<u64>) {
    let sink = sink(service);
    let error = run("a job that is refused", move |handles| async move {
        let env = env();
        write(&env, endless(), |_| (), sink);
        let job = env.start().unwrap();
        watched(&handles, &job);
        job.await.unwrap_err()
    });
    let error = sink_error(&error);
    let Some(RedbSinkError::WouldRepeat { committed, restored, .. }) = error.reason().downcast_ref() else {
        panic!("{error}")
    };
    (committed.0, restored.map(|checkpoint| checkpoint.0))
}

// Guarantee O3.
#[test]
fn start_on_an_empty_store_or_from_an_older_savepoint_is_refused_unless_repeats_are_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let (service, savepoint) = (open(&folder.path().join("service.redb")), folder.path().join("savepoint"));
    let store = MemoryStore::new();
    run_on(&service, store.clone(), &savepoint);
    let before = all(&service);

    let (committed, restored) = refusal(&service, || environment(2).snapshot_store(MemoryStore::new()));
    assert!(restored.is_none());
    let from = savepoint.clone();
    let (still, restored) =
        refusal(&service, move || environment(3).snapshot_store(MemoryStore::new()).restore_from(from));
    assert!(still == committed && restored.is_some_and(|restored| restored < committed), "{restored:?} {committed}");
    assert!(all(&service) == before, "nothing was written");

    // On its own store the job goes on, and nothing is repeated.
    let (on, place) = (store.clone(), sink(&service));
    run("the second job", move |handles| async move {
        let env = environment(1).snapshot_store(on);
        write(&env, endless(), |_| (), place);
        let job = env.start().unwrap();
        watched(&handles, &job);
        events_of(&job).checkpoints(2).await;
        job.drain().await.unwrap();
    });
    let figures = assert_whole(&service);
    assert!(figures.len() > before.len());

    // With the override it is written again from the savepoint on.
    let (from, place) = (savepoint.clone(), sink(&service));
    run("a job that repeats", move |handles| async move {
        let env = environment(2).snapshot_store(MemoryStore::new()).restore_from(from);
        write(&env, endless(), |_| (), place.accept_repeats(true));
        let job = env.start().unwrap();
        watched(&handles, &job);
        events_of(&job).checkpoints(2).await;
        job.drain().await.unwrap();
    });
    let mut repeated = all(&service);
    assert!(repeated.len() > figures.len());
    repeated.dedup();
    assert!(repeated == expected(repeated.len() as u64), "nothing is missing, and nothing else is there");
}
