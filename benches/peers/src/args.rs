//! The command line.

use std::path::PathBuf;
use std::str::FromStr;

use lexopt::prelude::{Long, ValueExt as _};

use crate::plan::{Engine, Workload};

const USAGE: &str = "\
bench [OPTIONS]: runs the same work on several engines, in turn, and compares them

  --workload NAME       chain, keyed, updates, words, window, sliding, sliding100, timers, nexmark-q1 to nexmark-q8, nexmark (all
                        eight), latency, recovery, idle; may be repeated (default: all)
  --engine NAME         millstream, millstream-map, millstream-blocking, plain, timely, renoir; may be repeated
                        (default: all that can do the workload)
  --records N           records of the input; for idle, jobs
  --keys N              keys, or different words
  --parallelism N       subtasks or workers
  --checkpoint-ms N     run Millstream with a checkpoint each N ms, too; for recovery and idle, do so only
  --runs N              rounds; in each every engine runs once, in a process of its own
  --json                print a line of JSON for each engine instead of tables
  --svg FILE            draw the times per record
  --from FILE           show what --json has printed earlier, and run nothing; may be repeated
  --once                run one engine once in this process, for a profiler";

/// What to do. What is `None` is as the workload has it.
#[derive(Default)]
pub(crate) struct Args {
    pub(crate) workloads: Vec<Workload>,
    pub(crate) engines: Vec<Engine>,
    pub(crate) records: Option<u64>,
    pub(crate) keys: Option<u64>,
    pub(crate) parallelism: Option<u32>,
    pub(crate) checkpoint_ms: Option<u64>,
    pub(crate) runs: Option<usize>,
    pub(crate) output: Output,
    pub(crate) svg: Option<PathBuf>,
    pub(crate) from: Vec<PathBuf>,
    pub(crate) is_once: bool,
}

/// How results are printed.
#[derive(Clone, Copy, Default)]
pub(crate) enum Output {
    #[default]
    Tables,
    Json,
}

/// Reads the command line; ends the process if it asks for help.
pub(crate) fn parse() -> Result<Args, String> {
    read().map_err(|error| format!("{error}\n\n{USAGE}"))
}

fn read() -> Result<Args, lexopt::Error> {
    let mut args = Args::default();
    let mut parser = lexopt::Parser::from_env();
    while let Some(option) = parser.next()? {
        match option {
            Long("workload") => args.workloads.extend(parser.value()?.parse_with(workloads)?),
            Long("engine") => args.engines.push(parser.value()?.parse_with(Engine::from_str)?),
            Long("records") => args.records = Some(parser.value()?.parse()?),
            Long("keys") => args.keys = Some(positive(parser.value()?.parse()?)?),
            Long("parallelism") => args.parallelism = Some(positive(parser.value()?.parse()?)?),
            Long("checkpoint-ms") => args.checkpoint_ms = Some(positive(parser.value()?.parse()?)?),
            Long("runs") => args.runs = Some(positive(parser.value()?.parse()?)?),
            Long("json") => args.output = Output::Json,
            Long("svg") => args.svg = Some(parser.value()?.into()),
            Long("from") => args.from.push(parser.value()?.into()),
            Long("once") => args.is_once = true,
            Long("help") => {
                println!("{USAGE}");
                std::process::exit(0);
            }
            other => return Err(other.unexpected()),
        }
    }
    Ok(args)
}

fn workloads(text: &str) -> Result<Vec<Workload>, String> {
    if text == "nexmark" { Ok(Workload::nexmark()) } else { Workload::from_str(text).map(|workload| vec![workload]) }
}

fn positive<N: Default + PartialEq>(number: N) -> Result<N, lexopt::Error> {
    if number == N::default() { Err("0 is too few".into()) } else { Ok(number) }
}
