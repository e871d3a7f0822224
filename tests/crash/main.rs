//! A process that dies at any moment, by a signal or by itself, loses nothing and repeats nothing.
//!
//! The child processes are this same test binary, told by an environment variable to run a job.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../crash_common/mod.rs"]
mod crash_common;

mod aborts;
mod child;
mod kills;
