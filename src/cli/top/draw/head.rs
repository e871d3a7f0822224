//! The head: the job, its state, and seven figures.

use std::time::Duration;

use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::columns::cut;
use super::palette::Palette;
use crate::cli::top::answers::Vertex;
use crate::cli::top::format::{age, bytes, count, count_of, duration, rate, share};
use crate::cli::top::looks::JobFigures;
use crate::cli::top::model::Model;

/// Between two figures.
const BETWEEN: &str = "   ";

/// The job and how it stands with the server.
pub(super) fn title(model: &Model, now: Duration, width: usize, palette: Palette) -> Line<'static> {
    let mut left = vec![Span::styled("millstream top", palette.head()), Span::raw("  ")];
    left.extend(job(model, now, palette));
    let right = link(model, now, palette);
    let left = cut(Line::from(left), width.saturating_sub(right.width() + 1));
    let between = width.saturating_sub(left.width() + right.width());
    let mut spans = left.spans;
    spans.push(Span::raw(" ".repeat(between)));
    spans.push(right);
    cut(Line::from(spans), width)
}

fn job(model: &Model, now: Duration, palette: Palette) -> Vec<Span<'static>> {
    let Some(figures) = model.figures() else {
        return model.job().map(|job| Span::raw(job.shown().to_string())).into_iter().collect();
    };
    let job = &figures.detail;
    let unix_ms = model.unix_ms(now);
    let ran = |until: u64| job.started_unix_ms.map(|started| until.saturating_sub(started));
    let ran = match job.ended_unix_ms {
        Some(ended) => format!("ran {}", age(ran(ended))),
        None => format!("up {}", age(ran(unix_ms))),
    };
    let mut spans = vec![
        Span::styled(job.name.to_string(), palette.head()),
        Span::raw("  "),
        Span::styled(job.state.to_string(), palette.state(job.state.as_str())),
        Span::raw(format!("  {ran}")),
    ];
    if model.jobs().len() > 1 {
        spans.push(Span::raw(format!("  ({} jobs)", model.jobs().len())));
    }
    spans
}

fn link(model: &Model, now: Duration, palette: Palette) -> Span<'static> {
    let old = |age: Duration| format!("{} old", duration_of(age));
    if let Some(age) = model.held_for(now) {
        return Span::styled(format!("HELD STILL, {}", old(age)), palette.alarm());
    }
    match model.link.age(now) {
        _ if model.shown().is_some_and(|shown| shown.is_gone) => Span::styled("GONE", palette.alarm()),
        Some(age) if model.link.is_old(now) => Span::styled(format!("OLD, {}", old(age)), palette.alarm()),
        Some(_) => Span::styled("live", palette.good()),
        None if model.link.trouble().is_some() => Span::styled("NO ANSWER", palette.alarm()),
        None => Span::styled("connecting", palette.warning()),
    }
}

/// Of an age.
pub(super) fn duration_of(age: Duration) -> String {
    crate::cli::top::format::age(u64::try_from(age.as_millis()).ok())
}

/// The figures, over as many lines as they need.
pub(super) fn figures(figures: &JobFigures, unix_ms: u64, width: usize, palette: Palette) -> Vec<Line<'static>> {
    let mut lines: Vec<Vec<Span<'static>>> = vec![Vec::new()];
    let mut used = 0;
    for (name, value, style) in all(figures, unix_ms, palette) {
        let item = [Span::styled(name, palette.label()), Span::raw(" "), Span::styled(value, style)];
        let needed: usize = item.iter().map(Span::width).sum();
        if used > 0 && used + BETWEEN.len() + needed > width {
            lines.push(Vec::new());
            used = 0;
        }
        if let Some(line) = lines.last_mut() {
            if used > 0 {
                line.push(Span::raw(BETWEEN));
                used += BETWEEN.len();
            }
            line.extend(item);
            used += needed;
        }
    }
    lines.into_iter().map(|line| cut(Line::from(line), width)).collect()
}

fn all(figures: &JobFigures, unix_ms: u64, palette: Palette) -> [(&'static str, String, Style); 7] {
    let plain = Style::new();
    let is_down =
        !figures.has_ended() && figures.detail.regions.iter().any(|region| region.state.as_str() != "running");
    let downtime = figures.downtime_ms();
    let down = match downtime {
        _ if is_down => "down now".to_owned(),
        _ if downtime > 0.0 => format!("{} down", duration(Some(downtime))),
        _ => "never down".to_owned(),
    };
    let (held_up, held_up_style) = pressure(figures.most_held_up(), palette);
    let named = |vertex: Option<&Vertex>, figure: String| match vertex {
        Some(vertex) => format!("{figure} {}", vertex.name),
        None => figure,
    };
    let (busiest, behind) = (figures.busiest(), figures.furthest_behind());
    let lag = behind.and_then(|vertex| vertex.figures.watermark_lag_ms);
    let keys = figures.sum(|figures| figures.state_entries);
    [
        ("Records", format!("{}/s ({} in all)", rate(figures.records_per_second()), count(figures.records())), plain),
        ("Busiest", named(busiest, share(busiest.and_then(|vertex| vertex.figures.busy))), plain),
        ("Back-pressure", held_up, held_up_style),
        ("Watermark lag", named(behind, duration(lag)), plain),
        ("Checkpoint", newest_checkpoint(figures, unix_ms), plain),
        ("State", format!("{}, {} keys", bytes(figures.sum(|figures| figures.state_bytes)), count_of(keys)), plain),
        ("Restarts", format!("{} ({down})", figures.detail.restarts), if is_down { palette.bad() } else { plain }),
    ]
}

/// By Flink's classes.
fn pressure(vertex: Option<&Vertex>, palette: Palette) -> (String, Style) {
    let Some((vertex, held_up)) = vertex.and_then(|vertex| Some((vertex, vertex.figures.backpressured?))) else {
        return ("–".to_owned(), Style::new());
    };
    let (class, style) = match held_up {
        share if share > 0.5 => ("HIGH", palette.bad()),
        share if share > 0.1 => ("low", palette.warning()),
        _ => return (format!("{} ok", share(Some(held_up))), Style::new()),
    };
    (format!("{} {class} {}", share(Some(held_up)), vertex.name), style)
}

fn newest_checkpoint(figures: &JobFigures, unix_ms: u64) -> String {
    match &figures.checkpoints.latest.completed {
        Some(newest) => format!(
            "#{} took {}, {} ago, {}",
            newest.id,
            duration(newest.duration_ms),
            age(Some(unix_ms.saturating_sub(newest.triggered_unix_ms))),
            bytes(newest.written_bytes)
        ),
        None => "none completed".to_owned(),
    }
}
