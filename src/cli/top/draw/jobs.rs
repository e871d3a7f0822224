//! All jobs of the server.

use ratatui::text::{Line, Span};

use super::columns::{Column, Columns, figure, text, words, wrapped};
use super::listing::Listing;
use super::palette::Palette;
use crate::cli::top::answers::JobSummary;
use crate::cli::top::format::{age, count};

/// Lines about the row that is chosen.
const DETAIL_LINES: usize = 3;

const JOBS: [Column; 6] = [
    words("JOB", 16, 0),
    text("STATE", 10, 1),
    figure("RAN", 12, 3),
    figure("RESTARTS", 8, 2),
    figure("VERTICES", 8, 4),
    figure("SUBTASKS", 8, 5),
];

pub(super) fn jobs(jobs: &[JobSummary], unix_ms: u64, chosen: usize, width: usize, palette: Palette) -> Listing<'_> {
    let columns = Columns::fit(&JOBS, width);
    let header = columns.header(palette.head());
    let row = move |place: usize, is_chosen: bool| {
        let job: &JobSummary = &jobs[place];
        let ran = job.started_unix_ms.map(|started| job.ended_unix_ms.unwrap_or(unix_ms).saturating_sub(started));
        let cells = vec![
            job.name.to_string().into(),
            Span::styled(job.state.to_string(), palette.state(job.state.as_str())).into(),
            Line::from(age(ran)),
            count(job.restarts).into(),
            count(job.tasks).into(),
            count(job.subtasks).into(),
        ];
        columns.line(cells, is_chosen)
    };
    let error = jobs.get(chosen).and_then(|job| job.last_error.as_ref());
    Listing {
        about: Vec::new(),
        header,
        len: jobs.len(),
        row: Box::new(row),
        empty: "The server shows no job.",
        detail: error.map_or_else(Vec::new, |error| wrapped(&format!("newest failure: {error}"), width, DETAIL_LINES)),
    }
}
