//! Files that are followed: F1 to F6 of `docs/semantics.md`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![cfg(unix)]

#[path = "../common/mod.rs"]
mod common;

mod event_time;
mod gone;
mod jobs;
mod kills;
mod left_out;
mod lines;
mod looks;
mod model;
mod rewritten;
mod rig;
mod settled;
