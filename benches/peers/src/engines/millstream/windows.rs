//! Jobs that count in windows of event time, and such with timers.

use std::time::Duration;

use millstream::aggregates::Count;
use millstream::prelude::*;
use millstream::time::WatermarkAlignment;
use millstream::window::WindowContext;

use super::share::Shares;
use super::sink::{add_up, tally};
use crate::events::{BOUND_MS, DELAY_MS, Event, Events, Fired, SLIDE_MS, WindowCount, size_ms};
use crate::plan::Plan;
use crate::total::Total;

fn events(env: &StreamEnvironment, plan: Plan) -> DataStream<Event> {
    // Otherwise one of two sources runs a minute ahead of the other, and sixty windows of each key are open.
    let alignment = WatermarkAlignment::within(millis(SLIDE_MS));
    let strategy = WatermarkStrategy::bounded_out_of_orderness(millis(BOUND_MS), |event: &Event| event.time);
    let source = Shares(move |subtask, parallelism| Events::of(subtask, parallelism, plan));
    env.source_with_watermarks("events", source, strategy.with_alignment(&alignment))
}

fn millis(length: i64) -> Duration {
    Duration::from_millis(length.unsigned_abs())
}

pub(super) fn counts(env: &StreamEnvironment, plan: Plan, total: &Total) {
    let [slide, size] = [SLIDE_MS, size_ms(plan.workload)].map(millis);
    let events = events(env, plan).key_by(|event| event.key);
    let counts = if size == slide {
        events.window(TumblingWindows::event_time(size)).aggregate_with("count", Count::new(), result)
    } else {
        events.window(SlidingWindows::event_time(size, slide)).aggregate_with("count", Count::new(), result)
    };
    counts.sink("sum", add_up(total, WindowCount::weigh));
}

fn result(ctx: &WindowContext<'_, u64>, count: u64) -> WindowCount {
    WindowCount { start: ctx.window().start(), key: *ctx.key(), count }
}

pub(super) fn timers(env: &StreamEnvironment, plan: Plan, total: &Total) {
    let fired = events(env, plan).key_by(|event| event.key).process("timers", Delayed);
    fired.sink("sum", tally(total, Fired::weigh));
}

/// Sets a timer with each record, and counts those that fire.
#[derive(Clone)]
struct Delayed;

impl KeyedProcessFunction<u64, Event> for Delayed {
    type Out = Fired;
    type State = (ValueState<u64>, Timers);

    fn state(&self) -> Self::State {
        (ValueState::new("fired"), Timers::new("due"))
    }

    #[inline]
    fn process(
        &mut self,
        event: Event,
        (_, mut due): Row<'_, Self, u64, Event>,
        _: &mut KeyedContext<'_, u64>,
        _: &mut Emitter<'_, Fired>,
    ) {
        due.register(Timer::EventTime(event.time + DELAY_MS));
    }

    #[inline]
    fn on_timer(
        &mut self,
        timer: Timer,
        (mut fired, _): Row<'_, Self, u64, Event>,
        ctx: &mut KeyedContext<'_, u64>,
        out: &mut Emitter<'_, Fired>,
    ) {
        let Timer::EventTime(time) = timer else { return };
        let fired = fired.get_or_insert_with(|| 0);
        *fired += 1;
        out.emit(Fired { time, key: *ctx.key(), count: *fired });
    }
}
