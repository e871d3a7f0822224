//! The binary `millstream` on stores that jobs have written: whole, damaged, in use, and of other kinds; and at servers.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[cfg(feature = "dashboard")]
#[path = "../common/captured_log.rs"]
mod captured_log;
#[path = "../common/mod.rs"]
mod common;
mod counts_job;
mod damage;
mod encodings;
mod forks;
#[cfg(feature = "dashboard")]
mod progress;
mod running;
mod servers;
#[cfg(unix)]
mod terminal;
mod tool;
mod top;
mod whole;
