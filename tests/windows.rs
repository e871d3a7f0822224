//! Windows in jobs: each gives its result once, of all its records, whatever fails and however the job goes on.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use millstream::GraphError;
use millstream::aggregates::{Count, TopN};
use millstream::prelude::*;
use millstream::time::ManualClock;
use millstream::window::{
    ContinuousTrigger, CountTrigger, DeltaEvictor, DeltaTrigger, PurgingTrigger, TimeEvictor, TimeTrigger,
    WindowContext,
};

use common::{
    BOUND_MS, CountedPanics, InputEnd, SteppedSource, checkpointed, events_of, output_through_panics, run, run_to_end,
    sorted, time_of, watched,
};

mod common;

const N: u64 = 2_000;
const KEYS: u64 = 23;
const GAP_MS: i64 = 120;

/// Key, window, number of records, sum of their numbers.
type Total = (u64, Window, u64, u64);

/// Which windows a job has.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// All records of each.
    Tumbling,
    /// An aggregate, of slices.
    Sliding,
    /// An aggregate, of sessions that merge.
    Sessions,
}

const KINDS: [Kind; 3] = [Kind::Tumbling, Kind::Sliding, Kind::Sessions];

fn ms(millis: i64) -> Duration {
    Duration::from_millis(millis as u64)
}

/// The number of records, and the sum of their numbers.
#[derive(Clone)]
struct Totals;

impl AggregateFunction for Totals {
    type In = u64;
    type Accumulator = (u64, u64);
    type Out = (u64, u64);

    fn create(&self) -> (u64, u64) {
        (0, 0)
    }

    fn add(&self, totals: &mut (u64, u64), id: u64) {
        self.merge(totals, (1, id));
    }

    fn result(&self, totals: &(u64, u64)) -> (u64, u64) {
        *totals
    }

    fn merge(&self, totals: &mut (u64, u64), other: (u64, u64)) {
        *totals = (totals.0 + other.0, totals.1 + other.1);
    }
}

/// What a plain loop makes of the numbers below `n`, sorted.
fn expected(kind: Kind, n: u64) -> Vec<Total> {
    let mut totals: BTreeMap<(u64, Window), (u64, u64)> = BTreeMap::new();
    let mut add = |key, window, id| Totals.add(totals.entry((key, window)).or_default(), id);
    match kind {
        Kind::Tumbling | Kind::Sliding => {
            let size = if matches!(kind, Kind::Tumbling) { 500 } else { 1_000 };
            let slide = if matches!(kind, Kind::Tumbling) { 500 } else { 200 };
            for id in 0..n {
                let last = time_of(id).div_euclid(slide) * slide;
                let starts = (0..).map(|back| last - back * slide).take_while(|start| start + size > time_of(id));
                starts.for_each(|start| add(id % KEYS, Window::new(start, start + size), id));
            }
        }
        Kind::Sessions => {
            for key in 0..KEYS {
                let mut ids: Vec<u64> = (0..n).filter(|id| id % KEYS == key).collect();
                ids.sort_by_key(|id| time_of(*id));
                for session in ids.chunk_by(|one, next| time_of(*next) - time_of(*one) <= GAP_MS) {
                    let window = Window::new(time_of(session[0]), time_of(*session.last().unwrap()) + GAP_MS);
                    session.iter().for_each(|id| add(key, window, *id));
                }
            }
        }
    }
    totals.into_iter().map(|((key, window), (count, sum))| (key, window, count, sum)).collect()
}

/// The job: chained to its source at parallelism 1, behind an exchange otherwise.
fn build(env: &StreamEnvironment, kind: Kind, source: SteppedSource, panics: CountedPanics, sink: CollectSink<Total>) {
    let bound = Duration::from_millis(BOUND_MS);
    let strategy = WatermarkStrategy::bounded_out_of_orderness(bound, |(_, id): &(&'static str, u64)| time_of(*id));
    let keyed = env.source_with_watermarks("numbers", source, strategy).map(|(_, id)| id).key_by(|id| id % KEYS);
    let late = OutputTag::new("late");
    let of_aggregate = panics.clone();
    let emit = move |ctx: &WindowContext<'_, u64>, (count, sum)| {
        of_aggregate.count_and_panic();
        (*ctx.key(), ctx.window(), count, sum)
    };
    let totals = match kind {
        Kind::Tumbling => {
            let windows = keyed.window(TumblingWindows::event_time(ms(500))).late_output(&late);
            windows.apply("totals", move |ids: &[u64], ctx, out: &mut Emitter<'_, Total>| {
                panics.count_and_panic();
                out.emit((*ctx.key(), ctx.window(), ids.len() as u64, ids.iter().sum()));
            })
        }
        Kind::Sliding => {
            let windows = keyed.window(SlidingWindows::event_time(ms(1_000), ms(200)));
            windows.late_output(&late).aggregate_with("totals", Totals, emit)
        }
        Kind::Sessions => {
            let windows = keyed.window(SessionWindows::event_time(ms(GAP_MS)));
            windows.late_output(&late).aggregate_with("totals", Totals, emit)
        }
    };
    totals.side_output(&late).for_each("late", |id| panic!("{id} is late, though it is within the bound"));
    totals.sink("totals-of-windows", sink);
}

/// T7: through panics before, in and after results, at each parallelism and with both backends.
#[test]
fn each_window_gives_its_result_once_whatever_fails() {
    let dir = tempfile::tempdir().unwrap();
    for kind in KINDS {
        let plain = expected(kind, N);
        for (parallelism, spills) in [(1, false), (2, false), (3, true)] {
            for at in [vec![], vec![0, 40, 41], vec![300, plain.len() as u64 - 1]] {
                let runs_on = (parallelism, spills.then(|| dir.path()));
                let totals = output_through_panics("windows", runs_on, &at, move |env, panics, sink| {
                    build(env, kind, SteppedSource::new("numbers", N, 100, &InputEnd::default()), panics, sink);
                });
                assert_eq!(totals, plain, "{kind:?}, parallelism {parallelism}, panics {at:?}");
            }
        }
    }
}

/// T7: open windows are in a savepoint, and go on from there at another parallelism.
#[test]
fn open_windows_go_on_at_another_parallelism() {
    let dir = tempfile::tempdir().unwrap();
    for kind in KINDS {
        for (parallelism, then) in [(1, 3), (3, 2), (2, 1)] {
            let (sink, input, store) = (CollectSink::new(), InputEnd::default(), MemoryStore::new());
            let (first, kept) = (sink.handle(), store.clone());
            let savepoint = dir.path().join(format!("{kind:?}-{parallelism}"));
            run("a job that is stopped", move |handles| async move {
                let env = checkpointed("windows", parallelism, None).snapshot_store(store);
                let source = SteppedSource::new("numbers", N, 100, &input).hold_at(N / 8);
                build(&env, kind, source, CountedPanics::default(), sink);
                let job = env.start().unwrap();
                watched(&handles, &job);
                let mut events = events_of(&job);
                while input.records_read() < N / 2 {
                    events.checkpoints(1).await;
                }
                job.stop_with_savepoint(savepoint).await.unwrap();
            });
            let sink = CollectSink::new();
            let rest = sink.handle();
            let (outcome, _) = run_to_end("the job goes on", move || {
                let env = checkpointed("windows", then, None).snapshot_store(kept);
                let source = SteppedSource::new("numbers", N, 100, &InputEnd::default());
                build(&env, kind, source, CountedPanics::default(), sink);
                env
            });
            outcome.expect("finished");
            let both = first.snapshot().into_iter().chain(rest.snapshot()).collect();
            assert_eq!(sorted(both), expected(kind, N), "{kind:?}, parallelism {parallelism} and then {then}");
        }
    }
}

/// T8: where records are more out of order than the bound says, which of them are late depends on how they meet; but each is in
/// one result, or late.
#[test]
fn each_record_is_in_one_result_or_late() {
    for (parallelism, at) in [(1, vec![]), (2, vec![50]), (3, vec![10, 200])] {
        let (sink, late_sink, panics) = (CollectSink::new(), CollectSink::new(), CountedPanics::at(&at));
        let (found, late) = (sink.handle(), late_sink.handle());
        let (outcome, job) = run_to_end("a job with late records", move || {
            let env = checkpointed("windows", parallelism, None).snapshot_store(MemoryStore::new());
            let source = SteppedSource::new("numbers", N, 100, &InputEnd::default());
            let time = |(_, id): &(&'static str, u64)| time_of(*id);
            let strategy = WatermarkStrategy::bounded_out_of_orderness(Duration::from_millis(5), time);
            let tag = OutputTag::new("late");
            let ids = env
                .source_with_watermarks("numbers", source, strategy)
                .map(|(_, id)| id)
                .key_by(|id| id % KEYS)
                .window(TumblingWindows::event_time(ms(100)))
                .late_output(&tag)
                .apply("ids", move |ids: &[u64], _, out: &mut Emitter<'_, u64>| {
                    panics.count_and_panic();
                    ids.iter().for_each(|id| out.emit(*id));
                });
            ids.side_output(&tag).sink("late", late_sink);
            ids.sink("found", sink);
            env
        });
        outcome.expect("finished");
        let late = late.snapshot();
        // Where one subtask reads all, in one order. Others may be so far apart that none is late.
        assert!(parallelism > 1 || !late.is_empty(), "no record is late");
        assert!(late.len() < N as usize / 2, "{} records are late", late.len());
        let counted: u64 = job.figures().iter().map(|figures| figures.of_run.late_records).sum();
        // What an attempt that failed has counted is counted again.
        assert!(counted == late.len() as u64 || !at.is_empty() && counted > late.len() as u64, "{counted}");
        let all = sorted(found.snapshot().into_iter().chain(late).collect());
        assert_eq!(all, (0..N).collect::<Vec<_>>(), "parallelism {parallelism}, panics {at:?}");
    }
}

/// How a life of a job ends whose input is not at its end.
#[derive(Clone, Copy, Debug)]
enum End {
    Finish,
    Drain,
    StopWithSavepoint,
    Cancel,
}

/// Runs a life of a job with windows of processing time: reads each split up to `hold_at` while the clock stands at `began`, moves
/// it, ends the job, and gives what it has committed.
fn life_by_clock(store: &MemoryStore, hold_at: u64, (began, then): (u64, u64), end: End) -> Vec<Total> {
    let (sink, input, store) = (CollectSink::new(), InputEnd::default(), store.clone());
    let collected = sink.handle();
    run("a job with windows by the clock", move |handles| async move {
        let clock = ManualClock::starting_at(began);
        // Each checkpoint is asked for: one that the clock makes due might be under way when the job is cancelled, and the sink
        // could not say then whether it has completed.
        let env = checkpointed("windows", 2, None).checkpointing(Checkpointing::every(Duration::from_secs(3600)));
        let env = env.snapshot_store(store).clock(clock.clone());
        env.source("numbers", SteppedSource::new("numbers", N, 100, &input).hold_at(hold_at))
            .map(|(_, id)| id)
            .key_by(|id| id % KEYS)
            .window(TumblingWindows::processing_time(ms(100)))
            .aggregate_with("totals", Totals, |ctx, (count, sum)| (*ctx.key(), ctx.window(), count, sum))
            .sink("out", sink);
        let job = env.start().unwrap();
        watched(&handles, &job);
        while input.records_read() < 4 * hold_at {
            job.checkpoint().await.unwrap();
        }
        job.checkpoint().await.unwrap();
        clock.advance(Duration::from_millis(then - began));
        match end {
            End::Finish => drop(job.finish().await.unwrap()),
            End::Drain => drop(job.drain().await.unwrap()),
            End::StopWithSavepoint => {
                let dir = tempfile::tempdir().unwrap();
                drop(job.stop_with_savepoint(dir.path().join("savepoint")).await.unwrap());
            }
            End::Cancel => drop(job.cancel().await.unwrap()),
        }
    });
    sorted(collected.snapshot())
}

/// T9: `finish` fires the windows of processing time that are over by then; those that are not never give anything. No other end
/// fires any: they are there when the job goes on.
#[test]
fn each_end_leaves_windows_of_processing_time_that_are_not_over() {
    let half = N / 8;
    let total = |key: u64, ids: std::ops::Range<u64>, start: i64| {
        let ids: Vec<u64> = ids.filter(|id| id % KEYS == key).collect();
        (key, Window::new(start, start + 100), ids.len() as u64, ids.iter().sum())
    };
    let of_half = |start| (0..KEYS).map(|key| total(key, 0..N / 2, start)).collect::<Vec<Total>>();
    assert_eq!(life_by_clock(&MemoryStore::new(), half, (10_000, 10_099), End::Finish), []);
    assert_eq!(life_by_clock(&MemoryStore::new(), half, (10_000, 10_100), End::Finish), of_half(10_000));
    for end in [End::Drain, End::StopWithSavepoint, End::Cancel] {
        let store = MemoryStore::new();
        assert_eq!(life_by_clock(&store, half, (10_000, 10_099), end), [], "{end:?}");
        // What was open is over now; what is read now is in a window that ends unfinished. At the end of the input the job would end by itself.
        assert_eq!(life_by_clock(&store, N / 4 - 1, (10_200, 10_299), End::Finish), of_half(10_000), "{end:?}");
    }
}

/// T7: what a window gives is in the window of the same size behind it, and comes there before the watermark.
#[test]
fn a_window_behind_a_window_has_its_results_in_the_same_span() {
    for parallelism in [1, 3] {
        let sink = CollectSink::new();
        let collected = sink.handle();
        let (outcome, _) = run_to_end("a job with windows of windows", move || {
            let env = checkpointed("windows", parallelism, None);
            let source = SteppedSource::new("numbers", N, 100, &InputEnd::default());
            let time = |(_, id): &(&'static str, u64)| time_of(*id);
            let strategy = WatermarkStrategy::bounded_out_of_orderness(Duration::from_millis(BOUND_MS), time);
            env.source_with_watermarks("numbers", source, strategy)
                .map(|(_, id)| id)
                .key_by(|id| id % KEYS)
                .window(TumblingWindows::event_time(ms(500)))
                .aggregate("of-keys", Totals)
                .window_all(TumblingWindows::event_time(ms(500)))
                .reduce_with("of-all", |one, other| (one.0 + other.0, one.1 + other.1), |ctx, sum| (ctx.window(), sum))
                .sink("totals", sink);
            env
        });
        outcome.expect("finished");
        let mut plain: BTreeMap<Window, (u64, u64)> = BTreeMap::new();
        for (_, window, count, sum) in expected(Kind::Tumbling, N) {
            Totals.merge(plain.entry(window).or_default(), (count, sum));
        }
        assert_eq!(sorted(collected.snapshot()), plain.into_iter().collect::<Vec<_>>(), "parallelism {parallelism}");
    }
}

/// Slices of another length cannot be merged with those of today: the restore says so.
#[test]
fn windows_of_another_size_do_not_take_over_slices() {
    let store = MemoryStore::new();
    let life = |slide: i64, store: MemoryStore| {
        let input = InputEnd::default();
        run("a life of a job", move |handles| async move {
            let env = checkpointed("windows", 1, None).snapshot_store(store).restart_strategy(RestartStrategy::none());
            let source = SteppedSource::new("numbers", N, 100, &input).hold_at(N / 8);
            let time = |(_, id): &(&'static str, u64)| time_of(*id);
            let strategy = WatermarkStrategy::monotonous(time);
            env.source_with_watermarks("numbers", source, strategy)
                .map(|(_, id)| id)
                .key_by(|id| id % KEYS)
                .window(SlidingWindows::event_time(ms(1_000), ms(slide)))
                .aggregate("totals", Totals)
                .sink("out", CollectSink::new());
            let job = env.start().map_err(|error| error.to_string())?;
            watched(&handles, &job);
            while input.records_read() < 100 {
                job.checkpoint().await.map_err(|error| error.to_string())?;
            }
            job.drain().await.map(drop).map_err(|error| error.to_string())
        })
    };
    life(200, store.clone()).unwrap();
    let error = life(300, store.clone()).unwrap_err();
    assert!(error.contains("today's windows need slices of 100 ms") && error.contains("old size"), "{error}");
    life(200, store).unwrap();
}

/// Each mistake is found before the job starts, and says where it was made.
#[test]
fn windows_that_cannot_be_are_refused() {
    let reasons = |build: &dyn Fn(&StreamEnvironment)| {
        let env = StreamEnvironment::new("refused");
        build(&env);
        env.explain().unwrap_err().to_string()
    };
    let second = ms(1_000);
    let of = |windows: TumblingWindows| {
        reasons(&|env| {
            let keyed = env.source("numbers", SequenceSource::new(0..9)).key_by(|n| n % 3);
            keyed.window(windows).aggregate("count", Count::new()).for_each("see", |_| {});
        })
    };
    assert!(of(TumblingWindows::event_time(Duration::ZERO)).contains("less than a millisecond"));
    assert!(of(TumblingWindows::event_time(Duration::from_micros(1_500))).contains("not whole milliseconds"));
    assert!(of(TumblingWindows::event_time(Duration::MAX)).contains("longer than time is"));
    assert!(of(TumblingWindows::event_time(second).offset(1_000)).contains("less than the size, 1000 ms"));
    assert!(of(TumblingWindows::processing_time(second).offset(i64::MIN)).contains("either way"));
    let found = reasons(&|env| {
        let keyed = || env.source(&format!("numbers-{}", fresh()), SequenceSource::new(0..9)).key_by(|n| n % 3);
        let sliding = SlidingWindows::event_time(second, Duration::ZERO);
        keyed().window(sliding).reduce("sliding", u64::max).for_each("see-sliding", |_| {});
        keyed().window(SessionWindows::event_time(Duration::ZERO)).reduce("gap", u64::max).for_each("see-gap", |_| {});
        let late = keyed().window(TumblingWindows::event_time(second)).allowed_lateness(Duration::from_nanos(7));
        late.reduce("late", u64::max).for_each("see-late", |_| {});
        let clock = keyed().window(TumblingWindows::processing_time(second)).allowed_lateness(second);
        clock.reduce("clock", u64::max).for_each("see-clock", |_| {});
        let other = keyed().window(TumblingWindows::event_time(second)).trigger(TimeTrigger::ProcessingTime);
        other.reduce("other", u64::max).for_each("see-other", |_| {});
    });
    for reason in [
        "the slide of the windows is",
        "the gap between sessions is",
        "the allowed lateness is 7ns",
        "only windows of event time",
        "these go by the other",
    ] {
        assert!(found.contains(reason) && found.contains("windows.rs"), "{reason}: {found}");
    }
}

/// Numbers of records, intervals, lengths and thresholds that cannot be, where they were said.
#[test]
fn triggers_evictors_and_aggregates_that_cannot_be_are_refused() {
    let env = StreamEnvironment::new("refused");
    let keyed = || env.source(&format!("numbers-{}", fresh()), SequenceSource::new(0..9)).key_by(|n| n % 3);
    let second = || keyed().window(TumblingWindows::event_time(ms(1_000)));
    let count = |_: &[u64], _: &WindowContext<'_, u64>, _: &mut Emitter<'_, u64>| {};
    let far = |one: &u64, other: &u64| one.abs_diff(*other) as f64;
    let micros = Duration::from_micros(700);
    keyed().count_window(0).reduce("count", u64::max).for_each("see-count", |_| {});
    keyed().sliding_count_window(3, 0).apply("slide", count).for_each("see-slide", |_| {});
    keyed().sliding_count_window(0, 3).apply("size", count).for_each("see-size", |_| {});
    let purging = PurgingTrigger::of(CountTrigger::of(0));
    second().trigger(purging).reduce("purging", u64::max).for_each("see-purging", |_| {});
    let each = ContinuousTrigger::event_time(Duration::ZERO);
    second().trigger(each).reduce("each", u64::max).for_each("see-each", |_| {});
    let each = ContinuousTrigger::processing_time(micros);
    second().trigger(each).reduce("each-by-clock", u64::max).for_each("see-each-by-clock", |_| {});
    let nowhere = DeltaTrigger::new(f64::NAN, far);
    second().trigger(nowhere).reduce("delta", u64::max).for_each("see-delta", |_| {});
    second().evictor(TimeEvictor::of(micros)).apply("evicted", count).for_each("see-evicted", |_| {});
    second().evictor(DeltaEvictor::new(f64::NAN, far)).apply("near", count).for_each("see-near", |_| {});
    second().aggregate("top", TopN::of(0, |n: &u64| *n)).for_each("see-top", |_| {});
    keyed().top_n("running-top", 0, |n| *n).for_each("see-running-top", |_| {});
    keyed().aggregate("running", TopN::of(0, |n: &u64| *n)).for_each("see-running", |_| {});
    let other = keyed().join(keyed()).window(TumblingWindows::event_time(ms(1_000))).trigger(CountTrigger::of(0));
    other.inner("joined", |one, other| one + other).for_each("see-joined", |_| {});

    let errors = env.explain().unwrap_err().0;
    let windows = |operator, reason| (format!("windows of operator '{operator}': {reason}"), true);
    let aggregate = |operator| (format!("aggregate of operator '{operator}': the top is of no records"), false);
    let expected = [
        windows("count", "a window gives a result with each 0 records"),
        windows("slide", "a window gives a result with each 0 records"),
        windows("size", "an evictor keeps 0 records"),
        windows("purging", "a window gives a result with each 0 records"),
        windows("each", "the interval of the trigger is 0ns, which is less than a millisecond"),
        windows("each-by-clock", "the interval of the trigger is 700µs, which is less than a millisecond"),
        windows("delta", "the threshold of the trigger is not a number"),
        windows("evicted", "the length of the evictor is 700µs, which is less than a millisecond"),
        windows("near", "the threshold of the evictor is not a number"),
        aggregate("top"),
        aggregate("running-top"),
        aggregate("running"),
        windows("joined", "a window gives a result with each 0 records"),
    ];
    assert_eq!(errors.len(), expected.len(), "{errors:?}");
    for (error, (text, is_of_windows)) in errors.iter().zip(expected) {
        let shown = error.to_string();
        assert!(shown.starts_with("tests/windows.rs:") && shown.contains(&text), "{shown}, not {text}");
        match error {
            GraphError::InvalidWindows { .. } => assert!(is_of_windows, "{shown}"),
            GraphError::InvalidAggregate { .. } => assert!(!is_of_windows, "{shown}"),
            _ => panic!("{error:?}"),
        }
    }
}

fn fresh() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
