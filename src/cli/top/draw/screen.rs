//! Everything on one screen.

use std::time::Duration;

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::Widget;

use super::bars::spark;
use super::columns::cut;
use super::listing::Listing;
use super::palette::Palette;
use super::{checkpoints, failures, head, help, jobs, log, notices, vertices};
use crate::cli::top::format::{duration, rate};
use crate::cli::top::looks::JobFigures;
use crate::cli::top::model::{Model, Shown};
use crate::cli::top::view::View;

/// Rows of a screen that has lines over its figures over time.
const SPARKS_FROM: usize = 20;
/// Cells beside such a line.
const SPARK_LABELS: usize = 34;

const FOOTER: &str = "q leave  Tab view  up/down choose  Enter open  Esc close  p hold still  ? help";

/// Draws what the model shows at this moment. Returns how many rows of the view are seen.
pub(in crate::cli::top) fn draw(frame: &mut Frame<'_>, model: &Model, now: Duration, palette: Palette) -> usize {
    let area = frame.area();
    let (width, height) = (usize::from(area.width), usize::from(area.height));
    let mut top = vec![head::title(model, now, width, palette)];
    let mut above = notices::notices(model, now, width, palette);
    if let Some(figures) = model.figures() {
        above.extend(head::figures(figures, model.unix_ms(now), width, palette));
    }
    // The view has half of the screen at least.
    above.truncate((height / 2).saturating_sub(1));
    top.extend(above);
    if height > top.len() + 4 {
        top.push(tabs(model, width, palette));
    }
    let footer = (height > top.len() + 3).then(|| cut(Line::from(FOOTER), width).style(palette.label()));
    let room = height.saturating_sub(top.len() + usize::from(footer.is_some()));
    let (body, page) = body(model, now, (width, room), height, palette);
    let mut screen = Screen { buffer: frame.buffer_mut(), area, row: 0 };
    top.into_iter().chain(body).for_each(|line| screen.put(line));
    if let Some(footer) = footer {
        screen.row = area.height.saturating_sub(1);
        screen.put(footer);
    }
    if model.link.is_old(now) || model.shown().is_some_and(|shown| shown.is_gone) {
        frame.buffer_mut().set_style(area, Style::new().add_modifier(Modifier::DIM));
    }
    page
}

/// Where lines go, one below the other.
struct Screen<'a> {
    buffer: &'a mut Buffer,
    area: Rect,
    row: u16,
}

impl Screen<'_> {
    fn put(&mut self, line: Line<'static>) {
        if self.row < self.area.height {
            line.render(Rect { y: self.area.y + self.row, height: 1, ..self.area }, self.buffer);
            self.row += 1;
        }
    }
}

fn tabs(model: &Model, width: usize, palette: Palette) -> Line<'static> {
    let mut spans = Vec::new();
    for (place, (_, name)) in View::TABS.iter().enumerate() {
        let number = place + 1;
        if place == model.view.tab() {
            spans.push(Span::styled(format!("[{number} {name}]"), palette.head()));
        } else {
            spans.push(Span::raw(format!(" {number} {name} ")));
        }
    }
    cut(Line::from(spans), width)
}

/// The view, in this room of so wide and so high.
fn body(
    model: &Model,
    now: Duration,
    (width, room): (usize, usize),
    height: usize,
    palette: Palette,
) -> (Vec<Line<'static>>, usize) {
    if model.has_help {
        return (help::help(width, palette), room);
    }
    let rows = model.rows();
    let chosen = model.chosen(&rows);
    let Some(mut listing) = listing(model, now, chosen, width, palette) else {
        let text = if model.shown().is_some() { "Nothing is known of the job." } else { "Nothing has been heard yet." };
        return (vec![cut(Line::from(text), width)], 0);
    };
    if model.view == View::Overview
        && let (Some(figures), Some(shown)) = (model.figures(), model.shown())
    {
        if height >= SPARKS_FROM {
            listing.about = sparks(shown, width, palette);
        }
        return overview(listing, figures, chosen, (width, room), palette);
    }
    windowed(&listing, chosen, room, palette)
}

/// The view as a listing, if there is anything to list.
fn listing(model: &Model, now: Duration, chosen: usize, width: usize, palette: Palette) -> Option<Listing<'_>> {
    let unix_ms = model.unix_ms(now);
    model.shown()?;
    if model.view == View::Jobs {
        return Some(jobs::jobs(model.jobs(), unix_ms, chosen, width, palette));
    }
    let figures = model.figures()?;
    Some(match model.view {
        View::Overview | View::Jobs => vertices::vertices(figures, width, palette),
        View::Vertex(id) => vertices::subtasks(figures, figures.vertex(id)?, width, palette),
        View::Checkpoints => checkpoints::history(figures, unix_ms, chosen, width, palette),
        View::Checkpoint(id) => checkpoints::parts(model, figures, id, width, palette),
        View::Failures => failures::failures(model.failures(), chosen, width, palette),
        View::Log => log::log(&figures.events, chosen, width, palette),
    })
}

/// The part of a listing that there is room for, with the chosen row.
fn windowed(listing: &Listing<'_>, chosen: usize, room: usize, palette: Palette) -> (Vec<Line<'static>>, usize) {
    let mut lines = listing.about.clone();
    lines.truncate(room / 3);
    lines.push(listing.header.clone());
    let mut detail = listing.detail.clone();
    detail.truncate(room / 3);
    let page = room.saturating_sub(lines.len() + detail.len());
    let mut rows: Vec<_> = listing.window(chosen, page).map(|place| row(listing, place, chosen, palette)).collect();
    if listing.len == 0 {
        rows.push(Line::from(format!("  {}", listing.empty)));
    }
    let filler = if detail.is_empty() { 0 } else { page.saturating_sub(rows.len()) };
    lines.extend(rows);
    lines.extend(std::iter::repeat_n(Line::default(), filler));
    lines.extend(detail);
    (lines, page)
}

fn row(listing: &Listing<'_>, place: usize, chosen: usize, palette: Palette) -> Line<'static> {
    let line = (listing.row)(place, place == chosen);
    if place == chosen { line.patch_style(palette.chosen()) } else { line }
}

/// The vertices, and the newest events where there is room below.
fn overview(
    listing: Listing<'_>,
    figures: &JobFigures,
    chosen: usize,
    (width, room): (usize, usize),
    palette: Palette,
) -> (Vec<Line<'static>>, usize) {
    let (mut lines, page) = windowed(&listing, chosen, room, palette);
    let left = room.saturating_sub(lines.len() + 2);
    if left > 0 {
        lines.push(Line::default());
        lines.push(Line::from("NEWEST EVENTS (UTC)").style(palette.head()));
        lines.extend(figures.events.iter().rev().take(left).map(|event| cut(log::line(event, palette), width)));
    }
    (lines, page)
}

/// The rate and the lag over time.
fn sparks(shown: &Shown, width: usize, palette: Palette) -> Vec<Line<'static>> {
    let room = width.saturating_sub(SPARK_LABELS);
    let line = |name: &'static str, (spark, highest): (String, Option<f64>), write: &dyn Fn(f64) -> String| {
        let highest = highest.map_or_else(String::new, |highest| format!(" highest {}", write(highest)));
        let spans = vec![Span::styled(format!("{name:13} "), palette.label()), Span::raw(spark), Span::raw(highest)];
        cut(Line::from(spans), width)
    };
    let lags = spark(&shown.lags, room);
    let has_lags = lags.1.is_some();
    let mut lines = vec![line("Records/s", spark(&shown.rates, room), &|value| rate(Some(value)))];
    if has_lags {
        lines.push(line("Watermark lag", lags, &|value| duration(Some(value))));
    }
    lines
}
