//! Runs a function that is not keyed.

use std::sync::Arc;

use millstream_actors::contract::{Batch, BatchOperator, Clock, Output, Progress, RunBudget, Stateful};
use millstream_actors::protocol::{Mark, OperatorId, TaskError};

use super::process_run::ProcessRun;
use super::slices::Slices;
use super::{ProcessFunction, SideOutputs};
use crate::state::Share;

/// A [`ProcessFunction`] `F` on records of type `In`.
pub struct ProcessOperator<In, F: ProcessFunction<In>> {
    run: ProcessRun<F::State>,
    function: F,
    slices: Slices,
}

impl<In, F: ProcessFunction<In>> ProcessOperator<In, F> {
    /// An operator without state yet, for one subtask.
    pub fn new(operator: OperatorId, share: Share, function: F, side_outputs: SideOutputs) -> Self {
        let run = ProcessRun::new(operator, share, function.state(), side_outputs);
        Self { run, function, slices: Slices::new() }
    }

    /// Sets the clock that the function sees, by default the machine's.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.run.clock(clock);
        self
    }

    /// Sets how many records one call of the function may emit, by default that of [`Limits`](crate::Limits).
    pub fn emit_per_call_max(mut self, records: usize) -> Self {
        self.run.emit_per_call_max(records);
        self
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
        let Self { run, function, slices } = self;
        run.open(|states, ctx| function.open(states, ctx));
        run.process(slices, input, out, budget, |record, states, ctx, out| function.process(record, states, ctx, out))
    }

    fn mark(&mut self, mark: Mark, out: &mut Output<F::Out>, _: &mut RunBudget) -> Result<Progress, TaskError> {
        let Self { run, function, .. } = self;
        run.open(|states, ctx| function.open(states, ctx));
        run.mark(mark, out, |states, ctx, out| function.end_of_input(states, ctx, out))
    }

    fn stateful(&mut self) -> Option<&mut dyn Stateful> {
        Some(&mut self.run)
    }
}

#[cfg(test)]
#[path = "process_tests.rs"]
mod tests;
