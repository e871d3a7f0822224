//! What the operators of one attempt do carefully, and what they withhold: shared by the subtasks of a region and its supervisor.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::protocol::{CheckpointId, OperatorId, PanicFacts, RecordIdentity, SubtaskId, Withholding};

/// The careful work of one attempt of a region. By default there is none.
#[derive(Debug, Default)]
pub struct CarefulWork {
    operators: BTreeSet<OperatorId>,
    is_over: AtomicBool,
    withholding: Mutex<Withholding>,
}

impl CarefulWork {
    /// That of these operators.
    pub(crate) fn new(operators: BTreeSet<OperatorId>, withholding: Withholding) -> Self {
        Self { operators, is_over: AtomicBool::new(false), withholding: Mutex::new(withholding) }
    }

    /// Whether the operator begins the attempt with careful work.
    pub fn is_of(&self, operator: &OperatorId) -> bool {
        self.operators.contains(operator)
    }

    /// Whether it has ended.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// Ends it: the operators go on at full speed. Of what is withheld nothing is added any more, by a batch in work neither.
    pub(crate) fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
        self.withholding().end();
    }

    /// A record has come to its operator. Gives why it is to be withheld, if it is.
    pub(crate) fn take(
        &self,
        subtask: SubtaskId,
        operator: &OperatorId,
        identity: RecordIdentity,
    ) -> Option<PanicFacts> {
        self.withholding().take(subtask, operator, identity)
    }

    /// A subtask has come to the barrier of this checkpoint, at `now`.
    pub(crate) fn barrier(&self, subtask: SubtaskId, checkpoint: CheckpointId, now: Duration) {
        self.withholding().barrier(subtask, checkpoint, now);
    }

    /// What is and was withheld.
    pub(crate) fn withholding(&self) -> MutexGuard<'_, Withholding> {
        // Each change of it is one step.
        self.withholding.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
