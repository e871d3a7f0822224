//! Sinks that hand results to the service around the job: its database, its actors, its own code.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../common/mod.rs"]
mod common;

mod apart;
mod figures;
mod held_replies;
mod holding_back;
mod kills;
mod recipient;
mod redb;
mod redb_refused;
mod stream;
