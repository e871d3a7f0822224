//! Where in its pattern a partial match is.

use serde::{Deserialize, Serialize};

/// Where in its pattern a partial match is: what it waits for. Stages are those that take records, by number; as many as there are
/// stands for what is behind the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    /// The stage that may take the next record.
    pub(super) stage: u32,
    /// How many it has taken. Of one without an upper bound the least number that it needs stands for all above it.
    pub(super) taken: u32,
    /// The stage behind the last one that has taken a record; none has if it is the first. What must not come between stages is asked
    /// from here on: that a stage is passed over does not allow what was forbidden before it.
    pub(super) since: u32,
    /// The stages, a bit for each, that do not bar what they would have taken any more, since what they went on until has come.
    pub(super) freed: u64,
    /// It has let a record pass while it could have gone on to the next stage: another partial match has gone on, and this one waits
    /// for this stage only. So each match is found once.
    pub(super) has_split: bool,
    /// No record has come since the last that was taken.
    pub(super) is_fresh: bool,
}

impl Place {
    /// Stages that a pattern has at most.
    pub(super) const STAGES_MAX: usize = u64::BITS as usize;

    /// Before anything has been taken.
    pub(super) const START: Self = Self { stage: 0, taken: 0, since: 0, freed: 0, has_split: false, is_fresh: false };

    /// Whether nothing has been taken.
    pub(super) fn is_start(self) -> bool {
        self.since == 0
    }

    /// Behind a record that was the last of a stage.
    pub(super) fn entering(stage: u32) -> Self {
        Self { stage, since: stage, is_fresh: true, ..Self::START }
    }

    /// Behind a record of a stage that may take more.
    pub(super) fn within(stage: u32, taken: u32) -> Self {
        Self { stage, taken, since: stage + 1, ..Self::START }
    }
}
