//! The command.

use std::io::{self, IsTerminal};

use super::address::Address;
use super::answers::JobId;
use super::error::TopError;
use super::looks::Looks;
use super::model::Model;
use super::once::once;
use super::screen::show;
use crate::cli::args::{Arguments, TopArguments};
use crate::cli::error::{CliError, Ending};
use crate::cli::output::Output;
use crate::time::SystemClock;

/// Shows the figures until a key ends that, or prints them once.
///
/// # Errors
/// [`CliError::Top`], and [`CliError::Output`].
pub(in crate::cli) fn run(
    all: &Arguments,
    arguments: &TopArguments,
    output: &mut Output<'_>,
) -> Result<Ending, CliError> {
    for (option, is_given) in [("json", all.json), ("copy", all.copy)] {
        if is_given {
            return Err(TopError::Option { option }.into());
        }
    }
    let address = Address::parse(&arguments.address)?;
    let job = arguments.job.clone().map(JobId::from);
    if arguments.once {
        once(&address, job, output)?;
        return Ok(Ending::Fine);
    }
    let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    if is_dumb || !io::stdout().is_terminal() {
        return Err(TopError::NoTerminal.into());
    }
    let (clock, interval) = (SystemClock::new(), arguments.interval);
    let model = Model::new(interval, job);
    let looks = Looks::start(address, model.wish(), interval, clock)?;
    show(model, &looks, &clock)?;
    Ok(Ending::Fine)
}
