//! What users write to work on two streams that are not keyed.

use super::{Emitter, ProcessContext};
use crate::state::OperatorStateSet;

/// A function on the records of two streams, with states of its own for each subtask, which the records of both share. Follows
/// Flink's `CoProcessFunction`, and with a broadcast stream its `BroadcastProcessFunction`.
///
/// Records of one stream come in their order, and between both there is none. Each stream keeps its own way to the subtasks: rules
/// that all of them need come [broadcast](crate::stream::DataStream::broadcast), into a
/// [`BroadcastState`](crate::state::BroadcastState). Else all is as said at [`ProcessFunction`](super::ProcessFunction).
///
/// ```
/// use millstream::prelude::*;
///
/// /// Lets readings pass from sensors that are known. Those that come before their sensor wait for it.
/// #[derive(Clone)]
/// struct Known;
///
/// type Reading = (u32, i64);
///
/// impl CoProcessFunction<Reading, u32> for Known {
///     type Out = Reading;
///     type State = (BroadcastState<u32, ()>, OperatorListState<Reading>);
///
///     fn state(&self) -> Self::State {
///         (BroadcastState::new("known"), OperatorListState::new("waiting"))
///     }
///
///     fn process_first(
///         &mut self,
///         reading: Reading,
///         (known, mut waiting): CoStates<'_, Self, Reading, u32>,
///         _: &mut ProcessContext<'_>,
///         out: &mut Emitter<'_, Reading>,
///     ) {
///         if known.get(&reading.0).is_some() {
///             out.emit(reading);
///         } else {
///             waiting.push(reading);
///         }
///     }
///
///     fn process_second(
///         &mut self,
///         sensor: u32,
///         (mut known, mut waiting): CoStates<'_, Self, Reading, u32>,
///         _: &mut ProcessContext<'_>,
///         out: &mut Emitter<'_, Reading>,
///     ) {
///         known.insert(sensor, ());
///         let (due, others): (Vec<_>, _) = waiting.take().into_iter().partition(|(of, _)| *of == sensor);
///         waiting.set(others);
///         due.into_iter().for_each(|reading| out.emit(reading));
///     }
/// }
///
/// # actix_rt::System::new().block_on(async {
/// # let (sink, env) = (CollectSink::new(), StreamEnvironment::new("sensors").parallelism(3));
/// # let passed = sink.handle();
/// let sensors = env.source("sensors", VecSource::new(vec![1, 2]));
/// let readings = env.source("readings", SequenceSource::new(0..30)).map(|n| ((n % 3) as u32, n as i64));
/// readings.rebalance().connect(sensors.broadcast()).process("known", Known).sink("passed", sink);
/// # env.start()?.await?;
/// # let mut passed = passed.snapshot();
/// # passed.sort_by_key(|(_, n)| *n);
/// # assert!(passed.into_iter().eq((0..30).map(|n| ((n % 3) as u32, n)).filter(|(sensor, _)| *sensor > 0)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a function on records `{A}` and `{B}`",
    note = "a `CoProcessFunction` is a type of your own, `Clone + Send`; closures are for `map` and `flat_map`"
)]
pub trait CoProcessFunction<A, B>: Clone + Send + 'static {
    /// What it emits.
    type Out: Send + 'static;
    /// Its states: `()`, one, or a tuple of up to eight.
    type State: OperatorStateSet;

    /// Declares the states; the same ones every time.
    fn state(&self) -> Self::State;

    /// Called once for each instance, before its first record. Does nothing by default.
    ///
    /// # Panics
    /// As in [`process_first`](Self::process_first).
    fn open(&mut self, states: CoStates<'_, Self, A, B>, ctx: &mut ProcessContext<'_>) {
        let _ = (states, ctx);
    }

    /// Takes one record of the first stream. `states` are those of the subtask, to be changed in place.
    ///
    /// # Panics
    /// A panic fails the task; the region restarts from its last checkpoint.
    fn process_first(
        &mut self,
        record: A,
        states: CoStates<'_, Self, A, B>,
        ctx: &mut ProcessContext<'_>,
        out: &mut Emitter<'_, Self::Out>,
    );

    /// The same for the second stream.
    ///
    /// # Panics
    /// As in [`process_first`](Self::process_first).
    fn process_second(
        &mut self,
        record: B,
        states: CoStates<'_, Self, A, B>,
        ctx: &mut ProcessContext<'_>,
        out: &mut Emitter<'_, Self::Out>,
    );

    /// Both inputs of this subtask have ended, as at [`ProcessFunction::end_of_input`](super::ProcessFunction::end_of_input). Does
    /// nothing by default.
    ///
    /// # Panics
    /// As in [`process_first`](Self::process_first).
    fn end_of_input(
        &mut self,
        states: CoStates<'_, Self, A, B>,
        ctx: &mut ProcessContext<'_>,
        out: &mut Emitter<'_, Self::Out>,
    ) {
        let _ = (states, out);
        ctx.does_nothing_at_end();
    }
}

/// The state handles of a [`CoProcessFunction`] `F`, for use in its signature.
pub type CoStates<'a, F, A, B> = <<F as CoProcessFunction<A, B>>::State as OperatorStateSet>::Handles<'a>;
