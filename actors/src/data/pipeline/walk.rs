//! The pipeline of a subtask: walks its stages, so that what is emitted last is worked on first.

use std::any::Any;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use super::exit::SideExit;
use super::head::Head;
use super::link::{Stage, Step};
use crate::contract::{
    GroupLoader, LoadedGroup, Progress, RestoredState, RunBudget, SideRecord, SnapshotWriter, StateError, Stateful,
};
use crate::data::edge::{AnyOutlet, ReturnCredit, Sent};
use crate::data::input_batch::InputBatch;
use crate::protocol::{Barrier, CheckpointId, Mark, OperatorId, TaskError};
use crate::runtime::guard::{note_operator, noting};

/// Loaders of keyed state, by operator.
pub(crate) type GroupLoaders = BTreeMap<OperatorId, Box<dyn GroupLoader>>;

/// Takes a boxed record of a source's side output.
pub(super) type SourceSide = Box<dyn FnMut(Box<dyn Any + Send>)>;

/// The state of a checkpoint, as far as one subtask restores it.
#[derive(Debug, Default)]
pub struct LoadedState {
    pub(crate) checkpoint: CheckpointId,
    /// What no loader has taken.
    pub(crate) sections: RestoredState,
    pub(crate) groups: BTreeMap<OperatorId, Vec<LoadedGroup>>,
}

/// A stage and its phase.
pub(super) struct StageSlot {
    /// `None`: the end of the chain.
    id: Option<OperatorId>,
    stage: Box<dyn Stage>,
    /// Input is left over from its last step.
    has_input: bool,
    /// Its snapshot has been begun and is not all written.
    captures: bool,
}

impl StageSlot {
    pub(super) fn new(id: Option<OperatorId>, stage: Box<dyn Stage>) -> Self {
        Self { id, stage, has_input: false, captures: false }
    }

    /// The operator's id and state, if it has state.
    fn stateful(&mut self) -> Option<(&OperatorId, &mut dyn Stateful)> {
        self.id.as_ref().zip(self.stage.stateful())
    }
}

/// The operators of one subtask and the edges that leave it.
///
/// The walk serves the last stage that has input, so that queues between stages hold what one step has emitted, and
/// nothing when it is done. One batch or mark is in hand at a time.
pub struct Pipeline<B> {
    /// Before the first stage.
    head: Box<dyn Head<Batch = B>>,
    /// In chain order; the last one ends the chain.
    stages: Vec<StageSlot>,
    /// The stage to be served next; `None` when nothing is in hand.
    at: Option<usize>,
    /// The mark in hand.
    mark: Option<Mark>,
    outlets: Vec<Rc<RefCell<dyn AnyOutlet>>>,
    /// Those of the source.
    sides: Vec<Box<dyn SideExit>>,
    source_sides: BTreeMap<Arc<str>, SourceSide>,
}

impl<B: InputBatch> Pipeline<B> {
    pub(super) fn new(
        head: Box<dyn Head<Batch = B>>,
        stages: Vec<StageSlot>,
        outlets: Vec<Rc<RefCell<dyn AnyOutlet>>>,
        sides: Vec<Box<dyn SideExit>>,
        source_sides: BTreeMap<Arc<str>, SourceSide>,
    ) -> Self {
        Self { head, stages, at: None, mark: None, outlets, sides, source_sides }
    }

    /// Takes the records of `batch`. [`Progress::Suspended`] means: call again with what is left in it, even if that is
    /// nothing, as soon as the edges have credit if [`is_blocked`](Self::is_blocked), else after others had their turn.
    ///
    /// # Errors
    /// Any error fails the task.
    pub fn push(&mut self, batch: &mut B, budget: &mut RunBudget) -> Result<Progress, TaskError> {
        assert!(self.mark.is_none(), "a batch comes before {:?} is done", self.mark);
        self.at.get_or_insert(0);
        self.head.exchange(batch);
        let progress = self.walk(budget)?;
        self.head.exchange(batch);
        Ok(progress)
    }

    /// Takes a mark. [`Progress::Suspended`] means: call again with the same mark; as [`push`](Self::push).
    ///
    /// # Errors
    /// Any error fails the task.
    pub fn mark(&mut self, mark: Mark, budget: &mut RunBudget) -> Result<Progress, TaskError> {
        match self.mark {
            None => {
                assert!(self.at.is_none(), "{mark:?} comes before a batch is done");
                self.head.mark(mark);
                self.drain_sides()?;
                (self.mark, self.at) = (Some(mark), Some(0));
            }
            Some(in_hand) => assert!(mark == in_hand, "{mark:?} comes before {in_hand:?} is done"),
        }
        let progress = self.walk(budget)?;
        if progress == Progress::Done {
            self.mark = None;
        }
        Ok(progress)
    }

    /// Serves stages until no input is left before any.
    fn walk(&mut self, budget: &mut RunBudget) -> Result<Progress, TaskError> {
        while let Some(at) = self.at {
            let slot = &mut self.stages[at];
            let (StageSlot { id, stage, .. }, in_batch) = (&mut *slot, self.mark.is_none());
            let step = noting(|| stage.step(budget), || note_operator(id.as_ref(), in_batch))?;
            slot.has_input = step != Step::Done;
            let next = at + 1;
            match step {
                Step::Blocked => return Ok(Progress::Suspended),
                Step::OutOfTime => {
                    self.at = Some(next);
                    return Ok(Progress::Suspended);
                }
                Step::Done | Step::Full if next < self.stages.len() => self.at = Some(next),
                Step::Done | Step::Full => self.at = self.stages.iter().rposition(|slot| slot.has_input),
            }
        }
        Ok(Progress::Done)
    }

    /// Hands side records of a source on.
    ///
    /// # Errors
    /// Any error fails the task.
    pub fn push_side_records(&mut self, records: Vec<SideRecord>) -> Result<(), TaskError> {
        for SideRecord { tag, record } in records {
            if let Some(take) = self.source_sides.get_mut(&tag) {
                take(record);
            }
        }
        self.drain_sides()
    }

    fn drain_sides(&mut self) -> Result<(), TaskError> {
        self.sides.iter_mut().try_for_each(|side| side.drain())
    }

    /// Whether an edge waits for credit.
    pub fn is_blocked(&self) -> bool {
        self.outlets.iter().any(|outlet| outlet.borrow().is_blocked())
    }

    /// What the edges have sent.
    pub(crate) fn sent(&self) -> Sent {
        self.outlets.iter().map(|outlet| outlet.borrow().sent()).fold(Sent::default(), Sent::and)
    }

    /// Sends records that wait for a batch to fill.
    pub fn flush(&mut self) {
        self.on_outlets(|outlet| outlet.flush());
    }

    /// Closes a checkpoint on every edge, in one step. Marks that operators hold back stay where they are.
    ///
    /// # Panics
    /// If a batch or mark is in hand, as does [`snapshot`](Self::snapshot): its step would be cut in two.
    pub fn barrier(&mut self, barrier: Barrier) {
        self.assert_nothing_in_hand();
        self.on_outlets(|outlet| outlet.barrier(barrier));
    }

    /// Credits came back.
    pub fn credit(&mut self, message: ReturnCredit) {
        self.outlets[message.output as usize].borrow_mut().credit(message.channel, message.grant, message.batch);
    }

    /// Writes the state of all operators, or begins to.
    ///
    /// # Errors
    /// The first error of an operator.
    pub fn snapshot(&mut self, writer: &mut SnapshotWriter) -> Result<Progress, StateError> {
        self.assert_nothing_in_hand();
        let mut written = Progress::Done;
        for slot in &mut self.stages {
            if let Some((id, state)) = slot.stateful() {
                writer.set_operator(id);
                let progress = state.snapshot(writer)?;
                slot.captures = progress == Progress::Suspended;
                written = if slot.captures { Progress::Suspended } else { written };
            }
        }
        Ok(written)
    }

    /// Goes on with it.
    ///
    /// # Errors
    /// The first error of an operator.
    pub fn continue_snapshot(
        &mut self,
        writer: &mut SnapshotWriter,
        budget: &mut RunBudget,
    ) -> Result<Progress, StateError> {
        for slot in self.stages.iter_mut().filter(|slot| slot.captures) {
            if let Some((id, state)) = slot.stateful() {
                writer.set_operator(id);
                if state.continue_snapshot(writer, budget)? == Progress::Suspended {
                    return Ok(Progress::Suspended);
                }
            }
            slot.captures = false;
        }
        Ok(Progress::Done)
    }

    /// Gives up what was begun.
    pub fn abandon_snapshot(&mut self) {
        for slot in self.stages.iter_mut().filter(|slot| slot.captures) {
            slot.captures = false;
            if let Some((_, state)) = slot.stateful() {
                state.abandon_snapshot();
            }
        }
    }

    /// A set of loaders, for one thread.
    pub(crate) fn group_loaders(&mut self) -> GroupLoaders {
        let states = self.stages.iter_mut().filter_map(StageSlot::stateful);
        states.filter_map(|(id, state)| Some((id.clone(), state.group_loader()?))).collect()
    }

    /// Gives all operators their state.
    ///
    /// # Errors
    /// The first error of an operator.
    pub fn restore(&mut self, loaded: &mut LoadedState) -> Result<(), StateError> {
        for (id, state) in self.stages.iter_mut().filter_map(StageSlot::stateful) {
            for group in loaded.groups.remove(id).unwrap_or_default() {
                state.restore_group(group)?;
            }
            let sections = loaded.sections.take(id);
            if !sections.is_empty() {
                state.restore(sections)?;
            }
            state.restored(loaded.checkpoint)?;
        }
        Ok(())
    }

    fn assert_nothing_in_hand(&self) {
        assert!(self.at.is_none(), "a barrier comes in the middle of a step");
    }

    fn on_outlets(&mut self, each: impl Fn(&mut dyn AnyOutlet)) {
        for outlet in &self.outlets {
            each(&mut *outlet.borrow_mut());
        }
    }
}

#[cfg(test)]
#[path = "walk_tests.rs"]
mod tests;
