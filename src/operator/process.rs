//! Runs a function that is not keyed, and keeps its states in snapshots.

use std::collections::BTreeMap;
use std::sync::Arc;

use millstream_actors::contract::{
    Batch, BatchOperator, Clock, Output, Progress, RestoredSection, RunBudget, SnapshotWriter, StateError, StateScope,
    Stateful,
};
use millstream_actors::protocol::{Limits, Mark, NO_TIME, OperatorId, TaskError};

use super::emit_each::emit_each;
use super::slices::Slices;
use super::{Emission, Emitter, ProcessContext, ProcessFunction, SideOutputs, TaskView};
use crate::state::codec::OTHERWISE_DECLARED;
use crate::state::{Ended, OperatorStateSet, Reached, Share, StoredCopy, take_notes, undeclared, write_notes};

/// What subtasks had stored of one state.
type Copies = Vec<(u32, Vec<u8>)>;

/// A [`ProcessFunction`] `F` on records of type `In`.
///
/// All state is written at the barrier, before it passes on.
pub struct ProcessOperator<In, F: ProcessFunction<In>> {
    operator: OperatorId,
    task: TaskView,
    function: F,
    emission: Emission,
    states: F::State,
    names: Vec<Arc<str>>,
    held: <F::State as OperatorStateSet>::Held,
    slices: Slices,
    is_open: bool,
    /// The step at the end of input has run since the last record.
    has_ended: bool,
}

impl<In, F: ProcessFunction<In>> ProcessOperator<In, F> {
    /// An operator without state yet, for one subtask.
    pub fn new(operator: OperatorId, share: Share, function: F, side_outputs: SideOutputs) -> Self {
        let states = function.state();
        Self {
            emission: Emission::new(operator.clone(), side_outputs, Limits::default().emit_per_call_max),
            operator,
            task: TaskView { share, ..TaskView::default() },
            function,
            names: states.names(),
            states,
            held: Default::default(),
            slices: Slices::new(),
            is_open: false,
            has_ended: false,
        }
    }

    /// Sets the clock that the function sees, by default the machine's.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.task.clock = clock;
        self
    }

    /// Sets how many records one call of the function may emit, by default that of [`Limits`].
    pub fn emit_per_call_max(mut self, records: usize) -> Self {
        self.emission.per_call_max(records);
        self
    }

    /// Opens the function, before its first record or mark.
    fn open(&mut self) {
        if !std::mem::replace(&mut self.is_open, true) {
            let mut ctx = ProcessContext::of(&self.task, NO_TIME);
            self.function.open(self.states.handles(&mut self.held), &mut ctx);
        }
    }

    fn mismatch(&self, reason: String) -> StateError {
        StateError::Mismatch { operator: self.operator.clone(), reason }
    }

    /// The sections of each state in the order of the subtasks that stored them.
    fn by_state(&self, sections: Vec<RestoredSection>) -> Result<BTreeMap<usize, Copies>, StateError> {
        let mut states: BTreeMap<usize, Copies> = BTreeMap::new();
        for RestoredSection { state, scope, bytes, .. } in sections {
            let Some(index) = self.names.iter().position(|name| *name == state) else {
                return Err(self.mismatch(undeclared(&state)));
            };
            let StateScope::Subtask(subtask) = scope else {
                let reason =
                    format!("state '{state}' is not keyed now, it was stored for {scope}; {OTHERWISE_DECLARED}");
                return Err(self.mismatch(reason));
            };
            states.entry(index).or_default().push((subtask, bytes));
        }
        for (index, copies) in &mut states {
            copies.sort_by_key(|(subtask, _)| *subtask);
            if let Some((expected, _)) = (0..).zip(&*copies).find(|(expected, (subtask, _))| expected != subtask) {
                let (state, missing) = (&self.names[*index], StateScope::Subtask(expected));
                let reason = format!("state '{state}' has {} parts, and that of {missing} is missing", copies.len());
                return Err(self.mismatch(reason));
            }
        }
        Ok(states)
    }
}

impl<In: Send + 'static, F: ProcessFunction<In>> BatchOperator for ProcessOperator<In, F> {
    type In = In;
    type Out = F::Out;

    fn process(
        &mut self,
        input: &mut Batch<In>,
        out: &mut Output<F::Out>,
        budget: &mut RunBudget,
    ) -> Result<Progress, TaskError> {
        self.open();
        self.has_ended &= input.is_empty();
        let Self { states, held, task, function, emission, slices, .. } = self;
        let call = |record, out: &mut Emitter<'_, F::Out>| {
            function.process(record, states.handles(held), &mut ProcessContext::of(task, out.time()), out);
        };
        emit_each(call, slices, emission, input, out, budget)
    }

    fn mark(&mut self, mark: Mark, out: &mut Output<F::Out>, _: &mut RunBudget) -> Result<Progress, TaskError> {
        self.open();
        if mark == Mark::End && !self.has_ended {
            let (states, mut ctx) = (self.states.handles(&mut self.held), ProcessContext::of(&self.task, NO_TIME));
            self.emission.call(out, 0, NO_TIME, |out| self.function.end_of_input(states, &mut ctx, out))?;
            self.has_ended = !ctx.has_no_end();
        }
        out.mark(mark);
        Ok(Progress::Done)
    }

    fn stateful(&mut self) -> Option<&mut dyn Stateful> {
        Some(self)
    }
}

impl<In: Send + 'static, F: ProcessFunction<In>> Stateful for ProcessOperator<In, F> {
    fn snapshot(&mut self, writer: &mut SnapshotWriter) -> Result<Progress, StateError> {
        if self.has_ended {
            write_notes(&self.operator, &[Ended(self.task.share.parallelism)], writer)?;
        }
        for (index, name) in self.names.iter().enumerate() {
            let section = writer.subtask(name);
            self.states.write(index, &self.held, section).map_err(|reason| StateError::Encode {
                operator: self.operator.clone(),
                state: name.clone(),
                scope: StateScope::Subtask(self.task.share.subtask),
                version: 1,
                reason,
            })?;
        }
        Ok(Progress::Done)
    }

    fn restore(&mut self, mut sections: Vec<RestoredSection>) -> Result<(), StateError> {
        // An operator that was keyed before has written how far it had come in event time.
        take_notes::<Reached>(&self.operator, &mut sections)?;
        // Where each record counts at least once, some subtasks may have got to the end and others not.
        let ended = take_notes(&self.operator, &mut sections)?;
        let subtasks = ended.iter().flatten().next().copied();
        self.has_ended = subtasks.is_some_and(|Ended(subtasks)| subtasks as usize == ended.len());
        for (index, copies) in self.by_state(sections)? {
            let copies: Vec<StoredCopy<'_>> =
                copies.iter().map(|(subtask, bytes)| StoredCopy { subtask: *subtask, bytes }).collect();
            self.states.load(index, &mut self.held, &copies, self.task.share).map_err(|error| StateError::Decode {
                operator: self.operator.clone(),
                state: self.names[index].clone(),
                scope: StateScope::Subtask(error.subtask),
                version: error.version,
                reason: error.reason,
            })?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "process_tests.rs"]
mod tests;
