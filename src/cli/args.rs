//! What may be written on the command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

/// Looks into the stores of Millstream jobs: what checkpoints they hold, whether they are whole, what is in a state. Shows jobs while
/// they run (top).
///
/// A store is never written to. While a job runs its store is locked: stop the job, or pass --copy.
///
/// Exit status: 0 done, 1 damage found, 2 wrong usage or what was asked for cannot be read, 3 differences (diff --exit-code).
#[derive(Debug, Parser)]
#[command(name = "millstream", version, max_term_width = 100)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) command: Command,

    /// Print JSON for programs instead of tables for people.
    #[arg(long, global = true)]
    pub(super) json: bool,

    /// Copy the file to the directory for temporary files first, and look at the copy. Works while a job runs.
    #[arg(long, global = true)]
    pub(super) copy: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    #[command(flatten)]
    OfStore(StoreCommand),
    /// Show the figures of running jobs, live in the terminal, as the dashboard has them.
    Top(TopArguments),
}

/// What looks into a store.
#[derive(Debug, Subcommand)]
pub(super) enum StoreCommand {
    /// Show the checkpoints of a store, and the states of one.
    Inspect(InspectArguments),
    /// Verify every checksum, and how checkpoints build on each other.
    Verify(StoreArguments),
    /// Print one state as JSON lines.
    Export(ExportArguments),
    /// Compare two checkpoints of a store: keys added, changed and removed.
    Diff(DiffArguments),
    /// Write a new store that starts a job at a retained checkpoint.
    Fork(ForkArguments),
}

impl StoreCommand {
    /// The store to look into.
    pub(super) fn store(&self) -> &PathBuf {
        match self {
            Self::Inspect(arguments) => &arguments.store.store,
            Self::Verify(arguments) => &arguments.store,
            Self::Export(arguments) => &arguments.store.store,
            Self::Diff(arguments) => &arguments.store.store,
            Self::Fork(arguments) => &arguments.store.store,
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct StoreArguments {
    /// The store's file.
    pub(super) store: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct InspectArguments {
    #[command(flatten)]
    pub(super) store: StoreArguments,

    /// The checkpoint whose states are shown [default: the newest].
    #[arg(long, value_name = "ID")]
    pub(super) checkpoint: Option<u64>,

    /// Do not read states to count their entries.
    #[arg(long)]
    pub(super) no_entries: bool,
}

#[derive(Debug, Args)]
pub(super) struct ExportArguments {
    #[command(flatten)]
    pub(super) store: StoreArguments,

    /// The operator's id.
    #[arg(long, value_name = "ID")]
    pub(super) operator: String,

    /// The state's name.
    #[arg(long, value_name = "NAME")]
    pub(super) state: String,

    /// The checkpoint [default: the newest].
    #[arg(long, value_name = "ID")]
    pub(super) checkpoint: Option<u64>,
}

#[derive(Debug, Args)]
pub(super) struct DiffArguments {
    #[command(flatten)]
    pub(super) store: StoreArguments,

    /// The checkpoint to compare.
    #[arg(value_name = "FROM")]
    pub(super) from: u64,

    /// The checkpoint to compare it with.
    #[arg(value_name = "TO")]
    pub(super) to: u64,

    /// Only states of this operator.
    #[arg(long, value_name = "ID")]
    pub(super) operator: Option<String>,

    /// Only states of this name.
    #[arg(long, value_name = "NAME")]
    pub(super) state: Option<String>,

    /// Print each key that differs, with its values.
    #[arg(long)]
    pub(super) keys: bool,

    /// Exit with 3 if there is a difference.
    #[arg(long)]
    pub(super) exit_code: bool,
}

#[derive(Debug, Args)]
pub(super) struct ForkArguments {
    #[command(flatten)]
    pub(super) store: StoreArguments,

    /// The checkpoint that the new store begins with.
    #[arg(long, value_name = "ID")]
    pub(super) checkpoint: u64,

    /// The new file. It must not exist.
    #[arg(long, value_name = "FILE")]
    pub(super) to: PathBuf,

    /// The job that the new store is for [default: the same].
    #[arg(long, value_name = "NAME")]
    pub(super) job: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct TopArguments {
    /// Where the dashboard is: the address of its page in a browser, or HOST:PORT.
    #[arg(value_name = "URL")]
    pub(super) address: String,

    /// The job's id [default: the only one; if there are several, they are listed].
    #[arg(long, value_name = "ID")]
    pub(super) job: Option<String>,

    /// Seconds between two looks.
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = interval)]
    pub(super) interval: Duration,

    /// Print the figures one time as plain text, and exit.
    #[arg(long)]
    pub(super) once: bool,
}

/// From a fifth of a second, since each look costs the server something, to an hour.
fn interval(said: &str) -> Result<Duration, String> {
    match said.parse::<f64>() {
        Ok(seconds) if (0.2..=3_600.0).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("a number of seconds from 0.2 to 3600".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn arguments_are_declared_without_contradiction() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn intervals_have_bounds() {
        assert_eq!(interval("0.5"), Ok(Duration::from_millis(500)));
        for said in ["0", "-1", "nan", "inf", "1e300", "3601", "", "1s"] {
            assert!(interval(said).is_err(), "{said}");
        }
    }
}
