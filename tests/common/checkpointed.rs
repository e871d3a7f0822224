//! The job that many tests disturb: it takes checkpoints all the time.

use std::path::Path;
use std::time::Duration;

use millstream::Limits;
use millstream::prelude::*;

/// Events that a job keeps: all of a run, also of one with many checkpoints since what a test looks for.
const HISTORY_LEN: usize = 1 << 16;

/// A checkpoint every 10 ms. Keyed state is in memory, or most of it in a file in `spills_to`.
pub(crate) fn checkpointed(name: &str, parallelism: u32, spills_to: Option<&Path>) -> StreamEnvironment {
    let mut limits = Limits::default();
    limits.history_len = HISTORY_LEN;
    let env = StreamEnvironment::new(name)
        .parallelism(parallelism)
        .limits(limits)
        .checkpointing(Checkpointing::every(Duration::from_millis(10)));
    match spills_to {
        Some(dir) => env.state_backend(StateBackend::redb(dir).cache_bytes(64 << 10)),
        None => env,
    }
}
