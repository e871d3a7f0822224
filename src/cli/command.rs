//! From the command line to the exit status.

use std::ffi::OsString;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::process::ExitCode;

use clap::Parser;

use super::args::{Arguments, Command, StoreCommand};
use super::error::{CliError, Ending};
use super::output::Output;
use super::progress::Progress;
use super::{diff, export, fork, inspect, top, verify};
use crate::snapshot::inspection::Inspection;

/// Runs the command that the process was started with. Results go to the standard output, all else to the standard
/// error.
pub fn main() -> ExitCode {
    let mut errors = io::stderr();
    let shows_progress = errors.is_terminal();
    let mut results = BufWriter::new(io::stdout());
    let ending = run(std::env::args_os(), &mut results, &mut errors, shows_progress);
    // Whoever reads them has left, or has been told.
    let _ = results.flush();
    ExitCode::from(ending.code())
}

fn run(
    arguments: impl IntoIterator<Item = OsString>,
    results: &mut dyn Write,
    errors: &mut dyn Write,
    shows_progress: bool,
) -> Ending {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are asked for, and are no error.
            if error.use_stderr() {
                let _ = write!(errors, "{error}");
                return Ending::Trouble;
            }
            let _ = write!(results, "{error}");
            return Ending::Fine;
        }
    };
    let output = Output { results, errors, is_json: arguments.json };
    finish(output, |output| match &arguments.command {
        Command::OfStore(command) => look_into(command, arguments.copy, output, shows_progress),
        Command::Top(top) => top::run(&arguments, top, output),
    })
}

/// Runs a command on the store that it names, or on a copy of that.
fn look_into(
    command: &StoreCommand,
    copies: bool,
    output: &mut Output<'_>,
    shows_progress: bool,
) -> Result<Ending, CliError> {
    let mut progress = Progress::new(shows_progress);
    let path = command.store();
    let mut store = if copies {
        let opened = Inspection::open_copy(path, &mut |done, of| progress.show(output, "copied", done, of));
        progress.clear(output);
        opened?
    } else {
        Inspection::open(path)?
    };
    let ending = match command {
        StoreCommand::Inspect(arguments) => inspect::run(&store, arguments, output, &mut progress),
        StoreCommand::Verify(_) => verify::run(&mut store, output, &mut progress),
        StoreCommand::Export(arguments) => export::run(&store, arguments, output, &mut progress),
        StoreCommand::Diff(arguments) => diff::run(&store, arguments, output, &mut progress),
        StoreCommand::Fork(arguments) => fork::run(&store, arguments, output, &mut progress),
    };
    progress.clear(output);
    ending
}

/// Does `work`, and says what went wrong.
fn finish(mut output: Output<'_>, work: impl FnOnce(&mut Output<'_>) -> Result<Ending, CliError>) -> Ending {
    let done = work(&mut output).and_then(|ending| {
        output.results.flush()?;
        Ok(ending)
    });
    let error = match done {
        Ok(ending) => return ending,
        Err(error) if error.is_broken_pipe() => return Ending::Fine,
        Err(error) => error,
    };
    // What was printed before the failure is right.
    let _ = output.results.flush();
    output.note(&format!("error: {error}"));
    if let Some(hint) = error.hint() {
        output.note(&format!("hint: {hint}"));
    }
    error.ending()
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::*;

    struct Left;

    impl Write for Left {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_leaves_is_no_failure_and_a_full_disk_is() {
        let mut errors = Vec::new();
        let output = Output { results: &mut Left, errors: &mut errors, is_json: false };
        let ending = finish(output, |output| {
            writeln!(output.results, "lost")?;
            Ok(Ending::Fine)
        });
        assert_eq!((ending, errors.is_empty()), (Ending::Fine, true));
        let output = Output { results: &mut Vec::new(), errors: &mut errors, is_json: false };
        let ending = finish(output, |_| Err(io::Error::from(ErrorKind::StorageFull).into()));
        assert_eq!(ending, Ending::Trouble);
        assert!(String::from_utf8(errors).unwrap().starts_with("error: cannot write the output"));
    }

    #[test]
    fn help_is_a_result_and_wrong_usage_is_trouble() {
        let run = |arguments: &[&str]| {
            let (mut results, mut errors) = (Vec::new(), Vec::new());
            let arguments = arguments.iter().map(OsString::from);
            (run(arguments, &mut results, &mut errors, false), results.is_empty(), errors.is_empty())
        };
        assert_eq!(run(&["millstream", "--help"]), (Ending::Fine, false, true));
        assert_eq!(run(&["millstream", "inspect"]), (Ending::Trouble, true, false));
        assert_eq!(run(&["millstream", "diff", "store", "1"]), (Ending::Trouble, true, false));
        assert_eq!(run(&["millstream", "inspect", "/nowhere/at/all.redb"]), (Ending::Trouble, true, false));
    }
}
