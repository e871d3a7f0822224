//! Runs a keyed function on two inputs.

use std::borrow::Borrow;
use std::sync::Arc;
use std::time::Duration;

use millstream_actors::contract::{Batch, Clock, Output, Progress, RunBudget, Stateful, TwoInputOperator};
use millstream_actors::protocol::{Mark, OperatorId, TaskError};

use super::KeyedCoProcessFunction;
use super::calls::On;
use super::kernel::{Kernel, KeyedInput};
use super::run::KeyedRun;
use crate::operator::{Emission, KeySelector, SideOutputs};
use crate::state::{KeyedBackend, Share, StateKey};

/// A [`KeyedCoProcessFunction`] `F` on records of types `A` and `B`, whose keys `SA` and `SB` select; `Rows` keeps its state.
pub(crate) struct KeyedCoOperator<K, A, B, SA, SB, F, Rows>
where
    K: StateKey,
    A: 'static,
    B: 'static,
    SA: KeySelector<A, Key = K>,
    SB: KeySelector<B, Key = K>,
    F: KeyedCoProcessFunction<K, A, B>,
    Rows: KeyedBackend<K, F::State>,
{
    run: KeyedRun<K, On<(A, B), F>, Rows>,
    first: KeyedInput<SA, SA::Held>,
    second: KeyedInput<SB, SB::Held>,
}

impl<K, A, B, SA, SB, F, Rows> KeyedCoOperator<K, A, B, SA, SB, F, Rows>
where
    K: StateKey,
    A: 'static,
    B: 'static,
    SA: KeySelector<A, Key = K>,
    SB: KeySelector<B, Key = K>,
    F: KeyedCoProcessFunction<K, A, B>,
    Rows: KeyedBackend<K, F::State>,
{
    /// An operator whose state `backend` keeps: that of the function's states, empty.
    pub(crate) fn with_backend(
        operator: OperatorId,
        backend: Rows,
        (first, second): (SA, SB),
        function: F,
        side_outputs: SideOutputs,
    ) -> Self {
        let run = KeyedRun::with_backend(operator, backend, On::new(function), side_outputs);
        Self { run, first: KeyedInput::new(first), second: KeyedInput::new(second) }
    }

    /// An operator on a kernel that has the states of `function`.
    pub(crate) fn on(
        kernel: Kernel<K, F::State, Rows>,
        (first, second): (SA, SB),
        function: F,
        emission: Emission,
    ) -> Self {
        let run = KeyedRun::on(kernel, On::new(function), emission);
        Self { run, first: KeyedInput::new(first), second: KeyedInput::new(second) }
    }

    /// Sets the clock by which values expire and that the function sees, by default the machine's.
    pub(crate) fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.run.clock(clock);
        self
    }

    /// Sets which subtask of how many the function sees, by default the only one.
    pub(crate) fn share(mut self, share: Share) -> Self {
        self.run.share(share);
        self
    }
}

impl<K, A, B, SA, SB, F, Rows> TwoInputOperator for KeyedCoOperator<K, A, B, SA, SB, F, Rows>
where
    K: StateKey + Borrow<SA::Query> + Borrow<SB::Query>,
    A: Send + 'static,
    B: Send + 'static,
    SA: KeySelector<A, Key = K, Held: 'static>,
    SB: KeySelector<B, Key = K, Held: 'static>,
    F: KeyedCoProcessFunction<K, A, B>,
    Rows: KeyedBackend<K, F::State>,
{
    type First = A;
    type Second = B;
    type Out = F::Out;

    fn process_first(
        &mut self,
        input: &mut Batch<A>,
        out: &mut Output<F::Out>,
        budget: &mut RunBudget,
    ) -> Result<Progress, TaskError> {
        self.run.process(&mut self.first, input, out, budget, |on, record, states, ctx, out| {
            on.function.process_first(record, states, ctx, out);
        })
    }

    fn process_second(
        &mut self,
        input: &mut Batch<B>,
        out: &mut Output<F::Out>,
        budget: &mut RunBudget,
    ) -> Result<Progress, TaskError> {
        self.run.process(&mut self.second, input, out, budget, |on, record, states, ctx, out| {
            on.function.process_second(record, states, ctx, out);
        })
    }

    fn mark(&mut self, mark: Mark, out: &mut Output<F::Out>, budget: &mut RunBudget) -> Result<Progress, TaskError> {
        self.run.mark(mark, out, budget)
    }

    fn due(&self) -> Option<Duration> {
        self.run.due()
    }

    fn wake(&mut self, out: &mut Output<F::Out>, budget: &mut RunBudget) -> Result<Progress, TaskError> {
        self.run.wake(out, budget)
    }

    fn stateful(&mut self) -> Option<&mut dyn Stateful> {
        Some(&mut self.run.kernel)
    }
}
