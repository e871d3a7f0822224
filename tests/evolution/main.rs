//! Jobs whose operators, states, accumulators and keys are renamed, removed or of other types in the next life: what was
//! stored goes on under today's names, with both backends, over changes and savepoints.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../common/mod.rs"]
mod common;

mod keys;
mod lives;
mod map_keys;
mod names;
mod not_keyed;
mod refused;
mod versions;
