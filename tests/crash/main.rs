//! A process that dies at any moment, by a signal or by itself, loses nothing and repeats nothing.
//!
//! The child processes are this same test binary, told by an environment variable to run a job.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../crash_common/mod.rs"]
mod crash_common;

mod aborts;
mod child;
mod kills;
#[path = "../common/random.rs"]
mod random;
mod timed;

use std::path::Path;

use crash_common::job::{SOURCES, Shape};
use crash_common::published;

/// # Panics
/// If the files in `out` are not exactly the output of an undisturbed run, or something else is left there.
fn assert_complete(out: &Path, shape: Shape) {
    published::assert_ended(out, shape);
    let published = published::records(&published::files(out)).len() as u64;
    assert_eq!(published, shape.records * u64::from(SOURCES), "records published");
}
