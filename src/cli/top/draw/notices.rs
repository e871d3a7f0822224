//! What must be known before any figure: that figures are old, and what the job waits for.

use std::time::Duration;

use ratatui::style::Style;
use ratatui::text::Line;

use super::bars::progress;
use super::columns::{cut, wrapped};
use super::head::duration_of;
use super::palette::Palette;
use crate::cli::top::answers::{CheckpointInProgress, Region, SavepointInProgress};
use crate::cli::top::format::{age, bytes, duration, moment};
use crate::cli::top::looks::JobFigures;
use crate::cli::top::model::Model;

/// Lines that one notice has at most.
const LINES_MAX: usize = 2;
/// Cells of a bar.
const BAR: usize = 12;
/// Subtasks whose restore is shown.
const RESTORES_MAX: usize = 3;

/// All that is to be said about the server and the job, the gravest first.
pub(super) fn notices(model: &Model, now: Duration, width: usize, palette: Palette) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    lines.extend(of_link(model, now, width, palette));
    if let Some(shown) = model.shown().filter(|shown| shown.is_gone) {
        let job = model
            .job()
            .map(|job| job.shown().to_string())
            .or_else(|| Some(shown.figures.as_ref()?.detail.name.to_string()));
        let figures = if shown.figures.is_some() { " These are its last figures." } else { "" };
        let text = format!("The server shows no job '{}'.{figures}", job.unwrap_or_default());
        lines.extend(styled(&text, width, palette.bad()));
    } else if let Some(figures) = model.figures() {
        lines.extend(of_job(figures, model.unix_ms(now), width, palette));
    }
    lines
}

fn styled(text: &str, width: usize, style: Style) -> Vec<Line<'static>> {
    wrapped(text, width, LINES_MAX).into_iter().map(|line| line.style(style)).collect()
}

fn of_link(model: &Model, now: Duration, width: usize, palette: Palette) -> Vec<Line<'static>> {
    let age = model.link.age(now);
    let figures = match age {
        Some(age) => format!("OLD FIGURES, {} old: ", duration_of(age)),
        None => String::new(),
    };
    let Some(trouble) = model.link.trouble() else {
        let is_silent = model.link.is_old(now);
        return if is_silent {
            styled(&format!("{figures}the server does not answer."), width, palette.bad())
        } else {
            Vec::new()
        };
    };
    let wait = trouble.next_try.saturating_sub(now).as_secs_f64().ceil();
    let again = if wait > 0.0 { format!("Next try in {wait} s.") } else { "Trying again.".to_owned() };
    let mut lines = styled(&format!("{figures}{}. {again}", trouble.what), width, palette.bad());
    lines.extend(trouble.hint.map(|hint| cut(Line::from(format!("hint: {hint}")), width)));
    lines
}

/// What is to be said about the job itself.
pub(super) fn of_job(figures: &JobFigures, unix_ms: u64, width: usize, palette: Palette) -> Vec<Line<'static>> {
    let job = &figures.detail;
    let why = || job.last_error.as_ref().map_or_else(String::new, |error| format!(" {error}"));
    let mut lines = Vec::new();
    if job.ended_unix_ms.is_some() {
        let has_failed = job.state.as_str() == "failed";
        let why = if has_failed { why() } else { String::new() };
        let text = format!(
            "The job has ended ({}) at {} UTC; these are its last figures.{why}",
            job.state,
            moment(job.ended_unix_ms)
        );
        return styled(&text, width, if has_failed { palette.bad() } else { palette.head() });
    }
    if let Some(since) = job.paused_since_unix_ms {
        let text = format!(
            "The job is paused, for {}: its sources read nothing until it is resumed.",
            age(Some(unix_ms.saturating_sub(since)))
        );
        lines.extend(styled(&text, width, palette.warning()));
    }
    for region in job.regions.iter().filter(|region| region.state.as_str() != "running").take(RESTORES_MAX) {
        lines.extend(styled(&of_region(region, why, unix_ms), width, palette.bad()));
    }
    lines.extend(
        progresses(figures, unix_ms).iter().map(|text| cut(Line::from(text.clone()), width).style(palette.warning())),
    );
    for held_back in job.held_back.iter().take(1) {
        let split = held_back.split.as_ref().map_or_else(String::new, |split| format!(", split {split}"));
        let since = duration(Some(held_back.since_ms));
        let text =
            format!("Event time is held back by {}[{}]{split}, for {since}.", held_back.source, held_back.subtask);
        lines.extend(styled(&text, width, palette.warning()));
    }
    lines
}

/// Why a region does not run, and since when.
fn of_region(region: &Region, why: impl Fn() -> String, unix_ms: u64) -> String {
    let why = match &region.parked {
        Some(parked) => format!(" {}", parked.cause),
        None if region.state.as_str() == "restarting" => why(),
        None => String::new(),
    };
    let since = region.parked.as_ref().map(|parked| parked.since_unix_ms).or(region.restarting_since_unix_ms);
    let since = since.map_or_else(String::new, |since| format!(", for {}", age(Some(unix_ms.saturating_sub(since)))));
    format!("Region {} is {}, attempt {}{since}.{why}", region.region, region.state, region.attempt)
}

/// How far long work is.
fn progresses(figures: &JobFigures, unix_ms: u64) -> Vec<String> {
    let restoring = figures.restoring();
    let mut texts: Vec<String> = restoring
        .iter()
        .take(RESTORES_MAX)
        .map(|one| {
            let (done, of) = (bytes(Some(one.bytes)), bytes(Some(one.bytes_total)));
            let bar = progress(one.bytes, one.bytes_total, BAR);
            format!("{bar} {} restores checkpoint {}: {done} of {of}", one.subtask, one.checkpoint)
        })
        .collect();
    if restoring.len() > RESTORES_MAX {
        texts.push(format!("and {} more subtasks restore", restoring.len() - RESTORES_MAX));
    }
    texts.extend(figures.detail.checkpoint_in_progress.as_ref().map(|checkpoint| in_progress(checkpoint, unix_ms)));
    texts
        .extend(figures.detail.savepoints_in_progress.iter().take(RESTORES_MAX).map(|one| being_written(one, unix_ms)));
    texts
}

fn in_progress(checkpoint: &CheckpointInProgress, unix_ms: u64) -> String {
    let CheckpointInProgress { checkpoint: id, reason, since_unix_ms, acknowledged, of, bytes: written } = checkpoint;
    let reason = reason.as_str().replace('_', " ");
    let since = age(Some(unix_ms.saturating_sub(*since_unix_ms)));
    let (bar, written) = (progress(*acknowledged, *of, BAR), bytes(Some(*written)));
    format!("{bar} checkpoint {id} ({reason}): {acknowledged} of {of} subtasks, for {since}, {written}")
}

fn being_written(savepoint: &SavepointInProgress, unix_ms: u64) -> String {
    let SavepointInProgress { path, since_unix_ms, bytes: written, of_bytes } = savepoint;
    let since = age(Some(unix_ms.saturating_sub(*since_unix_ms)));
    let (bar, written, of) = (progress(*written, *of_bytes, BAR), bytes(Some(*written)), bytes(Some(*of_bytes)));
    format!("{bar} savepoint {path}: {written} of {of}, for {since}")
}
