//! Runs a keyed function.

use std::sync::Arc;
use std::time::Duration;

use millstream_actors::contract::{Batch, BatchOperator, Clock, Output, Progress, RunBudget, Stateful};
use millstream_actors::protocol::{KeyGroupRange, Mark, OperatorId, TaskError};

use super::KeyedProcessFunction;
use super::calls::On;
use super::kernel::{Kernel, KeyedInput};
use super::run::KeyedRun;
use crate::operator::{Emission, KeySelector, SideOutputs};
use crate::state::{KeyedBackend, KeyedTable, Share};

type States<S, F, In> = <F as KeyedProcessFunction<<S as KeySelector<In>>::Key, In>>::State;
type Rows<S, F, In> = KeyedTable<<S as KeySelector<In>>::Key, States<S, F, In>>;

/// A [`KeyedProcessFunction`] `F` on records of type `In`, whose keys `S` selects; `B` keeps its state.
pub struct KeyedOperator<In, S, F, B = Rows<S, F, In>>
where
    In: 'static,
    S: KeySelector<In>,
    F: KeyedProcessFunction<S::Key, In>,
    B: KeyedBackend<S::Key, States<S, F, In>>,
{
    run: KeyedRun<S::Key, On<(In,), F>, B>,
    input: KeyedInput<S, S::Held>,
}

impl<In, S, F> KeyedOperator<In, S, F>
where
    In: 'static,
    S: KeySelector<In>,
    F: KeyedProcessFunction<S::Key, In>,
{
    /// An operator without state yet, for the keys of `key_groups` of `max_parallelism`, whose state is kept in memory.
    pub fn new(
        operator: OperatorId,
        key_groups: KeyGroupRange,
        max_parallelism: u32,
        selector: S,
        function: F,
        side_outputs: SideOutputs,
    ) -> Self {
        let table = KeyedTable::new(function.state(), key_groups, max_parallelism);
        Self::with_backend(operator, table, selector, function, side_outputs)
    }
}

impl<In, S, F, B> KeyedOperator<In, S, F, B>
where
    In: 'static,
    S: KeySelector<In>,
    F: KeyedProcessFunction<S::Key, In>,
    B: KeyedBackend<S::Key, States<S, F, In>>,
{
    /// An operator whose state `backend` keeps: that of the function's states, empty.
    pub fn with_backend(operator: OperatorId, backend: B, selector: S, function: F, side_outputs: SideOutputs) -> Self {
        let run = KeyedRun::with_backend(operator, backend, On::new(function), side_outputs);
        Self { run, input: KeyedInput::new(selector) }
    }

    /// An operator on a kernel that has the states of `function`.
    pub(super) fn on(
        kernel: Kernel<S::Key, F::State, B>,
        input: KeyedInput<S, S::Held>,
        function: F,
        emission: Emission,
    ) -> Self {
        Self { run: KeyedRun::on(kernel, On::new(function), emission), input }
    }

    /// Sets the clock by which values expire and that the function sees, by default the machine's.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.run.clock(clock);
        self
    }

    /// Sets which subtask of how many the function sees, by default the only one.
    pub fn share(mut self, share: Share) -> Self {
        self.run.share(share);
        self
    }

    /// Sets how many records one call of the function may emit, by default that of [`Limits`](crate::Limits).
    pub fn emit_per_call_max(mut self, records: usize) -> Self {
        self.run.emission.per_call_max(records);
        self
    }

    /// Sets how many bytes of a snapshot may wait to be written, by default that of [`Limits`](crate::Limits).
    pub fn capture_bytes_max(mut self, bytes: usize) -> Self {
        self.run.kernel.capture_bytes_max(bytes);
        self
    }

    /// Number of keys that have state.
    pub fn keys(&self) -> usize {
        self.run.kernel.keys()
    }
}

impl<In, S, F, B> BatchOperator for KeyedOperator<In, S, F, B>
where
    In: Send + 'static,
    S: KeySelector<In>,
    F: KeyedProcessFunction<S::Key, In>,
    S::Held: 'static,
    B: KeyedBackend<S::Key, States<S, F, In>>,
{
    type In = In;
    type Out = F::Out;

    fn process(
        &mut self,
        input: &mut Batch<In>,
        out: &mut Output<F::Out>,
        budget: &mut RunBudget,
    ) -> Result<Progress, TaskError> {
        self.run.process(&mut self.input, input, out, budget, |on, record, states, ctx, out| {
            on.function.process(record, states, ctx, out);
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

#[cfg(test)]
#[path = "operator_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "ttl_tests.rs"]
mod ttl_tests;

#[cfg(test)]
#[path = "end_tests.rs"]
mod end_tests;

#[cfg(test)]
#[path = "timer_tests.rs"]
mod timer_tests;
