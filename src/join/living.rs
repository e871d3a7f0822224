//! Joins of records that come within so much time of each other.

use std::marker::PhantomData;

use millstream_actors::protocol::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::buffer::{Buffer, BufferHandle, add, first_time, of_times, take_first, wake_by};
use crate::keyed::{CoRow, KeyedCoProcessFunction, KeyedContext, Timers, TimersHandle};
use crate::operator::Emitter;
use crate::state::Timer;
use crate::time::processing_time;

/// Gives what `function` makes of each pair of records of a key of which the second to come did so while the first lived: for so
/// many milliseconds by the job's clock.
pub(crate) struct LivingJoin<F, U> {
    ttl: i64,
    function: F,
    of: PhantomData<fn() -> U>,
}

impl<F, U> LivingJoin<F, U> {
    pub(crate) fn new(ttl: i64, function: F) -> Self {
        Self { ttl, function, of: PhantomData }
    }

    /// When those came that live at this time.
    fn living(&self, now: Timestamp) -> std::ops::RangeInclusive<Timestamp> {
        now.saturating_sub(self.ttl - 1)..=Timestamp::MAX
    }

    fn keep<T>(&self, buffer: &mut BufferHandle<'_, T>, now: Timestamp, record: T, timers: &mut TimersHandle<'_>) {
        add(buffer, now, record);
        wake_by(timers, Timer::ProcessingTime(now.saturating_add(self.ttl)));
    }
}

impl<F: Clone, U> Clone for LivingJoin<F, U> {
    fn clone(&self) -> Self {
        Self::new(self.ttl, self.function.clone())
    }
}

impl<K, A, B, F, U> KeyedCoProcessFunction<K, A, B> for LivingJoin<F, U>
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
        let now = processing_time(ctx.clock());
        of_times(&seconds, self.living(now)).for_each(|(_, second)| out.emit((self.function)(&record, second)));
        self.keep(&mut firsts, now, record, &mut timers);
    }

    fn process_second(
        &mut self,
        record: B,
        (firsts, mut seconds, mut timers): CoRow<'_, Self, K, A, B>,
        ctx: &mut KeyedContext<'_, K>,
        out: &mut Emitter<'_, U>,
    ) {
        let now = processing_time(ctx.clock());
        of_times(&firsts, self.living(now)).for_each(|(_, first)| out.emit((self.function)(first, &record)));
        self.keep(&mut seconds, now, record, &mut timers);
    }

    fn on_timer(
        &mut self,
        timer: Timer,
        (mut firsts, mut seconds, mut timers): CoRow<'_, Self, K, A, B>,
        _: &mut KeyedContext<'_, K>,
        _: &mut Emitter<'_, U>,
    ) {
        let Timer::ProcessingTime(at) = timer else { return };
        let over = at.saturating_sub(self.ttl);
        while take_first(&mut firsts, over).is_some() {}
        while take_first(&mut seconds, over).is_some() {}
        let left = first_time(&firsts).into_iter().chain(first_time(&seconds)).min();
        left.into_iter().for_each(|came| wake_by(&mut timers, Timer::ProcessingTime(came.saturating_add(self.ttl))));
    }
}
