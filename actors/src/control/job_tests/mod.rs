//! Whole jobs of stub tasks under the real control actors.

mod ends;
mod failures;
mod no_savepoints;
mod stub;
