//! What operators that run a function without keys do beside its records, on however many inputs these come.

use std::convert::Infallible;
use std::sync::Arc;

use millstream_actors::contract::{
    Batch, Clock, Output, Progress, RestoredSection, RunBudget, SectionWriter, StateError, Stateful,
};
use millstream_actors::protocol::{Limits, Mark, NO_TIME, OperatorId, TaskError, Timestamp};
use millstream_actors::runtime::guard::{note_of_none, noting};

use super::emit_each::emit_each;
use super::held_states::HeldStates;
use super::slices::Slices;
use super::{Emission, Emitter, ProcessContext, SideOutputs, TaskView};
use crate::state::{Ended, OperatorStateSet, Reached, Said, Share, take_notes, write_notes};

/// The states of one subtask, lent to a function with each call. All state is written at the barrier, before it passes on.
pub(super) struct ProcessRun<S: OperatorStateSet> {
    operator: OperatorId,
    task: TaskView,
    emission: Emission,
    states: HeldStates<S>,
    is_open: bool,
    /// How far event time has come here.
    watermark: Timestamp,
    /// The step at the end of input has run since the last record.
    has_ended: bool,
}

impl<S: OperatorStateSet> ProcessRun<S> {
    /// Without state yet.
    pub(super) fn new(operator: OperatorId, share: Share, states: S, side_outputs: SideOutputs) -> Self {
        Self {
            emission: Emission::new(operator.clone(), side_outputs, Limits::default().emit_per_call_max),
            task: TaskView { share, ..TaskView::default() },
            states: HeldStates::new(operator.clone(), states),
            operator,
            is_open: false,
            watermark: Timestamp::MIN,
            has_ended: false,
        }
    }

    /// Sets the clock that the function sees, by default the machine's.
    pub(super) fn clock(&mut self, clock: Arc<dyn Clock>) {
        self.task.clock = clock;
    }

    /// Sets how many records one call of the function may emit, by default that of [`Limits`].
    pub(super) fn emit_per_call_max(&mut self, records: usize) {
        self.emission.per_call_max(records);
    }

    /// Calls `open` before the first record or mark.
    #[inline]
    pub(super) fn open(&mut self, open: impl FnOnce(S::Handles<'_>, &mut ProcessContext<'_>)) {
        if !std::mem::replace(&mut self.is_open, true) {
            let Self { states, task, watermark, .. } = self;
            let open = || -> Result<(), Infallible> {
                open(states.handles(), &mut ProcessContext::of(task, NO_TIME, *watermark));
                Ok(())
            };
            let Ok(()) = noting(open, note_of_none);
        }
    }

    /// Works a batch off, as [`BatchOperator::process`](super::BatchOperator::process) is to: calls `call` with each record.
    #[inline]
    pub(super) fn process<In, Out>(
        &mut self,
        slices: &mut Slices,
        input: &mut Batch<In>,
        out: &mut Output<Out>,
        budget: &mut RunBudget,
        mut call: impl FnMut(In, S::Handles<'_>, &mut ProcessContext<'_>, &mut Emitter<'_, Out>),
    ) -> Result<Progress, TaskError> {
        self.has_ended &= input.is_empty();
        let Self { states, task, emission, watermark, .. } = self;
        let each = |record, out: &mut Emitter<'_, Out>| {
            call(record, states.handles(), &mut ProcessContext::of(task, out.time(), *watermark), out);
        };
        emit_each(each, slices, emission, input, out, budget)
    }

    /// A mark has come: calls `end_of_input` if it is that, and passes it on.
    pub(super) fn mark<Out>(
        &mut self,
        mark: Mark,
        out: &mut Output<Out>,
        end_of_input: impl FnOnce(S::Handles<'_>, &mut ProcessContext<'_>, &mut Emitter<'_, Out>),
    ) -> Result<Progress, TaskError> {
        if let Mark::Watermark(at) = mark {
            self.watermark = self.watermark.max(at);
        }
        if mark == Mark::End && !self.has_ended {
            let mut ctx = ProcessContext::of(&self.task, NO_TIME, Timestamp::MAX);
            let states = self.states.handles();
            self.emission.call(out, 0, NO_TIME, |out| end_of_input(states, &mut ctx, out))?;
            self.has_ended = !ctx.has_no_end();
        }
        out.mark(mark);
        Ok(Progress::Done)
    }
}

impl<S: OperatorStateSet> Stateful for ProcessRun<S> {
    fn snapshot(&mut self, writer: &mut SectionWriter) -> Result<Progress, StateError> {
        if self.has_ended {
            write_notes(&self.operator, &[Ended(self.task.share.parallelism)], writer)?;
        }
        if self.watermark > Timestamp::MIN {
            let Share { subtask, parallelism } = self.task.share;
            write_notes(&self.operator, &[Said(subtask, parallelism, self.watermark)], writer)?;
        }
        self.states.write(self.task.share, writer)?;
        Ok(Progress::Done)
    }

    fn restore(&mut self, mut sections: Vec<RestoredSection>) -> Result<(), StateError> {
        // An operator that was keyed before has written how far it had come in event time.
        take_notes::<Reached>(&self.operator, &mut sections)?;
        let said: Vec<Said> = take_notes(&self.operator, &mut sections)?.into_iter().flatten().collect();
        self.watermark = Said::before(&said, self.task.share);
        // Where each record counts at least once, some subtasks may have got to the end and others not.
        let ended = take_notes(&self.operator, &mut sections)?;
        let subtasks = ended.iter().flatten().next().copied();
        self.has_ended = subtasks.is_some_and(|Ended(subtasks)| subtasks as usize == ended.len());
        self.states.load(sections, self.task.share)
    }
}
