//! What users write to work on two keyed streams together.

use super::{EveryKey, KeyedContext};
use crate::operator::Emitter;
use crate::state::{StateSet, Timer};

/// A function on the records of two streams with the same kind of keys, with states for each key that both share. Follows Flink's
/// `KeyedCoProcessFunction`.
///
/// Records of one stream and key come in their order. Between the two streams there is none: which comes first may differ from run
/// to run and after a restart, so what is emitted must not depend on it, unless by event time. Else all is as said at
/// [`KeyedProcessFunction`](super::KeyedProcessFunction); watermarks are the minimum over both streams, and the input has ended
/// when both have.
///
/// ```
/// use millstream::prelude::*;
///
/// /// Gives each order with its payment, whichever comes first.
/// #[derive(Clone)]
/// struct Paid;
///
/// type Order = (u32, String);
/// type Payment = (u32, f64);
///
/// impl KeyedCoProcessFunction<u32, Order, Payment> for Paid {
///     type Out = (u32, String, f64);
///     type State = (ValueState<String>, ValueState<f64>);
///
///     fn state(&self) -> Self::State {
///         (ValueState::new("order"), ValueState::new("payment"))
///     }
///
///     fn process_first(
///         &mut self,
///         (id, item): Order,
///         (mut order, mut payment): CoRow<'_, Self, u32, Order, Payment>,
///         _: &mut KeyedContext<'_, u32>,
///         out: &mut Emitter<'_, Self::Out>,
///     ) {
///         match payment.take() {
///             Some(amount) => out.emit((id, item, amount)),
///             None => order.set(item),
///         }
///     }
///
///     fn process_second(
///         &mut self,
///         (id, amount): Payment,
///         (mut order, mut payment): CoRow<'_, Self, u32, Order, Payment>,
///         _: &mut KeyedContext<'_, u32>,
///         out: &mut Emitter<'_, Self::Out>,
///     ) {
///         match order.take() {
///             Some(item) => out.emit((id, item, amount)),
///             None => payment.set(amount),
///         }
///     }
/// }
///
/// # actix_rt::System::new().block_on(async {
/// # let (sink, env) = (CollectSink::new(), StreamEnvironment::new("shop"));
/// # let paid = sink.handle();
/// let orders = env.source("orders", VecSource::new(vec![(1, "tea".to_owned()), (2, "milk".to_owned())]));
/// let payments = env.source("payments", VecSource::new(vec![(2, 1.5), (3, 9.0)]));
/// orders
///     .key_by(|(id, _)| *id)
///     .connect(payments.key_by(|(id, _)| *id))
///     .process("paid", Paid)
///     .sink("out", sink);
/// # env.start()?.await?;
/// # assert_eq!(paid.snapshot(), [(2, "milk".to_owned(), 1.5)]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a function on records `{A}` and `{B}` with keys `{K}`",
    note = "a `KeyedCoProcessFunction` is a type of your own, `Clone + Send`"
)]
pub trait KeyedCoProcessFunction<K, A, B>: Clone + Send + 'static {
    /// What it emits.
    type Out: Send + 'static;
    /// Its states: one, a tuple of up to eight, or a struct by [`state_set!`](crate::state_set).
    type State: StateSet;

    /// Declares the states; the same ones every time.
    fn state(&self) -> Self::State;

    /// Called once for each instance, before its first record. Does nothing by default.
    ///
    /// # Panics
    /// As in [`process_first`](Self::process_first).
    fn open(&mut self, keys: &mut EveryKey<'_, K, Self::State>) {
        let _ = keys;
    }

    /// Takes one record of the first stream. `states` are those of the record's key, to be changed in place.
    ///
    /// # Panics
    /// A panic fails the task; the region restarts from its last checkpoint.
    fn process_first(
        &mut self,
        record: A,
        states: <Self::State as StateSet>::Handles<'_>,
        ctx: &mut KeyedContext<'_, K>,
        out: &mut Emitter<'_, Self::Out>,
    );

    /// The same for the second stream.
    ///
    /// # Panics
    /// As in [`process_first`](Self::process_first).
    fn process_second(
        &mut self,
        record: B,
        states: <Self::State as StateSet>::Handles<'_>,
        ctx: &mut KeyedContext<'_, K>,
        out: &mut Emitter<'_, Self::Out>,
    );

    /// A timer of a key that was registered in its [`Timers`](crate::keyed::Timers) has come due, and is not registered any more.
    /// Does nothing by default.
    ///
    /// # Panics
    /// As in [`process_first`](Self::process_first).
    fn on_timer(
        &mut self,
        timer: Timer,
        states: <Self::State as StateSet>::Handles<'_>,
        ctx: &mut KeyedContext<'_, K>,
        out: &mut Emitter<'_, Self::Out>,
    ) {
        let _ = (timer, states, ctx, out);
    }

    /// A timer of a key was withheld, since [`on_timer`](Self::on_timer) panics at it time and again: called in the place of that, by a
    /// directive with [`OnPanic::firings`](crate::operator::OnPanic::firings), so that what the timer was for can be cleared away. Does
    /// nothing by default.
    ///
    /// # Panics
    /// As in [`process_first`](Self::process_first), and no directive helps.
    fn timer_withheld(
        &mut self,
        timer: Timer,
        states: <Self::State as StateSet>::Handles<'_>,
        ctx: &mut KeyedContext<'_, K>,
        out: &mut Emitter<'_, Self::Out>,
    ) {
        let _ = (timer, states, ctx, out);
    }

    /// Both inputs of this subtask have ended: called once for each key that has state, in no order, as
    /// [`KeyedProcessFunction::end_of_input`](super::KeyedProcessFunction::end_of_input) is. Does nothing by default.
    ///
    /// # Panics
    /// As in [`process_first`](Self::process_first).
    fn end_of_input(
        &mut self,
        states: <Self::State as StateSet>::Handles<'_>,
        ctx: &mut KeyedContext<'_, K>,
        out: &mut Emitter<'_, Self::Out>,
    ) {
        let _ = (states, out);
        ctx.does_nothing_at_end();
    }
}

/// The state handles of a [`KeyedCoProcessFunction`] `F`, for use in its signature.
pub type CoRow<'a, F, K, A, B> = <<F as KeyedCoProcessFunction<K, A, B>>::State as StateSet>::Handles<'a>;
