//! Joins of records whose event times differ by so much.

use std::marker::PhantomData;
use std::ops::{Bound, RangeBounds, RangeInclusive};

use millstream_actors::protocol::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::BY_EVENT_TIME;
use super::buffer::{Buffer, BufferHandle, add, first_time, of_times, take_first, wake_by};
use crate::keyed::{CoRow, KeyedCoProcessFunction, KeyedContext, Timers, TimersHandle};
use crate::operator::{Either, Emitter, OutputTag};
use crate::state::Timer;

/// By how much the second record's time may be above that of the first, in milliseconds: both ends are in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TimeBounds {
    lower: i64,
    upper: i64,
}

impl TimeBounds {
    /// # Errors
    /// Why it can be none.
    pub(crate) fn of(range: &impl RangeBounds<i64>) -> Result<Self, String> {
        let none =
            || format!("{:?} to {:?} ms is an interval without a millisecond", range.start_bound(), range.end_bound());
        let lower = match range.start_bound() {
            Bound::Included(lower) => *lower,
            Bound::Excluded(lower) => lower.checked_add(1).ok_or_else(none)?,
            Bound::Unbounded => return Err(endless("lower")),
        };
        let upper = match range.end_bound() {
            Bound::Included(upper) => *upper,
            Bound::Excluded(upper) => upper.checked_sub(1).ok_or_else(none)?,
            Bound::Unbounded => return Err(endless("upper")),
        };
        if lower > upper { Err(none()) } else { Ok(Self { lower, upper }) }
    }

    /// The times of second records that a first one meets.
    fn of_second(self, first: Timestamp) -> RangeInclusive<Timestamp> {
        match (first.checked_add(self.lower), first.checked_add(self.upper)) {
            (None, _) if self.lower > 0 => NO_TIMES,
            (_, None) if self.upper < 0 => NO_TIMES,
            (from, to) => from.unwrap_or(Timestamp::MIN)..=to.unwrap_or(Timestamp::MAX),
        }
    }

    /// The times of first records that a second one meets.
    fn of_first(self, second: Timestamp) -> RangeInclusive<Timestamp> {
        match (second.checked_sub(self.upper), second.checked_sub(self.lower)) {
            (None, _) if self.upper < 0 => NO_TIMES,
            (_, None) if self.lower > 0 => NO_TIMES,
            (from, to) => from.unwrap_or(Timestamp::MIN)..=to.unwrap_or(Timestamp::MAX),
        }
    }

    /// With which watermark nothing can come any more that a first record meets.
    fn over_of_first(self, first: Timestamp) -> Timestamp {
        first.saturating_add(self.upper)
    }

    /// With which watermark nothing can come any more that a second record meets.
    fn over_of_second(self, second: Timestamp) -> Timestamp {
        second.saturating_sub(self.lower)
    }
}

/// The first of them is behind the last one.
const NO_TIMES: RangeInclusive<Timestamp> = RangeInclusive::new(Timestamp::MAX, Timestamp::MIN);

fn endless(bound: &str) -> String {
    format!("an interval without {bound} bound keeps all records for ever; give it one")
}

/// Gives what `function` makes of each pair of records of a key whose times differ by so much. A record is kept until the
/// watermark says that nothing can come any more that it would meet.
pub(crate) struct IntervalJoin<A, B, F, U> {
    bounds: TimeBounds,
    late: Option<OutputTag<Either<A, B>>>,
    function: F,
    of: PhantomData<fn() -> U>,
}

impl<A, B, F, U> IntervalJoin<A, B, F, U> {
    pub(crate) fn new(bounds: TimeBounds, late: Option<OutputTag<Either<A, B>>>, function: F) -> Self {
        Self { bounds, late, function, of: PhantomData }
    }

    #[cold]
    fn late<K>(&self, record: Either<A, B>, ctx: &KeyedContext<'_, K>, out: &mut Emitter<'_, U>)
    where
        A: 'static,
        B: 'static,
    {
        ctx.count_late();
        if let Some(late) = &self.late {
            out.emit_to(late, record);
        }
    }

    /// Drops what can meet nothing that still comes, and says when there is more of it.
    fn clean(
        &self,
        watermark: Timestamp,
        firsts: &mut BufferHandle<'_, A>,
        seconds: &mut BufferHandle<'_, B>,
        timers: &mut TimersHandle<'_>,
    ) {
        let bounds = self.bounds;
        while first_time(firsts).is_some_and(|time| bounds.over_of_first(time) <= watermark) {
            take_first(firsts, Timestamp::MAX);
        }
        while first_time(seconds).is_some_and(|time| bounds.over_of_second(time) <= watermark) {
            take_first(seconds, Timestamp::MAX);
        }
        let first = first_time(firsts).map(|time| bounds.over_of_first(time));
        let second = first_time(seconds).map(|time| bounds.over_of_second(time));
        first.into_iter().chain(second).for_each(|at| wake_by(timers, Timer::EventTime(at)));
    }
}

impl<A, B, F: Clone, U> Clone for IntervalJoin<A, B, F, U> {
    fn clone(&self) -> Self {
        Self::new(self.bounds, self.late.clone(), self.function.clone())
    }
}

impl<K, A, B, F, U> KeyedCoProcessFunction<K, A, B> for IntervalJoin<A, B, F, U>
where
    A: Serialize + DeserializeOwned + Send + 'static,
    B: Serialize + DeserializeOwned + Send + 'static,
    F: Fn(&A, &B) -> U + Clone + Send + 'static,
    U: Send + 'static,
{
    type Out = U;
    type State = (Buffer<A>, Buffer<B>, Timers);

    fn state(&self) -> Self::State {
        (Buffer::new("first"), Buffer::new("second"), Timers::new("over"))
    }

    fn process_first(
        &mut self,
        record: A,
        (mut firsts, seconds, mut timers): CoRow<'_, Self, K, A, B>,
        ctx: &mut KeyedContext<'_, K>,
        out: &mut Emitter<'_, U>,
    ) {
        let time = ctx.event_time(BY_EVENT_TIME);
        if time <= ctx.watermark() {
            return self.late(Either::First(record), ctx, out);
        }
        for (of_second, second) in of_times(&seconds, self.bounds.of_second(time)) {
            out.set_time(time.max(of_second));
            out.emit((self.function)(&record, second));
        }
        let over = self.bounds.over_of_first(time);
        if over > ctx.watermark() {
            add(&mut firsts, time, record);
            wake_by(&mut timers, Timer::EventTime(over));
        }
    }

    fn process_second(
        &mut self,
        record: B,
        (firsts, mut seconds, mut timers): CoRow<'_, Self, K, A, B>,
        ctx: &mut KeyedContext<'_, K>,
        out: &mut Emitter<'_, U>,
    ) {
        let time = ctx.event_time(BY_EVENT_TIME);
        if time <= ctx.watermark() {
            return self.late(Either::Second(record), ctx, out);
        }
        for (of_first, first) in of_times(&firsts, self.bounds.of_first(time)) {
            out.set_time(time.max(of_first));
            out.emit((self.function)(first, &record));
        }
        let over = self.bounds.over_of_second(time);
        if over > ctx.watermark() {
            add(&mut seconds, time, record);
            wake_by(&mut timers, Timer::EventTime(over));
        }
    }

    fn on_timer(
        &mut self,
        _: Timer,
        (mut firsts, mut seconds, mut timers): CoRow<'_, Self, K, A, B>,
        ctx: &mut KeyedContext<'_, K>,
        _: &mut Emitter<'_, U>,
    ) {
        self.clean(ctx.watermark(), &mut firsts, &mut seconds, &mut timers);
    }
}
