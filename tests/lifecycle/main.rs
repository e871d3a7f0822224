//! Jobs that are paused and resumed, what holds meanwhile, and several of them in one process. Proves L1 to L5 of `docs/semantics.md`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../common/mod.rs"]
mod common;

mod endings;
mod idleness;
mod interrupted;
mod lives;
mod pausing;
mod systems;
mod timers;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use millstream::JobHandle;
use millstream::prelude::*;

use common::QueueSource;

/// Records that a job has worked on.
#[derive(Clone, Default)]
pub(crate) struct Seen(Arc<AtomicU64>);

impl Seen {
    pub(crate) fn count(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    /// So many, once what was read is worked off: a barrier is behind it.
    pub(crate) async fn after_a_checkpoint(&self, job: &JobHandle) -> u64 {
        job.checkpoint().await.unwrap();
        self.0.load(Ordering::SeqCst)
    }

    /// Waits until so many have been seen.
    pub(crate) async fn until(&self, records: u64, job: &JobHandle) {
        while self.after_a_checkpoint(job).await < records {}
    }
}

/// A job that counts what is pushed in, and takes no checkpoint but those that are asked for.
pub(crate) fn counting(name: &str, numbers: &QueueSource, seen: &Seen) -> StreamEnvironment {
    let (env, seen) = (StreamEnvironment::new(name), seen.clone());
    env.source("numbers", numbers.clone()).for_each("see", move |_| seen.count());
    env.checkpointing(Checkpointing::every(Duration::from_secs(1_000_000)))
}
