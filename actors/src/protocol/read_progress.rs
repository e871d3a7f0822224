//! How far the sources of a region have read, over restarts: what a failure costs, and when it is overcome. And how far tasks that hold
//! records back have answered those: a failure that one of them leads to is not overcome while that waits.

use std::collections::{BTreeMap, VecDeque};

use super::{CheckpointId, SubtaskId};

/// Checkpoints whose counts are kept. A job that falls back further is taken to have read nothing there, so that the
/// failure counts as overcome later than it is.
const CHECKPOINTS_KEPT: usize = 64;

type Counts = BTreeMap<SubtaskId, u64>;

/// How far one is at a barrier.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AtBarrier {
    /// Nothing of the first so many records is in the checkpoint.
    pub(crate) covers: u64,
    /// So many records are not restored from it: as many, but where they are not done with in their order.
    pub(crate) done: u64,
}

impl AtBarrier {
    /// So many records, in their order.
    pub(crate) fn in_order(records: u64) -> Self {
        Self { covers: records, done: records }
    }
}

/// Records read by each source subtask, counted from where the process started.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReadProgress {
    /// At the checkpoint from which the running attempt started.
    origin: Counts,
    /// At barriers, by checkpoint.
    at_barrier: VecDeque<(CheckpointId, BTreeMap<SubtaskId, AtBarrier>)>,
    /// The farthest that any failed attempt had read.
    failed_at: Counts,
    /// Records that attempts had read before the job was rescaled, beyond the checkpoint of that.
    beyond: u64,
}

impl ReadProgress {
    /// A new attempt starts from this checkpoint. Gives the number of records that will be read again.
    pub(crate) fn restored(&mut self, checkpoint: Option<CheckpointId>) -> u64 {
        let known = self.at_barrier.iter().find(|(id, _)| Some(*id) == checkpoint);
        let done = known.map(|(_, counts)| counts.iter().map(|(subtask, at)| (*subtask, at.done)).collect());
        self.origin = done.unwrap_or_default();
        let again = self.failed_at.keys().map(|subtask| self.rewound(*subtask)).sum::<u64>();
        // Of the same records: what was read after the rescale was read before it, as far as that had come.
        again.max(self.beyond.saturating_sub(self.origin.values().sum()))
    }

    /// The job goes on from this checkpoint at another parallelism: other subtasks read the splits. Of what had been read beyond it
    /// only the number of records counts from now on, in which order they ever come again.
    pub(crate) fn rescaled(&mut self, checkpoint: Option<CheckpointId>) {
        let beyond = self.restored(checkpoint);
        *self = Self { beyond, ..Self::default() };
    }

    /// How many records of this source the running attempt reads again.
    pub(crate) fn rewound(&self, subtask: SubtaskId) -> u64 {
        let failed = self.failed_at.get(&subtask).copied().unwrap_or_default();
        failed.saturating_sub(self.at_origin(subtask))
    }

    /// A source emitted the barrier when it was so far in the running attempt.
    pub(crate) fn barrier(&mut self, checkpoint: CheckpointId, subtask: SubtaskId, at: AtBarrier) {
        let origin = self.at_origin(subtask);
        let read = AtBarrier { covers: origin + at.covers, done: origin + at.done };
        match self.at_barrier.iter_mut().find(|(id, _)| *id == checkpoint) {
            Some((_, counts)) => {
                counts.insert(subtask, read);
            }
            None => {
                if self.at_barrier.len() == CHECKPOINTS_KEPT {
                    self.at_barrier.pop_front();
                }
                self.at_barrier.push_back((checkpoint, BTreeMap::from([(subtask, read)])));
            }
        }
    }

    /// A source ended with its attempt, after it had read this many records in it.
    pub(crate) fn ended(&mut self, subtask: SubtaskId, records_in: u64) {
        let read = self.at_origin(subtask) + records_in;
        let farthest = self.failed_at.entry(subtask).or_default();
        *farthest = read.max(*farthest);
    }

    /// Whether this completed checkpoint covers all that any failed attempt had read.
    pub(crate) fn covers_failures(&self, checkpoint: CheckpointId) -> bool {
        let counts = self.at_barrier.iter().find(|(id, _)| *id == checkpoint).map(|(_, counts)| counts);
        let all: u64 = counts.iter().flat_map(|counts| counts.values()).map(|at| at.covers).sum();
        all >= self.beyond
            && self.failed_at.iter().all(|(subtask, failed)| {
                let covers = counts.and_then(|counts| counts.get(subtask)).map_or(0, |at| at.covers);
                covers >= *failed
            })
    }

    fn at_origin(&self, subtask: SubtaskId) -> u64 {
        self.origin.get(&subtask).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::TaskId;

    const SOURCE: SubtaskId = SubtaskId { task: TaskId(0), index: 0 };
    const OTHER: SubtaskId = SubtaskId { task: TaskId(0), index: 1 };

    #[test]
    fn failure_before_a_rescale_is_overcome_by_as_many_records_of_whichever_sources() {
        let mut progress = ReadProgress::default();
        progress.barrier(CheckpointId(1), SOURCE, AtBarrier::in_order(100));
        progress.ended(SOURCE, 180);
        progress.restored(Some(CheckpointId(1)));
        progress.barrier(CheckpointId(2), SOURCE, AtBarrier::in_order(30));
        progress.ended(SOURCE, 30);
        progress.rescaled(Some(CheckpointId(2)));
        assert_eq!(progress.rewound(SOURCE), 0);
        assert_eq!(progress.restored(Some(CheckpointId(2))), 50);
        progress.ended(OTHER, 40);
        progress.ended(SOURCE, 5);
        assert_eq!(progress.restored(Some(CheckpointId(2))), 50, "45 of them once more");
        progress.rescaled(Some(CheckpointId(2)));
        assert_eq!(progress.restored(Some(CheckpointId(2))), 50);
        progress.barrier(CheckpointId(3), SOURCE, AtBarrier::in_order(20));
        progress.barrier(CheckpointId(3), OTHER, AtBarrier::in_order(20));
        assert!(!progress.covers_failures(CheckpointId(3)));
        progress.barrier(CheckpointId(4), SOURCE, AtBarrier::in_order(20));
        progress.barrier(CheckpointId(4), OTHER, AtBarrier::in_order(30));
        assert!(progress.covers_failures(CheckpointId(4)));
        progress.ended(SOURCE, 25);
        progress.ended(OTHER, 31);
        assert_eq!(
            progress.restored(Some(CheckpointId(3))),
            5 + 11,
            "the 10 that are left of those before are among them"
        );
        // Nothing was read beyond this one.
        progress.rescaled(None);
        let mut undisturbed = ReadProgress::default();
        undisturbed.barrier(CheckpointId(1), SOURCE, AtBarrier::in_order(7));
        undisturbed.ended(SOURCE, 7);
        undisturbed.rescaled(Some(CheckpointId(1)));
        assert!(undisturbed.covers_failures(CheckpointId(2)));
    }

    #[test]
    fn failure_is_overcome_by_a_checkpoint_that_covers_what_was_read() {
        let mut progress = ReadProgress::default();
        progress.barrier(CheckpointId(1), SOURCE, AtBarrier::in_order(100));
        progress.barrier(CheckpointId(1), OTHER, AtBarrier::in_order(50));
        assert!(progress.covers_failures(CheckpointId(1)), "nothing failed");
        progress.ended(SOURCE, 180);
        progress.ended(OTHER, 50);
        assert_eq!(progress.restored(Some(CheckpointId(1))), 80, "of the first source only");
        assert_eq!((progress.rewound(SOURCE), progress.rewound(OTHER)), (80, 0));
        progress.barrier(CheckpointId(2), SOURCE, AtBarrier::in_order(79));
        progress.barrier(CheckpointId(2), OTHER, AtBarrier::in_order(10));
        assert!(!progress.covers_failures(CheckpointId(2)), "one record short");
        progress.barrier(CheckpointId(3), SOURCE, AtBarrier::in_order(80));
        progress.barrier(CheckpointId(3), OTHER, AtBarrier::in_order(0));
        assert!(progress.covers_failures(CheckpointId(3)));
    }

    #[test]
    fn counts_go_on_over_several_restarts() {
        let mut progress = ReadProgress::default();
        progress.barrier(CheckpointId(1), SOURCE, AtBarrier::in_order(100));
        progress.restored(Some(CheckpointId(1)));
        progress.barrier(CheckpointId(2), SOURCE, AtBarrier::in_order(100));
        progress.ended(SOURCE, 150);
        assert_eq!(progress.restored(Some(CheckpointId(2))), 50);
        progress.ended(SOURCE, 10);
        assert_eq!(progress.restored(None), 250, "from the beginning");
    }

    #[test]
    fn records_that_are_done_with_out_of_their_order_are_counted_once() {
        let mut progress = ReadProgress::default();
        // The first of four waits still.
        progress.barrier(CheckpointId(1), SOURCE, AtBarrier { covers: 0, done: 3 });
        progress.ended(SOURCE, 4);
        progress.restored(Some(CheckpointId(1)));
        progress.barrier(CheckpointId(2), SOURCE, AtBarrier { covers: 0, done: 2 });
        assert!(!progress.covers_failures(CheckpointId(2)), "it waits behind others that came later");
        progress.barrier(CheckpointId(3), SOURCE, AtBarrier::in_order(1));
        assert!(progress.covers_failures(CheckpointId(3)));
    }
}
