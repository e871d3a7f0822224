//! What users write to work on a keyed stream by what a broadcast stream says.

use super::{EveryKey, KeyedContext};
use crate::operator::{Emitter, ProcessContext};
use crate::state::{BroadcastStateSet, OperatorStateSet, StateSet, Timer};

/// A function on the records of a keyed stream, with states for each key, and on those of a broadcast stream, with states that are
/// the same on every subtask: rules that change while they are applied. Follows Flink's `KeyedBroadcastProcessFunction`.
///
/// Every subtask gets every record of the broadcast stream, and [`process_broadcast`](Self::process_broadcast) must make of them the
/// same [broadcast state](crate::state::BroadcastState) on each: by the records alone, not by keys or by what the subtask has seen
/// else. Records of keys read it. Between the two streams there is no order, so a record may come before the rule for it.
///
/// Else all is as said at [`KeyedProcessFunction`](super::KeyedProcessFunction); watermarks are the minimum over both streams, and
/// the input has ended when both have.
///
/// ```
/// use millstream::prelude::*;
///
/// /// Counts the visits of each user, and tells of those with as many as a rule says: also when a rule comes that is met already.
/// #[derive(Clone)]
/// struct Often;
///
/// impl KeyedBroadcastProcessFunction<u32, u32, u64> for Often {
///     type Out = (u32, u64);
///     type State = ValueState<u64>;
///     type Broadcast = BroadcastState<u64, ()>;
///
///     fn state(&self) -> Self::State {
///         ValueState::new("visits")
///     }
///
///     fn broadcast_state(&self) -> Self::Broadcast {
///         BroadcastState::new("rules")
///     }
///
///     fn process(
///         &mut self,
///         user: u32,
///         mut visits: KeyedRow<'_, Self, u32, u32, u64>,
///         rules: &BroadcastRow<'_, Self, u32, u32, u64>,
///         _: &mut KeyedContext<'_, u32>,
///         out: &mut Emitter<'_, (u32, u64)>,
///     ) {
///         let visits = visits.get_or_insert_with(|| 0);
///         *visits += 1;
///         if rules.get(visits).is_some() {
///             out.emit((user, *visits));
///         }
///     }
///
///     fn process_broadcast(
///         &mut self,
///         rule: u64,
///         mut rules: BroadcastRow<'_, Self, u32, u32, u64>,
///         keys: &mut EveryKey<'_, u32, Self::State>,
///         _: &mut ProcessContext<'_>,
///         out: &mut Emitter<'_, (u32, u64)>,
///     ) {
///         rules.insert(rule, ());
///         keys.for_each(|user, visits| {
///             if visits.get().is_some_and(|visits| *visits >= rule) {
///                 out.emit((*user, rule));
///             }
///         });
///     }
/// }
///
/// # actix_rt::System::new().block_on(async {
/// # let (sink, env) = (CollectSink::new(), StreamEnvironment::new("visits").parallelism(2));
/// # let often = sink.handle();
/// let visits = env.source("visits", VecSource::new(vec![7, 8, 7, 7]));
/// let rules = env.source("rules", VecSource::new(vec![2, 3]));
/// visits.key_by(|user| *user).connect_broadcast(rules).process("often", Often).sink("out", sink);
/// # env.start()?.await?;
/// # let mut often = often.snapshot();
/// # often.sort();
/// # assert_eq!(often, [(7, 2), (7, 3)]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a function on records `{A}` with keys `{K}` and broadcast records `{B}`",
    note = "a `KeyedBroadcastProcessFunction` is a type of your own, `Clone + Send`"
)]
pub trait KeyedBroadcastProcessFunction<K, A, B>: Clone + Send + 'static {
    /// What it emits.
    type Out: Send + 'static;
    /// Its states for each key: one, a tuple of up to eight, or a struct by [`state_set!`](crate::state_set).
    type State: StateSet;
    /// Its states that are the same on every subtask: a [`BroadcastState`](crate::state::BroadcastState), or a tuple of up to eight.
    type Broadcast: BroadcastStateSet;

    /// Declares the states of each key; the same ones every time.
    fn state(&self) -> Self::State;

    /// Declares the states that are the same on every subtask; the same ones every time.
    fn broadcast_state(&self) -> Self::Broadcast;

    /// Called once for each instance, before its first record. Does nothing by default.
    ///
    /// # Panics
    /// As in [`process`](Self::process).
    fn open(&mut self, keys: &mut EveryKey<'_, K, Self::State>) {
        let _ = keys;
    }

    /// Takes one record of the keyed stream. `states` are those of the record's key, to be changed in place.
    ///
    /// # Panics
    /// A panic fails the task; the region restarts from its last checkpoint.
    fn process(
        &mut self,
        record: A,
        states: <Self::State as StateSet>::Handles<'_>,
        broadcast: &<Self::Broadcast as OperatorStateSet>::Handles<'_>,
        ctx: &mut KeyedContext<'_, K>,
        out: &mut Emitter<'_, Self::Out>,
    );

    /// Takes one record of the broadcast stream. `keys` are those of the subtask: a rule may be applied to the state that is there.
    /// The subtask takes no other record meanwhile.
    ///
    /// # Panics
    /// As in [`process`](Self::process).
    fn process_broadcast(
        &mut self,
        record: B,
        broadcast: <Self::Broadcast as OperatorStateSet>::Handles<'_>,
        keys: &mut EveryKey<'_, K, Self::State>,
        ctx: &mut ProcessContext<'_>,
        out: &mut Emitter<'_, Self::Out>,
    );

    /// A timer of a key that was registered in its [`Timers`](crate::keyed::Timers) has come due, and is not registered any more.
    /// Does nothing by default.
    ///
    /// # Panics
    /// As in [`process`](Self::process).
    fn on_timer(
        &mut self,
        timer: Timer,
        states: <Self::State as StateSet>::Handles<'_>,
        broadcast: &<Self::Broadcast as OperatorStateSet>::Handles<'_>,
        ctx: &mut KeyedContext<'_, K>,
        out: &mut Emitter<'_, Self::Out>,
    ) {
        let _ = (timer, states, broadcast, ctx, out);
    }

    /// Both inputs of this subtask have ended: called once for each key that has state, in no order, as
    /// [`KeyedProcessFunction::end_of_input`](super::KeyedProcessFunction::end_of_input) is. Does nothing by default.
    ///
    /// # Panics
    /// As in [`process`](Self::process).
    fn end_of_input(
        &mut self,
        states: <Self::State as StateSet>::Handles<'_>,
        broadcast: &<Self::Broadcast as OperatorStateSet>::Handles<'_>,
        ctx: &mut KeyedContext<'_, K>,
        out: &mut Emitter<'_, Self::Out>,
    ) {
        let _ = (states, broadcast, out);
        ctx.does_nothing_at_end();
    }
}

/// The handles of the states of a key, for use in the signature of a [`KeyedBroadcastProcessFunction`] `F`.
pub type KeyedRow<'a, F, K, A, B> = <<F as KeyedBroadcastProcessFunction<K, A, B>>::State as StateSet>::Handles<'a>;

/// The handles of its broadcast states.
pub type BroadcastRow<'a, F, K, A, B> =
    <<F as KeyedBroadcastProcessFunction<K, A, B>>::Broadcast as OperatorStateSet>::Handles<'a>;
