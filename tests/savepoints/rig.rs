//! A job on a store and a folder of its own, and what several of them have published together.

use std::fs;
use std::path::{Path, PathBuf};

use millstream::prelude::*;
use millstream::{CheckpointId, StartError};

use crate::crash_common::job::{self, Shape};
use crate::crash_common::published;
use crate::listener::events_of;
use crate::run::{ENDLESS, Trap};

/// A folder for stores, savepoints and output.
pub(crate) struct Place(tempfile::TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn store(&self, name: &str) -> RedbStore {
        RedbStore::open(self.at(name)).unwrap()
    }

    /// What is there, but for stores and output.
    pub(crate) fn savepoints(&self) -> Vec<String> {
        let names = fs::read_dir(self.0.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.filter(|name| name.starts_with("savepoint")).collect();
        names.sort();
        names
    }
}

/// The endless job at this parallelism.
pub(crate) fn shape(parallelism: u32) -> Shape {
    Shape { parallelism, ..ENDLESS }
}

/// Starts the job in `env` with a trap, writing to `out`.
pub(crate) fn start(env: StreamEnvironment, trap: &Trap, out: &Path) -> Result<JobHandle, StartError> {
    let trap = trap.clone();
    job::write(&env, ENDLESS, move |_| trap.pass(), job::files(out));
    env.start()
}

/// The environment of a job on the store called `store`.
pub(crate) fn on(place: &Place, store: &str, parallelism: u32) -> StreamEnvironment {
    shape(parallelism).environment().snapshot_store(place.store(store))
}

/// As `on`, from the savepoint called `savepoint`.
pub(crate) fn from(place: &Place, store: &str, parallelism: u32, savepoint: &str) -> StreamEnvironment {
    on(place, store, parallelism).restore_from(place.at(savepoint))
}

/// Waits for a checkpoint, and ends the job as if its input ended.
pub(crate) async fn finish(job: JobHandle) {
    events_of(&job).checkpoints(1).await;
    assert_eq!(job.finish().await.unwrap().kind, OutcomeKind::Finished);
}

/// Adds to `all` the files in `out` that belong to checkpoints up to `up_to`.
pub(crate) fn gather(all: &Path, out: &Path, up_to: CheckpointId) {
    fs::create_dir_all(all.join(".figures-out")).unwrap();
    for ((checkpoint, _, _, name), bytes) in published::files(out) {
        if checkpoint <= up_to.0 {
            fs::write(all.join(name), bytes).unwrap();
        }
    }
}

/// # Panics
/// If what is in `out` is not the output of one undisturbed run, or too short to show anything.
pub(crate) fn assert_exact(out: &Path) {
    published::assert_ended(out, ENDLESS);
    assert!(published::records(&published::files(out)).len() > 20);
}
