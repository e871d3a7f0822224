//! Everything as lines of text, once.

use ratatui::text::Line;

use super::palette::Palette;
use super::{checkpoints, failures, head, jobs, log, notices, vertices};
use crate::cli::top::answers::JobSummary;
use crate::cli::top::looks::JobFigures;

/// Checkpoints, failures and events that are printed.
const NEWEST: usize = 5;

/// The job: its figures, its vertices, and the newest of all else.
pub(in crate::cli::top) fn print(job: &JobFigures, width: usize) -> Vec<String> {
    let (palette, unix_ms) = (Palette::PLAIN, job.detail.now_unix_ms);
    let started = crate::cli::top::format::moment(job.detail.started_unix_ms);
    let detail = &job.detail;
    let mut lines = vec![Line::from(format!("job '{}': {}, started {started} UTC", detail.name, detail.state))];
    lines.extend(notices::of_job(job, unix_ms, width, palette));
    lines.extend(head::figures(job, unix_ms, width, palette));
    lines.push(Line::default());
    lines.extend(vertices::vertices(job, width, palette).all());
    let mut section = |all: Vec<Line<'static>>| {
        lines.push(Line::default());
        lines.extend(all);
    };
    let mut history = checkpoints::history(job, unix_ms, 0, width, palette);
    history.len = history.len.min(NEWEST);
    section(history.all());
    if let Some(known) = job.failures.as_deref().filter(|known| !known.is_empty()) {
        section(failures::failures(Some(&known[..known.len().min(NEWEST)]), 0, width, palette).all());
    }
    let mut events = log::log(&job.events, 0, width, palette);
    events.len = events.len.min(NEWEST);
    section(events.all());
    texts(lines)
}

/// All jobs.
pub(in crate::cli::top) fn print_jobs(all: &[JobSummary], unix_ms: u64, width: usize) -> Vec<String> {
    texts(jobs::jobs(all, unix_ms, 0, width, Palette::PLAIN).all())
}

fn texts(lines: Vec<Line<'static>>) -> Vec<String> {
    lines.iter().map(|line| line.to_string().trim_end().to_owned()).collect()
}
