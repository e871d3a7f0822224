//! The workloads, written for each engine.

mod millstream;
mod paced;
mod plain;
mod renoir;
mod timely;
mod windows;

use crate::measure::Run;
use crate::plan::{Contender, Engine, Plan, Workload};
use crate::text;

/// Runs one job in this process. What it reads is made beforehand.
pub(crate) fn run(plan: Plan, contender: Contender) -> Run {
    if plan.workload == Workload::Words {
        text::write(plan.records, plan.keys);
    }
    match contender.engine {
        Engine::Millstream | Engine::MillstreamMap | Engine::MillstreamBlocking => millstream::run(plan, contender),
        Engine::Plain => plain::run(plan),
        Engine::Timely => timely::run(plan),
        Engine::Renoir => renoir::run(plan),
    }
}
