//! A job that goes by event time: windows, a join, timers and a pattern, over two streams whose records are a little out of order.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use millstream::aggregates::Count;
use millstream::prelude::*;
use millstream::window::{SessionWindows, SlidingWindows};
use serde::{Deserialize, Serialize};

use crate::crash_common::job::Shape;

const KEYS: u64 = 3;
const BOUND: Duration = Duration::from_millis(40);
const SIZE_MS: i64 = 400;
const SLIDE_MS: i64 = 100;
const GAP_MS: i64 = 45;
const SPAN_MS: i64 = 150;
const WITHIN_MS: i64 = 95;

/// What gives a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Part {
    Sliding,
    Session,
    Temporal,
    Timer,
    Pattern,
}

/// A result: of what, key, a time, two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Given {
    part: Part,
    key: u64,
    at: i64,
    first: u64,
    second: u64,
}

fn given(part: Part, (key, at): (u64, i64), (first, second): (u64, u64)) -> Given {
    Given { part, key, at, first, second }
}

fn key_of(number: &u64) -> u64 {
    (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) % KEYS
}

/// No two are of one time.
fn time_of(number: u64) -> i64 {
    (number ^ 3) as i64 * 10
}

/// Those of the second stream are between those of the first.
fn version_time_of(number: u64) -> i64 {
    time_of(number) + 5
}

fn is_version(number: u64) -> bool {
    number.is_multiple_of(4)
}

/// Counts the records of a key in a span, and tells of them when that is over.
#[derive(Clone)]
struct Spans;

impl KeyedProcessFunction<u64, u64> for Spans {
    type Out = Given;
    type State = (MapState<i64, u64>, Timers);

    fn state(&self) -> Self::State {
        (MapState::new("counts"), Timers::new("ends"))
    }

    fn process(
        &mut self,
        number: u64,
        (mut counts, mut ends): Row<'_, Self, u64, u64>,
        _: &mut KeyedContext<'_, u64>,
        _: &mut Emitter<'_, Given>,
    ) {
        let span = time_of(number).div_euclid(SPAN_MS);
        *counts.get_or_insert_with(span, || 0) += 1;
        ends.register(Timer::EventTime((span + 1) * SPAN_MS));
    }

    fn on_timer(
        &mut self,
        timer: Timer,
        (mut counts, _): Row<'_, Self, u64, u64>,
        ctx: &mut KeyedContext<'_, u64>,
        out: &mut Emitter<'_, Given>,
    ) {
        let Timer::EventTime(at) = timer else { panic!("{timer:?} was not registered") };
        let count = counts.remove(&(at / SPAN_MS - 1)).expect("a record has set the timer");
        out.emit(given(Part::Timer, (*ctx.key(), at), (count, 0)));
    }
}

/// Writes the job.
pub(crate) fn write(env: &StreamEnvironment, shape: Shape, out: &Path) {
    let numbers = |id: &str, time_of: fn(u64) -> i64| {
        let numbers = SequenceSource::new(0..shape.records).rate_per_second(shape.per_second);
        let strategy = WatermarkStrategy::bounded_out_of_orderness(BOUND, move |number: &u64| time_of(*number));
        env.source_with_watermarks(id, numbers, strategy).parallelism(1)
    };
    let ms = |millis: i64| Duration::from_millis(millis as u64);
    let (firsts, seconds) = (numbers("first", time_of), numbers("second", version_time_of));
    let keyed = || firsts.clone().key_by(key_of);
    let sliding = keyed().window(SlidingWindows::event_time(ms(SIZE_MS), ms(SLIDE_MS))).aggregate_with(
        "sliding",
        Count::new(),
        |ctx, count| given(Part::Sliding, (*ctx.key(), ctx.window().start()), (count, 0)),
    );
    let sessions = keyed().window(SessionWindows::event_time(ms(GAP_MS))).aggregate_with(
        "sessions",
        Count::new(),
        |ctx, count| given(Part::Session, (*ctx.key(), ctx.window().start()), (count, ctx.window().end() as u64)),
    );
    let versions = seconds.filter(|number| is_version(*number)).parallelism(1).key_by(key_of);
    let temporal = keyed().join(versions).temporal().left_outer("temporal", |number, version| {
        given(Part::Temporal, (key_of(number), time_of(*number)), (*number, version.copied().unwrap_or(u64::MAX)))
    });
    let pattern = Pattern::begin("one", |number: &u64| number % 4 == 1)
        .followed_by("two", |number| number % 4 == 2)
        .within(ms(WITHIN_MS));
    let pattern = keyed().pattern(pattern).select("pattern", |found| {
        let (one, two) =
            (*found.first("one").expect("a match has both"), *found.first("two").expect("a match has both"));
        given(Part::Pattern, (key_of(&one), time_of(one)), (one, two))
    });
    let timers = keyed().process("timers", Spans);
    sliding.union(sessions).union(temporal).union(pattern).union(timers).sink("out", FileSink::json_lines(out));
}

/// What a plain loop makes of the numbers, sorted.
pub(crate) fn expected(shape: Shape) -> Vec<Given> {
    let mut all = Vec::new();
    for key in 0..KEYS {
        let mut numbers: Vec<u64> = (0..shape.records).filter(|number| key_of(number) == key).collect();
        numbers.sort_by_key(|number| time_of(*number));
        let (mut sliding, mut spans) = (BTreeMap::<i64, u64>::new(), BTreeMap::<i64, u64>::new());
        for (place, number) in numbers.iter().enumerate() {
            let at = time_of(*number);
            let starts = (at - SIZE_MS + 1..=at).filter(|start| start.rem_euclid(SLIDE_MS) == 0);
            starts.for_each(|start| *sliding.entry(start).or_default() += 1);
            *spans.entry((at.div_euclid(SPAN_MS) + 1) * SPAN_MS).or_default() += 1;
            let versions = (0..shape.records).filter(|version| is_version(*version) && key_of(version) == key);
            let holds =
                versions.filter(|version| version_time_of(*version) <= at).max_by_key(|id| version_time_of(*id));
            all.push(given(Part::Temporal, (key, at), (*number, holds.unwrap_or(u64::MAX))));
            let two = numbers[place..].iter().find(|two| **two % 4 == 2);
            let two = two.filter(|two| number % 4 == 1 && time_of(**two) - at < WITHIN_MS);
            all.extend(two.map(|two| given(Part::Pattern, (key, at), (*number, *two))));
        }
        all.extend(sliding.into_iter().map(|(start, count)| given(Part::Sliding, (key, start), (count, 0))));
        all.extend(spans.into_iter().map(|(end, count)| given(Part::Timer, (key, end), (count, 0))));
        for session in numbers.chunk_by(|one, next| time_of(*next) - time_of(*one) <= GAP_MS) {
            let (start, last) = (time_of(session[0]), time_of(session[session.len() - 1]));
            let (count, end) = (session.len() as u64, (last + GAP_MS) as u64);
            all.push(given(Part::Session, (key, start), (count, end)));
        }
    }
    all.sort_unstable();
    all
}
