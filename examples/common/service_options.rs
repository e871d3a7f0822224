//! The command line of a service.

use std::path::PathBuf;

use lexopt::prelude::*;

use crate::dashboard;

pub(crate) struct Options {
    pub(crate) dir: PathBuf,
    pub(crate) port: u16,
    pub(crate) check: bool,
    pub(crate) dashboard: Option<u16>,
}

/// The options, with this folder if none is named; `None` if help was asked for.
pub(crate) fn parse(dir: &str) -> Result<Option<Options>, lexopt::Error> {
    let mut options = Options { dir: dir.into(), port: 8080, check: false, dashboard: None };
    let mut parser = lexopt::Parser::from_env();
    while let Some(arg) = parser.next()? {
        match arg {
            Long("dir") => options.dir = parser.value()?.into(),
            Long("port") => options.port = parser.value()?.parse()?,
            Long("check") => options.check = true,
            Long("dashboard") => options.dashboard = Some(dashboard::port(&mut parser)?),
            Long("help") | Short('h') => return Ok(None),
            _ => return Err(arg.unexpected()),
        }
    }
    Ok(Some(options))
}
