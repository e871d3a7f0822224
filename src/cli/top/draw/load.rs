//! Cells that a task and its subtasks have alike.

use ratatui::text::Line;

use super::bars;
use super::palette::Palette;
use crate::cli::top::answers::WorkFigures;
use crate::cli::top::format::{bytes, count, count_of, duration, rate, share, watermark};

/// Cells of the bar.
pub(super) const LOAD: usize = 10;

/// Rates in and out, the bar, and its three shares.
pub(super) fn work(figures: &WorkFigures, palette: Palette) -> [Line<'static>; 6] {
    [
        rate(figures.records_in_per_second).into(),
        rate(figures.records_out_per_second).into(),
        bars::load([figures.busy, figures.backpressured], LOAD, palette),
        share(figures.busy).into(),
        share(figures.backpressured).into(),
        share(figures.idle).into(),
    ]
}

/// Lag, watermark, keys, late records, and records in all.
pub(super) fn totals(figures: &WorkFigures) -> [Line<'static>; 6] {
    [
        duration(figures.watermark_lag_ms).into(),
        count_of(figures.state_entries).into(),
        count(figures.late_records).into(),
        count(figures.records_in).into(),
        count(figures.records_out).into(),
        watermark(figures.watermark).into(),
    ]
}

pub(super) fn state_bytes(figures: &WorkFigures) -> Line<'static> {
    bytes(figures.state_bytes).into()
}
