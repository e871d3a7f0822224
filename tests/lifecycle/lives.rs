//! A pause outlives the process, and a start may say otherwise.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use millstream::prelude::*;
use millstream::snapshot::{SnapshotError, SnapshotStore};
use millstream::testing::{FaultyStore, StoreCall, StoreFault};
use millstream::{PauseError, StartError};

use crate::common::{QueueSource, child, committed_lines, run, watched};
use crate::{Seen, counting};

const DIR: &str = "MILLSTREAM_LIFECYCLE_DIR";

fn service(dir: &Path) -> StreamEnvironment {
    let env = StreamEnvironment::new("service").snapshot_store(RedbStore::open(dir.join("store.redb")).unwrap());
    env.source("numbers", SequenceSource::new(0..5_000)).sink("out", FileSink::json_lines(dir.join("out")));
    env
}

#[test]
#[ignore = "run by the other test, in a process of its own"]
fn life() {
    let Some(dir) = std::env::var_os(DIR).map(PathBuf::from) else { return };
    actix_rt::System::new().block_on(async {
        let job = service(&dir).start().unwrap();
        let is_paused = job.status().paused_since_unix_ms.is_some();
        job.pause().await.unwrap();
        println!("\npaused {is_paused}");
        // As if it were killed.
        std::process::abort();
    });
}

/// L2: each life dies right after its pause was answered, and the next one finds it.
#[test]
fn pause_outlives_a_killed_process() {
    let dir = tempfile::tempdir().unwrap();
    for life in 0..3 {
        let mut child = child("lives::life", DIR, dir.path());
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let said: Vec<String> = lines.filter_map(|line| line.strip_prefix("paused ").map(str::to_owned)).collect();
        assert_eq!(said, [(life > 0).to_string()], "life {life}");
        assert!(!child.wait().unwrap().success());
    }
    let path = dir.path().to_owned();
    run("the job goes on", move |handles| async move {
        let job = service(&path).start().unwrap();
        watched(&handles, &job);
        assert!(job.status().paused_since_unix_ms.is_some());
        job.resume().await.unwrap();
        assert_eq!(job.await.unwrap().kind, OutcomeKind::Finished);
    });
    let numbers: Vec<u64> = committed_lines(&dir.path().join("out")).iter().map(|line| line.parse().unwrap()).collect();
    assert_eq!(numbers, (0..5_000).collect::<Vec<_>>());
}

/// L2: what a start says counts, for the starts after it, too.
#[test]
fn start_may_say_whether_the_job_is_paused() {
    run("lives of a job", |handles| async move {
        let (store, numbers, seen) = (MemoryStore::new(), QueueSource::default(), Seen::default());
        let mut lives = vec![(None, false), (Some(true), true), (None, true), (Some(true), true)];
        lives.extend([(Some(false), false), (None, false), (Some(false), false)]);
        let mut since = None;
        for (says, is_paused) in lives {
            let env = counting("lives", &numbers, &seen).snapshot_store(store.clone());
            let env = says.into_iter().fold(env, StreamEnvironment::start_paused);
            let job = env.start().unwrap();
            watched(&handles, &job);
            let paused_since = job.status().paused_since_unix_ms;
            assert_eq!(paused_since.is_some(), is_paused, "{says:?}");
            if since.is_some() && paused_since.is_some() {
                assert_eq!(paused_since, since, "it counts from when it was paused first");
            }
            since = paused_since;
            job.cancel().await.unwrap();
        }
    });
}

/// L2: a start that says so, and whose store does not keep it, is refused, and lets go of the store.
#[test]
fn start_whose_store_does_not_keep_the_pause_is_refused() {
    let (numbers, seen, inner) = (QueueSource::default(), Seen::default(), MemoryStore::new());
    let store = FaultyStore::new(Arc::new(inner));
    let start = || counting("refused", &numbers, &seen).snapshot_store(store.clone()).start_paused(true).start();
    store.inject_next(StoreCall::KeepPause, StoreFault::Fail);
    let refused = start().unwrap_err();
    assert!(matches!(refused, StartError::Store(SnapshotError::Io { .. })), "{refused}");
    let job = start().unwrap();
    assert!(job.status().paused_since_unix_ms.is_some());
    run("the job ends", move |_| async move { job.cancel().await.unwrap() });
}

/// Keeps no pause, as a store of a user's that was written before there was any.
struct Older(MemoryStore);

impl SnapshotStore for Older {
    fn open_job(
        &self,
        job: &str,
        floor: millstream::Incarnation,
    ) -> Result<millstream::snapshot::StoreOpening, SnapshotError> {
        self.0.open_job(job, floor)
    }

    fn reserve_ids(&self, up_to: millstream::CheckpointId) -> Result<(), SnapshotError> {
        self.0.reserve_ids(up_to)
    }

    fn put_chunks(&self, chunks: &[millstream::snapshot::Chunk]) -> Result<(), SnapshotError> {
        self.0.put_chunks(chunks)
    }

    fn finalise(
        &self,
        manifest: &millstream::snapshot::Manifest,
        retain: usize,
    ) -> Result<millstream::snapshot::Finalised, SnapshotError> {
        self.0.finalise(manifest, retain)
    }

    fn discard(&self, checkpoint: millstream::CheckpointId) -> Result<(), SnapshotError> {
        self.0.discard(checkpoint)
    }

    fn abandon_above(
        &self,
        checkpoint: millstream::CheckpointId,
    ) -> Result<Vec<millstream::CheckpointId>, SnapshotError> {
        self.0.abandon_above(checkpoint)
    }

    fn read_chunk(&self, reference: &millstream::snapshot::ChunkRef) -> Result<Vec<u8>, SnapshotError> {
        self.0.read_chunk(reference)
    }

    fn reopen(&self) -> Result<Vec<Arc<millstream::snapshot::Manifest>>, SnapshotError> {
        self.0.reopen()
    }

    fn close(&self) {
        self.0.close();
    }

    fn describe(&self) -> String {
        "older".to_owned()
    }

    fn is_durable(&self) -> bool {
        false
    }
}

/// L2: of a store that cannot keep it, that is the error, and the job goes on.
#[test]
fn store_that_keeps_no_pause_is_an_error_and_no_pause() {
    run("a job on such a store", |handles| async move {
        let (numbers, seen) = (QueueSource::default(), Seen::default());
        let job = counting("older", &numbers, &seen).snapshot_store(Older(MemoryStore::new())).start().unwrap();
        watched(&handles, &job);
        let refused = job.pause().await.unwrap_err();
        assert!(matches!(refused, PauseError::Store(_)), "{refused}");
        assert!(refused.to_string().contains("this store does not do that"), "{refused}");
        numbers.push(0..5);
        seen.until(5, &job).await;
        job.cancel().await.unwrap();
    });
}
