//! Runs a keyed function.

use std::sync::Arc;

use millstream_actors::contract::{Batch, BatchOperator, Clock, Output, Progress, RunBudget, Stateful};
use millstream_actors::protocol::{KeyGroupRange, Limits, Mark, NO_TIME, OperatorId, TaskError};

use super::every_key::EveryKey;
use super::kernel::{AtEnd, Kernel, KeyedInput};
use super::{KeyedContext, KeyedProcessFunction};
use crate::operator::{Emission, KeySelector, SideOutputs, TaskView};
use crate::state::{KeyedBackend, KeyedTable, Share};

type States<S, F, In> = <F as KeyedProcessFunction<<S as KeySelector<In>>::Key, In>>::State;
type Rows<S, F, In> = KeyedTable<<S as KeySelector<In>>::Key, States<S, F, In>>;

/// A [`KeyedProcessFunction`] `F` on records of type `In`, whose keys `S` selects; `B` keeps its state.
pub struct KeyedOperator<In, S, F, B = Rows<S, F, In>>
where
    S: KeySelector<In>,
    F: KeyedProcessFunction<S::Key, In>,
    B: KeyedBackend<S::Key, States<S, F, In>>,
{
    kernel: Kernel<S::Key, F::State, B>,
    input: KeyedInput<S, S::Held>,
    function: F,
    emission: Emission,
    task: TaskView,
    is_open: bool,
}

impl<In, S, F> KeyedOperator<In, S, F>
where
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
    S: KeySelector<In>,
    F: KeyedProcessFunction<S::Key, In>,
    B: KeyedBackend<S::Key, States<S, F, In>>,
{
    /// An operator whose state `backend` keeps: that of the function's states, empty.
    pub fn with_backend(operator: OperatorId, backend: B, selector: S, function: F, side_outputs: SideOutputs) -> Self {
        let declaring = function.clone();
        let emission = Emission::new(operator.clone(), side_outputs, Limits::default().emit_per_call_max);
        let kernel = Kernel::new(operator, backend, move || declaring.state());
        Self::on(kernel, KeyedInput::new(selector), function, emission)
    }

    /// An operator on a kernel that has the states of `function`.
    pub(super) fn on(
        kernel: Kernel<S::Key, F::State, B>,
        input: KeyedInput<S, S::Held>,
        function: F,
        emission: Emission,
    ) -> Self {
        let task = kernel.task().clone();
        Self { kernel, input, function, emission, task, is_open: false }
    }

    /// Sets the clock by which values expire and that the function sees, by default the machine's.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.kernel.clock(clock.clone());
        self.task.clock = clock;
        self
    }

    /// Sets which subtask of how many the function sees, by default the only one.
    pub fn share(mut self, share: Share) -> Self {
        self.kernel.share(share);
        self.task.share = share;
        self
    }

    /// Sets how many records one call of the function may emit, by default that of [`Limits`].
    pub fn emit_per_call_max(mut self, records: usize) -> Self {
        self.emission.per_call_max(records);
        self
    }

    /// Sets how many bytes of a snapshot may wait to be written, by default that of [`Limits`].
    pub fn capture_bytes_max(mut self, bytes: usize) -> Self {
        self.kernel.capture_bytes_max(bytes);
        self
    }

    /// Number of keys that have state.
    pub fn keys(&self) -> usize {
        self.kernel.keys()
    }

    /// Opens the function, before its first record or mark.
    fn open(&mut self) -> Result<(), TaskError> {
        if !std::mem::replace(&mut self.is_open, true) {
            let mut keys = EveryKey::new(&mut self.kernel);
            self.function.open(&mut keys);
            keys.outcome()?;
        }
        Ok(())
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
        self.open()?;
        let Self { kernel, input: keys, function, emission, task, .. } = self;
        kernel.process(keys, input, out, budget, |record, time, key, states, out| {
            let mut ctx = KeyedContext::of(key, time, task);
            emission.call(out, 0, time, |out| function.process(record, states, &mut ctx, out))
        })
    }

    fn mark(&mut self, mark: Mark, out: &mut Output<F::Out>, budget: &mut RunBudget) -> Result<Progress, TaskError> {
        self.open()?;
        let Self { kernel, function, emission, task, .. } = self;
        match mark {
            Mark::Watermark(at) => kernel.watermark(at),
            Mark::End => {
                let ended = kernel.end(out, budget, |key, states, out| {
                    let mut ctx = KeyedContext::of(key, NO_TIME, task);
                    emission.call(out, 0, NO_TIME, |out| function.end_of_input(states, &mut ctx, out))?;
                    Ok(if ctx.has_no_end() { AtEnd::Nothing } else { AtEnd::Next })
                })?;
                if ended == Progress::Suspended {
                    return Ok(Progress::Suspended);
                }
            }
            _ => {}
        }
        out.mark(mark);
        Ok(Progress::Done)
    }

    fn stateful(&mut self) -> Option<&mut dyn Stateful> {
        Some(&mut self.kernel)
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
