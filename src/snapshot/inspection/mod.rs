//! Looking into a store without claiming it: nothing is ever written to its file.

mod copy;
mod fork;
mod overlay;
mod sections;
mod store;
mod verification;

pub(crate) use fork::{ForkError, ForkPlan, fork, pending_commits};
pub(crate) use sections::{Section, Sections, StateId, sections_of};
pub(crate) use store::{Inspection, RetainedCheckpoint};
pub(crate) use verification::{Verification, verify};

#[cfg(test)]
mod tests;
