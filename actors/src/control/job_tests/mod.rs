//! Whole jobs of stub tasks under the real control actors.

mod ends;
mod failures;
mod fake_store;
mod hand_clock;
mod no_savepoints;
mod progress;
mod rescaling;
mod running;
mod stub;
