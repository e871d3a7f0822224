//! A checkpoint that has been triggered and is not complete. Follows Flink's `PendingCheckpoint`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{CheckpointId, Execution, Incarnation, ParkedSections, SubtaskId};
use crate::protocol::{Barrier, SourceState};
use crate::protocol::{CheckpointDurations, Contribution, Manifest};

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

/// What an acknowledgement says beside what was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AckFacts {
    /// How far a source was at its barrier; from a task that may hold the end back `Ended` once that has passed on, and `Stopped` before;
    /// `None` from other tasks.
    pub source: Option<SourceState>,
    /// Records that a source had read before its barrier, in this attempt; of a task that may hold records back how many of the first that it
    /// was restored with or given are done with; 0 from other tasks.
    pub records_in: u64,
    /// Of a task that may hold records back: how many of all are done with.
    pub done: u64,
    /// When the first barrier came, by the job's clock.
    pub barrier_at: Duration,
    /// From the first barrier to the last.
    pub alignment: Duration,
    /// From the last barrier until the snapshot was written and sent.
    pub capture: Duration,
}

fn ms(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

/// Acknowledgements of one checkpoint. At most one exists at a time.
#[derive(Debug)]
pub(crate) struct PendingCheckpoint {
    barrier: Barrier,
    triggered_at: Duration,
    triggered_unix_ms: u64,
    missing: BTreeMap<SubtaskId, Execution>,
    acknowledged: BTreeMap<SubtaskId, Option<SourceState>>,
    written: Vec<Contribution>,
    durations: CheckpointDurations,
    /// The checkpoint that the barrier calls its base.
    base: Option<Arc<Manifest>>,
    parked: ParkedSections,
}

/// What all acknowledgements together amount to.
#[derive(Debug)]
pub(crate) struct CompletedAcks {
    /// The manifest to write.
    pub(crate) manifest: Manifest,
    /// Whether every source of a region that takes part had stopped or ended.
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
            written: Vec::new(),
            durations: CheckpointDurations::default(),
            base,
            parked: ParkedSections::default(),
        }
    }

    /// These regions take no part.
    pub(crate) fn without(self, parked: ParkedSections) -> Self {
        Self { parked, ..self }
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
        facts: AckFacts,
    ) -> AckVerdict {
        let verdict = self.judge(execution, subtask, checkpoint);
        if verdict != AckVerdict::First {
            return verdict;
        }
        self.missing.remove(&subtask);
        self.acknowledged.insert(subtask, facts.source);
        let CheckpointDurations { alignment_ms, capture_ms, .. } = &mut self.durations;
        *alignment_ms = ms(facts.alignment).max(*alignment_ms);
        *capture_ms = ms(facts.capture).max(*capture_ms);
        self.written.push(written);
        if self.missing.is_empty() { AckVerdict::Complete } else { AckVerdict::First }
    }

    /// How many are missing.
    pub(crate) fn missing(&self) -> usize {
        self.missing.len()
    }

    /// The manifest.
    ///
    /// # Panics
    /// If an acknowledgement is missing: a bug of the caller.
    pub(crate) fn finalise(
        mut self,
        now: Duration,
        job: &str,
        incarnation: Incarnation,
        max_parallelism: u32,
    ) -> CompletedAcks {
        self.durations.took_ms = ms(now.saturating_sub(self.triggered_at));
        assert!(self.missing.is_empty(), "checkpoint {} lacks {:?}", self.id(), self.missing);
        let mut chunks = Contribution::compose(std::mem::take(&mut self.written), self.base.as_deref());
        self.parked.carry(self.base.as_deref(), &mut chunks);
        let mut sources = self.acknowledged.values().flatten();
        let is_final = !self.parked.any() && sources.clone().all(|state| *state == SourceState::Ended);
        let all_halted = sources.all(|state| *state != SourceState::Reading);
        CompletedAcks {
            manifest: Manifest {
                checkpoint: self.barrier.checkpoint,
                job: job.to_owned(),
                incarnation,
                triggered_unix_ms: self.triggered_unix_ms,
                max_parallelism,
                is_final,
                durations: self.durations,
                chunks,
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
    use crate::protocol::{CarriedState, ChunkAddress, ChunkRef, StateScope};

    fn execution(attempt: u32) -> Execution {
        Execution { incarnation: Incarnation(1), region: RegionId(0), attempt: Attempt(attempt) }
    }

    fn subtask(index: u32) -> SubtaskId {
        SubtaskId { task: TaskId(0), index }
    }

    /// Checkpoint 4: two states of two key groups and one of a subtask.
    fn base() -> Arc<Manifest> {
        let chunk = |state: &str, scope| ChunkRef {
            address: ChunkAddress {
                checkpoint: CheckpointId(4),
                operator: "op".into(),
                state: state.into(),
                scope,
                seq: 0,
            },
            len: 1,
            checksum: 1,
        };
        let scopes = [StateScope::KeyGroup(0), StateScope::KeyGroup(1), StateScope::Subtask(0)];
        Arc::new(Manifest {
            chunks: ["a", "b"].iter().flat_map(|state| scopes.map(|scope| chunk(state, scope))).collect(),
            ..Manifest::empty(4)
        })
    }

    #[test]
    fn what_is_carried_has_the_chunks_of_the_base_and_nothing_else_has() {
        let mut pending = pending(1);
        let own = ChunkRef {
            address: ChunkAddress { checkpoint: CheckpointId(5), ..base().chunks[0].address.clone() },
            len: 2,
            checksum: 2,
        };
        let carried = vec![
            CarriedState { operator: "op".into(), state: "a".into(), groups: vec![0] },
            CarriedState { operator: "op".into(), state: "b".into(), groups: vec![1, 7] },
            CarriedState { operator: "other".into(), state: "a".into(), groups: vec![1] },
        ];
        let written = Contribution { chunks: vec![own.clone()], carried };
        assert_eq!(
            pending.acknowledge(execution(2), subtask(0), CheckpointId(5), written, AckFacts::default()),
            AckVerdict::Complete
        );
        let chunks = pending.finalise(Duration::from_millis(30), "job", Incarnation(1), 128).manifest.chunks;
        assert_eq!(chunks, [base().chunks[0].clone(), base().chunks[4].clone(), own]);
    }

    #[test]
    #[should_panic(expected = "a delta over no checkpoint")]
    fn a_delta_without_a_base_panics() {
        let carried = vec![CarriedState { operator: "op".into(), state: "a".into(), groups: vec![0] }];
        Contribution::compose(vec![Contribution { chunks: Vec::new(), carried }], None);
    }

    fn pending(subtasks: u32) -> PendingCheckpoint {
        let barrier = Barrier { checkpoint: CheckpointId(5), base: CheckpointId(4) };
        let expected = (0..subtasks).map(|index| (subtask(index), execution(2))).collect();
        PendingCheckpoint::new(barrier, Duration::ZERO, 7, expected, Some(base()))
    }

    #[test]
    fn odd_acknowledgements_are_told_apart_and_change_nothing() {
        let mut pending = pending(2);
        let mut ack = |attempt, index, id| {
            pending.acknowledge(
                execution(attempt),
                subtask(index),
                CheckpointId(id),
                Contribution::default(),
                AckFacts::default(),
            )
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
                let (alignment, capture) = (Duration::from_millis(index.into()), Duration::from_micros(1500));
                let facts = AckFacts { source: state, alignment, capture, ..AckFacts::default() };
                pending.acknowledge(execution(2), subtask(index), CheckpointId(5), Contribution::default(), facts);
            }
            let done = pending.finalise(Duration::from_millis(30), "job", Incarnation(1), 128);
            assert_eq!((done.manifest.is_final, done.all_halted), (is_final, all_halted), "{states:?}");
            assert_eq!(done.manifest.triggered_unix_ms, 7);
            let durations = CheckpointDurations { took_ms: 30, alignment_ms: 2, capture_ms: 1 };
            assert_eq!(done.manifest.durations, durations);
        }
    }

    #[test]
    fn checkpoint_without_a_parked_region_has_its_chunks_of_the_base_and_is_not_final() {
        let operators = [(RegionId(1), ["op".into()].into())].into();
        let mut pending = pending(1).without(ParkedSections::of([RegionId(1)].iter(), &operators));
        let facts = AckFacts { source: Some(SourceState::Ended), ..AckFacts::default() };
        pending.acknowledge(execution(2), subtask(0), CheckpointId(5), Contribution::default(), facts);
        let done = pending.finalise(Duration::ZERO, "job", Incarnation(1), 128);
        assert_eq!((done.manifest.is_final, done.all_halted), (false, true));
        assert_eq!(done.manifest.chunks, base().chunks);
    }

    #[test]
    #[should_panic(expected = "checkpoint 5 lacks")]
    fn finalising_without_an_acknowledgement_panics() {
        pending(1).finalise(Duration::ZERO, "job", Incarnation(1), 128);
    }
}
