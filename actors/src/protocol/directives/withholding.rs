//! What one attempt of a region withholds, and how much of that each of its checkpoints covers.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::{PanicFacts, RecordIdentity};
use crate::protocol::{CheckpointId, OperatorId, SubtaskId};

/// Barriers of one attempt of which it is kept what was withheld before them.
const BARRIERS_KEPT: usize = 64;

/// Records withheld, by operator and identity.
pub(super) type Taken = BTreeMap<(OperatorId, RecordIdentity), u32>;

/// Adds what `more` has.
pub(super) fn add(taken: &mut Taken, more: &Taken) {
    for (key, records) in more {
        *taken.entry(key.clone()).or_default() += records;
    }
}

/// The records that an attempt has to withhold, and those that it has withheld.
#[derive(Debug, Default)]
pub(crate) struct Withholding {
    outstanding: BTreeMap<(OperatorId, RecordIdentity), VecDeque<PanicFacts>>,
    /// Since the attempt began.
    taken: BTreeMap<SubtaskId, Taken>,
    at_barrier: BTreeMap<CheckpointId, AtBarrier>,
}

/// How far an attempt had come at a barrier.
#[derive(Debug)]
struct AtBarrier {
    /// When the first subtask came to it, by the job's clock.
    first_at: Duration,
    /// What was taken before it, by all subtasks that have passed it.
    taken: Taken,
}

impl Withholding {
    pub(super) fn new(outstanding: BTreeMap<(OperatorId, RecordIdentity), VecDeque<PanicFacts>>) -> Self {
        Self { outstanding, ..Self::default() }
    }

    /// A record has come to its operator. Gives why it is to be withheld, if it is.
    pub(crate) fn take(
        &mut self,
        subtask: SubtaskId,
        operator: &OperatorId,
        identity: RecordIdentity,
    ) -> Option<PanicFacts> {
        if self.outstanding.is_empty() {
            return None;
        }
        let key = (operator.clone(), identity);
        let facts = self.outstanding.get_mut(&key)?.pop_front()?;
        *self.taken.entry(subtask).or_default().entry(key).or_default() += 1;
        Some(facts)
    }

    /// A subtask has come to the barrier of this checkpoint, at `now`.
    pub(crate) fn barrier(&mut self, subtask: SubtaskId, checkpoint: CheckpointId, now: Duration) {
        let new = || AtBarrier { first_at: now, taken: Taken::new() };
        let before = self.at_barrier.entry(checkpoint).or_insert_with(new);
        if let Some(taken) = self.taken.get(&subtask) {
            add(&mut before.taken, taken);
        }
        if self.at_barrier.len() > BARRIERS_KEPT {
            self.at_barrier.pop_first();
        }
    }

    /// Nothing more is withheld. What comes now is given to its function, and panics again if it has to.
    pub(crate) fn end(&mut self) {
        self.outstanding.clear();
    }

    /// What was withheld in this attempt.
    pub(super) fn taken(&self) -> Taken {
        let mut all = Taken::new();
        self.taken.values().for_each(|taken| add(&mut all, taken));
        all
    }

    /// What was withheld in this attempt before each of its barriers.
    pub(super) fn at_barriers(&self) -> impl Iterator<Item = (CheckpointId, &Taken)> {
        self.at_barrier.iter().map(|(checkpoint, at)| (*checkpoint, &at.taken))
    }

    /// What was withheld in this attempt before this barrier.
    pub(super) fn at_barrier(&self, checkpoint: CheckpointId) -> Option<&Taken> {
        self.at_barrier.get(&checkpoint).map(|at| &at.taken)
    }

    /// When the first subtask came to this barrier.
    pub(super) fn came_to(&self, checkpoint: CheckpointId) -> Option<Duration> {
        self.at_barrier.get(&checkpoint).map(|at| at.first_at)
    }
}
