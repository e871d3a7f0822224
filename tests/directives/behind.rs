//! Poison that no batch brings along, but a mark or a wake-up: behind windows, timers, the end of input and asynchronous functions.

use std::time::Duration;

use millstream::prelude::*;

use crate::common::{BOUND_MS, sorted, time_of};
use crate::rig::{RECORDS, Ran, Record, numbers, ran};

const KEYS: u64 = 5;

/// A time, which may be below zero, and a key.
fn number_of(at: i64, key: u64) -> u64 {
    (at + 1_000_000) as u64 * KEYS + key
}

/// Emits each number of a key when its time has come, and the key when the input ends.
#[derive(Clone)]
struct Later;

impl KeyedProcessFunction<u64, u64> for Later {
    type Out = u64;
    type State = (ValueState<bool>, Timers);

    fn state(&self) -> Self::State {
        (ValueState::new("seen"), Timers::new("later"))
    }

    fn process(
        &mut self,
        n: u64,
        (mut seen, mut timers): Row<'_, Self, u64, u64>,
        _: &mut KeyedContext<'_, u64>,
        _: &mut Emitter<'_, u64>,
    ) {
        // The end of input calls for keys that have state.
        seen.set(true);
        timers.register(Timer::EventTime(time_of(n)));
    }

    fn on_timer(
        &mut self,
        timer: Timer,
        _: Row<'_, Self, u64, u64>,
        ctx: &mut KeyedContext<'_, u64>,
        out: &mut Emitter<'_, u64>,
    ) {
        let Timer::EventTime(at) = timer else { panic!("no other is registered") };
        out.emit(number_of(at, *ctx.key()));
    }

    fn end_of_input(
        &mut self,
        _: Row<'_, Self, u64, u64>,
        ctx: &mut KeyedContext<'_, u64>,
        out: &mut Emitter<'_, u64>,
    ) {
        out.emit(*ctx.key());
    }
}

/// What comes before the function that panics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Before {
    Window,
    Timers,
    Async,
}

fn made(env: &StreamEnvironment, before: Before) -> DataStream<u64> {
    let bound = Duration::from_millis(BOUND_MS);
    let strategy = WatermarkStrategy::bounded_out_of_orderness(bound, |(_, n): &Record| time_of(*n));
    let numbers = env.source_with_watermarks("numbers", numbers("n"), strategy).map(|(_, n): Record| n);
    match before {
        Before::Window => numbers
            .key_by(|n| n % KEYS)
            .window(TumblingWindows::event_time(Duration::from_millis(500)))
            .apply("windows", |_: &[u64], ctx, out: &mut Emitter<'_, u64>| {
                out.emit(number_of(ctx.window().max_timestamp(), *ctx.key()));
            }),
        Before::Timers => numbers.key_by(|n| n % KEYS).process("later", Later),
        Before::Async => numbers.async_map("ask", AsyncWait::ordered(Duration::from_secs(60)), |n: u64| async move {
            actix_rt::task::yield_now().await;
            Ok(n)
        }),
    }
}

/// All that comes without poison, sorted.
fn all_of(before: Before) -> Vec<u64> {
    let times = |last: fn(i64) -> i64| {
        let mut made: Vec<u64> = (0..RECORDS).map(|n| number_of(last(time_of(n)), n % KEYS)).collect();
        made.sort_unstable();
        made.dedup();
        made
    };
    match before {
        Before::Window => times(|at| at.div_euclid(500) * 500 + 499),
        Before::Timers => sorted(times(|at| at).into_iter().chain(0..KEYS).collect()),
        Before::Async => (0..RECORDS).collect(),
    }
}

/// Guarantee D1. A function behind such an operator is in its chain, and gets records while a mark is in hand, or a wake-up.
#[test]
fn poison_that_a_mark_or_a_wake_up_brings_is_diverted() {
    for before in [Before::Window, Before::Timers, Before::Async] {
        for (parallelism, chained) in [(1, true), (2, true), (1, false)] {
            let all = all_of(before);
            // Of the keys that the end of input emits, too.
            let poison = [all[1], all[all.len() / 2], all[all.len() - 1]];
            let ran: Ran<u64, u64> = ran("behind", parallelism, move |env, out, dead| {
                let tag = OutputTag::new("dead");
                let stream = made(env, before).map(move |n| if poison.contains(&n) { panic!("poison") } else { n });
                let stream = if chained { stream } else { stream.start_new_chain() };
                let stream = stream.on_panic(OnPanic::dead_letter(&tag));
                stream.side_output(&tag).sink("dead", dead);
                stream.sink("out", out);
            });
            let of_poison = all.iter().copied().filter(|n| poison.contains(n));
            let told = format!("{before:?}, parallelism {parallelism}, chained: {chained}");
            assert_eq!(ran.dead(), of_poison.collect::<Vec<_>>(), "{told}");
            let others = all.iter().copied().filter(|n| !poison.contains(n));
            assert_eq!(ran.output, others.collect::<Vec<_>>(), "{told}");
        }
    }
}
