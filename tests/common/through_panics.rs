//! What a job puts out when functions of it panic.

use std::path::Path;

use millstream::prelude::*;

use super::{CountedPanics, checkpointed, run_to_end, sorted};

/// The output, sorted, of a job that takes checkpoints all the time, and in which the calls with these numbers panic.
///
/// # Panics
/// If it does not finish, or restarts more often than calls panic, or not at all.
pub(crate) fn output_through_panics<T: Ord + Clone + Send + 'static>(
    name: &'static str,
    (parallelism, spills_to): (u32, Option<&Path>),
    at: &[u64],
    build: impl FnOnce(&StreamEnvironment, CountedPanics, CollectSink<T>) + Send + 'static,
) -> Vec<T> {
    let (sink, panics) = (CollectSink::new(), CountedPanics::at(at));
    let (collected, spills_to) = (sink.handle(), spills_to.map(Path::to_owned));
    let (outcome, _) = run_to_end(name, move || {
        let env = checkpointed(name, parallelism, spills_to.as_deref()).snapshot_store(MemoryStore::new());
        build(&env, panics, sink);
        env
    });
    let restarts = outcome.expect("finished").restarts as usize;
    assert!((usize::from(!at.is_empty())..=at.len()).contains(&restarts), "{restarts} restarts for {at:?}");
    sorted(collected.snapshot())
}
