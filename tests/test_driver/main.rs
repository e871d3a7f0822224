//! Whole jobs in the test driver: as in the engine, in an order that a seed repeats, and crashed anywhere.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../common/mod.rs"]
mod common;

mod ended;
mod event_time;
mod feeding;
mod kinds;
mod lives;
mod market;
mod mistakes;
mod seeds;
mod time;

use millstream::prelude::*;

/// Gives 100 divided by each.
pub(crate) fn parts() -> StreamEnvironment {
    let env = StreamEnvironment::new("parts").tell_panic_hook(false);
    env.source("numbers", VecSource::<u64>::new(Vec::new())).map(|n| 100 / n).sink("parts", CollectSink::new());
    env
}
