//! A checkpoint that has been triggered and is not complete. Follows Flink's `PendingCheckpoint`.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::{CheckpointId, Execution, Incarnation, OperatorId, SubtaskId};
use crate::contract::{CarriedState, ChunkRef, Contribution, Manifest, StateScope};
use crate::protocol::{Barrier, SourceState};

/// What an acknowledgement means. All of these are expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AckVerdict {
    /// Counted; others are missing.
    First,
    /// Counted, and the last that was missing.
    Complete,
    /// The subtask had acknowledged before.
    Duplicate,
    /// The subtask takes no part.
    Unknown,
    /// Of an execution that takes no part any more.
    Stale,
    /// Of another checkpoint, which was aborted or is complete.
    Late,
}

/// Acknowledgements of one checkpoint. At most one exists at a time.
#[derive(Debug)]
pub(crate) struct PendingCheckpoint {
    barrier: Barrier,
    triggered_at: Duration,
    triggered_unix_ms: u64,
    missing: BTreeMap<SubtaskId, Execution>,
    acknowledged: BTreeMap<SubtaskId, Option<SourceState>>,
    chunks: Vec<ChunkRef>,
    carried: Vec<CarriedState>,
    /// The checkpoint that the barrier calls its base.
    base: Option<Arc<Manifest>>,
}

/// What all acknowledgements together amount to.
#[derive(Debug)]
pub(crate) struct CompletedAcks {
    /// The manifest to write.
    pub(crate) manifest: Manifest,
    /// Whether every source had stopped or ended.
    pub(crate) all_halted: bool,
    /// When it was triggered.
    pub(crate) triggered_at: Duration,
}

impl PendingCheckpoint {
    /// A checkpoint in which `expected` take part. `base` is the manifest of the barrier's base.
    pub(crate) fn new(
        barrier: Barrier,
        triggered_at: Duration,
        triggered_unix_ms: u64,
        expected: BTreeMap<SubtaskId, Execution>,
        base: Option<Arc<Manifest>>,
    ) -> Self {
        let base_id = base.as_ref().map_or(CheckpointId::NONE, |manifest| manifest.checkpoint);
        assert_eq!(base_id, barrier.base, "the manifest of checkpoint {}'s base", barrier.checkpoint);
        Self {
            barrier,
            triggered_at,
            triggered_unix_ms,
            missing: expected,
            acknowledged: BTreeMap::new(),
            chunks: Vec::new(),
            carried: Vec::new(),
            base,
        }
    }

    pub(crate) fn id(&self) -> CheckpointId {
        self.barrier.checkpoint
    }

    /// What an answer of this subtask for this checkpoint means, before it is counted: `First` if it is to be counted.
    pub(crate) fn judge(&self, execution: Execution, subtask: SubtaskId, checkpoint: CheckpointId) -> AckVerdict {
        if checkpoint != self.id() {
            return AckVerdict::Late;
        }
        if self.acknowledged.contains_key(&subtask) {
            return AckVerdict::Duplicate;
        }
        match self.missing.get(&subtask) {
            None => AckVerdict::Unknown,
            Some(expected) if *expected != execution => AckVerdict::Stale,
            Some(_) => AckVerdict::First,
        }
    }

    /// Takes an acknowledgement.
    pub(crate) fn acknowledge(
        &mut self,
        execution: Execution,
        subtask: SubtaskId,
        checkpoint: CheckpointId,
        written: Contribution,
        source: Option<SourceState>,
    ) -> AckVerdict {
        let verdict = self.judge(execution, subtask, checkpoint);
        if verdict != AckVerdict::First {
            return verdict;
        }
        self.missing.remove(&subtask);
        self.acknowledged.insert(subtask, source);
        self.chunks.extend(written.chunks);
        self.carried.extend(written.carried);
        if self.missing.is_empty() { AckVerdict::Complete } else { AckVerdict::First }
    }

    /// How many are missing.
    pub(crate) fn missing(&self) -> usize {
        self.missing.len()
    }

    /// Adds the base's chunks of all sections that go on from it.
    fn carry(&mut self) {
        let Some(base) = &self.base else {
            assert!(self.carried.is_empty(), "a delta over no checkpoint in {}", self.id());
            return;
        };
        let mut carried: HashMap<(&OperatorId, &str), HashSet<u32>> = HashMap::new();
        for CarriedState { operator, state, groups } in &self.carried {
            carried.entry((operator, state)).or_default().extend(groups);
        }
        let goes_on = |chunk: &&ChunkRef| {
            let StateScope::KeyGroup(group) = chunk.address.scope else { return false };
            let of_state = carried.get(&(&chunk.address.operator, &*chunk.address.state));
            of_state.is_some_and(|groups| groups.contains(&group))
        };
        self.chunks.extend(base.chunks.iter().filter(goes_on).cloned());
    }

    /// The manifest.
    ///
    /// # Panics
    /// If an acknowledgement is missing: a bug of the caller.
    pub(crate) fn finalise(mut self, job: &str, incarnation: Incarnation, max_parallelism: u32) -> CompletedAcks {
        assert!(self.missing.is_empty(), "checkpoint {} lacks {:?}", self.id(), self.missing);
        self.carry();
        self.chunks.sort_by(|a, b| a.address.cmp(&b.address));
        let mut sources = self.acknowledged.values().flatten();
        let is_final = sources.clone().all(|state| *state == SourceState::Ended);
        let all_halted = sources.all(|state| *state != SourceState::Reading);
        CompletedAcks {
            manifest: Manifest {
                checkpoint: self.barrier.checkpoint,
                job: job.to_owned(),
                incarnation,
                triggered_unix_ms: self.triggered_unix_ms,
                max_parallelism,
                is_final,
                chunks: self.chunks,
            },
            all_halted,
            triggered_at: self.triggered_at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Attempt, RegionId, TaskId};

    fn execution(attempt: u32) -> Execution {
        Execution { incarnation: Incarnation(1), region: RegionId(0), attempt: Attempt(attempt) }
    }

    fn subtask(index: u32) -> SubtaskId {
        SubtaskId { task: TaskId(0), index }
    }

    fn pending(subtasks: u32) -> PendingCheckpoint {
        let barrier = Barrier { checkpoint: CheckpointId(5), base: CheckpointId(4) };
        let expected = (0..subtasks).map(|index| (subtask(index), execution(2))).collect();
        PendingCheckpoint::new(barrier, Duration::ZERO, 7, expected)
    }

    #[test]
    fn odd_acknowledgements_are_told_apart_and_change_nothing() {
        let mut pending = pending(2);
        let mut ack = |attempt, index, id| {
            pending.acknowledge(execution(attempt), subtask(index), CheckpointId(id), Vec::new(), None)
        };
        assert_eq!(ack(2, 0, 4), AckVerdict::Late);
        assert_eq!(ack(1, 0, 5), AckVerdict::Stale);
        assert_eq!(ack(2, 9, 5), AckVerdict::Unknown);
        assert_eq!(ack(2, 0, 5), AckVerdict::First);
        assert_eq!(ack(2, 0, 5), AckVerdict::Duplicate);
        assert_eq!(ack(2, 1, 5), AckVerdict::Complete);
    }

    #[test]
    fn final_needs_every_source_ended_and_drain_every_source_halted() {
        use SourceState::{Ended, Reading, Stopped};
        for (states, is_final, all_halted) in [
            ([Ended, Ended], true, true),
            ([Ended, Stopped], false, true),
            ([Stopped, Stopped], false, true),
            ([Reading, Ended], false, false),
        ] {
            let mut pending = pending(3);
            for (index, state) in (0..).zip([Some(states[0]), Some(states[1]), None]) {
                pending.acknowledge(execution(2), subtask(index), CheckpointId(5), Vec::new(), state);
            }
            let done = pending.finalise("job", Incarnation(1), 128);
            assert_eq!((done.manifest.is_final, done.all_halted), (is_final, all_halted), "{states:?}");
            assert_eq!(done.manifest.triggered_unix_ms, 7);
        }
    }

    #[test]
    #[should_panic(expected = "checkpoint 5 lacks")]
    fn finalising_without_an_acknowledgement_panics() {
        pending(1).finalise("job", Incarnation(1), 128);
    }
}
