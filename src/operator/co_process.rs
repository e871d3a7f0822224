//! Runs a function that is not keyed on two inputs.

use std::sync::Arc;

use millstream_actors::contract::{Batch, Clock, Output, Progress, RunBudget, Stateful, TwoInputOperator};
use millstream_actors::protocol::{Mark, OperatorId, TaskError};

use super::process_run::ProcessRun;
use super::slices::Slices;
use super::{CoProcessFunction, SideOutputs};
use crate::state::Share;

/// A [`CoProcessFunction`] `F` on records of types `A` and `B`.
pub struct CoProcessOperator<A, B, F: CoProcessFunction<A, B>> {
    run: ProcessRun<F::State>,
    function: F,
    /// For each input: one may be slow and the other fast.
    slices: [Slices; 2],
}

impl<A, B, F: CoProcessFunction<A, B>> CoProcessOperator<A, B, F> {
    /// An operator without state yet, for one subtask.
    pub fn new(operator: OperatorId, share: Share, function: F, side_outputs: SideOutputs) -> Self {
        let run = ProcessRun::new(operator, share, function.state(), side_outputs);
        Self { run, function, slices: [Slices::new(), Slices::new()] }
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

impl<A: Send + 'static, B: Send + 'static, F: CoProcessFunction<A, B>> TwoInputOperator for CoProcessOperator<A, B, F> {
    type First = A;
    type Second = B;
    type Out = F::Out;

    fn process_first(
        &mut self,
        input: &mut Batch<A>,
        out: &mut Output<F::Out>,
        budget: &mut RunBudget,
    ) -> Result<Progress, TaskError> {
        let Self { run, function, slices: [slices, _] } = self;
        run.open(|states, ctx| function.open(states, ctx));
        run.process(slices, input, out, budget, |record, states, ctx, out| {
            function.process_first(record, states, ctx, out);
        })
    }

    fn process_second(
        &mut self,
        input: &mut Batch<B>,
        out: &mut Output<F::Out>,
        budget: &mut RunBudget,
    ) -> Result<Progress, TaskError> {
        let Self { run, function, slices: [_, slices] } = self;
        run.open(|states, ctx| function.open(states, ctx));
        run.process(slices, input, out, budget, |record, states, ctx, out| {
            function.process_second(record, states, ctx, out);
        })
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
