//! Millstream: the jobs.

mod idle;
mod latency;
mod nexmark;
mod own_map;
mod recovery;
mod share;
mod sink;
mod throughput;
mod windows;

use millstream::prelude::*;
use tempfile::TempDir;

use crate::measure::Run;
use crate::plan::{Contender, Plan, Workload};

pub(super) fn run(plan: Plan, contender: Contender) -> Run {
    match plan.workload {
        Workload::Latency => latency::run(plan, contender),
        Workload::Recovery => recovery::run(plan, contender),
        Workload::Idle => idle::run(plan, contender),
        _ => throughput::run(plan, contender),
    }
}

/// The environment of a job that is as parallel as the plan says and takes the contender's checkpoints, into a store in
/// the folder.
fn environment(plan: Plan, contender: Contender, folder: &TempDir) -> StreamEnvironment {
    let env = StreamEnvironment::new("bench").parallelism(plan.parallelism);
    match contender.checkpoint_interval() {
        None => env.checkpointing(Checkpointing::disabled()),
        Some(interval) => env.checkpointing(Checkpointing::every(interval)).snapshot_store(store(folder)),
    }
}

fn store(folder: &TempDir) -> RedbStore {
    RedbStore::open(folder.path().join("bench.redb")).expect("a fresh store")
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// Runs the job to its end.
fn run_to_end(env: StreamEnvironment) -> JobOutcome {
    let outcome = actix_rt::System::new().block_on(async { env.start().expect("a valid job").await });
    outcome.expect("a job that ends")
}
