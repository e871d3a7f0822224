//! How a kind of keyed operator is put on a stream: whatever keeps its states, by one line in `stream/`.

use millstream_actors::contract::BatchOperator;

use super::kernel::{Kernel, KeyedInput};
use super::{KeyedOperator, KeyedProcessFunction};
use crate::operator::{Emission, KeySelector};
use crate::state::{KeyedBackend, StateSet};

/// A kind of operator on records of type `In`, whose keys `S` selects.
pub(crate) trait OnKernel<In, S: KeySelector<In>>: Clone + Send + 'static {
    /// Its states: those of the user's function, those of its own, or both.
    type State: StateSet;
    /// What it emits.
    type Out: Send + 'static;

    /// Declares the states; the same ones every time.
    fn state(&self) -> Self::State;

    /// An instance for one subtask of one attempt.
    fn operator<B: KeyedBackend<S::Key, Self::State>>(
        self,
        kernel: Kernel<S::Key, Self::State, B>,
        input: KeyedInput<S, S::Held>,
        emission: Emission,
    ) -> impl BatchOperator<In = In, Out = Self::Out>;
}

/// A user's function.
#[derive(Clone)]
pub(crate) struct Process<F>(pub(crate) F);

impl<In, S, F> OnKernel<In, S> for Process<F>
where
    In: Send + 'static,
    S: KeySelector<In>,
    S::Held: 'static,
    F: KeyedProcessFunction<S::Key, In>,
{
    type State = F::State;
    type Out = F::Out;

    fn state(&self) -> F::State {
        self.0.state()
    }

    fn operator<B: KeyedBackend<S::Key, F::State>>(
        self,
        kernel: Kernel<S::Key, F::State, B>,
        input: KeyedInput<S, S::Held>,
        emission: Emission,
    ) -> impl BatchOperator<In = In, Out = F::Out> {
        KeyedOperator::on(kernel, input, self.0, emission)
    }
}
