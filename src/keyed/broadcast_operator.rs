//! Runs a function on a keyed stream and a broadcast stream.

use std::any::Any;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use millstream_actors::contract::{
    Asked, Batch, Clock, GroupLoader, LoadedGroup, Output, Progress, RestoredSection, RunBudget, SectionWriter,
    StateError, Stateful, StoredStates, TwoInputOperator,
};
use millstream_actors::protocol::{CheckpointId, Mark, OperatorId, TaskError};

use super::calls::KeyedCalls;
use super::kernel::{Kernel, KeyedInput};
use super::run::KeyedRun;
use super::{EveryKey, KeyedBroadcastProcessFunction, KeyedContext};
use crate::operator::{Emission, Emitter, HeldStates, KeySelector, ProcessContext, SideOutputs, Slices, emit_each};
use crate::state::{KeyedBackend, Share, StateSet, Timer};

/// A function with the broadcast states of its subtask.
struct WithBroadcast<K, A, B, F: KeyedBroadcastProcessFunction<K, A, B>> {
    operator: OperatorId,
    function: F,
    broadcast: HeldStates<F::Broadcast>,
    of: PhantomData<fn(K, A, B)>,
}

impl<K, A, B, F: KeyedBroadcastProcessFunction<K, A, B>> WithBroadcast<K, A, B, F> {
    fn new(operator: OperatorId, function: F) -> Self {
        let broadcast = HeldStates::new(operator.clone(), function.broadcast_state());
        Self { operator, function, broadcast, of: PhantomData }
    }
}

/// Without what is held.
impl<K, A, B, F: KeyedBroadcastProcessFunction<K, A, B>> Clone for WithBroadcast<K, A, B, F> {
    fn clone(&self) -> Self {
        Self::new(self.operator.clone(), self.function.clone())
    }
}

impl<K, A, B, F> KeyedCalls<K> for WithBroadcast<K, A, B, F>
where
    K: 'static,
    A: 'static,
    B: 'static,
    F: KeyedBroadcastProcessFunction<K, A, B>,
{
    type Out = F::Out;
    type State = F::State;

    fn state(&self) -> F::State {
        self.function.state()
    }

    fn open(&mut self, keys: &mut EveryKey<'_, K, F::State>) {
        self.function.open(keys);
    }

    fn on_timer(
        &mut self,
        timer: Timer,
        states: <F::State as StateSet>::Handles<'_>,
        ctx: &mut KeyedContext<'_, K>,
        out: &mut Emitter<'_, F::Out>,
    ) {
        self.function.on_timer(timer, states, &self.broadcast.handles(), ctx, out);
    }

    fn end_of_input(
        &mut self,
        states: <F::State as StateSet>::Handles<'_>,
        ctx: &mut KeyedContext<'_, K>,
        out: &mut Emitter<'_, F::Out>,
    ) {
        self.function.end_of_input(states, &self.broadcast.handles(), ctx, out);
    }
}

type Run<A, S, B, F, Rows> =
    KeyedRun<<S as KeySelector<A>>::Key, WithBroadcast<<S as KeySelector<A>>::Key, A, B, F>, Rows>;

/// A [`KeyedBroadcastProcessFunction`] `F` on records of type `A`, whose keys `S` selects, and broadcast ones of type `B`; `Rows`
/// keeps the states of keys.
pub(crate) struct KeyedBroadcastOperator<A, S, B, F, Rows>
where
    A: 'static,
    B: 'static,
    S: KeySelector<A>,
    F: KeyedBroadcastProcessFunction<S::Key, A, B>,
    Rows: KeyedBackend<S::Key, F::State>,
{
    run: Run<A, S, B, F, Rows>,
    input: KeyedInput<S, S::Held>,
    slices: Slices,
}

impl<A, S, B, F, Rows> KeyedBroadcastOperator<A, S, B, F, Rows>
where
    A: 'static,
    B: 'static,
    S: KeySelector<A>,
    F: KeyedBroadcastProcessFunction<S::Key, A, B>,
    Rows: KeyedBackend<S::Key, F::State>,
{
    /// An operator whose states of keys `backend` keeps: those of the function, empty.
    pub(crate) fn with_backend(
        operator: OperatorId,
        backend: Rows,
        selector: S,
        function: F,
        side_outputs: SideOutputs,
    ) -> Self {
        let function = WithBroadcast::new(operator.clone(), function);
        let run = KeyedRun::with_backend(operator, backend, function, side_outputs);
        Self { run, input: KeyedInput::new(selector), slices: Slices::new() }
    }

    /// An operator on a kernel that has the states of `function`.
    pub(crate) fn on(
        operator: OperatorId,
        kernel: Kernel<S::Key, F::State, Rows>,
        selector: S,
        function: F,
        emission: Emission,
    ) -> Self {
        let run = KeyedRun::on(kernel, WithBroadcast::new(operator, function), emission);
        Self { run, input: KeyedInput::new(selector), slices: Slices::new() }
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

impl<A, S, B, F, Rows> TwoInputOperator for KeyedBroadcastOperator<A, S, B, F, Rows>
where
    A: Send + 'static,
    B: Send + 'static,
    S: KeySelector<A, Held: 'static>,
    F: KeyedBroadcastProcessFunction<S::Key, A, B>,
    Rows: KeyedBackend<S::Key, F::State>,
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
        self.run.process(&mut self.input, input, out, budget, |with, record, states, ctx, out| {
            with.function.process(record, states, &with.broadcast.handles(), ctx, out);
        })
    }

    fn process_second(
        &mut self,
        input: &mut Batch<B>,
        out: &mut Output<F::Out>,
        budget: &mut RunBudget,
    ) -> Result<Progress, TaskError> {
        self.run.open()?;
        let KeyedRun { kernel, function: with, emission, task, .. } = &mut self.run;
        kernel.has_input();
        let mut outcome = Ok(());
        let call = |record, out: &mut Emitter<'_, F::Out>| {
            let mut ctx = ProcessContext::of(task, out.time(), kernel.event_time.least());
            let mut keys = EveryKey::new(kernel);
            with.function.process_broadcast(record, with.broadcast.handles(), &mut keys, &mut ctx, out);
            outcome = std::mem::replace(&mut outcome, Ok(())).and(keys.outcome());
        };
        let progress = emit_each(call, &mut self.slices, emission, input, out, budget)?;
        outcome?;
        Ok(progress)
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
        Some(self)
    }
}

/// The kernel's, and what is the same on every subtask: that is written at the barrier.
impl<A, S, B, F, Rows> Stateful for KeyedBroadcastOperator<A, S, B, F, Rows>
where
    A: 'static,
    B: 'static,
    S: KeySelector<A>,
    F: KeyedBroadcastProcessFunction<S::Key, A, B>,
    Rows: KeyedBackend<S::Key, F::State>,
{
    fn snapshot(&mut self, writer: &mut SectionWriter) -> Result<Progress, StateError> {
        self.run.function.broadcast.write(self.run.task.share, writer)?;
        self.run.kernel.snapshot(writer)
    }

    fn continue_snapshot(
        &mut self,
        writer: &mut SectionWriter,
        budget: &mut RunBudget,
    ) -> Result<Progress, StateError> {
        self.run.kernel.continue_snapshot(writer, budget)
    }

    fn abandon_snapshot(&mut self) {
        self.run.kernel.abandon_snapshot();
    }

    fn query(&mut self, query: &mut (dyn Any + Send), budget: &mut RunBudget) -> Asked {
        self.run.kernel.query(query, budget)
    }

    fn stored_states(&self) -> Option<Box<dyn StoredStates>> {
        self.run.kernel.stored_states()
    }

    fn group_loader(&self) -> Option<Box<dyn GroupLoader>> {
        self.run.kernel.group_loader()
    }

    fn restore_group(&mut self, group: LoadedGroup) -> Result<(), StateError> {
        self.run.kernel.restore_group(group)
    }

    fn restore(&mut self, sections: Vec<RestoredSection>) -> Result<(), StateError> {
        let share = self.run.task.share;
        let broadcast = &mut self.run.function.broadcast;
        let (of_broadcast, others) = sections.into_iter().partition(|section| broadcast.has(section));
        broadcast.load(of_broadcast, share)?;
        self.run.kernel.restore(others)
    }

    fn restored(&mut self, checkpoint: CheckpointId) -> Result<(), StateError> {
        self.run.kernel.restored(checkpoint)
    }
}

#[cfg(test)]
#[path = "broadcast_tests.rs"]
mod tests;
