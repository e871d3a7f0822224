//! The history of checkpoints, and the parts of the subtasks in one.

use ratatui::text::{Line, Span};

use super::bars::{self, CHECKPOINT_PARTS};
use super::columns::{Column, Columns, cut, figure, text, words, wrapped};
use super::listing::Listing;
use super::palette::Palette;
use crate::cli::top::answers::{Checkpoint, CheckpointPart};
use crate::cli::top::format::{age, bytes, clock, duration};
use crate::cli::top::looks::JobFigures;
use crate::cli::top::model::Model;

/// Cells of a bar.
const BAR: usize = 20;
/// Lines about the row that is chosen.
const DETAIL_LINES: usize = 3;

const HISTORY: [Column; 8] = [
    text("ID", 7, 0),
    text("STATUS", 11, 1),
    text("UTC", 8, 6),
    text("REASON", 9, 5),
    figure("TOOK", 8, 2),
    text("PARTS", BAR, 3),
    figure("WRITTEN", 9, 4),
    figure("STATE", 9, 7),
];

fn lengths(checkpoint: &Checkpoint) -> [Option<f64>; 5] {
    let Checkpoint { start_delay_ms, alignment_ms, sync_ms, async_ms, store_ms, .. } = checkpoint;
    [*start_delay_ms, *alignment_ms, *sync_ms, *async_ms, *store_ms]
}

/// All checkpoints that the server remembers, newest first.
pub(super) fn history(job: &JobFigures, unix_ms: u64, chosen: usize, width: usize, palette: Palette) -> Listing<'_> {
    let columns = Columns::fit(&HISTORY, width);
    let history = &job.checkpoints.history;
    let completed = history.iter().filter(|checkpoint| checkpoint.status.as_str() == "completed");
    let longest = completed.filter_map(|checkpoint| checkpoint.duration_ms).fold(0.0, f64::max);
    let header = columns.header(palette.head());
    let row = move |place: usize, is_chosen: bool| {
        let checkpoint: &Checkpoint = &history[place];
        let status = checkpoint.status.as_str();
        let since = || age(Some(unix_ms.saturating_sub(checkpoint.triggered_unix_ms)));
        let took = if status == "in_progress" { since() } else { duration(checkpoint.duration_ms) };
        let parts = lengths(checkpoint).map(Option::unwrap_or_default);
        let cells = vec![
            Line::from(format!("#{}", checkpoint.id)),
            Span::styled(status.replace('_', " "), palette.state(status)).into(),
            clock(checkpoint.triggered_unix_ms).into(),
            checkpoint.reason.as_str().replace('_', " ").into(),
            took.into(),
            bars::checkpoint(parts, longest, BAR, palette),
            bytes(checkpoint.written_bytes).into(),
            bytes(checkpoint.state_bytes).into(),
        ];
        columns.line(cells, is_chosen)
    };
    Listing {
        about: counts(job, width),
        header,
        len: history.len(),
        row: Box::new(row),
        empty: "No checkpoint has been triggered yet.",
        detail: history.get(chosen).map_or_else(Vec::new, |checkpoint| detail(checkpoint, width)),
    }
}

fn counts(job: &JobFigures, width: usize) -> Vec<Line<'static>> {
    let counts = &job.checkpoints.counts;
    let interval = match job.detail.interval_ms {
        Some(interval) => format!("one each {}", duration(Some(interval))),
        None => "none periodic".to_owned(),
    };
    let counted = format!(
        "{} triggered ({interval}), {} completed, {} failed, {} cut off; {} restores",
        counts.triggered, counts.completed, counts.failed, counts.cut_off, counts.restored
    );
    let savepoint = job.checkpoints.latest.savepoint.as_ref().map(|savepoint| {
        let written = savepoint.unix_ms.map_or_else(String::new, |at| format!(" at {} UTC", clock(at)));
        let (id, path) = (savepoint.checkpoint, &savepoint.path);
        format!("newest savepoint: checkpoint {id}{written}, {} in {path}", bytes(Some(savepoint.bytes)))
    });
    [Some(counted), savepoint].into_iter().flatten().map(|text| cut(Line::from(text), width)).collect()
}

/// What its time was spent on, and why it was not completed.
fn detail(checkpoint: &Checkpoint, width: usize) -> Vec<Line<'static>> {
    let named = CHECKPOINT_PARTS.iter().zip(lengths(checkpoint));
    let parts: Vec<String> =
        named.map(|((name, sign), length)| format!("{sign} {name} {}", duration(length))).collect();
    let failure = checkpoint.failure.as_ref().map_or_else(String::new, |failure| format!("; {failure}"));
    wrapped(&format!("#{}: {}{failure}", checkpoint.id, parts.join(", ")), width, DETAIL_LINES)
}

const PARTS: [Column; 8] = [
    words("SUBTASK", 12, 0),
    figure("TOOK", 8, 1),
    text("PARTS", BAR, 3),
    figure("DELAY", 8, 4),
    figure("ALIGNED", 8, 5),
    figure("SYNC", 8, 6),
    figure("ASYNC", 8, 7),
    figure("WRITTEN", 9, 2),
];

/// What a checkpoint took of each subtask.
pub(super) fn parts<'a>(model: &'a Model, job: &'a JobFigures, id: u64, width: usize, palette: Palette) -> Listing<'a> {
    let columns = Columns::fit(&PARTS, width);
    let detail = model.parts(id);
    let parts = detail.map_or(&[][..], |detail| &detail.subtasks);
    let longest = parts.iter().map(|part| part.end_to_end_ms).fold(0.0, f64::max);
    let header = columns.header(palette.head());
    let row = move |place: usize, is_chosen: bool| {
        let part: &CheckpointPart = &parts[place];
        let CheckpointPart { start_delay_ms, alignment_ms, sync_ms, async_ms, .. } = *part;
        let time = |ms| Line::from(duration(Some(ms)));
        let lengths = [start_delay_ms, alignment_ms, sync_ms, async_ms, 0.0];
        let cells = vec![
            job.subtask_name(part.vertex, part.subtask).into(),
            time(part.end_to_end_ms),
            bars::checkpoint(lengths, longest, BAR, palette),
            time(start_delay_ms),
            time(alignment_ms),
            time(sync_ms),
            time(async_ms),
            bytes(Some(part.written_bytes)).into(),
        ];
        columns.line(cells, is_chosen)
    };
    let of_history = job.checkpoints.history.iter().find(|checkpoint| checkpoint.id == id);
    let about = match of_history {
        Some(checkpoint) => self::detail(checkpoint, width),
        None => vec![cut(Line::from(format!("#{id}: not among the newest of this run any more")), width)],
    };
    let empty =
        if detail.is_some() { "No figures of its subtasks are there." } else { "Its subtasks are not known yet." };
    Listing { about, header, len: parts.len(), row: Box::new(row), empty, detail: Vec::new() }
}
