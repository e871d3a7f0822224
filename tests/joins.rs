//! Joins in jobs: each pair of records once, whatever fails and however the job goes on.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use millstream::operator::{Either, KeySelector};
use millstream::prelude::*;
use millstream::{GraphError, JobHandle};

use common::{
    BOUND_MS, CountedPanics, InputEnd, SteppedSource, checkpointed, events_of, output_through_panics, run, run_to_end,
    sorted, time_of, watched,
};

mod common;

/// Of each stream.
const N: u64 = 1_200;
const KEYS: u64 = 17;

/// The numbers of both, where there are both, and the event time of the result.
type Pair = (Option<u64>, Option<u64>, Timestamp);

/// How a job joins.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// Full outer, by windows.
    Window,
    /// Those of the second up to so long before and behind.
    Interval,
    /// Left outer: every seventh number of the second stream is a version.
    Temporal,
}

const KINDS: [Kind; 3] = [Kind::Window, Kind::Interval, Kind::Temporal];
const WINDOW_MS: i64 = 400;
const INTERVAL_MS: (i64, i64) = (-150, 100);

fn key_of(id: u64) -> u64 {
    id.wrapping_mul(0x9e37_79b9_7f4a_7c15) % KEYS
}

/// Times of the second stream: other ones than those of the first.
fn second_time_of(id: u64) -> Timestamp {
    time_of(id) + 37
}

fn is_version(id: u64) -> bool {
    id.is_multiple_of(7)
}

/// What a plain loop makes of both streams, sorted.
fn expected(kind: Kind, n: u64) -> Vec<Pair> {
    let window_of = |at: Timestamp| at.div_euclid(WINDOW_MS);
    let of_key = |key: u64| (0..n).filter(move |id| key_of(*id) == key);
    let mut pairs = Vec::new();
    for first in 0..n {
        let (key, at) = (key_of(first), time_of(first));
        match kind {
            Kind::Window => {
                let last = (window_of(at) + 1) * WINDOW_MS - 1;
                let meets: Vec<u64> =
                    of_key(key).filter(|id| window_of(second_time_of(*id)) == window_of(at)).collect();
                pairs.extend(meets.iter().map(|second| (Some(first), Some(*second), last)));
                pairs.extend(meets.is_empty().then_some((Some(first), None, last)));
            }
            Kind::Interval => {
                let (lower, upper) = INTERVAL_MS;
                let meets = of_key(key).filter(|id| (lower..=upper).contains(&(second_time_of(*id) - at)));
                pairs.extend(meets.map(|second| (Some(first), Some(second), at.max(second_time_of(second)))));
            }
            Kind::Temporal => {
                let versions = of_key(key).filter(|id| is_version(*id) && second_time_of(*id) <= at);
                pairs.push((Some(first), versions.max_by_key(|id| second_time_of(*id)), at));
            }
        }
    }
    if kind == Kind::Window {
        let alone = (0..n).filter(|second| {
            let window = window_of(second_time_of(*second));
            of_key(key_of(*second)).all(|first| window_of(time_of(first)) != window)
        });
        pairs.extend(alone.map(|id| (None, Some(id), (window_of(second_time_of(id)) + 1) * WINDOW_MS - 1)));
    }
    sorted(pairs)
}

/// Gives results with their event times.
#[derive(Clone)]
struct WithTime;

impl ProcessFunction<(Option<u64>, Option<u64>)> for WithTime {
    type Out = Pair;
    type State = ();

    fn state(&self) {}

    fn process(
        &mut self,
        (first, second): (Option<u64>, Option<u64>),
        (): (),
        ctx: &mut ProcessContext<'_>,
        out: &mut Emitter<'_, Pair>,
    ) {
        out.emit((first, second, ctx.timestamp().unwrap()));
    }
}

type Sources = (SteppedSource, SteppedSource);

fn sources(n: u64, input: &InputEnd) -> Sources {
    (SteppedSource::new("first", n, 100, input), SteppedSource::new("second", n, 60, input))
}

fn build(
    env: &StreamEnvironment,
    kind: Kind,
    (first, second): Sources,
    panics: CountedPanics,
    sink: CollectSink<Pair>,
) {
    type Named = (&'static str, u64);
    let bound = Duration::from_millis(BOUND_MS);
    let first_times = WatermarkStrategy::bounded_out_of_orderness(bound, |(_, id): &Named| time_of(*id));
    let second_times = WatermarkStrategy::bounded_out_of_orderness(bound, |(_, id): &Named| second_time_of(*id));
    let of_second = panics.clone();
    let first = env.source_with_watermarks("first", first, first_times).map(|(_, id)| id);
    let second = env.source_with_watermarks("second", second, second_times).map(|(_, id)| id);
    let second = second.filter(move |id| kind != Kind::Temporal || is_version(*id));
    let joined = first
        .inspect(move |_| panics.count_and_panic())
        .key_by(|id| key_of(*id))
        .join(second.inspect(move |_| of_second.count_and_panic()).key_by(|id| key_of(*id)));
    let late: OutputTag<Either<u64, u64>> = OutputTag::new("late");
    let pairs = match kind {
        Kind::Window => {
            let windows = joined.window(TumblingWindows::event_time(Duration::from_millis(WINDOW_MS as u64)));
            windows.late_output(&late).full_outer("pairs", |first, second| (first.copied(), second.copied()))
        }
        Kind::Interval => {
            let (lower, upper) = INTERVAL_MS;
            let interval = joined.between(lower..=upper).late_output(&late);
            interval.inner("pairs", |first, second| (Some(*first), Some(*second)))
        }
        Kind::Temporal => joined.temporal().left_outer("pairs", |first, second| (Some(*first), second.copied())),
    };
    if kind != Kind::Temporal {
        let late = pairs.side_output(&late);
        late.for_each("late", |record| panic!("{record:?} is late, though it is within the bound"));
    }
    pairs.process("times", WithTime).sink("out", sink);
}

/// T11: through panics on both sides, at each parallelism and with both backends.
#[test]
fn records_meet_once_whatever_fails() {
    let dir = tempfile::tempdir().unwrap();
    for kind in KINDS {
        let plain = expected(kind, N);
        assert!(plain.len() > 800, "{} pairs", plain.len());
        for (parallelism, spills) in [(1, false), (2, true), (3, false)] {
            for at in [vec![], vec![0, 700, 701], vec![1_100, 1_300]] {
                let runs_on = (parallelism, spills.then(|| dir.path()));
                let pairs = output_through_panics("joins", runs_on, &at, move |env, panics, sink| {
                    build(env, kind, sources(N, &InputEnd::default()), panics, sink);
                });
                assert_eq!(pairs, plain, "{kind:?}, parallelism {parallelism}, panics {at:?}");
            }
        }
    }
}

/// T11: those window joins of which a part of the full one's results are.
#[test]
fn window_joins_of_each_kind_give_their_part_whatever_fails() {
    let dir = tempfile::tempdir().unwrap();
    let full = expected(Kind::Window, N);
    for (sides, of_first, of_second) in [("inner", false, false), ("left", true, false), ("right", false, true)] {
        let part = |(first, second, _): &Pair| (of_first || second.is_some()) && (of_second || first.is_some());
        let plain: Vec<Pair> = full.iter().copied().filter(part).collect();
        assert!(plain.len() < full.len(), "{sides}");
        let pairs =
            output_through_panics("joins", (2, Some(dir.path())), &[0, 700, 1_300], move |env, panics, sink| {
                let (first, second) = sources(N, &InputEnd::default());
                build_parts(env, sides, (first, second), panics, sink);
            });
        assert_eq!(pairs, plain, "{sides}");
    }
}

fn build_parts(
    env: &StreamEnvironment,
    sides: &'static str,
    (first, second): Sources,
    panics: CountedPanics,
    sink: CollectSink<Pair>,
) {
    let windows = TumblingWindows::event_time(Duration::from_millis(WINDOW_MS as u64));
    let joined =
        keyed(env, first, "first", time_of, &panics).join(keyed(env, second, "second", second_time_of, &panics));
    let joined = joined.window(windows);
    let pairs = match sides {
        "inner" => joined.inner("pairs", |first, second| (Some(*first), Some(*second))),
        "left" => joined.left_outer("pairs", |first, second| (Some(*first), second.copied())),
        _ => joined.right_outer("pairs", |first, second| (first.copied(), Some(*second))),
    };
    pairs.process("times", WithTime).sink("out", sink);
}

/// One of the two streams, which panics at some records.
fn keyed(
    env: &StreamEnvironment,
    source: SteppedSource,
    id: &str,
    time_of: fn(u64) -> Timestamp,
    panics: &CountedPanics,
) -> KeyedStream<u64, impl KeySelector<u64, Key = u64, Query = u64, Held: 'static> + use<>> {
    let bound = Duration::from_millis(BOUND_MS);
    let times = move |(_, id): &(&'static str, u64)| time_of(*id);
    let (strategy, panics) = (WatermarkStrategy::bounded_out_of_orderness(bound, times), panics.clone());
    let numbers = env.source_with_watermarks(id, source, strategy).map(|(_, id)| id);
    numbers.inspect(move |_| panics.count_and_panic()).key_by(|id| key_of(*id))
}

/// T11: what waits for the other side is in a savepoint, and meets it at another parallelism.
#[test]
fn records_that_wait_meet_others_at_another_parallelism() {
    let dir = tempfile::tempdir().unwrap();
    for kind in KINDS {
        for (parallelism, then) in [(1, 3), (3, 2)] {
            let (sink, input, store) = (CollectSink::new(), InputEnd::default(), MemoryStore::new());
            let (first, kept) = (sink.handle(), store.clone());
            let savepoint = dir.path().join(format!("{kind:?}-{parallelism}"));
            run("a job that is stopped", move |handles| async move {
                let env = checkpointed("joins", parallelism, None).snapshot_store(store);
                let (one, other) = sources(N, &input);
                build(&env, kind, (one.hold_at(N / 8), other.hold_at(N / 6)), CountedPanics::default(), sink);
                let job = env.start().unwrap();
                watched(&handles, &job);
                held(&job, &input).await;
                job.stop_with_savepoint(savepoint).await.unwrap();
            });
            let (sink, panics) = (CollectSink::new(), CountedPanics::at(&[400]));
            let then_given = sink.handle();
            let (outcome, _) = run_to_end("a job that goes on", move || {
                let env = checkpointed("joins", then, None).snapshot_store(kept);
                build(&env, kind, sources(N, &InputEnd::default()), panics, sink);
                env
            });
            outcome.expect("finished");
            let (before, after) = (first.snapshot(), then_given.snapshot());
            assert!(!before.is_empty() && !after.is_empty(), "{} and {} pairs", before.len(), after.len());
            let all = sorted(before.into_iter().chain(after).collect());
            assert_eq!(all, expected(kind, N), "{kind:?}, parallelism {parallelism}, then {then}");
        }
    }
}

/// Resolves when both sources stand where they are held.
async fn held(job: &JobHandle, input: &InputEnd) {
    let mut events = events_of(job);
    while input.records_read() < 4 * (N / 8 + N / 6) {
        events.checkpoints(1).await;
    }
}

/// T11: each record is late, or meets all that are not.
#[test]
fn late_records_of_either_stream_go_to_the_late_output_and_meet_nothing() {
    let (sink, late_sink) = (CollectSink::new(), CollectSink::new());
    let (pairs, late) = (sink.handle(), late_sink.handle());
    let (outcome, job) = run_to_end("a job with late records", move || {
        let env = StreamEnvironment::new("late").parallelism(1);
        let times = || WatermarkStrategy::bounded_out_of_orderness(Duration::ZERO, |(at, _): &(Timestamp, char)| *at);
        let both = vec![(100, 'a'), (50, 'b'), (200, 'c')];
        let first = env.source_with_watermarks("first", VecSource::new(both.clone()), times());
        let second = env.source_with_watermarks("second", VecSource::new(both), times());
        let tag: OutputTag<Either<(Timestamp, char), (Timestamp, char)>> = OutputTag::new("late");
        let joined = first.key_by(|_| ()).join(second.key_by(|_| ())).between(-1_000..=1_000).late_output(&tag);
        let pairs = joined.inner("pairs", |first, second| (first.1, second.1));
        pairs.side_output(&tag).sink("late", late_sink);
        pairs.sink("out", sink);
        env
    });
    outcome.expect("finished");
    let (pairs, late) = (pairs.snapshot(), late.snapshot());
    let late_firsts = late.iter().filter(|record| matches!(record, Either::First(_))).count();
    let late_seconds = late.len() - late_firsts;
    assert!(late.iter().all(|record| record.first() == Some((50, 'b')) || record.second() == Some((50, 'b'))));
    assert_eq!(job.figures().iter().map(|figures| figures.of_run.late_records).sum::<u64>(), late.len() as u64);
    assert_eq!(pairs.len(), (3 - late_firsts) * (3 - late_seconds), "{pairs:?} {late:?}");
}

#[test]
fn joins_that_cannot_be_are_refused_before_the_start() {
    fn mistakes(make: impl FnOnce(&StreamEnvironment)) -> Vec<String> {
        let env = StreamEnvironment::new("mistakes");
        make(&env);
        let errors = env.explain().expect_err("it is refused");
        errors
            .0
            .iter()
            .map(|error| {
                assert!(
                    matches!(
                        error,
                        GraphError::InvalidJoin { .. }
                            | GraphError::InvalidKeys { .. }
                            | GraphError::ForeignStream { .. }
                    ),
                    "{error}"
                );
                let text = error.to_string();
                assert!(text.starts_with("tests/joins.rs:"), "{text}");
                text
            })
            .collect()
    }
    let numbers = |env: &StreamEnvironment, id: &str| env.source(id, SequenceSource::new(0..10)).key_by(|n| *n);
    let sum = |first: &u64, second: &u64| first + second;

    let found = mistakes(|env| {
        let joined = numbers(env, "a").join(numbers(env, "b"));
        joined.between(5..5).inner("pairs", sum).sink("out", CollectSink::new());
    });
    assert!(found[0].contains("join of operator 'pairs'") && found[0].contains("without a millisecond"), "{found:?}");
    let found = mistakes(|env| {
        numbers(env, "a").join(numbers(env, "b")).between(0..).inner("pairs", sum).sink("out", CollectSink::new());
    });
    assert!(found[0].contains("without upper bound keeps all records for ever"), "{found:?}");
    let found = mistakes(|env| {
        let joined = numbers(env, "a").join(numbers(env, "b")).time_to_live(Duration::from_micros(1));
        joined.inner("pairs", sum).sink("out", CollectSink::new());
    });
    assert!(found[0].contains("the time to live is"), "{found:?}");
    let found = mistakes(|env| {
        let joined = numbers(env, "a").join(numbers(env, "b").key_version(2));
        joined.between(0..=5).inner("pairs", sum).sink("out", CollectSink::new());
    });
    assert!(found[0].contains("are for the first of two streams"), "{found:?}");
    let found = mistakes(|env| {
        let other = StreamEnvironment::new("other");
        let joined = numbers(env, "a").join(numbers(&other, "b"));
        joined.between(0..=5).inner("pairs", sum).sink("out", CollectSink::new());
    });
    assert!(found[0].contains("different environments"), "{found:?}");
}
