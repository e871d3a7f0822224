//! What can be looked at, and the rows that can be chosen there.

use super::answers::JobId;

/// What fills the screen below the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum View {
    /// The rate, the vertices, and the newest events.
    Overview,
    /// The subtasks of a vertex.
    Vertex(u64),
    /// The history of checkpoints.
    Checkpoints,
    /// The subtasks' parts of a checkpoint.
    Checkpoint(u64),
    Failures,
    Log,
    /// All jobs of the server.
    Jobs,
}

impl View {
    /// Those among which Tab goes.
    pub(super) const TABS: [(Self, &'static str); 5] = [
        (Self::Overview, "Overview"),
        (Self::Checkpoints, "Checkpoints"),
        (Self::Failures, "Failures"),
        (Self::Log, "Log"),
        (Self::Jobs, "Jobs"),
    ];

    /// What Escape leads back to; `None` where it leaves the program.
    pub(super) fn parent(self) -> Option<Self> {
        match self {
            Self::Vertex(_) => Some(Self::Overview),
            Self::Checkpoint(_) => Some(Self::Checkpoints),
            _ => None,
        }
    }

    /// Its place among the tabs.
    pub(super) fn tab(self) -> usize {
        let tab = self.parent().unwrap_or(self);
        Self::TABS.iter().position(|(view, _)| *view == tab).unwrap_or_default()
    }

    /// The tab that is `places` further on, round and round.
    pub(super) fn beside(self, places: usize) -> Self {
        Self::TABS[(self.tab() + places) % Self::TABS.len()].0
    }
}

/// What tells a row from others, also when rows come and go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RowKey {
    /// A vertex, a subtask, a checkpoint, or the number of an event.
    Number(u64),
    /// The part of a subtask of a vertex.
    Part(u64, u64),
    Job(JobId),
}
