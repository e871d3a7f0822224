//! Savepoints: written while jobs run and fail, restored at other parallelisms, refused with a reason. Proves S1 to S6 of
//! `docs/semantics.md`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../common/captured_log.rs"]
mod captured_log;
#[path = "../crash_common/mod.rs"]
mod crash_common;
#[path = "../common/listener.rs"]
#[allow(dead_code, reason = "this crate uses its part")]
mod listener;
#[path = "../store_faults/run.rs"]
#[allow(dead_code, reason = "this crate uses its part")]
mod run;

mod faults;
mod lineage;
mod long_ago;
mod published_later;
mod refused;
mod rig;
mod roundtrip;
