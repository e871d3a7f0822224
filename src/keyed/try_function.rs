//! What users write where working on a record of a keyed stream may fail.

use super::{EveryKey, KeyedContext, KeyedProcessFunction};
use crate::operator::{Diverting, Emitter};
use crate::state::{StateSet, Timer};

/// A [`KeyedProcessFunction`] that may fail on a record or a timer. Its errors are records of a stream of their own, and the job
/// goes on.
///
/// A call that fails takes nothing back: what it has emitted and changed before stays so. Check first, then change.
///
/// ```
/// use millstream::prelude::*;
///
/// /// Balances of accounts. What an account cannot pay is refused.
/// #[derive(Clone)]
/// struct Balances;
///
/// type Booking = (String, i64);
///
/// impl TryKeyedProcessFunction<String, Booking> for Balances {
///     type Out = Booking;
///     type Error = Booking;
///     type State = ValueState<i64>;
///
///     fn state(&self) -> Self::State {
///         ValueState::new("balance")
///     }
///
///     fn process(
///         &mut self,
///         (account, cents): Booking,
///         mut balance: TryRow<'_, Self, String, Booking>,
///         _: &mut KeyedContext<'_, String>,
///         out: &mut Emitter<'_, Booking>,
///     ) -> Result<(), Booking> {
///         let after = balance.get().copied().unwrap_or(0) + cents;
///         if after < 0 {
///             return Err((account, cents));
///         }
///         balance.set(after);
///         out.emit((account, after));
///         Ok(())
///     }
/// }
///
/// # actix_rt::System::new().block_on(async {
/// # let (sink, errors) = (CollectSink::new(), CollectSink::new());
/// # let (collected, failed) = (sink.handle(), errors.handle());
/// let bookings = [50, -70, -20].map(|cents| ("ada".to_owned(), cents));
/// let env = StreamEnvironment::new("bank");
/// let (balances, refused) = env
///     .source("bookings", VecSource::new(bookings.to_vec()))
///     .key_by_ref(|(account, _)| account.as_str())
///     .try_process("balances", Balances);
/// balances.sink("balances-out", sink);
/// refused.sink("refused", errors);
/// env.start()?.await?;
/// assert_eq!(collected.snapshot(), [("ada".to_owned(), 50), ("ada".to_owned(), 30)]);
/// assert_eq!(failed.snapshot(), [("ada".to_owned(), -70)]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a function on records `{In}` with keys `{K}` that may fail",
    note = "a `TryKeyedProcessFunction` is a type of your own, `Clone + Send`"
)]
pub trait TryKeyedProcessFunction<K, In>: Clone + Send + 'static {
    /// What it emits.
    type Out: Send + 'static;
    /// What it answers where it fails: all that is to be known of that, the record too if it is wanted.
    type Error: Send + 'static;
    /// Its states: one, a tuple of up to eight, or a struct by [`state_set!`](crate::state_set).
    type State: StateSet;

    /// As [`KeyedProcessFunction::state`].
    fn state(&self) -> Self::State;

    /// As [`KeyedProcessFunction::open`].
    ///
    /// # Panics
    /// As in [`process`](Self::process).
    fn open(&mut self, keys: &mut EveryKey<'_, K, Self::State>) {
        let _ = keys;
    }

    /// As [`KeyedProcessFunction::process`].
    ///
    /// # Errors
    /// Whatever is to go to the stream of errors, with the event time of the record.
    ///
    /// # Panics
    /// A panic fails the task; the region restarts from its last checkpoint.
    fn process(
        &mut self,
        record: In,
        states: TryRow<'_, Self, K, In>,
        ctx: &mut KeyedContext<'_, K>,
        out: &mut Emitter<'_, Self::Out>,
    ) -> Result<(), Self::Error>;

    /// As [`KeyedProcessFunction::on_timer`]. A timer whose call has failed has fired.
    ///
    /// # Errors
    /// As [`process`](Self::process), with the event time of an event timer.
    ///
    /// # Panics
    /// As in [`process`](Self::process).
    fn on_timer(
        &mut self,
        timer: Timer,
        states: TryRow<'_, Self, K, In>,
        ctx: &mut KeyedContext<'_, K>,
        out: &mut Emitter<'_, Self::Out>,
    ) -> Result<(), Self::Error> {
        let _ = (timer, states, ctx, out);
        Ok(())
    }

    /// As [`KeyedProcessFunction::end_of_input`].
    ///
    /// # Errors
    /// As [`process`](Self::process), without event time.
    ///
    /// # Panics
    /// As in [`process`](Self::process).
    fn end_of_input(
        &mut self,
        states: TryRow<'_, Self, K, In>,
        ctx: &mut KeyedContext<'_, K>,
        out: &mut Emitter<'_, Self::Out>,
    ) -> Result<(), Self::Error> {
        let _ = (states, out);
        ctx.does_nothing_at_end();
        Ok(())
    }
}

/// The state handles of a [`TryKeyedProcessFunction`] `F`, for use in its signature.
pub type TryRow<'a, F, K, In> = <<F as TryKeyedProcessFunction<K, In>>::State as StateSet>::Handles<'a>;

impl<K, In, F: TryKeyedProcessFunction<K, In>> KeyedProcessFunction<K, In> for Diverting<F, F::Error> {
    type Out = F::Out;
    type State = F::State;

    fn state(&self) -> F::State {
        self.function.state()
    }

    fn open(&mut self, keys: &mut EveryKey<'_, K, F::State>) {
        self.function.open(keys);
    }

    fn process(
        &mut self,
        record: In,
        states: TryRow<'_, F, K, In>,
        ctx: &mut KeyedContext<'_, K>,
        out: &mut Emitter<'_, F::Out>,
    ) {
        if let Err(error) = self.function.process(record, states, ctx, out) {
            out.emit_to(&self.errors, error);
        }
    }

    fn on_timer(
        &mut self,
        timer: Timer,
        states: TryRow<'_, F, K, In>,
        ctx: &mut KeyedContext<'_, K>,
        out: &mut Emitter<'_, F::Out>,
    ) {
        if let Err(error) = self.function.on_timer(timer, states, ctx, out) {
            out.emit_to(&self.errors, error);
        }
    }

    fn end_of_input(
        &mut self,
        states: TryRow<'_, F, K, In>,
        ctx: &mut KeyedContext<'_, K>,
        out: &mut Emitter<'_, F::Out>,
    ) {
        if let Err(error) = self.function.end_of_input(states, ctx, out) {
            out.emit_to(&self.errors, error);
        }
    }
}
