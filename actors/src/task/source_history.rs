//! Where a source was at the barriers of its attempt, until no checkpoint needs it any more.

use std::collections::BTreeMap;

use crate::contract::{CompletedPositions, SplitPosition};
use crate::protocol::CheckpointId;

/// The positions of a subtask in the checkpoint that it was restored from, and at each barrier since.
#[derive(Debug, Default)]
pub(crate) struct SourceHistory {
    at_barrier: BTreeMap<CheckpointId, Vec<SplitPosition>>,
    /// The highest that was told.
    told: CheckpointId,
}

impl SourceHistory {
    /// The attempt begins at these positions.
    pub(crate) fn restored(&mut self, checkpoint: CheckpointId, positions: Vec<SplitPosition>) {
        self.told = checkpoint;
        self.at_barrier.insert(checkpoint, positions);
    }

    /// A barrier has passed.
    pub(crate) fn barrier(&mut self, checkpoint: CheckpointId, positions: Vec<SplitPosition>) {
        self.at_barrier.insert(checkpoint, positions);
    }

    /// The checkpoint will not complete.
    pub(crate) fn aborted(&mut self, checkpoint: CheckpointId) {
        if checkpoint > self.told {
            self.at_barrier.remove(&checkpoint);
        }
    }

    /// The checkpoint is complete, and `oldest` is the oldest that may be restored. What the reader is to be told of it,
    /// unless it was, or the checkpoint is one of an earlier attempt.
    pub(crate) fn complete(
        &mut self,
        checkpoint: CheckpointId,
        oldest: Option<CheckpointId>,
    ) -> Option<CompletedPositions> {
        if checkpoint <= self.told {
            return None;
        }
        let positions = self.at_barrier.get(&checkpoint)?.clone();
        self.told = checkpoint;
        let needed = oldest.and_then(|oldest| self.at_barrier.get(&oldest)).cloned();
        if let Some(oldest) = oldest {
            self.at_barrier = self.at_barrier.split_off(&oldest);
        }
        Some(CompletedPositions::new(checkpoint, positions, needed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(position: u8) -> Vec<SplitPosition> {
        vec![SplitPosition::new("s", [position])]
    }

    fn told(history: &mut SourceHistory, checkpoint: u64, oldest: Option<u64>) -> Option<(u8, Option<u8>)> {
        let completed = history.complete(CheckpointId(checkpoint), oldest.map(CheckpointId))?;
        assert_eq!(completed.checkpoint, CheckpointId(checkpoint));
        let only = |positions: &Vec<SplitPosition>| positions[0].position[0];
        Some((only(&completed.positions), completed.oldest_needed.as_ref().map(only)))
    }

    #[test]
    fn each_completed_checkpoint_is_told_once_with_the_oldest_positions_that_are_needed() {
        let mut history = SourceHistory::default();
        (1..=5).for_each(|id| history.barrier(CheckpointId(id), at(10 * id as u8)));
        assert_eq!(told(&mut history, 1, Some(1)), Some((10, Some(10))));
        assert_eq!(told(&mut history, 1, Some(1)), None, "a repetition");
        history.aborted(CheckpointId(2));
        assert_eq!(told(&mut history, 2, Some(1)), None);
        assert_eq!(told(&mut history, 4, Some(1)), Some((40, Some(10))), "that of 3 was lost");
        assert_eq!(told(&mut history, 3, Some(1)), None, "it comes late");
        assert_eq!(told(&mut history, 5, Some(4)), Some((50, Some(40))));
        assert_eq!(history.at_barrier.len(), 2);
    }

    #[test]
    fn nothing_is_known_to_be_unneeded_while_a_checkpoint_of_an_earlier_attempt_may_be_restored() {
        let mut history = SourceHistory::default();
        history.restored(CheckpointId(7), at(70));
        (8..=10).for_each(|id| history.barrier(CheckpointId(id), at(10 * id as u8)));
        assert_eq!(told(&mut history, 7, Some(5)), None, "told before");
        assert_eq!(told(&mut history, 8, Some(6)), Some((80, None)));
        assert_eq!(told(&mut history, 9, None), Some((90, None)), "the store is not known");
        assert_eq!(told(&mut history, 10, Some(7)), Some((100, Some(70))));
    }
}
