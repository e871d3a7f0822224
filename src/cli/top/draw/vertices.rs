//! The vertices of the job, and the subtasks of one.

use ratatui::style::Style;
use ratatui::text::Line;

use super::columns::{Column, Columns, cut, figure, text, words};
use super::listing::Listing;
use super::load::{LOAD, state_bytes, totals, work};
use super::palette::Palette;
use crate::cli::top::answers::{Edge, Vertex};
use crate::cli::top::format::{count, count_of, rate, share};
use crate::cli::top::looks::JobFigures;

/// Edges that are told of a vertex.
const EDGES_MAX: usize = 4;

const VERTICES: [Column; 16] = [
    words("VERTEX", 12, 0),
    figure("IN/s", 6, 1),
    figure("OUT/s", 6, 3),
    text("LOAD", LOAD, 5),
    figure("BUSY", 4, 2),
    figure("BACKPR", 6, 4),
    figure("IDLE", 4, 9),
    figure("LAG", 8, 7),
    figure("KEYS", 5, 10),
    figure("LATE", 5, 13),
    figure("IN", 5, 11),
    figure("OUT", 5, 14),
    figure("WATERMARK", 19, 15),
    figure("PAR", 3, 6),
    figure("SKEW", 4, 8),
    figure("STATE", 9, 12),
];

/// All vertices.
pub(super) fn vertices(job: &JobFigures, width: usize, palette: Palette) -> Listing<'_> {
    let columns = Columns::fit(&VERTICES, width);
    let vertices = &job.detail.vertices;
    let header = columns.header(palette.head());
    let row = move |place: usize, is_chosen: bool| {
        let vertex: &Vertex = &vertices[place];
        let mut cells = vec![Line::from(vertex.name.to_string())];
        cells.extend(work(&vertex.figures, palette));
        cells.extend(totals(&vertex.figures));
        let skew = if vertex.parallelism > 1 { share(Some(vertex.skew)) } else { String::new() };
        cells.extend([Line::from(count(vertex.parallelism)), Line::from(skew), state_bytes(&vertex.figures)]);
        columns.line(cells, is_chosen)
    };
    Listing {
        about: Vec::new(),
        header,
        len: vertices.len(),
        row: Box::new(row),
        empty: "The job has no vertices.",
        detail: Vec::new(),
    }
}

const SUBTASKS: [Column; 16] = [
    words("SUBTASK", 10, 0),
    figure("IN/s", 6, 1),
    figure("OUT/s", 6, 3),
    text("LOAD", LOAD, 6),
    figure("BUSY", 4, 2),
    figure("BACKPR", 6, 4),
    figure("IDLE", 4, 10),
    figure("LAG", 8, 7),
    figure("KEYS", 5, 9),
    figure("LATE", 5, 12),
    figure("IN", 5, 11),
    figure("OUT", 5, 13),
    figure("WATERMARK", 19, 15),
    figure("SHARE", 5, 5),
    figure("ATTEMPT", 7, 8),
    figure("TIMERS", 6, 14),
];

/// The subtasks of a vertex.
pub(super) fn subtasks<'a>(job: &'a JobFigures, vertex: &'a Vertex, width: usize, palette: Palette) -> Listing<'a> {
    let columns = Columns::fit(&SUBTASKS, width);
    let header = columns.header(palette.head());
    let shares = shares(vertex);
    let row = move |place: usize, is_chosen: bool| {
        let subtask = &vertex.subtasks[place];
        let name = Line::from(vec![
            format!("[{}] ", subtask.subtask).into(),
            ratatui::text::Span::styled(subtask.state.to_string(), palette.state(subtask.state.as_str())),
        ]);
        let mut cells = vec![name];
        cells.extend(work(&subtask.figures, palette));
        cells.extend(totals(&subtask.figures));
        let timers = count_of(subtask.figures.timers);
        cells.extend([share(shares[place]), count(subtask.attempt), timers].map(Line::from));
        columns.line(cells, is_chosen)
    };
    Listing {
        about: about(job, vertex, width, palette),
        header,
        len: vertex.subtasks.len(),
        row: Box::new(row),
        empty: "No figures of its subtasks are there yet.",
        detail: Vec::new(),
    }
}

/// What part of the records each subtask has: of those of the last seconds, or of all if nothing came in these.
fn shares(vertex: &Vertex) -> Vec<Option<f64>> {
    let rate = |figures: &crate::cli::top::answers::WorkFigures| figures.records_in_per_second.unwrap_or_default();
    let has_rates = vertex.subtasks.iter().any(|subtask| rate(&subtask.figures) > 0.0);
    let value = |place: usize| {
        let figures = &vertex.subtasks[place].figures;
        if has_rates { rate(figures) } else { figures.records_in as f64 }
    };
    let sum: f64 = (0..vertex.subtasks.len()).map(value).sum();
    (0..vertex.subtasks.len()).map(|place| (sum > 0.0).then(|| value(place) / sum)).collect()
}

fn about(job: &JobFigures, vertex: &Vertex, width: usize, palette: Palette) -> Vec<Line<'static>> {
    let operators: Vec<&str> = vertex.operators.iter().map(|operator| operator.as_str()).collect();
    let mut lines = vec![
        Line::from(vertex.name.to_string()).style(palette.head()),
        Line::from(format!("{} in region {}; operators: {}", vertex.kind, vertex.region, operators.join(", "))),
    ];
    let name = |id: u64| job.vertex(id).map_or_else(|| format!("vertex {id}"), |vertex| vertex.name.to_string());
    let edges = job.detail.edges.iter().filter(|edge| edge.from == vertex.id || edge.to == vertex.id);
    lines.extend(edges.take(EDGES_MAX).map(|edge| {
        let (direction, other) = if edge.to == vertex.id { ("from", edge.from) } else { ("to", edge.to) };
        edge_line(edge, direction, &name(other), palette)
    }));
    lines.into_iter().map(|line| cut(line, width)).collect()
}

fn edge_line(edge: &Edge, direction: &str, other: &str, palette: Palette) -> Line<'static> {
    let side = edge.side_output.as_ref().map_or_else(String::new, |tag| format!(", side output {tag}"));
    let is_full = edge.credits == 0 && edge.queued_batches > 0;
    let (full, style) = if is_full { (", FULL", palette.warning()) } else { ("", Style::new()) };
    let (rate, queued) = (rate(edge.records_per_second), count(edge.queued_batches));
    Line::from(format!("{direction} {other}: {}{side}, {rate}/s, {queued} batches under way{full}", edge.partitioning))
        .style(style)
}
