//! Windows, joins and patterns of every kind, each crashed before every step of a small run.

use std::collections::BTreeMap;
use std::time::Duration;

use millstream::aggregates::Count;
use millstream::operator::{Either, KeySelector};
use millstream::prelude::*;
use millstream::testing::{TestDriver, TestDriverError, assert_survives_crashes};
use millstream::window::{CountTrigger, PurgingTrigger, SessionWindows, SlidingWindows};

use crate::common::sorted;

/// Key, event time, number.
type Event = (u64, i64, u64);
/// Key, a time, two numbers: what each kind gives.
type Given = (u64, i64, Option<u64>, Option<u64>);

/// What a job does with two streams.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// Sums and counts, of slices.
    Sliding,
    Sessions,
    Inner,
    Left,
    /// With each two records of a window.
    ByCount,
    Temporal,
    Living,
    /// An even number and then an odd one, or none in time.
    Pattern,
}

const KINDS: [Kind; 8] = [
    Kind::Sliding,
    Kind::Sessions,
    Kind::Inner,
    Kind::Left,
    Kind::ByCount,
    Kind::Temporal,
    Kind::Living,
    Kind::Pattern,
];
const BOUND_MS: i64 = 60;
const SIZE_MS: i64 = 60;
const SLIDE_MS: i64 = 20;
const GAP_MS: i64 = 15;

fn ms(millis: i64) -> Duration {
    Duration::from_millis(millis as u64)
}

/// What comes of the first stream and of the second, a little out of order. Of one stream no two are of one time.
fn events(count: u64) -> (Vec<Event>, Vec<Event>) {
    let at = |n: u64, step: i64| (n ^ 3) as i64 * step;
    let firsts = (0..count).map(|n| (n * n % 3, at(n, 9), n));
    let seconds = (0..count / 2).map(|n| (n % 3, at(n, 19), 100 + n));
    (firsts.collect(), seconds.collect())
}

type Keyed<S> = KeyedStream<Event, S>;

/// Of two numbers, or of one that is alone.
fn pair(first: &Event, second: Option<&Event>) -> Given {
    (first.0, first.1, Some(first.2), second.map(|second| second.2))
}

fn of_two<S: KeySelector<Event, Key = u64, Held: 'static>, R>(
    kind: Kind,
    first: Keyed<S>,
    second: Keyed<R>,
) -> DataStream<Given>
where
    R: KeySelector<Event, Key = u64, Query = u64, Held: 'static>,
{
    let joined = first.join(second);
    let windows = || TumblingWindows::event_time(ms(SIZE_MS));
    match kind {
        Kind::Inner => joined.window(windows()).inner("of-two", |first, second| pair(first, Some(second))),
        Kind::Left => joined.window(windows()).left_outer("of-two", pair),
        Kind::Temporal => joined.temporal().left_outer("of-two", pair),
        Kind::ByCount => {
            let windows = joined.window(windows()).trigger(PurgingTrigger::of(CountTrigger::of(2)));
            windows.co_group("of-two", |firsts, seconds, ctx, out| {
                let sizes = [firsts.len(), seconds.len()].map(|len| len as u64);
                assert_eq!(sizes[0] + sizes[1], 2, "each two are gone with their result");
                out.emit((*ctx.key(), ctx.window().start(), Some(2), None));
            })
        }
        _ => joined.time_to_live(ms(1_000)).inner("of-two", |first, second| pair(first, Some(second))),
    }
}

fn of_one<S: KeySelector<Event, Key = u64, Held: 'static>>(kind: Kind, first: Keyed<S>) -> DataStream<Given> {
    let counted =
        |key: &u64, window: Window, count: u64| (*key, window.start(), Some(window.end() as u64), Some(count));
    match kind {
        Kind::Sliding => first.window(SlidingWindows::event_time(ms(SIZE_MS), ms(SLIDE_MS))).aggregate_with(
            "of-one",
            Count::new(),
            move |ctx, count| counted(ctx.key(), ctx.window(), count),
        ),
        Kind::Sessions => first.window(SessionWindows::event_time(ms(GAP_MS))).aggregate_with(
            "of-one",
            Count::new(),
            move |ctx, count| counted(ctx.key(), ctx.window(), count),
        ),
        _ => {
            let alone = OutputTag::<Given>::new("alone");
            let pattern = Pattern::begin("even", |event: &Event| event.2.is_multiple_of(2))
                .followed_by("odd", |event| event.2 % 2 == 1)
                .within(ms(40));
            let found = first
                .pattern(pattern)
                .timed_out(&alone, |found| pair(found.first("even").expect("it has begun"), None))
                .select("of-one", |found| pair(found.first("even").expect("it has begun"), found.first("odd")));
            found.side_output(&alone).union(found)
        }
    }
}

fn build(kind: Kind) -> StreamEnvironment {
    let env = StreamEnvironment::new("kinds").parallelism(2).max_parallelism(8);
    let events = |id: &str| {
        let strategy = WatermarkStrategy::bounded_out_of_orderness(ms(BOUND_MS), |event: &Event| event.1);
        env.source_with_watermarks(id, VecSource::<Event>::new(Vec::new()), strategy)
    };
    let first = events("first").key_by(|event| event.0);
    let given = if matches!(kind, Kind::Sliding | Kind::Sessions | Kind::Pattern) {
        of_one(kind, first)
    } else {
        of_two(kind, first, events("second").key_by(|event| event.0))
    };
    given.sink("out", CollectSink::new());
    env
}

fn drive(kind: Kind, count: u64, driver: &mut TestDriver) -> Result<Vec<Given>, TestDriverError> {
    let (firsts, seconds) = events(count);
    let (half, first) = (firsts.len() / 2, driver.source("first")?);
    let has_second = !matches!(kind, Kind::Sliding | Kind::Sessions | Kind::Pattern);
    first.feed_all(firsts[..half].iter().copied());
    driver.begin_checkpoint()?;
    if has_second {
        driver.source("second")?.feed_all(seconds);
    }
    driver.run_until_idle()?;
    first.feed_all(firsts[half..].iter().copied());
    driver.begin_checkpoint()?;
    driver.finish()?;
    Ok(sorted(driver.sink("out")?.committed()))
}

/// What a plain loop makes of the events.
fn expected(kind: Kind, count: u64) -> Option<Vec<Given>> {
    let (firsts, seconds) = events(count);
    let window = |at: i64| at.div_euclid(SIZE_MS) * SIZE_MS;
    let mut counts: BTreeMap<(u64, i64, i64), u64> = BTreeMap::new();
    let mut pairs = Vec::new();
    for first in &firsts {
        let of_key: Vec<&Event> = seconds.iter().filter(|second| second.0 == first.0).collect();
        match kind {
            Kind::Sliding => {
                let starts = (first.1 - SIZE_MS + 1..=first.1).filter(|start| start.rem_euclid(SLIDE_MS) == 0);
                starts.for_each(|start| *counts.entry((first.0, start, start + SIZE_MS)).or_default() += 1);
            }
            Kind::Inner | Kind::Left => {
                let meets: Vec<_> = of_key.iter().filter(|second| window(second.1) == window(first.1)).collect();
                pairs.extend(meets.iter().map(|second| pair(first, Some(second))));
                pairs.extend((kind == Kind::Left && meets.is_empty()).then(|| pair(first, None)));
            }
            Kind::Temporal => {
                let holds = of_key.iter().filter(|version| version.1 <= first.1);
                pairs.push(pair(first, holds.max_by_key(|version| version.1).copied()));
            }
            Kind::Living => pairs.extend(of_key.iter().map(|second| pair(first, Some(second)))),
            Kind::Sessions | Kind::ByCount | Kind::Pattern => {}
        }
    }
    if kind == Kind::Sessions {
        for key in 0..3 {
            let mut times: Vec<i64> = firsts.iter().filter(|event| event.0 == key).map(|event| event.1).collect();
            times.sort_unstable();
            for session in times.chunk_by(|one, next| next - one <= GAP_MS) {
                counts.insert((key, session[0], session[session.len() - 1] + GAP_MS), session.len() as u64);
            }
        }
    }
    if kind == Kind::ByCount {
        let mut sizes: BTreeMap<(u64, i64), u64> = BTreeMap::new();
        firsts.iter().chain(&seconds).for_each(|event| *sizes.entry((event.0, window(event.1))).or_default() += 1);
        let twos = sizes.into_iter().flat_map(|(of, size)| (0..size / 2).map(move |_| of));
        pairs.extend(twos.map(|(key, start)| (key, start, Some(2), None)));
    }
    let counts = counts.into_iter().map(|((key, start, end), count)| (key, start, Some(end as u64), Some(count)));
    (kind != Kind::Pattern).then(|| sorted(pairs.into_iter().chain(counts).collect()))
}

// Guarantees G1, G2, T7, T11 and T12.
#[test]
fn windows_joins_and_patterns_give_what_they_do_without_a_crash() {
    for (seed, kind) in (0..).zip(KINDS) {
        let given = assert_survives_crashes(seed, move || build(kind), |driver| drive(kind, 12, driver)).unwrap();
        assert!(given.len() > 3, "{kind:?}: {given:?}");
        let expected = expected(kind, 12).unwrap_or_else(|| given.clone());
        assert_eq!(given, expected, "{kind:?}");
        for seed in 20..25 {
            let mut driver = TestDriver::new(seed, move || build(kind)).unwrap();
            assert_eq!(drive(kind, 12, &mut driver).unwrap(), expected, "{kind:?}, seed {seed}");
        }
    }
}

/// T8, T11: a record that comes while lateness is allowed has the results of its window given once more, one that comes later is
/// late, wherever the job crashes.
#[test]
fn late_records_of_a_window_join_fire_again_or_go_to_the_late_output() {
    let build = || {
        let env = StreamEnvironment::new("late").parallelism(1);
        let source = |id: &str| env.source(id, VecSource::<Event>::new(Vec::new()));
        let late: OutputTag<Either<Event, Event>> = OutputTag::new("late");
        let pairs = source("first")
            .key_by(|event| event.0)
            .join(source("second").key_by(|event| event.0))
            .window(TumblingWindows::event_time(ms(100)))
            .allowed_lateness(ms(200))
            .late_output(&late)
            .right_outer("pairs", |first, second| (first.map(|first| first.2), second.2));
        pairs.side_output(&late).sink("late-out", CollectSink::new());
        pairs.sink("out", CollectSink::new());
        env
    };
    let given = assert_survives_crashes(5, build, |driver| {
        let (first, second) = (driver.source::<Event>("first")?, driver.source::<Event>("second")?);
        let to = |driver: &mut TestDriver, time| {
            first.watermark(time);
            second.watermark(time);
            // Of the two at least one that no crash comes into has all that was fed.
            (0..2).try_for_each(|_| driver.run_until_idle().and_then(|()| driver.checkpoint().map(drop)))
        };
        second.feed_at((7, 10, 1), 10);
        to(driver, 99)?;
        first.feed_at((7, 20, 2), 20);
        to(driver, 298)?;
        second.feed_at((7, 30, 3), 30);
        to(driver, 299)?;
        first.feed_at((7, 40, 4), 40);
        second.feed_at((7, 50, 5), 50);
        driver.finish()?;
        let late = sorted(driver.sink::<Either<Event, Event>>("late-out")?.committed());
        Ok((driver.sink::<(Option<u64>, u64)>("out")?.committed(), late))
    });
    let (pairs, late) = given.unwrap();
    assert_eq!(pairs, [(None, 1), (Some(2), 1), (Some(2), 1), (Some(2), 3)]);
    assert_eq!(late, [Either::First((7, 40, 4)), Either::Second((7, 50, 5))]);
}

/// T11: a stream that has no record holds back what needs its time, and nothing else. It comes when that stream is idle, or ends.
#[test]
fn a_side_of_a_join_that_never_comes_holds_results_back_until_it_is_idle_or_ends() {
    for (kind, ends) in [(Kind::Left, false), (Kind::Left, true), (Kind::Temporal, false), (Kind::Temporal, true)] {
        let mut driver = TestDriver::new(3, move || build(kind)).unwrap();
        let (first, second) = (driver.source::<Event>("first").unwrap(), driver.source::<Event>("second").unwrap());
        let out = driver.sink::<Given>("out").unwrap();
        first.feed((1, 5, 7)).watermark(900);
        driver.checkpoint().unwrap();
        driver.crash().unwrap();
        driver.run_until_idle().unwrap();
        assert!(out.written().is_empty(), "{kind:?}: event time is that of both");
        if ends {
            second.end();
        } else {
            second.idle();
        }
        driver.run_until_idle().unwrap();
        assert_eq!(out.written(), [pair(&(1, 5, 7), None)], "{kind:?}, ends {ends}");
    }
}
