//! What has failed.

use ratatui::text::Line;

use super::columns::{Column, Columns, figure, text, words, wrapped};
use super::listing::Listing;
use super::palette::Palette;
use crate::cli::top::answers::Failure;
use crate::cli::top::format::{clock, duration, moment};

/// Lines about the row that is chosen.
const DETAIL_LINES: usize = 6;

const FAILURES: [Column; 6] = [
    words("CAUSE", 16, 0),
    text("UTC", 8, 1),
    text("TASK", 16, 2),
    figure("ATTEMPT", 7, 5),
    figure("RESTORED", 8, 4),
    figure("DOWN", 8, 3),
];

/// The newest first; `None` if they have not been heard yet.
pub(super) fn failures(failures: Option<&[Failure]>, chosen: usize, width: usize, palette: Palette) -> Listing<'_> {
    let columns = Columns::fit(&FAILURES, width);
    let header = columns.header(palette.head());
    let known = failures.unwrap_or_default();
    let row = move |place: usize, is_chosen: bool| {
        let failure: &Failure = &known[place];
        let number = |number: Option<u64>| number.map_or_else(|| "–".to_owned(), |number| number.to_string());
        let restored = failure.restored_checkpoint.map_or_else(|| "–".to_owned(), |id| format!("#{id}"));
        let cells = [
            failure.cause.to_string(),
            clock(failure.unix_ms),
            task(failure),
            number(failure.attempt),
            restored,
            duration(failure.downtime_ms),
        ];
        columns.line(cells.map(Line::from).to_vec(), is_chosen)
    };
    let detail = known.get(chosen).map_or_else(Vec::new, |failure| {
        let record = failure.record.as_ref().map_or_else(String::new, |record| format!(" Record: {record}"));
        let (at, task) = (moment(Some(failure.unix_ms)), task(failure));
        wrapped(&format!("{at} UTC, {task}: {}{record}", failure.cause), width, DETAIL_LINES)
    });
    let empty = if failures.is_some() { "Nothing has failed." } else { "Asking for what has failed." };
    Listing { about: Vec::new(), header, len: known.len(), row: Box::new(row), empty, detail }
}

fn task(failure: &Failure) -> String {
    match failure.subtask {
        Some(subtask) => format!("{}[{subtask}]", failure.task),
        None => failure.task.to_string(),
    }
}
