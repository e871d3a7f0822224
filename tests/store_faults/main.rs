//! A snapshot store that fails never makes wrong output, and never a job that hangs: what can be survived is, and what
//! cannot is a typed error with a remedy.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../common/copying.rs"]
mod copying;
#[path = "../crash_common/mod.rs"]
mod crash_common;
#[path = "../common/listener.rs"]
#[allow(dead_code, reason = "this crate uses its part")]
mod listener;

mod answers;
mod changed;
mod damage;
mod disk;
mod files;
#[allow(dead_code, reason = "the tests of savepoints use its other part")]
mod run;
mod writes;
