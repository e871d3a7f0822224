//! Runs engines in turn, each run in a child process, and compares what they computed.

use std::process::{Command, Stdio};

use crate::args::Args;
use crate::measure::Run;
use crate::plan::{Contender, Plan, Workload};
use crate::series::Series;

/// All rounds of all workloads that were asked for.
pub(crate) fn run(args: &Args) -> Result<Vec<Series>, String> {
    let workloads = if args.workloads.is_empty() { Workload::all() } else { args.workloads.clone() };
    let mut all = Vec::new();
    for workload in workloads {
        all.extend(rounds(plan(args, workload), &contenders(args, workload)?, args.runs.unwrap_or(workload.runs()))?);
    }
    Ok(all)
}

/// What `--once` is to run.
pub(crate) fn the_only(args: &Args) -> Result<(Plan, Contender), String> {
    let ([workload], [engine]) = (args.workloads.as_slice(), args.engines.as_slice()) else {
        return Err("--once takes one --workload and one --engine".to_owned());
    };
    if !workload.engines().contains(engine) {
        return Err(format!("{engine} cannot do {workload}"));
    }
    Ok((plan(args, *workload), Contender { engine: *engine, checkpoint_ms: args.checkpoint_ms }))
}

fn plan(args: &Args, workload: Workload) -> Plan {
    let usual = workload.plan();
    Plan {
        workload,
        records: args.records.unwrap_or(usual.records),
        keys: args.keys.unwrap_or(usual.keys),
        parallelism: args.parallelism.unwrap_or(usual.parallelism),
    }
}

fn contenders(args: &Args, workload: Workload) -> Result<Vec<Contender>, String> {
    let mut contenders = Vec::new();
    for engine in workload.engines().iter().filter(|engine| args.engines.is_empty() || args.engines.contains(engine)) {
        let is_compared = workload.takes_checkpoints();
        let without = Contender { engine: *engine, checkpoint_ms: None };
        let with = Contender { engine: *engine, checkpoint_ms: args.checkpoint_ms };
        if is_compared || args.checkpoint_ms.is_none() {
            contenders.push(without);
        }
        if args.checkpoint_ms.is_some() && engine.takes_checkpoints() {
            contenders.push(with);
        }
    }
    if contenders.is_empty() {
        return Err(format!("none of these engines can do {workload}"));
    }
    Ok(contenders)
}

/// One run of each contender per round, each round beginning with another one.
fn rounds(plan: Plan, contenders: &[Contender], rounds: usize) -> Result<Vec<Series>, String> {
    let mut all: Vec<Series> =
        contenders.iter().map(|contender| Series { plan, contender: *contender, runs: Vec::new() }).collect();
    for round in 0..rounds {
        for turn in 0..all.len() {
            let series = &mut all[(round + turn) % contenders.len()];
            eprintln!("{plan}: round {} of {rounds}, {}", round + 1, series.contender);
            series.runs.push(child(plan, series.contender)?);
        }
    }
    compare(&all)?;
    Ok(all)
}

fn child(plan: Plan, contender: Contender) -> Result<Run, String> {
    let program = std::env::current_exe().map_err(|error| format!("cannot find this program: {error}"))?;
    let mut command = Command::new(program);
    command.arg("--once").args(["--workload", &plan.workload.to_string(), "--engine", &contender.engine.to_string()]);
    command.args(["--records", &plan.records.to_string(), "--parallelism", &plan.parallelism.to_string()]);
    if plan.keys > 0 {
        command.args(["--keys", &plan.keys.to_string()]);
    }
    if let Some(ms) = contender.checkpoint_ms {
        command.args(["--checkpoint-ms", &ms.to_string()]);
    }
    let output =
        command.stderr(Stdio::inherit()).output().map_err(|error| format!("cannot run {contender}: {error}"))?;
    if !output.status.success() {
        return Err(format!("{plan}, {contender}: {}", output.status));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| format!("{plan}, {contender}: no result: {error}"))
}

/// # Errors
/// If two runs computed something else.
fn compare(all: &[Series]) -> Result<(), String> {
    let results = || {
        let of = |run: &Run| (run.checksum, run.results);
        all.iter().flat_map(move |series| series.runs.iter().map(move |run| (series.contender, of(run))))
    };
    let Some((first, expected)) = results().next() else { return Ok(()) };
    match results().find(|(_, found)| *found != expected) {
        None => Ok(()),
        Some((other, found)) => Err(format!("{first} computed {expected:?}, {other} computed {found:?}")),
    }
}
