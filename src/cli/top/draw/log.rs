//! The newest events of the job.

use ratatui::text::{Line, Span};

use super::columns::{Column, Columns, words, wrapped};
use super::listing::Listing;
use super::palette::Palette;
use crate::cli::top::answers::LogEvent;
use crate::cli::top::format::clock;

/// Lines about the row that is chosen.
const DETAIL_LINES: usize = 6;

const EVENTS: [Column; 1] = [words("EVENT, NEWEST FIRST (UTC)", 1, 0)];

/// The events, oldest first, as they are shown: newest first.
pub(super) fn log(events: &[LogEvent], chosen: usize, width: usize, palette: Palette) -> Listing<'_> {
    let columns = Columns::fit(&EVENTS, width);
    let header = columns.header(palette.head());
    let row = move |place: usize, is_chosen: bool| {
        let event = &events[events.len() - 1 - place];
        columns.line(vec![line(event, palette)], is_chosen)
    };
    let detail = events.iter().rev().nth(chosen).map(|event| wrapped(event.text.as_str(), width, DETAIL_LINES));
    Listing {
        about: Vec::new(),
        header,
        len: events.len(),
        row: Box::new(row),
        empty: "No event is known.",
        detail: detail.filter(|lines| lines.len() > 1).unwrap_or_default(),
    }
}

/// An event on one line.
pub(super) fn line(event: &LogEvent, palette: Palette) -> Line<'static> {
    let level = event.level.as_str();
    Line::from(vec![
        Span::raw(format!("{} ", clock(event.unix_ms))),
        Span::styled(format!("{:5} ", level.to_uppercase()), palette.state(level)),
        Span::raw(event.text.to_string()),
    ])
}
