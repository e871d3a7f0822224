//! The pipeline of a subtask: walks its stages, so that what is emitted last is worked on first.

use std::any::Any;
use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::careful::CarefulBarriers;
use super::exit::SideExit;
use super::head::Head;
use super::link::{Stage, Step};
use crate::contract::{
    Asked, Demand, GroupLoader, Held, LoadedGroup, Progress, RestoredState, RunBudget, SectionWriter, SideRecord,
    StateError, Stateful, StoredStates,
};
use crate::data::edge::{AnyOutlet, ReturnCredit};
use crate::data::input_batch::InputBatch;
use crate::protocol::{Barrier, CheckpointId, Mark, Milestone, OperatorId, TaskError};
use crate::runtime::guard::{note_operator, noting};

/// Loaders of keyed state, by operator.
pub(crate) type GroupLoaders = BTreeMap<OperatorId, Box<dyn GroupLoader>>;

/// Takes a boxed record of a source's side output.
pub(super) type SourceSide = Box<dyn FnMut(Box<dyn Any + Send>)>;

/// The exits of a source's side outputs, and what takes the records for each.
pub(super) type SidesOfSource = (Vec<Box<dyn SideExit>>, BTreeMap<Arc<str>, SourceSide>);

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
    /// The wake-up in hand has come to it.
    is_woken: bool,
    /// Its snapshot has been begun and is not all written.
    captures: bool,
}

impl StageSlot {
    pub(super) fn new(id: Option<OperatorId>, stage: Box<dyn Stage>) -> Self {
        Self { id, stage, has_input: false, is_woken: false, captures: false }
    }

    /// The operator's id and state, if it has state.
    fn stateful(&mut self) -> Option<(&OperatorId, &mut dyn Stateful)> {
        self.id.as_ref().zip(self.stage.stateful())
    }
}

/// What is in hand besides batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum InHand {
    Mark(Mark),
    /// This stage is woken.
    WakeUp(usize),
}

/// The operators of one subtask and the edges that leave it.
///
/// The walk serves the last stage that has input, so that queues between stages hold what one step has emitted, and
/// nothing when it is done. One batch, mark or wake-up is in hand at a time.
pub struct Pipeline<B> {
    /// Before the first stage.
    head: Box<dyn Head<Batch = B>>,
    /// In chain order; the last one ends the chain.
    stages: Vec<StageSlot>,
    /// The stage to be served next; `None` when nothing is in hand.
    at: Option<usize>,
    /// What is in hand, unless that is a batch, or nothing.
    in_hand: Option<InHand>,
    outlets: Vec<Rc<RefCell<dyn AnyOutlet>>>,
    /// Those of the source.
    sides: Vec<Box<dyn SideExit>>,
    source_sides: BTreeMap<Arc<str>, SourceSide>,
    /// Set if an operator works carefully.
    careful: Option<CarefulBarriers>,
}

impl<B: InputBatch> Pipeline<B> {
    pub(super) fn new(
        head: Box<dyn Head<Batch = B>>,
        stages: Vec<StageSlot>,
        outlets: Vec<Rc<RefCell<dyn AnyOutlet>>>,
        (sides, source_sides): SidesOfSource,
        careful: Option<CarefulBarriers>,
    ) -> Self {
        Self { head, stages, at: None, in_hand: None, outlets, sides, source_sides, careful }
    }

    /// Takes the records of `batch`. [`Progress::Suspended`] means: call again with what is left in it, even if that is
    /// nothing, as soon as the edges have credit if [`is_blocked`](Self::is_blocked), else after others had their turn.
    ///
    /// # Errors
    /// The first one of an operator (see [`BatchOperator::process`](crate::contract::BatchOperator::process)) or of an edge
    /// ([`Outlet::accept`](crate::data::edge::Outlet::accept)). The pipeline is not to be called again.
    pub fn push(&mut self, batch: &mut B, budget: &mut RunBudget) -> Result<Progress, TaskError> {
        if let Some(in_hand) = self.in_hand {
            panic!("a batch comes before {in_hand:?} is done");
        }
        self.at.get_or_insert(0);
        self.head.exchange(batch);
        let progress = self.walk(budget)?;
        self.head.exchange(batch);
        Ok(progress)
    }

    /// Takes a mark. [`Progress::Suspended`] means: call again with the same mark; as [`push`](Self::push).
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn mark(&mut self, mark: Mark, budget: &mut RunBudget) -> Result<Progress, TaskError> {
        match self.in_hand {
            None => {
                assert!(self.at.is_none(), "{mark:?} comes before a batch is done");
                self.head.mark(mark);
                self.drain_sides()?;
                (self.in_hand, self.at) = (Some(InHand::Mark(mark)), Some(0));
            }
            Some(in_hand) => assert!(in_hand == InHand::Mark(mark), "{mark:?} comes before {in_hand:?} is done"),
        }
        let progress = self.walk(budget)?;
        if progress == Progress::Done {
            self.in_hand = None;
        }
        Ok(progress)
    }

    /// What the first operator takes now.
    pub(crate) fn demand(&self) -> Demand {
        self.stages[0].stage.demand()
    }

    /// How far the first operator is with its records: [`BatchOperator::held`](crate::contract::BatchOperator::held).
    pub(crate) fn held(&self) -> Held {
        self.stages[0].stage.held()
    }

    /// There is input in front of the task that it may not take.
    pub(crate) fn input_waits(&mut self) {
        self.stages.iter_mut().for_each(|slot| slot.stage.input_waits());
    }

    /// Whether the end has come, and an operator holds it back.
    pub(crate) fn holds_end(&self) -> bool {
        self.stages.iter().any(|slot| slot.stage.holds_end())
    }

    /// The earliest time at which one of the operators that have not ended is to be woken.
    pub fn due(&self) -> Option<Duration> {
        self.stages.iter().filter_map(|slot| slot.stage.due()).min()
    }

    /// Wakes each operator whose time has come at `now`, once. [`Progress::Suspended`] means: call again with the same time;
    /// as [`push`](Self::push).
    ///
    /// They are woken one after the other, and what one emits goes on before the next, in the order of their times, as by a
    /// clock that does not jump. Of equal times a later stage comes first: what it holds back is older than what an earlier
    /// one is about to emit.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn wake(&mut self, now: Duration, budget: &mut RunBudget) -> Result<Progress, TaskError> {
        match self.in_hand {
            None => assert!(self.at.is_none(), "a wake-up comes before a batch is done"),
            Some(in_hand) => {
                assert!(matches!(in_hand, InHand::WakeUp(_)), "a wake-up comes before {in_hand:?} is done");
            }
        }
        while self.walk(budget)? == Progress::Done {
            let Some(next) = self.next_due(now) else {
                self.in_hand = None;
                self.stages.iter_mut().for_each(|slot| slot.is_woken = false);
                return Ok(Progress::Done);
            };
            self.stages[next].is_woken = true;
            (self.in_hand, self.at) = (Some(InHand::WakeUp(next)), Some(next));
        }
        Ok(Progress::Suspended)
    }

    /// The stage to be woken next.
    fn next_due(&self, now: Duration) -> Option<usize> {
        let due = self.stages.iter().enumerate().filter(|(_, slot)| !slot.is_woken);
        let due = due.filter_map(|(index, slot)| Some((slot.stage.due()?, Reverse(index))));
        let (_, Reverse(next)) = due.filter(|(at, _)| *at <= now).min()?;
        Some(next)
    }

    /// Serves stages until no input is left before any, and the one that is woken is done.
    fn walk(&mut self, budget: &mut RunBudget) -> Result<Progress, TaskError> {
        let (in_batch, woken) = (self.in_hand.is_none(), self.woken());
        while let Some(at) = self.at {
            let slot = &mut self.stages[at];
            let StageSlot { id, stage, .. } = &mut *slot;
            let call = || if woken == Some(at) { stage.wake(budget) } else { stage.step(budget) };
            let step = noting(call, || note_operator(id.as_ref(), in_batch))?;
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

    fn woken(&self) -> Option<usize> {
        match self.in_hand {
            Some(InHand::WakeUp(stage)) => Some(stage),
            _ => None,
        }
    }

    /// Hands side records of a source on, and gives the number of those that some stream consumes.
    ///
    /// # Errors
    /// Those of the edges of side outputs ([`Outlet::accept`](crate::data::edge::Outlet::accept)).
    pub fn push_side_records(&mut self, records: Vec<SideRecord>) -> Result<usize, TaskError> {
        for SideRecord { tag, record } in records {
            if let Some(take) = self.source_sides.get_mut(&tag) {
                take(record);
            }
        }
        self.drain_sides()
    }

    fn drain_sides(&mut self) -> Result<usize, TaskError> {
        self.sides.iter_mut().try_fold(0, |records, side| Ok(records + side.drain()?))
    }

    /// Whether an edge waits for credit.
    pub fn is_blocked(&self) -> bool {
        self.outlets.iter().any(|outlet| outlet.borrow().is_blocked())
    }

    /// Batches that the edges have sent.
    pub(crate) fn batches_sent(&self) -> u64 {
        self.outlets.iter().map(|outlet| outlet.borrow().batches_sent()).sum()
    }

    /// Sends records that wait for a batch to fill.
    pub fn flush(&mut self) {
        self.on_outlets(|outlet| outlet.flush());
    }

    /// Closes a checkpoint on every edge, in one step. Marks that operators hold back stay where they are.
    ///
    /// # Panics
    /// If a batch, mark or wake-up is in hand, as does [`snapshot`](Self::snapshot): its step would be cut in two.
    pub fn barrier(&mut self, barrier: Barrier) {
        self.assert_nothing_in_hand();
        if let Some(careful) = &self.careful {
            careful.barrier(barrier.checkpoint);
        }
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
    pub fn snapshot(&mut self, writer: &mut SectionWriter) -> Result<Progress, StateError> {
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
        writer: &mut SectionWriter,
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

    /// Has an operator answer a query of its state, as far as the budget goes.
    pub(crate) fn query(
        &mut self,
        operator: &OperatorId,
        query: &mut (dyn Any + Send),
        budget: &mut RunBudget,
    ) -> Asked {
        let mut states = self.stages.iter_mut().filter_map(StageSlot::stateful);
        let found = states.find(|(id, _)| *id == operator);
        found.map_or(Asked::NotForQueries, |(_, state)| state.query(query, budget))
    }

    /// The last milestone that an operator was given: it has taken all records before it.
    pub(crate) fn milestone(&self, operator: &OperatorId) -> Milestone {
        let stage = self.stages.iter().find(|slot| slot.id.as_ref() == Some(operator));
        stage.map_or(Milestone::NONE, |slot| slot.stage.milestone())
    }

    /// What answers queries of its operators from checkpoints.
    pub(crate) fn stored_states(&mut self) -> Vec<(OperatorId, Box<dyn StoredStates>)> {
        let states = self.stages.iter_mut().filter_map(StageSlot::stateful);
        states.filter_map(|(id, state)| Some((id.clone(), state.stored_states()?))).collect()
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
