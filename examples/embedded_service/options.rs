//! The command line.

use lexopt::prelude::*;

pub(crate) const HELP: &str = "\
A web service with a stream job inside.

  --port N                  port on 127.0.0.1; any free one if not given
  --records-per-second N    how fast the job reads; default 1000
  --check                   drive the service by requests, compare its result with a plain loop, and end
  --help                    this text";

pub(crate) struct Options {
    pub(crate) port: u16,
    pub(crate) records_per_second: u64,
    pub(crate) check: bool,
}

/// The options; `None` if help was asked for.
pub(crate) fn parse() -> Result<Option<Options>, lexopt::Error> {
    let mut options = Options { port: 0, records_per_second: 1_000, check: false };
    let mut rate = None;
    let mut parser = lexopt::Parser::from_env();
    while let Some(arg) = parser.next()? {
        match arg {
            Long("port") => options.port = parser.value()?.parse()?,
            Long("records-per-second") => rate = Some(parser.value()?.parse()?),
            Long("check") => options.check = true,
            Long("help") | Short('h') => return Ok(None),
            _ => return Err(arg.unexpected()),
        }
    }
    // All of the input in nine seconds: all panics are ordered before its end, on a busy machine too.
    let default = if options.check { 3_000 } else { options.records_per_second };
    options.records_per_second = rate.unwrap_or(default);
    Ok(Some(options))
}
