//! How far apart checkpoints should be: what they cost, how often failures come, how long a recovery takes.

mod advisor;
#[cfg(test)]
mod advisor_tests;
mod catch_up;
mod failure_spacing;
mod optimum;
mod recent;
mod recovery;

pub(crate) use advisor::{IntervalAdvisor, IntervalPlan, Recovered};
pub use optimum::IntervalAdvice;
pub use recovery::{RecoveryEstimate, RecoveryPart};
