//! The command line.

use std::path::PathBuf;

pub(crate) const HELP: &str = "\
Flights from New York in January 2013 by event time: each with the weather at its airport in its hour, the legs that an
aircraft flew one after the other, sliding delays of carriers, and departures by the hour with what came late.

usage: flight_weather [--flights FILE] [--weather FILE] [--out DIR] [--parallelism N] [--checkpoint-ms N]
                      [--records-per-second N] [--panic-every N]

  --flights FILE          a CSV file of flights (default: the shipped January 2013)
  --weather FILE          a CSV file of hourly weather (default: the shipped one)
  --out DIR               where the output goes (default: a fresh temporary folder)
  --parallelism N         subtasks of each operator (default: 2)
  --checkpoint-ms N       time between checkpoints (default: 20)
  --records-per-second N  how fast flights are read (default: 40000, so that there is something to watch;
                          0: as fast as can be)
  --panic-every N         an operator panics when it meets flight N, 2N, ..., once each
  --help                  this text

The result is compared with plain loops over the same input. Exit code 0: identical.";

pub(crate) struct Options {
    pub(crate) flights: String,
    pub(crate) weather: String,
    pub(crate) out: Option<PathBuf>,
    pub(crate) parallelism: u32,
    pub(crate) checkpoint_ms: u64,
    pub(crate) records_per_second: u64,
    pub(crate) panic_every: Option<u64>,
}

/// `None`: help was asked for.
pub(crate) fn parse() -> Result<Option<Options>, lexopt::Error> {
    use lexopt::prelude::*;
    let mut options = Options {
        flights: concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/flights/flights.csv").to_owned(),
        weather: concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/flights/weather.csv").to_owned(),
        out: None,
        parallelism: 2,
        checkpoint_ms: 20,
        records_per_second: 40_000,
        panic_every: None,
    };
    let mut args = lexopt::Parser::from_env();
    while let Some(arg) = args.next()? {
        match arg {
            Long("flights") => options.flights = args.value()?.string()?,
            Long("weather") => options.weather = args.value()?.string()?,
            Long("out") => options.out = Some(args.value()?.into()),
            Long("parallelism") => options.parallelism = args.value()?.parse()?,
            Long("checkpoint-ms") => options.checkpoint_ms = args.value()?.parse()?,
            Long("records-per-second") => options.records_per_second = args.value()?.parse()?,
            Long("panic-every") => options.panic_every = Some(args.value()?.parse()?),
            Long("help") | Short('h') => return Ok(None),
            _ => return Err(arg.unexpected()),
        }
    }
    if options.panic_every == Some(0) {
        return Err("--panic-every takes a positive number".into());
    }
    Ok(Some(options))
}
