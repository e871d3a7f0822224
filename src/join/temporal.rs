//! Joins of records with what a table held at their times.

use std::marker::PhantomData;

use millstream_actors::protocol::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::BY_EVENT_TIME;
use super::buffer::{Buffer, add, first_time, take_first, wake_by};
use crate::keyed::{CoRow, KeyedCoProcessFunction, KeyedContext, Timers};
use crate::operator::{Emitter, OutputTag};
use crate::state::{MapHandle, MapState, Timer};

/// Gives what `function` makes of each record of the first stream and the version of its key, by the second, that held at its
/// time: the one of the greatest time that is not above it. Records wait until the watermark has come to their time.
pub(crate) struct TemporalJoin<A, F, U> {
    late: Option<OutputTag<A>>,
    function: F,
    of: PhantomData<fn() -> U>,
}

impl<A, F, U> TemporalJoin<A, F, U> {
    pub(crate) fn new(late: Option<OutputTag<A>>, function: F) -> Self {
        Self { late, function, of: PhantomData }
    }
}

impl<A, F: Clone, U> Clone for TemporalJoin<A, F, U> {
    fn clone(&self) -> Self {
        Self::new(self.late.clone(), self.function.clone())
    }
}

/// Drops the versions that hold at no time above this one.
fn forget<B>(versions: &mut MapHandle<'_, Timestamp, B>, watermark: Timestamp) {
    let holds = versions.range(..=watermark).next_back().map(|(time, _)| *time);
    while holds.is_some_and(|holds| versions.first().is_some_and(|(first, _)| *first < holds)) {
        versions.pop_first();
    }
}

impl<K, A, B, F, U> KeyedCoProcessFunction<K, A, B> for TemporalJoin<A, F, U>
where
    A: Serialize + DeserializeOwned + Send + 'static,
    B: Serialize + DeserializeOwned + Send + 'static,
    F: Fn(&A, Option<&B>) -> Option<U> + Clone + Send + 'static,
    U: Send + 'static,
{
    type Out = U;
    type State = (Buffer<A>, MapState<Timestamp, B>, Timers);

    fn state(&self) -> Self::State {
        (Buffer::new("waiting"), MapState::new("versions"), Timers::new("due"))
    }

    fn process_first(
        &mut self,
        record: A,
        (mut waiting, _, mut timers): CoRow<'_, Self, K, A, B>,
        ctx: &mut KeyedContext<'_, K>,
        out: &mut Emitter<'_, U>,
    ) {
        let time = ctx.event_time(BY_EVENT_TIME);
        if time <= ctx.watermark() {
            ctx.count_late();
            if let Some(late) = &self.late {
                out.emit_to(late, record);
            }
            return;
        }
        add(&mut waiting, time, record);
        wake_by(&mut timers, Timer::EventTime(time));
    }

    fn process_second(
        &mut self,
        version: B,
        (_, mut versions, _): CoRow<'_, Self, K, A, B>,
        ctx: &mut KeyedContext<'_, K>,
        _: &mut Emitter<'_, U>,
    ) {
        versions.insert(ctx.event_time(BY_EVENT_TIME), version);
        forget(&mut versions, ctx.watermark());
    }

    /// The records of one time at a timer, so that a barrier and other keys have their turn between two.
    fn on_timer(
        &mut self,
        timer: Timer,
        (mut waiting, mut versions, mut timers): CoRow<'_, Self, K, A, B>,
        ctx: &mut KeyedContext<'_, K>,
        out: &mut Emitter<'_, U>,
    ) {
        let Timer::EventTime(at) = timer else { return };
        while let Some((time, record)) = take_first(&mut waiting, at) {
            let version = versions.range(..=time).next_back().map(|(_, version)| version);
            out.set_time(time);
            (self.function)(&record, version).into_iter().for_each(|result| out.emit(result));
        }
        match first_time(&waiting) {
            Some(next) => wake_by(&mut timers, Timer::EventTime(next)),
            // The end of the input is no time of a version: a job that is started again may have more input.
            None if ctx.watermark() < Timestamp::MAX => forget(&mut versions, ctx.watermark()),
            None => {}
        }
    }
}
