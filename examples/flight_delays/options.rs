//! The command line.

use std::path::PathBuf;

use crate::dashboard;

pub(crate) const HELP: &str = "\
Running delay figures of flights per carrier and airport, exactly once, whatever is injected.

usage: flight_delays [--input FILE_OR_GLOB] [--out DIR] [--store FILE] [--parallelism N]
                     [--checkpoint-ms N] [--records-per-second N] [--panic-every N] [--kill-after-records N]
                     [--dashboard [PORT]]

  --input FILE_OR_GLOB    CSV files of flights (default: the shipped January 2013)
  --out DIR               where the output goes (default: a fresh temporary folder)
  --store FILE            the snapshot store, a redb file (default: a fresh temporary file)
  --parallelism N         subtasks of each operator (default: 2)
  --checkpoint-ms N       time between checkpoints (default: 20)
  --records-per-second N  how fast each subtask reads (default: 40000, so that there is something to
                          watch; 0: as fast as it can)
  --panic-every N         an operator panics when it meets record N, 2N, ... of a file, once each
  --kill-after-records N  the process aborts after it has read N records; the same command again
                          goes on (needs --out and --store)
  --dashboard [PORT]      shows the job on this port of 127.0.0.1 (8081 if none is said), also after its end, until ctrl-c; needs
                          the feature dashboard
  --help                  this text

The result is compared with a plain loop over the same input. Exit code 0: identical.";

pub(crate) struct Options {
    pub(crate) input: String,
    pub(crate) out: Option<PathBuf>,
    pub(crate) store: Option<PathBuf>,
    pub(crate) parallelism: u32,
    pub(crate) checkpoint_ms: u64,
    pub(crate) records_per_second: u64,
    pub(crate) panic_every: Option<u64>,
    pub(crate) kill_after_records: Option<u64>,
    pub(crate) dashboard: Option<u16>,
}

/// `None`: help was asked for.
pub(crate) fn parse() -> Result<Option<Options>, lexopt::Error> {
    use lexopt::prelude::*;
    let mut options = Options {
        input: concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/flights/flights.csv").to_owned(),
        out: None,
        store: None,
        parallelism: 2,
        checkpoint_ms: 20,
        records_per_second: 40_000,
        panic_every: None,
        kill_after_records: None,
        dashboard: None,
    };
    let mut args = lexopt::Parser::from_env();
    while let Some(arg) = args.next()? {
        match arg {
            Long("input") => options.input = args.value()?.string()?,
            Long("out") => options.out = Some(args.value()?.into()),
            Long("store") => options.store = Some(args.value()?.into()),
            Long("parallelism") => options.parallelism = args.value()?.parse()?,
            Long("checkpoint-ms") => options.checkpoint_ms = args.value()?.parse()?,
            Long("records-per-second") => options.records_per_second = args.value()?.parse()?,
            Long("panic-every") => options.panic_every = Some(args.value()?.parse()?),
            Long("kill-after-records") => options.kill_after_records = Some(args.value()?.parse()?),
            Long("dashboard") => options.dashboard = Some(dashboard::port(&mut args)?),
            Long("help") | Short('h') => return Ok(None),
            _ => return Err(arg.unexpected()),
        }
    }
    if options.panic_every == Some(0) || options.kill_after_records == Some(0) {
        return Err("--panic-every and --kill-after-records take a positive number".into());
    }
    if options.kill_after_records.is_some() && (options.out.is_none() || options.store.is_none()) {
        return Err("--kill-after-records needs --out and --store, so that the same command can go on".into());
    }
    Ok(Some(options))
}
