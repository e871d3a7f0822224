//! Joins: functions that bring the records of two keyed streams together, key by key.
//!
//! Each is a function on two keyed streams with declared states, so that what was said of these in `docs/semantics.md` holds for
//! joins. Joins by windows are windows of both, and are where these are.

mod buffer;
mod interval;
mod living;
mod temporal;

pub(crate) use interval::{IntervalJoin, TimeBounds};
pub(crate) use living::LivingJoin;
pub(crate) use temporal::TemporalJoin;

/// What needs event times, in the words of a panic.
const BY_EVENT_TIME: &str = "a join by event time; take one by time to live";

#[cfg(test)]
mod tests;
