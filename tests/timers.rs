//! Timers in jobs: each fires once, when event time has come to it, whatever fails and however the job ends.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use millstream::prelude::*;
use millstream::time::ManualClock;

use common::{
    BOUND_MS, CountedPanics, InputEnd, SteppedSource, checkpointed, events_of, run, run_to_end, time_of, watched,
};

mod common;

const N: u64 = 2_000;
const KEYS: u64 = 23;
const WINDOW_MS: i64 = 500;

/// Key, begin of the window, number of records.
type Count = (u64, Timestamp, u64);

/// Counts the records of each key and window, and emits the counts when event time has come to the windows' ends.
#[derive(Clone)]
struct Windows(CountedPanics);

impl KeyedProcessFunction<u64, u64> for Windows {
    type Out = Count;
    type State = (MapState<Timestamp, u64>, Timers);

    fn state(&self) -> Self::State {
        (MapState::new("counts"), Timers::new("ends"))
    }

    fn process(
        &mut self,
        _: u64,
        (mut counts, mut ends): Row<'_, Self, u64, u64>,
        ctx: &mut KeyedContext<'_, u64>,
        _: &mut Emitter<'_, Count>,
    ) {
        let time = ctx.timestamp().expect("the source has a strategy");
        assert!(time > ctx.watermark(), "{time} is late, of key {}: {}", ctx.key(), ctx.watermark());
        let window = time.div_euclid(WINDOW_MS) * WINDOW_MS;
        *counts.get_or_insert_with(window, || 0) += 1;
        ends.register(Timer::EventTime(window + WINDOW_MS - 1));
    }

    fn on_timer(
        &mut self,
        timer: Timer,
        (mut counts, _): Row<'_, Self, u64, u64>,
        ctx: &mut KeyedContext<'_, u64>,
        out: &mut Emitter<'_, Count>,
    ) {
        self.0.count_and_panic();
        let Timer::EventTime(end) = timer else { panic!("{timer:?} was not registered") };
        assert!(end <= ctx.watermark() && ctx.timestamp() == Some(end));
        let window = end + 1 - WINDOW_MS;
        out.emit((*ctx.key(), window, counts.remove(&window).expect("a timer fires once")));
    }
}

/// What a plain loop makes of the numbers below `n`.
fn expected(n: u64) -> Vec<Count> {
    let mut counts = BTreeMap::new();
    for id in 0..n {
        *counts.entry((id % KEYS, time_of(id).div_euclid(WINDOW_MS) * WINDOW_MS)).or_insert(0) += 1;
    }
    counts.into_iter().map(|((key, window), count)| (key, window, count)).collect()
}

fn sorted(mut counts: Vec<Count>) -> Vec<Count> {
    counts.sort_unstable();
    counts
}

/// The job: chained to its source at parallelism 1, behind an exchange otherwise.
fn build(env: &StreamEnvironment, source: SteppedSource, of_timers: CountedPanics, sink: CollectSink<Count>) {
    let bound = Duration::from_millis(BOUND_MS);
    let strategy = WatermarkStrategy::bounded_out_of_orderness(bound, |(_, id): &(&'static str, u64)| time_of(*id));
    env.source_with_watermarks("numbers", source, strategy)
        .map(|(_, id)| id)
        .key_by(|id| id % KEYS)
        .process("windows", Windows(of_timers))
        .sink("counts", sink);
}

/// T3: through panics before, in and after timers, at each parallelism and with both backends.
#[test]
fn each_timer_fires_once_whatever_fails() {
    let dir = tempfile::tempdir().unwrap();
    let plain = expected(N);
    for (parallelism, spills) in [(1, false), (2, false), (3, true), (1, true)] {
        for at in [vec![], vec![0], vec![40, 41, 300, 700], vec![plain.len() as u64 - 1]] {
            let (sink, of_timers) = (CollectSink::new(), CountedPanics::at(&at));
            let (collected, spills_to) = (sink.handle(), spills.then(|| dir.path().to_owned()));
            let (outcome, _) = run_to_end("a job with timers", move || {
                let env = checkpointed("timers", parallelism, spills_to.as_deref()).snapshot_store(MemoryStore::new());
                build(&env, SteppedSource::new("numbers", N, 100, &InputEnd::default()), of_timers, sink);
                env
            });
            let restarts = outcome.expect("finished").restarts as usize;
            assert!((usize::from(!at.is_empty())..=at.len()).contains(&restarts), "{restarts} for {at:?}");
            assert_eq!(sorted(collected.snapshot()), plain, "parallelism {parallelism}, panics {at:?}");
        }
    }
}

/// Registers a timer by the clock with each record, whose time is `at` and the record's number, and emits the number when it
/// fires.
#[derive(Clone)]
struct Later {
    at: Timestamp,
    panics: CountedPanics,
}

impl KeyedProcessFunction<u64, u64> for Later {
    type Out = u64;
    type State = Timers;

    fn state(&self) -> Timers {
        Timers::new("timers")
    }

    fn process(
        &mut self,
        id: u64,
        mut timers: Row<'_, Self, u64, u64>,
        _: &mut KeyedContext<'_, u64>,
        _: &mut Emitter<'_, u64>,
    ) {
        timers.register(Timer::ProcessingTime(self.at + id as i64));
    }

    fn on_timer(
        &mut self,
        timer: Timer,
        _: Row<'_, Self, u64, u64>,
        ctx: &mut KeyedContext<'_, u64>,
        out: &mut Emitter<'_, u64>,
    ) {
        self.panics.count_and_panic();
        let Timer::ProcessingTime(at) = timer else { panic!("{timer:?} was not registered") };
        assert!(at <= ctx.clock().unix_ms() as i64);
        out.emit((at - self.at) as u64);
    }
}

fn build_later(env: &StreamEnvironment, source: SteppedSource, later: Later, sink: CollectSink<u64>) {
    let numbers = env.source("numbers", source).map(|(_, id)| id);
    numbers.key_by(|id| id % KEYS).process("later", later).sink("fired", sink);
}

/// T3: timers of processing time that are due at once.
#[test]
fn each_timer_of_processing_time_fires_once_whatever_fails() {
    let dir = tempfile::tempdir().unwrap();
    for (parallelism, spills) in [(1, false), (2, false), (1, true), (2, true)] {
        for at in [vec![], vec![0, 1, 500, 1_400]] {
            let (sink, later) = (CollectSink::new(), Later { at: 0, panics: CountedPanics::at(&at) });
            let (collected, spills_to) = (sink.handle(), spills.then(|| dir.path().to_owned()));
            let (outcome, _) = run_to_end("a job with timers by the clock", move || {
                let env = checkpointed("timers", parallelism, spills_to.as_deref()).snapshot_store(MemoryStore::new());
                build_later(&env, SteppedSource::new("numbers", N, 100, &InputEnd::default()), later, sink);
                env
            });
            let restarts = outcome.expect("finished").restarts as usize;
            assert!((usize::from(!at.is_empty())..=at.len()).contains(&restarts), "{restarts} for {at:?}");
            let mut numbers = collected.snapshot();
            numbers.sort_unstable();
            assert_eq!(numbers, (0..N).collect::<Vec<_>>(), "parallelism {parallelism}, panics {at:?}");
        }
    }
}

/// T3, T4: by a clock that moves while nothing comes; a drain does not fire them, and a later life finds them overdue; the
/// end of input fires none that is not due.
#[test]
fn timers_of_processing_time_wait_for_the_clock_through_idle_input_and_lives_of_the_job() {
    for (parallelism, then) in [(1, 2), (2, 1)] {
        let store = MemoryStore::new();
        let lives = [(parallelism, 1_000, 10), (then, 1_100, 20), (parallelism, 9_000, 0)];
        let mut all = Vec::new();
        for (parallelism, clock_at, fire) in lives {
            let (sink, store) = (CollectSink::new(), store.clone());
            let collected = sink.handle();
            let numbers = run("a life of a job with timers by the clock", move |handles| async move {
                let (clock, input) = (ManualClock::starting_at(clock_at), InputEnd::default());
                let env = checkpointed("timers", parallelism, None).snapshot_store(store).clock(clock.clone());
                let later = Later { at: 1_100, panics: CountedPanics::default() };
                let source = SteppedSource::new("numbers", 400, 400, &input).hold_at(if fire > 0 { 50 } else { 100 });
                build_later(&env, source, later, sink);
                let job = env.start().unwrap();
                watched(&handles, &job);
                if fire == 0 {
                    // The rest of the input is read, and its end follows. What is due by then fires, and that is all.
                    job.await.unwrap();
                    return collected.snapshot();
                }
                while input.records_read() < 200 {
                    job.checkpoint().await.unwrap();
                }
                // Timers 0 to `fire` less one are due then; in the second life ten are overdue from the beginning.
                clock.advance(Duration::from_millis(1_099 + fire - clock_at));
                while collected.snapshot().len() < 10 {
                    job.checkpoint().await.unwrap();
                }
                job.drain().await.unwrap();
                collected.snapshot()
            });
            let mut life = numbers.clone();
            life.sort_unstable();
            match fire {
                10 => assert_eq!(life, (0..10).collect::<Vec<_>>()),
                20 => assert_eq!(life, (10..20).collect::<Vec<_>>()),
                _ => {}
            }
            all.extend(numbers);
        }
        all.sort_unstable();
        assert_eq!(all, (0..400).collect::<Vec<_>>(), "parallelism {parallelism}, then {then}");
    }
}

/// T4: what is not due at the end of input never fires.
#[test]
fn timers_of_processing_time_that_are_not_due_do_not_fire_at_the_end_of_input() {
    let sink = CollectSink::new();
    let collected = sink.handle();
    let (outcome, _) = run_to_end("a job whose input ends before its timers are due", move || {
        let env = checkpointed("timers", 2, None).clock(ManualClock::starting_at(1_000));
        let later = Later { at: 1_000 - 19, panics: CountedPanics::default() };
        build_later(&env, SteppedSource::new("numbers", 400, 400, &InputEnd::default()), later, sink);
        env
    });
    outcome.expect("finished");
    let mut numbers = collected.snapshot();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..20).collect::<Vec<_>>());
}

/// How a life of the job ends whose input is not at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Finish,
    Drain,
    StopWithSavepoint,
    Cancel,
}

/// Runs a life of the job on `store` that reads each split up to `hold_at`, ends it so when all is read and in a checkpoint,
/// and gives what it has committed.
fn life(store: &MemoryStore, parallelism: u32, hold_at: u64, end: End, savepoint: &Path) -> Vec<Count> {
    let (sink, input, store) = (CollectSink::new(), InputEnd::default(), store.clone());
    let (collected, savepoint) = (sink.handle(), savepoint.to_owned());
    run("a job that is ended", move |handles| async move {
        let env = checkpointed("timers", parallelism, None).snapshot_store(store);
        build(&env, SteppedSource::new("numbers", N, 100, &input).hold_at(hold_at), CountedPanics::default(), sink);
        let job = env.start().unwrap();
        watched(&handles, &job);
        let mut events = events_of(&job);
        while input.records_read() < N.min(4 * hold_at) {
            events.checkpoints(1).await;
        }
        // All that was read is in this one, if it was begun afterwards.
        job.checkpoint().await.unwrap();
        match end {
            End::Finish => drop(job.finish().await.unwrap()),
            End::Drain => drop(job.drain().await.unwrap()),
            End::StopWithSavepoint => drop(job.stop_with_savepoint(savepoint).await.unwrap()),
            End::Cancel => drop(job.cancel().await.unwrap()),
        }
    });
    collected.snapshot()
}

/// T4: which end fires timers of event time, and that what did not fire is there when the job goes on.
#[test]
fn timers_fire_at_the_end_of_input_and_at_no_other_end() {
    let dir = tempfile::tempdir().unwrap();
    let hold_at = N / 4 / 2;
    let finished = life(&MemoryStore::new(), 2, hold_at, End::Finish, &dir.path().join("none"));
    assert_eq!(sorted(finished), expected(4 * hold_at), "all windows of what was read, whole or not");
    for end in [End::Drain, End::StopWithSavepoint, End::Cancel] {
        for (parallelism, then) in [(1, 1), (2, 3), (3, 1)] {
            let store = MemoryStore::new();
            let savepoint = dir.path().join(format!("{end:?}-{parallelism}"));
            let first = life(&store, parallelism, hold_at, end, &savepoint);
            let whole = expected(N);
            assert!(first.len() > whole.len() / 4 && first.iter().all(|count| whole.contains(count)), "{end:?}");
            let (sink, rest) = (CollectSink::new(), store.clone());
            let collected = sink.handle();
            let (outcome, _) = run_to_end("the job goes on", move || {
                let env = checkpointed("timers", then, None).snapshot_store(rest);
                build(
                    &env,
                    SteppedSource::new("numbers", N, 100, &InputEnd::default()),
                    CountedPanics::default(),
                    sink,
                );
                env
            });
            outcome.expect("finished");
            let both = first.into_iter().chain(collected.snapshot()).collect();
            assert_eq!(sorted(both), whole, "{end:?}, parallelism {parallelism} and then {then}");
        }
    }
}

/// Runs a life of a job with timers of processing time: reads all but the last records, moves the clock so that the first `due`
/// timers are, ends the job at once, and gives what has fired.
fn life_by_clock(store: &MemoryStore, parallelism: u32, due: u64, end: End, savepoint: &Path) -> Vec<u64> {
    let (sink, input, store) = (CollectSink::new(), InputEnd::default(), store.clone());
    let (collected, savepoint) = (sink.handle(), savepoint.to_owned());
    run("a job with timers by the clock that is ended", move |handles| async move {
        let clock = ManualClock::starting_at(1_000);
        // Each checkpoint is asked for: one that the clock makes due might be under way when the job is cancelled, and the sink
        // could not say then whether it has completed.
        let env =
            checkpointed("timers", parallelism, None).checkpointing(Checkpointing::every(Duration::from_secs(3600)));
        let env = env.snapshot_store(store).clock(clock.clone());
        let source = SteppedSource::new("numbers", 400, 400, &input).hold_at(90);
        build_later(&env, source, Later { at: 1_001, panics: CountedPanics::default() }, sink);
        let job = env.start().unwrap();
        watched(&handles, &job);
        while input.records_read() < 360 {
            job.checkpoint().await.unwrap();
        }
        job.checkpoint().await.unwrap();
        clock.advance(Duration::from_millis(due));
        match end {
            End::Finish => drop(job.finish().await.unwrap()),
            End::Drain => drop(job.drain().await.unwrap()),
            End::StopWithSavepoint => drop(job.stop_with_savepoint(savepoint).await.unwrap()),
            End::Cancel => drop(job.cancel().await.unwrap()),
        }
    });
    let mut numbers = collected.snapshot();
    numbers.sort_unstable();
    numbers
}

/// T4: of the timers of processing time `finish` fires those that are due. The other ends fire none for that: what was due and has
/// not fired does so when the job goes on, once.
#[test]
fn each_end_leaves_timers_of_processing_time_that_have_not_fired() {
    let dir = tempfile::tempdir().unwrap();
    let none = dir.path().join("none");
    for parallelism in [1, 3] {
        let finished = life_by_clock(&MemoryStore::new(), parallelism, 100, End::Finish, &none);
        assert_eq!(finished, (0..100).collect::<Vec<_>>(), "parallelism {parallelism}");
    }
    for end in [End::Drain, End::StopWithSavepoint, End::Cancel] {
        for (parallelism, then) in [(1, 3), (2, 2), (3, 1)] {
            let store = MemoryStore::new();
            let savepoint = dir.path().join(format!("later-{end:?}-{parallelism}"));
            let early = life_by_clock(&store, parallelism, 0, end, &savepoint);
            assert!(early.is_empty(), "{end:?} fires what is not due: {early:?}");
            let store = MemoryStore::new();
            let savepoint = savepoint.with_extension("due");
            let first = life_by_clock(&store, parallelism, 100, end, &savepoint);
            assert!(first.last().is_none_or(|last| *last < 100), "{end:?}: {first:?}");
            // The clock goes back to where it was: what has not fired is due later than it was.
            let rest = life_by_clock(&store, then, 120, End::Finish, &none);
            let mut both = [first, rest].concat();
            both.sort_unstable();
            assert_eq!(both, (0..120).collect::<Vec<_>>(), "{end:?}, parallelism {parallelism} and then {then}");
        }
    }
}
