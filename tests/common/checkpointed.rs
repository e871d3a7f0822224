//! The job that many tests disturb: it takes checkpoints all the time.

use std::path::Path;
use std::time::Duration;

use millstream::prelude::*;

/// A checkpoint every 10 ms. Keyed state is in memory, or most of it in a file in `spills_to`.
pub(crate) fn checkpointed(name: &str, parallelism: u32, spills_to: Option<&Path>) -> StreamEnvironment {
    let env = StreamEnvironment::new(name)
        .parallelism(parallelism)
        .checkpointing(Checkpointing::every(Duration::from_millis(10)));
    match spills_to {
        Some(dir) => env.state_backend(StateBackend::redb(dir).cache_bytes(64 << 10)),
        None => env,
    }
}
