//! Jobs that go on at another parallelism while they run. Proves L6 to L9 of `docs/semantics.md`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../common/mod.rs"]
mod common;
#[path = "../rescale/held_back.rs"]
mod held_back;
#[allow(dead_code, reason = "its own tests have it read portions")]
#[path = "../rescale/job.rs"]
mod job;

mod counters;
mod failures;
mod kills;
mod orders;
mod services;
mod timed;
mod whole;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use millstream::RescaleError;
use millstream::prelude::*;

use common::QueueSource;

pub(crate) const NEVER: Duration = Duration::from_secs(10_000_000);

/// Records that a job has worked on.
#[derive(Clone, Default)]
pub(crate) struct Seen(Arc<AtomicU64>);

impl Seen {
    pub(crate) fn count(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn now(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    /// So many, once what was read is worked off: a barrier is behind it.
    pub(crate) async fn after_a_checkpoint(&self, job: &JobHandle) -> u64 {
        job.checkpoint().await.unwrap();
        self.now()
    }

    /// Waits until so many have been seen.
    pub(crate) async fn until(&self, records: u64, job: &JobHandle) {
        while self.after_a_checkpoint(job).await < records {}
    }
}

/// A job that counts what is pushed in, which one subtask reads, and takes no checkpoint but those that are asked for.
pub(crate) fn counting(name: &str, numbers: &QueueSource, seen: &Seen) -> StreamEnvironment {
    let (env, seen) = (StreamEnvironment::new(name), seen.clone());
    let numbers = env.source("numbers", numbers.clone()).parallelism(1);
    let keyed = numbers.key_by(|n| n % 20).fold("counts", 0u64, |count, _| *count += 1);
    keyed.for_each("see", move |_| seen.count());
    env.checkpointing(Checkpointing::every(NEVER))
}

/// Rescales the job to one parallelism after the other until it ends, each when `between` has passed. Answers how often it had other
/// tasks then.
///
/// # Panics
/// If a rescale is refused for another reason than a restart or the end.
pub(crate) async fn keep_rescaling<F: Future<Output = ()>>(
    job: &JobHandle,
    to: impl IntoIterator<Item = u32>,
    between: impl Fn() -> F,
) -> u64 {
    let mut rescaled = 0;
    for to in to {
        between().await;
        match job.rescale(to).await {
            Ok(done) => rescaled += u64::from(done.checkpoint.is_some()),
            Err(RescaleError::Ending | RescaleError::Ended) => break,
            Err(RescaleError::Checkpoint(_)) => {}
            Err(other) => panic!("{other}"),
        }
    }
    rescaled
}

/// Lets others run, so many times.
pub(crate) async fn turns(count: u64) {
    for _ in 0..count {
        actix_rt::task::yield_now().await;
    }
}
