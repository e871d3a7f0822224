//! What a keyed function does, on however many inputs its records come.

use std::marker::PhantomData;

use super::{EveryKey, KeyedCoProcessFunction, KeyedContext, KeyedProcessFunction};
use crate::operator::Emitter;
use crate::state::{StateSet, Timer};

/// The calls of a keyed function that are for no record. What they promise is said at [`KeyedProcessFunction`].
pub(crate) trait KeyedCalls<K>: Clone + Send + 'static {
    /// What it emits.
    type Out: Send + 'static;
    /// Its states.
    type State: StateSet;

    fn state(&self) -> Self::State;

    fn open(&mut self, keys: &mut EveryKey<'_, K, Self::State>);

    fn on_timer(
        &mut self,
        timer: Timer,
        states: <Self::State as StateSet>::Handles<'_>,
        ctx: &mut KeyedContext<'_, K>,
        out: &mut Emitter<'_, Self::Out>,
    );

    /// By default it does nothing.
    fn timer_withheld(
        &mut self,
        timer: Timer,
        states: <Self::State as StateSet>::Handles<'_>,
        ctx: &mut KeyedContext<'_, K>,
        out: &mut Emitter<'_, Self::Out>,
    ) {
        let _ = (timer, states, ctx, out);
    }

    fn end_of_input(
        &mut self,
        states: <Self::State as StateSet>::Handles<'_>,
        ctx: &mut KeyedContext<'_, K>,
        out: &mut Emitter<'_, Self::Out>,
    );
}

/// A function on records of types `In`: of one, or of two as a pair. A type may be a function on several.
pub(crate) struct On<In, F> {
    pub(super) function: F,
    of: PhantomData<fn(In)>,
}

impl<In, F> On<In, F> {
    pub(super) fn new(function: F) -> Self {
        Self { function, of: PhantomData }
    }
}

impl<In, F: Clone> Clone for On<In, F> {
    fn clone(&self) -> Self {
        Self::new(self.function.clone())
    }
}

/// Gives the calls of `$function` on.
macro_rules! calls {
    ($function:ident of $($In:ident),+ as $of:ty) => {
        impl<K, $($In: 'static,)+ F: $function<K, $($In),+>> KeyedCalls<K> for On<$of, F> {
            type Out = F::Out;
            type State = F::State;

            fn state(&self) -> F::State {
                self.function.state()
            }

            fn open(&mut self, keys: &mut EveryKey<'_, K, F::State>) {
                self.function.open(keys);
            }

            #[inline]
            fn on_timer(
                &mut self,
                timer: Timer,
                states: <F::State as StateSet>::Handles<'_>,
                ctx: &mut KeyedContext<'_, K>,
                out: &mut Emitter<'_, F::Out>,
            ) {
                self.function.on_timer(timer, states, ctx, out);
            }

            fn timer_withheld(
                &mut self,
                timer: Timer,
                states: <F::State as StateSet>::Handles<'_>,
                ctx: &mut KeyedContext<'_, K>,
                out: &mut Emitter<'_, F::Out>,
            ) {
                self.function.timer_withheld(timer, states, ctx, out);
            }

            #[inline]
            fn end_of_input(
                &mut self,
                states: <F::State as StateSet>::Handles<'_>,
                ctx: &mut KeyedContext<'_, K>,
                out: &mut Emitter<'_, F::Out>,
            ) {
                self.function.end_of_input(states, ctx, out);
            }
        }
    };
}

calls!(KeyedProcessFunction of In as (In,));
calls!(KeyedCoProcessFunction of A, B as (A, B));
