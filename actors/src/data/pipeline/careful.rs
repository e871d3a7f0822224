//! Careful work: an operator is given one record at a time, whose bytes are known when it panics.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use crate::contract::{Batch, CarefulWork, Clock, Output, Progress, RunBudget, SubtaskInfo};
use crate::protocol::{
    CheckpointId, FIRINGS, OperatorId, PanicFacts, PanickedRecord, PortId, RecordIdentity, SubtaskId, TaskError,
    Timestamp,
};
use crate::runtime::guard::{note_careful, note_firing, noting};

/// What careful work has to know of the records of one input of an operator.
pub struct CarefulInput<T> {
    /// Appends the bytes that a record is known by; false if it has none. The same bytes for the same record, in each attempt.
    pub encode: fn(&T, &mut Vec<u8>) -> bool,
    /// The record with these bytes as text.
    pub describe: fn(&[u8]) -> Option<String>,
    /// Whether each subtask gets a copy of each record. Each copy is a record of its own, then, which another subtask does not get.
    pub is_copied: bool,
    /// Takes a record that is withheld, with its event time or [`NO_TIME`](crate::protocol::NO_TIME).
    pub withhold: Box<dyn FnMut(T, Timestamp, PanicFacts)>,
}

/// [`CarefulInput`]s, of whatever types.
pub type CarefulInputs = Vec<Box<dyn Any>>;

/// An input of an operator that works carefully.
pub(super) struct Careful<T> {
    input: CarefulInput<T>,
    at: At,
    bytes: Vec<u8>,
    /// The record that the operator is given.
    one: Batch<T>,
}

/// Set where an input is worked on carefully.
pub(super) type MaybeCareful<T> = Option<Box<Careful<T>>>;

/// Where it works.
#[derive(Clone)]
pub(super) struct At {
    pub(super) work: Arc<CarefulWork>,
    pub(super) subtask: SubtaskId,
    pub(super) operator: OperatorId,
    pub(super) port: PortId,
}

impl<T: 'static> Careful<T> {
    /// Takes what is known of records of this type, if there is that among `inputs`.
    pub(super) fn take_from(inputs: &mut CarefulInputs, at: At) -> MaybeCareful<T> {
        let place = inputs.iter().position(|input| input.is::<CarefulInput<T>>())?;
        let input = inputs.swap_remove(place).downcast::<CarefulInput<T>>().ok()?;
        Some(Box::new(Self { input: *input, at, bytes: Vec::new(), one: Batch::new() }))
    }
}

impl<T> Careful<T> {
    /// Has `call`, an operator's `process`, work `batch` off, record by record as long as the work is to be careful.
    ///
    /// # Errors
    /// The first of `call`.
    #[cold]
    pub(super) fn process<Out>(
        &mut self,
        batch: &mut Batch<T>,
        out: &mut Output<Out>,
        budget: &mut RunBudget,
        mut call: impl FnMut(&mut Batch<T>, &mut Output<Out>, &mut RunBudget) -> Result<Progress, TaskError>,
    ) -> Result<Progress, TaskError> {
        if self.at.work.is_over() {
            return call(batch, out, budget);
        }
        let Self { input, at, bytes, one } = self;
        let (records, mut progress) = (batch.len(), Progress::Done);
        let mut front = batch.front(records);
        while let Some(record) = front.as_slice().first() {
            if out.is_full() {
                return Ok(Progress::Suspended);
            }
            bytes.clear();
            let identity = (input.encode)(record, bytes).then(|| match input.is_copied {
                false => RecordIdentity::of(at.port, bytes),
                true => RecordIdentity::of_copy(at.port, bytes, at.subtask.index),
            });
            let withheld = identity.and_then(|identity| at.work.take(at.subtask, &at.operator, identity));
            let (time, size) = (front.time(), front.bytes_each());
            let record = front.next().expect("it is the first");
            if let Some(facts) = withheld {
                (input.withhold)(record, time, facts);
                continue;
            }
            one.push_at(record, size, time);
            let describe = input.describe;
            let note = || {
                let panicked = identity.map(|identity| PanickedRecord { identity, text: describe(bytes) });
                note_careful(panicked);
            };
            progress = noting(|| call(one, out, budget), note)?;
            if progress == Progress::Suspended || (budget.left().is_zero() && !front.as_slice().is_empty()) {
                progress = Progress::Suspended;
                break;
            }
        }
        drop(front);
        if !one.is_empty() {
            // It is not done with, and stays in front of the others.
            one.append(batch);
            std::mem::swap(one, batch);
        }
        Ok(progress)
    }
}

/// The timers of a keyed operator that works carefully.
pub struct CarefulFirings {
    work: Arc<CarefulWork>,
    subtask: SubtaskId,
    operator: OperatorId,
}

impl CarefulFirings {
    /// Those of an operator of this subtask.
    pub fn new(subtask: &SubtaskInfo, operator: OperatorId) -> Self {
        Self { work: subtask.careful.clone(), subtask: subtask.subtask, operator }
    }

    /// Whether careful work has ended.
    pub fn is_over(&self) -> bool {
        self.work.is_over()
    }

    /// A timer with these bytes fires. Gives why it is to be withheld, if it is.
    pub fn take(&self, bytes: &[u8]) -> Option<PanicFacts> {
        self.work.take(self.subtask, &self.operator, RecordIdentity::of(FIRINGS, bytes))
    }

    /// The call for a timer with these bytes fails.
    pub fn note(&self, bytes: &[u8], text: String) {
        note_firing(PanickedRecord { identity: RecordIdentity::of(FIRINGS, bytes), text: Some(text) });
    }
}

impl fmt::Debug for CarefulFirings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CarefulFirings({} of {:?})", self.operator, self.subtask)
    }
}

/// Where a subtask tells how far its operators have come that work carefully.
#[derive(Clone)]
pub(super) struct CarefulBarriers {
    pub(super) work: Arc<CarefulWork>,
    pub(super) subtask: SubtaskId,
    pub(super) clock: Arc<dyn Clock>,
}

impl CarefulBarriers {
    /// The subtask has come to this barrier.
    pub(super) fn barrier(&self, checkpoint: CheckpointId) {
        if !self.work.is_over() {
            self.work.barrier(self.subtask, checkpoint, self.clock.now());
        }
    }
}

#[cfg(test)]
#[path = "careful_tests.rs"]
mod tests;
