//! What users write to work on keyed streams.

use std::fmt;

use millstream_actors::protocol::Timestamp;

use super::EveryKey;
use super::event_time::Moment;
use crate::operator::{Emitter, TaskView, context_methods};
use crate::state::{StateSet, Timer};

/// A function on the records of a keyed stream, with states of its own for each key. Follows Flink's
/// `KeyedProcessFunction`.
///
/// Each subtask and each attempt runs a fresh clone of the declared value, so nothing but the states survives a
/// failure.
///
/// ```
/// use millstream::prelude::*;
///
/// /// The highest bid of each auction, once, when all bids are in.
/// #[derive(Clone)]
/// struct Highest;
///
/// type Bid = (String, u64);
///
/// impl KeyedProcessFunction<String, Bid> for Highest {
///     type Out = Bid;
///     type State = ValueState<u64>;
///
///     fn state(&self) -> Self::State {
///         ValueState::new("highest")
///     }
///
///     fn process(
///         &mut self,
///         (_, bid): Bid,
///         mut highest: Row<'_, Self, String, Bid>,
///         _: &mut KeyedContext<'_, String>,
///         _: &mut Emitter<'_, Bid>,
///     ) {
///         let highest = highest.get_or_insert_with(|| bid);
///         *highest = bid.max(*highest);
///     }
///
///     fn end_of_input(
///         &mut self,
///         highest: Row<'_, Self, String, Bid>,
///         ctx: &mut KeyedContext<'_, String>,
///         out: &mut Emitter<'_, Bid>,
///     ) {
///         out.emit((ctx.key().clone(), highest.get().copied().unwrap_or_default()));
///     }
/// }
///
/// # actix_rt::System::new().block_on(async {
/// let sink = CollectSink::new();
/// let highest = sink.handle();
/// let env = StreamEnvironment::new("auctions");
/// let bids = [("lamp", 3), ("chair", 9), ("lamp", 7)].map(|(auction, bid)| (auction.to_owned(), bid));
/// env.source("bids", VecSource::new(bids.to_vec()))
///     .key_by_ref(|(auction, _)| auction.as_str())
///     .process("highest", Highest)
///     .sink("winners", sink);
/// env.start()?.await?;
/// let mut winners = highest.snapshot();
/// winners.sort();
/// assert_eq!(winners, [("chair".to_owned(), 9), ("lamp".to_owned(), 7)]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a function on records `{In}` with keys `{K}`",
    note = "a `KeyedProcessFunction` is a type of your own, `Clone + Send`; a closure is for `reduce`, `fold` and `fold_map`"
)]
pub trait KeyedProcessFunction<K, In>: Clone + Send + 'static {
    /// What it emits.
    type Out: Send + 'static;
    /// Its states: one, a tuple of up to eight, or a struct by [`state_set!`](crate::state_set).
    type State: StateSet;

    /// Declares the states; the same ones every time.
    fn state(&self) -> Self::State;

    /// Called once for each instance, before its first record: at a start, and after each restore with the states as they
    /// were restored. `keys` are those of the subtask. Does nothing by default.
    ///
    /// # Panics
    /// As in [`process`](Self::process).
    fn open(&mut self, keys: &mut EveryKey<'_, K, Self::State>) {
        let _ = keys;
    }

    /// Takes one record. `states` are those of the record's key, to be changed in place. Records of one key come in
    /// the order of the stream.
    ///
    /// # Panics
    /// A panic fails the task; the region restarts from its last checkpoint.
    fn process(
        &mut self,
        record: In,
        states: <Self::State as StateSet>::Handles<'_>,
        ctx: &mut KeyedContext<'_, K>,
        out: &mut Emitter<'_, Self::Out>,
    );

    /// A timer of a key that was registered in its [`Timers`](crate::keyed::Timers) has come due, and is not registered any more.
    /// `states` are those of the key, which `ctx` has. Does nothing by default.
    ///
    /// Timers of a subtask come by time, those of event time before the watermark goes on to the next operator. What is emitted
    /// has the event time of an event timer, and none for one of processing time. A timer that is registered here for a time
    /// that has passed comes in the same pass, before those of later times.
    ///
    /// At the end of input event time has come to its end: all timers of event time fire, with a watermark of
    /// `Timestamp::MAX`, and those that are registered meanwhile, so a function that always registers another one must not do
    /// so then. Of those of processing time the ones that are due fire before, and the others never. When the job is drained,
    /// cancelled or stopped with a savepoint no timer fires for that, and all are in the checkpoint from which it goes on.
    ///
    /// # Panics
    /// As in [`process`](Self::process).
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
    /// As in [`process`](Self::process), and no directive helps.
    fn timer_withheld(
        &mut self,
        timer: Timer,
        states: <Self::State as StateSet>::Handles<'_>,
        ctx: &mut KeyedContext<'_, K>,
        out: &mut Emitter<'_, Self::Out>,
    ) {
        let _ = (timer, states, ctx, out);
    }

    /// The input of this subtask has ended: called once for each key that has state, in no order. Does nothing by default,
    /// and then for no key. Not called when the job is drained or cancelled.
    ///
    /// That it was called is in the snapshots that follow, for each key group: what is restored from one of them does not
    /// come here again, unless a record has come since. Then it does, for all keys of the record's group.
    ///
    /// # Panics
    /// As in [`process`](Self::process).
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

/// The state handles of a [`KeyedProcessFunction`] `F`, for use in its signature.
pub type Row<'a, F, K, In> = <<F as KeyedProcessFunction<K, In>>::State as StateSet>::Handles<'a>;

/// What a keyed function knows while it works on a record.
///
/// ```
/// use millstream::prelude::*;
///
/// /// Milliseconds since the key's last record, by the job's clock.
/// #[derive(Clone)]
/// struct Gaps;
///
/// impl KeyedProcessFunction<u64, u64> for Gaps {
///     type Out = (u64, u64);
///     type State = ValueState<u64>;
///
///     fn state(&self) -> ValueState<u64> {
///         ValueState::new("last")
///     }
///
///     fn process(
///         &mut self,
///         _: u64,
///         mut last: Row<'_, Self, u64, u64>,
///         ctx: &mut KeyedContext<'_, u64>,
///         out: &mut Emitter<'_, (u64, u64)>,
///     ) {
///         let now = ctx.clock().unix_ms();
///         if let Some(last) = last.get() {
///             out.emit((*ctx.key(), now - last));
///         }
///         last.set(now);
///     }
/// }
///
/// # actix_rt::System::new().block_on(async {
/// # let sink = CollectSink::new();
/// # let gaps = sink.handle();
/// let env = StreamEnvironment::new("gaps").clock(millstream::time::ManualClock::new());   // it stands still
/// env.source("users", VecSource::new(vec![1, 2, 1])).key_by(|user| *user).process("gaps", Gaps).sink("out", sink);
/// env.start()?.await?;
/// assert_eq!(gaps.snapshot(), [(1, 0)]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
pub struct KeyedContext<'a, K> {
    key: &'a K,
    time: Timestamp,
    watermark: Timestamp,
    before: Timestamp,
    task: &'a TaskView,
    /// The function does nothing at the end of input.
    has_no_end: bool,
}

impl<'a, K> KeyedContext<'a, K> {
    pub(super) fn of(key: &'a K, Moment { time, watermark, before }: Moment, task: &'a TaskView) -> Self {
        Self { key, time, watermark, before, task, has_no_end: false }
    }

    pub(super) fn has_no_end(&self) -> bool {
        self.has_no_end
    }

    /// Says that the function does nothing at the end of input, whatever the key.
    pub(super) fn does_nothing_at_end(&mut self) {
        self.has_no_end = true;
    }

    /// The key.
    #[inline]
    pub fn key(&self) -> &K {
        self.key
    }

    /// The watermark up to which this key has been worked on: `Timestamp::MIN` before the first, `Timestamp::MAX` at the end
    /// of input. It never goes back for a key, by a restore neither. A record whose event time is not above it is late.
    #[inline]
    pub fn watermark(&self) -> Timestamp {
        self.watermark
    }

    /// The watermark up to which the key had been worked on before timers began to fire for [`watermark`](Self::watermark).
    #[inline]
    pub(crate) fn watermark_before(&self) -> Timestamp {
        self.before
    }

    /// Counts a record that came too late to be worked on, in [`late_records`](crate::OperatorFigures::late_records) of its operator:
    /// windows, joins and patterns count theirs.
    pub fn count_late(&self) {
        self.task.counters.late_records.add(1);
    }

    /// The event time of the record.
    ///
    /// # Panics
    /// If it has none; `by` goes by it.
    #[inline]
    pub(crate) fn event_time(&self, by: &str) -> Timestamp {
        self.timestamp().unwrap_or_else(|| no_event_time(by))
    }

    context_methods!(task, time);
}

#[cold]
#[inline(never)]
fn no_event_time(by: &str) -> Timestamp {
    panic!("a record without event time has come to {by}, or give each of its sources a WatermarkStrategy")
}

impl<K: fmt::Debug> fmt::Debug for KeyedContext<'_, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedContext").field("key", self.key).finish_non_exhaustive()
    }
}
