//! Queries of the state of jobs that run, restart and end. Proves Q1 to Q6 of `docs/semantics.md`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../common/mod.rs"]
mod common;

mod bounds;
mod checkpoints;
mod disturbed;
mod live;
mod own_writes;
mod refused;
mod restarts;
mod rig;
