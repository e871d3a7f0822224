//! The workloads, written for each engine.

mod by_hand;
mod millstream;
mod paced;
mod plain;
mod renoir;
mod timely;

use crate::measure::Run;
use crate::plan::{Contender, Engine, Plan, Workload};
use crate::{nexmark, text};

/// Runs one job in this process. What it reads is made beforehand.
pub(crate) fn run(plan: Plan, contender: Contender) -> Run {
    match plan.workload {
        Workload::Words => text::write(plan.records, plan.keys),
        // The loop is one source.
        Workload::Nexmark(_) if contender.engine == Engine::Plain => nexmark::write(plan.records, 1),
        Workload::Nexmark(_) => nexmark::write(plan.records, plan.parallelism.into()),
        _ => {}
    }
    match contender.engine {
        Engine::Millstream | Engine::MillstreamMap | Engine::MillstreamBlocking => millstream::run(plan, contender),
        Engine::Plain => plain::run(plan),
        Engine::Timely => timely::run(plan),
        Engine::Renoir => renoir::run(plan),
    }
}
