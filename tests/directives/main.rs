//! Records at which functions panic, and what record directives make of them: a job with poison goes on, each such record is in the
//! dead-letter output once, and everything else is as if it had not come. See `docs/dead-letters.md`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../common/mod.rs"]
mod common;

mod behind;
mod bounds;
mod clock;
mod copies;
mod disturbed;
mod firings;
mod full_speed;
mod inputs;
mod keyed;
mod kills;
mod opening;
mod records;
mod refused;
mod rig;
