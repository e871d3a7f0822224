//! Keeps records of users out of what is shown. They are in fields of events that are for them: the texts of errors tell none.

use millstream_actors::{JobEvent, JobEventKind};

/// Stands where something is not shown.
const HIDDEN: &str = "(not shown)";

/// Whether records, and keys, are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Redaction {
    pub(super) shows_records: bool,
}

impl Redaction {
    /// The event without what is not shown.
    pub(super) fn event(self, mut event: JobEvent) -> JobEvent {
        if self.shows_records {
            return event;
        }
        match &mut event.kind {
            JobEventKind::SubtaskFailed { at: Some(at), .. } => hide_all([&mut at.record, &mut at.key]),
            JobEventKind::RecordPanicked { record, firing, key, .. }
            | JobEventKind::RecordWithheld { record, firing, key, .. } => hide_all([record, firing, key]),
            _ => {}
        }
        event
    }
}

fn hide_all<const N: usize>(texts: [&mut Option<String>; N]) {
    for text in texts.into_iter().flatten() {
        HIDDEN.clone_into(text);
    }
}
