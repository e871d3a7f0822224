//! A function on the records of two streams as if they were one.

use super::{KeyedCoProcessFunction, KeyedContext, KeyedProcessFunction};
use crate::operator::{Either, Emitter};
use crate::state::{StateSet, Timer};

/// Gives a function the records of both streams.
#[derive(Clone)]
pub(crate) struct OfEither<F>(pub(crate) F);

impl<K, A, B, F: KeyedProcessFunction<K, Either<A, B>>> KeyedCoProcessFunction<K, A, B> for OfEither<F> {
    type Out = F::Out;
    type State = F::State;

    fn state(&self) -> F::State {
        self.0.state()
    }

    #[inline]
    fn process_first(
        &mut self,
        record: A,
        states: <F::State as StateSet>::Handles<'_>,
        ctx: &mut KeyedContext<'_, K>,
        out: &mut Emitter<'_, F::Out>,
    ) {
        self.0.process(Either::First(record), states, ctx, out);
    }

    #[inline]
    fn process_second(
        &mut self,
        record: B,
        states: <F::State as StateSet>::Handles<'_>,
        ctx: &mut KeyedContext<'_, K>,
        out: &mut Emitter<'_, F::Out>,
    ) {
        self.0.process(Either::Second(record), states, ctx, out);
    }

    fn on_timer(
        &mut self,
        timer: Timer,
        states: <F::State as StateSet>::Handles<'_>,
        ctx: &mut KeyedContext<'_, K>,
        out: &mut Emitter<'_, F::Out>,
    ) {
        self.0.on_timer(timer, states, ctx, out);
    }

    fn timer_withheld(
        &mut self,
        timer: Timer,
        states: <F::State as StateSet>::Handles<'_>,
        ctx: &mut KeyedContext<'_, K>,
        out: &mut Emitter<'_, F::Out>,
    ) {
        self.0.timer_withheld(timer, states, ctx, out);
    }
}
