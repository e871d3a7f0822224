//! What every example does around its work.

use std::fmt::Display;
use std::process::ExitCode;

/// Does the work of an example as its command line says, and prints the line that it ends with. `options` are `None` where
/// help was asked for. Exit code 2 for a command line that is none, 1 for work that failed.
pub(crate) fn run<O, E: Display>(
    options: Result<Option<O>, lexopt::Error>,
    help: &str,
    work: impl FnOnce(&O) -> Result<String, E>,
) -> ExitCode {
    let options = match options {
        Ok(Some(options)) => options,
        Ok(None) => {
            println!("{help}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("{error}\n\n{help}");
            return ExitCode::from(2);
        }
    };
    match work(&options) {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("FAILED: {error}");
            ExitCode::FAILURE
        }
    }
}
