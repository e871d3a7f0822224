//! The figures on the standard output, one time.

use std::sync::mpsc;
use std::time::Duration;

use super::address::Address;
use super::answers::JobId;
use super::client::Client;
use super::draw::{print, print_jobs};
use super::error::TopError;
use super::looks::{JobFigures, JobLook, Look, Wish, look};
use super::text::Text;
use crate::cli::error::CliError;
use crate::cli::output::Output;

/// Rates are of the time between two looks, and the server takes none that is shorter.
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);
/// Cells of a line, where nothing else is said.
const WIDTH: usize = 120;

/// Prints the figures of the job; of all jobs in short, if there are several and none is named.
///
/// # Errors
/// All of [`TopError`] that are about answers, [`TopError::NoSuchJob`], and [`CliError::Output`].
pub(super) fn once(address: &Address, job: Option<JobId>, output: &mut Output<'_>) -> Result<(), CliError> {
    let client = Client::new();
    let wish = Wish { job: job.clone(), checkpoint: None, failures: true };
    let mut heard = look(&client, address, &wish)?;
    if matches!(&heard.job, JobLook::Known(figures) if needs_second_look(figures)) {
        wait(BETWEEN_LOOKS);
        heard = look(&client, address, &wish)?;
    }
    let lines = match &heard {
        Look { job: JobLook::Known(figures), .. } => print(figures, width()),
        Look { job: JobLook::Unchosen, overview } => print_jobs(&overview.jobs, overview.now_unix_ms, width()),
        Look { job: JobLook::Gone, overview } => {
            let known: Vec<String> = overview.jobs.iter().map(|job| job.id.shown().to_string()).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            let job = job.map(|job| job.shown()).unwrap_or_default();
            return Err(TopError::NoSuchJob { job, known: Text::of(&known) }.into());
        }
    };
    for line in lines {
        writeln!(output.results, "{line}")?;
    }
    Ok(())
}

/// Whether the server has no rates because nobody has looked before.
fn needs_second_look(figures: &JobFigures) -> bool {
    !figures.has_ended() && figures.detail.vertices.iter().all(|vertex| vertex.figures.busy.is_none())
}

/// Waits so long: for a message that never comes.
fn wait(time: Duration) {
    let (_sender, receiver) = mpsc::channel::<()>();
    let _ = receiver.recv_timeout(time);
}

/// Of the terminal, if the output is one; else what `COLUMNS` says.
fn width() -> usize {
    use std::io::IsTerminal;
    let of_terminal = || ratatui::crossterm::terminal::size().ok().map(|(columns, _)| usize::from(columns));
    let said = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let width = if std::io::stdout().is_terminal() { of_terminal() } else { said };
    width.filter(|width| (1..=1_000).contains(width)).unwrap_or(WIDTH)
}
