//! Processing time that the test moves, and event time that it feeds.

use std::time::Duration;

use millstream::prelude::*;
use millstream::source::Timed;
use millstream::testing::TestDriver;
use millstream::time::WatermarkAlignment;

/// Emits each number half a second after it came, by the job's clock.
#[derive(Clone)]
struct Delayed;

impl KeyedProcessFunction<u64, u64> for Delayed {
    type Out = (u64, i64);
    type State = Timers;

    fn state(&self) -> Timers {
        Timers::new("delay")
    }

    fn process(
        &mut self,
        _: u64,
        mut timers: Row<'_, Self, u64, u64>,
        ctx: &mut KeyedContext<'_, u64>,
        _: &mut Emitter<'_, (u64, i64)>,
    ) {
        timers.register(Timer::ProcessingTime(ctx.clock().unix_ms() as i64 + 500));
    }

    fn on_timer(
        &mut self,
        timer: Timer,
        mut timers: Row<'_, Self, u64, u64>,
        ctx: &mut KeyedContext<'_, u64>,
        out: &mut Emitter<'_, (u64, i64)>,
    ) {
        let Timer::ProcessingTime(at) = timer else { panic!("{timer:?} was not registered") };
        assert_eq!(ctx.clock().unix_ms() as i64, at, "time stops where something is due");
        out.emit((*ctx.key(), at));
        if at % 2_000 < 1_000 {
            timers.register(Timer::ProcessingTime(at + 500));
        }
    }
}

pub(crate) fn delayed() -> StreamEnvironment {
    let env = StreamEnvironment::new("delayed").parallelism(2);
    env.source("numbers", SequenceSource::unbounded())
        .key_by(|n| *n)
        .process("delayed", Delayed)
        .sink("late", CollectSink::new());
    env
}

#[test]
fn timers_of_processing_time_fire_only_when_it_advances_one_after_another() {
    let mut driver = TestDriver::new(5, delayed).unwrap();
    let (numbers, late) = (driver.source::<u64>("numbers").unwrap(), driver.sink::<(u64, i64)>("late").unwrap());
    let start = driver.unix_ms() as i64;
    assert_eq!(start % 2_000, 0);
    numbers.feed(1);
    driver.run_until_idle().unwrap();
    driver.advance_processing_time(Duration::from_millis(200)).unwrap();
    numbers.feed(2);
    driver.advance_processing_time(Duration::from_millis(299)).unwrap();
    driver.checkpoint().unwrap();
    assert_eq!(late.written(), []);
    driver.crash().unwrap();
    driver.run_until_idle().unwrap();
    assert_eq!(late.written(), [], "a crash moves no time");
    driver.advance_processing_time(Duration::from_millis(1)).unwrap();
    assert_eq!(late.written(), [(1, start + 500)]);
    driver.advance_processing_time(Duration::from_millis(700)).unwrap();
    let expected = [(1, 500), (2, 700), (1, 1_000), (2, 1_200)];
    assert_eq!(late.written(), expected.map(|(n, at)| (n, start + at)));
    assert_eq!(driver.unix_ms() as i64, start + 1_200);
}

/// Sums by second, of a source with a strategy that is wrapped once more, and of one without.
fn sums() -> StreamEnvironment {
    let env = StreamEnvironment::new("sums").parallelism(2);
    let strategy = WatermarkStrategy::monotonous(|n: &u64| *n as i64);
    let timed = Throttled::new(Timed::new(VecSource::new(Vec::<u64>::new()), strategy), 1);
    let untimed = env.source("untimed", VecSource::<u64>::new(Vec::new()));
    env.source("timed", timed)
        .union(untimed)
        .key_by(|_| 0_u8)
        .window(TumblingWindows::event_time(Duration::from_secs(1)))
        .reduce("sum", |a, b| a + b)
        .sink("sums", CollectSink::new());
    env
}

#[test]
fn event_time_goes_by_strategies_and_by_what_is_said_of_it() {
    for seed in 0..10 {
        let mut driver = TestDriver::new(seed, sums).unwrap();
        let timed = driver.source::<u64>("timed").unwrap();
        let (untimed, sums) = (driver.source::<u64>("untimed").unwrap(), driver.sink::<u64>("sums").unwrap());
        let run = |driver: &mut TestDriver| {
            driver.run_until_idle().unwrap();
            sums.written()
        };
        timed.split(0).feed(1).feed(1_500);
        timed.split(1).feed(2).feed(1_600);
        untimed.feed_at(10, 20).feed_at(20, 990);
        assert_eq!(run(&mut driver), [0; 0], "the source without a strategy holds event time");
        untimed.split(0).watermark(999);
        assert_eq!(run(&mut driver), [0; 0], "and its other split does");
        untimed.split(1).watermark(1_000);
        assert_eq!(run(&mut driver), [33]);
        driver.checkpoint().unwrap();
        driver.crash().unwrap();
        untimed.idle();
        timed.split(0).feed(2_500);
        assert_eq!(run(&mut driver), [33], "the other split of the timed source is not as far");
        timed.split(1).watermark(1_999);
        assert_eq!(run(&mut driver), [33, 3_100]);
        driver.finish().unwrap();
        assert_eq!(sums.committed(), [33, 3_100, 2_500]);
    }
}

/// The greatest number so far of each of two sources, which wait for each other.
pub(crate) fn aligned(max_drift: Duration) -> impl Fn() -> StreamEnvironment + Clone {
    move || {
        let env = StreamEnvironment::new("aligned");
        let alignment = WatermarkAlignment::within(max_drift);
        let strategy = || WatermarkStrategy::monotonous(|n: &u64| *n as i64).with_alignment(&alignment);
        let source = |id| env.source_with_watermarks(id, VecSource::<u64>::new(Vec::new()), strategy());
        source("first").union(source("second")).sink("out", CollectSink::new());
        env
    }
}

#[test]
fn source_that_waits_for_another_looks_again_when_time_passes() {
    let mut driver = TestDriver::new(3, aligned(Duration::from_millis(100))).unwrap();
    let (first, second) = (driver.source::<u64>("first").unwrap(), driver.source::<u64>("second").unwrap());
    let out = driver.sink::<u64>("out").unwrap();
    second.feed(1);
    driver.run_until_idle().unwrap();
    first.feed_all((0..10).map(|n| n * 1_000));
    driver.run_until_idle().unwrap();
    driver.checkpoint().unwrap();
    assert!(out.written().len() < 11, "{:?}", out.written());
    driver.crash().unwrap();
    second.feed(20_000);
    driver.advance_processing_time(Duration::from_millis(20)).unwrap();
    assert_eq!(out.written().len(), 12);
}

#[test]
fn split_without_records_is_idle_when_the_time_of_its_strategy_has_passed() {
    let build = || {
        let env = StreamEnvironment::new("idle").parallelism(2);
        let strategy = WatermarkStrategy::monotonous(|n: &u64| *n as i64).with_idleness(Duration::from_secs(10));
        env.source_with_watermarks("numbers", VecSource::<u64>::new(Vec::new()), strategy)
            .key_by(|_| 0_u8)
            .window(TumblingWindows::event_time(Duration::from_secs(1)))
            .reduce("sum", |a, b| a + b)
            .sink("sums", CollectSink::new());
        env
    };
    let mut driver = TestDriver::new(3, build).unwrap();
    let (numbers, sums) = (driver.source::<u64>("numbers").unwrap(), driver.sink::<u64>("sums").unwrap());
    numbers.split(0).feed(1).feed(2);
    driver.advance_processing_time(Duration::from_secs(9)).unwrap();
    numbers.split(0).feed(1_000);
    driver.run_until_idle().unwrap();
    assert_eq!(sums.written(), [0; 0]);
    driver.advance_processing_time(Duration::from_secs(1)).unwrap();
    assert_eq!(sums.written(), [3]);
}
