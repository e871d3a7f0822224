//! The command line.

pub(crate) const HELP: &str = "\
Queries of the Nexmark benchmark over auctions, persons and bids, each compared with a plain loop.

usage: nexmark [--query NAME] [--events N] [--parallelism N] [--checkpoint-ms N] [--panic-every N] [--json]
               [--dashboard [PORT]]

  --query NAME       q0 to q8, q11, q12, q16 to q20 (default: one after the other)
  --events N         how many events there are (default: 100000)
  --parallelism N    subtasks of each operator (default: 2)
  --checkpoint-ms N  time between checkpoints, 0 for none (default: 0, or 20 with --panic-every)
  --panic-every N    an operator panics when it meets event N, 2N, ..., once each
  --json             prints one object for each query, and nothing else
  --dashboard [PORT] shows the jobs on this port of 127.0.0.1 (8081 if none is said), also after their end, until ctrl-c; needs
                     the feature dashboard
  --help             this text

Seconds are those from the start of the job to its end. The clock of q12 stands still until all events are worked off. Exit code 0: all results are those of the plain loops.";

pub(crate) struct Options {
    pub(crate) query: Option<String>,
    pub(crate) events: u64,
    pub(crate) parallelism: u32,
    pub(crate) checkpoint_ms: u64,
    pub(crate) panic_every: Option<u64>,
    pub(crate) json: bool,
    pub(crate) dashboard: Option<u16>,
}

/// `None`: help was asked for.
pub(crate) fn parse() -> Result<Option<Options>, lexopt::Error> {
    use lexopt::prelude::*;
    let (mut query, mut events, mut parallelism, mut json) = (None, 100_000, 2, false);
    let (mut checkpoint_ms, mut panic_every, mut dashboard) = (None, None, None);
    let mut args = lexopt::Parser::from_env();
    while let Some(arg) = args.next()? {
        match arg {
            Long("query") => query = Some(args.value()?.string()?),
            Long("events") => events = args.value()?.parse()?,
            Long("parallelism") => parallelism = args.value()?.parse()?,
            Long("checkpoint-ms") => checkpoint_ms = Some(args.value()?.parse()?),
            Long("panic-every") => panic_every = Some(args.value()?.parse()?),
            Long("json") => json = true,
            Long("dashboard") => dashboard = Some(crate::dashboard::port(&mut args)?),
            Long("help") | Short('h') => return Ok(None),
            _ => return Err(arg.unexpected()),
        }
    }
    if panic_every == Some(0) {
        return Err("--panic-every takes a positive number".into());
    }
    if let Some(name) = query.as_ref().filter(|name| crate::queries::ALL.iter().all(|query| query.name != **name)) {
        return Err(format!("there is no query '{name}'").into());
    }
    let checkpoint_ms = checkpoint_ms.unwrap_or(if panic_every.is_some() { 20 } else { 0 });
    Ok(Some(Options { query, events, parallelism, checkpoint_ms, panic_every, json, dashboard }))
}
