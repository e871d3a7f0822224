//! The command line.

use std::path::PathBuf;

use lexopt::prelude::*;

pub(crate) const HELP: &str = "\
A shop's service around one job: orders count once, reservations are answered once, whatever becomes of the process.

usage: orders [--dir DIR] [--port N]
       orders --check

  --dir DIR    where logs, store and database are (default: orders-data); the same one goes on
  --port N     port on 127.0.0.1 (default: 8080; 0: any free one)
  --check      start the service in a process of its own, press its buttons, kill it again and again,
               and compare what it says with plain loops. Exit code 0: the same
  --help       this text";

pub(crate) struct Options {
    pub(crate) dir: PathBuf,
    pub(crate) port: u16,
    pub(crate) check: bool,
}

/// The options; `None` if help was asked for.
pub(crate) fn parse() -> Result<Option<Options>, lexopt::Error> {
    let mut options = Options { dir: "orders-data".into(), port: 8080, check: false };
    let mut parser = lexopt::Parser::from_env();
    while let Some(arg) = parser.next()? {
        match arg {
            Long("dir") => options.dir = parser.value()?.into(),
            Long("port") => options.port = parser.value()?.parse()?,
            Long("check") => options.check = true,
            Long("help") | Short('h') => return Ok(None),
            _ => return Err(arg.unexpected()),
        }
    }
    Ok(Some(options))
}
