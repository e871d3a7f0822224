//! The binary `millstream` on stores that jobs have written: whole, damaged, in use, and of other kinds.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../common/mod.rs"]
mod common;
mod counts_job;
mod damage;
mod encodings;
mod forks;
mod running;
mod tool;
mod whole;
