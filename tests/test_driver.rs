//! Whole jobs in the test driver: as in the engine, in an order that a seed repeats, and crashed anywhere.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use millstream::prelude::*;
use millstream::source::Timed;
use millstream::state::StateBackend;
use millstream::testing::{TestDriver, TestDriverError, assert_survives_crashes};
use millstream::{JobError, OutcomeKind, StartError};

use common::sorted;

mod common;

/// Account, time, amount.
type Payment = (u64, i64, u64);
/// Account, time, rate.
type Rate = (u64, i64, u64);
/// Account, end of window, sum of the amounts at their rates.
type Total = (u64, i64, u64);
/// Account, span, number of payments.
type Quiet = (u64, i64, u64);

const WINDOW: Duration = Duration::from_millis(100);
const BOUND: Duration = Duration::from_millis(20);
const SPAN_MS: i64 = 60;

/// Emits an account, a span of time, and how many payments it had in that, a while after the span.
#[derive(Clone)]
struct WhenQuiet;

impl KeyedProcessFunction<u64, Payment> for WhenQuiet {
    type Out = Quiet;
    type State = (MapState<i64, u64>, Timers);

    fn state(&self) -> Self::State {
        (MapState::new("payments"), Timers::new("quiet"))
    }

    fn process(
        &mut self,
        (_, at, _): Payment,
        (mut payments, mut timers): Row<'_, Self, u64, Payment>,
        _: &mut KeyedContext<'_, u64>,
        _: &mut Emitter<'_, Quiet>,
    ) {
        let span = at.div_euclid(SPAN_MS);
        let before = payments.get(&span).copied().unwrap_or(0);
        payments.insert(span, before + 1);
        timers.register(Timer::EventTime((span + 2) * SPAN_MS));
    }

    fn on_timer(
        &mut self,
        timer: Timer,
        (mut payments, _): Row<'_, Self, u64, Payment>,
        ctx: &mut KeyedContext<'_, u64>,
        out: &mut Emitter<'_, Quiet>,
    ) {
        let Timer::EventTime(at) = timer else { panic!("{timer:?} was not registered") };
        let span = at / SPAN_MS - 2;
        out.emit((*ctx.key(), span, payments.remove(&span).expect("a payment has set the timer")));
    }
}

/// What a job reads, and what it gave.
#[derive(Clone, Default)]
struct Market {
    payments: Vec<Payment>,
    rates: Vec<Rate>,
    backend: Option<StateBackend>,
}

/// The job, for the engine and for the driver: a join, windows behind it, and a function with timers beside it.
fn market(input: &Market, totals: CollectSink<Total>, quiet: CollectSink<Quiet>) -> StreamEnvironment {
    let env = StreamEnvironment::new("market").parallelism(2).max_parallelism(16);
    let env = match &input.backend {
        Some(backend) => env.state_backend(backend.clone()),
        None => env,
    };
    let payments = env.source_with_watermarks(
        "payments",
        VecSource::new(input.payments.clone()),
        WatermarkStrategy::bounded_out_of_orderness(BOUND, |payment: &Payment| payment.1),
    );
    let rates = env.source_with_watermarks(
        "rates",
        VecSource::new(input.rates.clone()),
        WatermarkStrategy::bounded_out_of_orderness(BOUND, |rate: &Rate| rate.1),
    );
    payments.clone().key_by(|payment| payment.0).process("when-quiet", WhenQuiet).sink("quiet", quiet);
    payments
        .key_by(|payment| payment.0)
        .join(rates.key_by(|rate| rate.0))
        .between(-50..=0)
        .inner("rated", |payment, rate| (payment.0, payment.2 * rate.2))
        .key_by(|(account, _)| *account)
        .window(TumblingWindows::event_time(WINDOW))
        .aggregate_with("total", Sum, |ctx, sum| (*ctx.key(), ctx.window().end(), sum))
        .sink("totals", totals);
    env
}

#[derive(Clone)]
struct Sum;

impl AggregateFunction for Sum {
    type In = (u64, u64);
    type Accumulator = u64;
    type Out = u64;

    fn create(&self) -> u64 {
        0
    }

    fn add(&self, sum: &mut u64, (_, amount): (u64, u64)) {
        *sum += amount;
    }

    fn result(&self, sum: &u64) -> u64 {
        *sum
    }

    fn merge(&self, sum: &mut u64, other: u64) {
        *sum += other;
    }
}

impl Market {
    /// So many payments, and a rate for each account every 20 ms, all a little out of order.
    fn of(count: u64) -> Self {
        let at = |n: u64, step: i64| n as i64 * step - (n.wrapping_mul(0x9e37_79b9) >> 8) as i64 % 15;
        let payments = (0..count).map(|n| (n * n % 5, at(n, 7), n));
        let rates = (0..count / 3 + 1).flat_map(|n| (0..5).map(move |id| (id, at(n, 20), n + 1)));
        Self { payments: payments.collect(), rates: rates.collect(), backend: None }
    }

    /// For the driver: nothing is read of its connectors.
    fn build(&self) -> impl Fn() -> StreamEnvironment + Clone + 'static {
        let backend = self.backend.clone();
        move || {
            let nothing = Market { backend: backend.clone(), ..Market::default() };
            market(&nothing, CollectSink::new(), CollectSink::new())
        }
    }

    /// Feeds everything, with a checkpoint now and then.
    fn drive(&self, driver: &mut TestDriver) -> Result<(Vec<Total>, Vec<Quiet>), TestDriverError> {
        let (payments, rates) = (driver.source("payments")?, driver.source("rates")?);
        let half = self.payments.len() / 2;
        payments.feed_all(self.payments[..half].iter().copied());
        driver.begin_checkpoint()?;
        rates.feed_all(self.rates.iter().copied());
        driver.run_until_idle()?;
        payments.feed_all(self.payments[half..].iter().copied());
        driver.begin_checkpoint()?;
        assert_eq!(driver.finish()?.kind, OutcomeKind::Finished);
        Ok((sorted(driver.sink("totals")?.committed()), sorted(driver.sink("quiet")?.committed())))
    }
}

#[test]
fn job_gives_the_same_in_the_driver_with_any_seed_as_in_the_engine() {
    let input = Market::of(120);
    let (totals, quiet) = (CollectSink::new(), CollectSink::new());
    let (of_engine, quiet_of_engine) = (totals.handle(), quiet.handle());
    market(&input, totals, quiet).start().unwrap().wait().unwrap();
    let expected = (sorted(of_engine.snapshot()), sorted(quiet_of_engine.snapshot()));
    assert!(expected.0.len() > 20 && expected.1.len() > 3, "{expected:?}");
    for seed in 0..20 {
        let mut driver = TestDriver::new(seed, input.build()).unwrap();
        assert_eq!(input.drive(&mut driver).unwrap(), expected, "seed {seed}");
    }
}

// Guarantees G1 and G2.
#[test]
fn job_that_crashes_before_any_step_commits_what_it_does_without() {
    let input = Market::of(14);
    assert_survives_crashes(3, input.build(), |driver| input.drive(driver)).unwrap();
}

#[test]
fn state_that_is_larger_than_memory_survives_crashes_and_another_parallelism() {
    let dir = tempfile::tempdir().unwrap();
    let input = Market { backend: Some(StateBackend::redb(dir.path())), ..Market::of(40) };
    let of_memory = Market { backend: None, ..input.clone() };
    let expected = of_memory.drive(&mut TestDriver::new(1, of_memory.build()).unwrap()).unwrap();
    let mut driver = TestDriver::new(1, input.build()).unwrap();
    let steps = {
        assert_eq!(input.drive(&mut driver).unwrap(), expected);
        driver.steps()
    };
    drop(driver);
    for step in (0..steps).step_by(199) {
        let mut driver = TestDriver::new(1, input.build()).unwrap();
        driver.crash_at(step);
        assert_eq!(input.drive(&mut driver).unwrap(), expected, "a crash before step {step}");
    }

    let mut driver = TestDriver::new(2, input.build()).unwrap();
    let (payments, rates) = (driver.source("payments").unwrap(), driver.source("rates").unwrap());
    payments.feed_all(input.payments[..20].iter().copied());
    rates.feed_all(input.rates[..30].iter().copied());
    driver.checkpoint().unwrap();
    let build = input.build();
    driver.restart_as(move || build().parallelism(3)).unwrap();
    payments.feed_all(input.payments[20..].iter().copied());
    rates.feed_all(input.rates[30..].iter().copied());
    driver.finish().unwrap();
    let totals = sorted(driver.sink::<Total>("totals").unwrap().committed());
    assert_eq!(totals, expected.0);
}

/// All that can be seen of a run: where records went in which order, events with their times and durations, results.
fn seen(seed: u64) -> (Vec<(u32, u64)>, Vec<String>, Vec<Total>, u64) {
    let input = Market::of(30);
    let order = Arc::new(Mutex::new(Vec::new()));
    let (build, noted) = (input.build(), order.clone());
    let build = move || {
        let env = build();
        let noted = noted.clone();
        env.source("more", VecSource::<u64>::new(Vec::new()))
            .rebalance()
            .process("noted", Noted(noted))
            .sink("nothing", CollectSink::new());
        env
    };
    let mut driver = TestDriver::new(seed, build).unwrap();
    let more = driver.source("more").unwrap();
    more.feed_all(0_u64..50);
    driver.crash_at(300);
    let (totals, _) = input.drive(&mut driver).unwrap();
    let events = driver.history().iter().map(|event| serde_json::to_string(event).unwrap()).collect();
    let order = order.lock().unwrap().clone();
    assert!(order.len() >= 50);
    (order, events, totals, driver.steps())
}

/// Notes which subtask gets which record.
#[derive(Clone)]
struct Noted(Arc<Mutex<Vec<(u32, u64)>>>);

impl ProcessFunction<u64> for Noted {
    type Out = u64;
    type State = ();

    fn state(&self) {}

    fn process(&mut self, n: u64, (): (), ctx: &mut ProcessContext<'_>, out: &mut Emitter<'_, u64>) {
        self.0.lock().unwrap().push((ctx.subtask(), n));
        out.emit(n);
    }
}

#[test]
fn same_seed_gives_the_same_run_and_another_one_another_order() {
    let (first, again) = (seen(11), seen(11));
    assert_eq!(first.0, again.0);
    assert_eq!(first.1, again.1);
    assert_eq!(first, again);
    let others: Vec<_> = (12..16).map(seen).collect();
    for other in &others {
        assert_eq!(other.2, first.2, "the result is the same");
    }
    assert!(others.iter().all(|other| other.0 != first.0), "no other order was taken");
}

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

fn delayed() -> StreamEnvironment {
    let env = StreamEnvironment::new("delayed").parallelism(2);
    env.source("numbers", SequenceSource::unbounded())
        .key_by(|n| *n)
        .process("delayed", Delayed)
        .sink("late", PrintDebug::new());
    env
}

type PrintDebug = CollectSink<(u64, i64)>;

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

#[test]
fn wrong_names_and_types_are_told_with_those_that_there_are() {
    let driver = TestDriver::new(1, delayed).unwrap();
    let told = |error: TestDriverError| error.to_string();
    assert_eq!(told(driver.source::<u64>("late").unwrap_err()), "the job has no source 'late'; it has 'numbers'");
    assert_eq!(told(driver.sink::<u64>("results").unwrap_err()), "the job has no sink 'results'; it has 'late'");
    let error = driver.source::<u32>("numbers").unwrap_err();
    assert!(matches!(&error, TestDriverError::SourceType { id, actual: "u64", asked: "u32" } if id == "numbers"));
    assert_eq!(told(error), "source 'numbers' has records of type u64, not u32");
    assert_eq!(told(driver.sink::<u64>("late").unwrap_err()), "sink 'late' takes records of type (u64, i64), not u64");
}

#[test]
fn job_with_mistakes_or_with_other_records_does_not_start() {
    let error = TestDriver::new(1, || StreamEnvironment::new("nothing")).unwrap_err();
    assert!(matches!(error, TestDriverError::Start(StartError::Graph(_))), "{error}");

    let mut driver = TestDriver::new(1, delayed).unwrap();
    let other = || {
        let env = StreamEnvironment::new("delayed");
        env.source("numbers", VecSource::new(vec!['a'])).sink("late", CollectSink::new());
        env
    };
    let error = driver.restart_as(other).unwrap_err();
    assert_eq!(error.to_string(), "source 'numbers' has records of type char, not u64");
    driver.restart_as(delayed).unwrap();
    driver.run_until_idle().unwrap();
}

/// Gives 100 divided by each.
fn parts() -> StreamEnvironment {
    let env = StreamEnvironment::new("parts").tell_panic_hook(false);
    env.source("numbers", VecSource::<u64>::new(Vec::new())).map(|n| 100 / n).sink("parts", CollectSink::new());
    env
}

#[test]
fn panic_of_a_function_is_a_typed_error_until_the_job_is_started_again() {
    let mut driver = TestDriver::new(1, parts).unwrap();
    let (numbers, parts) = (driver.source::<u64>("numbers").unwrap(), driver.sink::<u64>("parts").unwrap());
    numbers.feed(5);
    driver.checkpoint().unwrap();
    numbers.feed(10).feed(0);
    for _ in 0..2 {
        let error = driver.run_until_idle().unwrap_err();
        let TestDriverError::Failed(JobError::GaveUp { failures: 1, history, .. }) = &error else { panic!("{error}") };
        assert_eq!(history.len(), 1);
        let told = error.to_string();
        assert!(told.contains("attempt to divide by zero") && told.contains("numbers"), "{told}");
    }
    assert!(driver.checkpoint().is_err() && driver.step().is_err());
    driver.crash().unwrap();
    driver.run_until_idle().expect_err("it reads the same again");
    assert_eq!(parts.committed(), [20]);
}

#[test]
fn checkpoint_that_is_under_way_in_a_crash_is_asked_for_again() {
    let count = |crash_at: Option<u64>| {
        let mut driver = TestDriver::new(8, parts).unwrap();
        crash_at.into_iter().for_each(|step| driver.crash_at(step));
        driver.source("numbers").unwrap().feed_all(1_u64..=20);
        driver.checkpoint().unwrap();
        let committed = driver.sink::<u64>("parts").unwrap().committed();
        assert!(!committed.is_empty() || crash_at.is_none());
        (committed.len(), driver.steps())
    };
    let (_, steps) = count(None);
    for step in 0..steps {
        count(Some(step));
    }
}

#[test]
fn records_go_to_the_split_that_is_named_and_keep_its_order() {
    let build = || {
        let env = StreamEnvironment::new("splits").parallelism(3);
        env.source("numbers", VecSource::<u64>::new(Vec::new()))
            .process("where", Where)
            .sink("where-they-were", CollectSink::new());
        env
    };
    let mut driver = TestDriver::new(4, build).unwrap();
    let numbers = driver.source::<u64>("numbers").unwrap();
    assert_eq!(numbers.splits(), 3);
    numbers.feed_all([0, 1, 2, 3]);
    numbers.split(2).feed(12).feed(22);
    numbers.split(1).end();
    numbers.feed_all([30, 32]);
    driver.finish().unwrap();
    let mut of_subtask: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
    for (subtask, n) in driver.sink::<(u32, u64)>("where-they-were").unwrap().committed() {
        of_subtask.entry(subtask).or_default().push(n);
    }
    assert_eq!(of_subtask.remove(&1), Some(vec![1]));
    let others: Vec<_> = of_subtask.into_values().collect();
    assert_eq!(others, [vec![0, 3, 32], vec![2, 12, 22, 30]]);
}

/// Emits each number with the subtask that has it.
#[derive(Clone)]
struct Where;

impl ProcessFunction<u64> for Where {
    type Out = (u32, u64);
    type State = ();

    fn state(&self) {}

    fn process(&mut self, n: u64, (): (), ctx: &mut ProcessContext<'_>, out: &mut Emitter<'_, (u32, u64)>) {
        out.emit((ctx.subtask(), n));
    }
}

#[test]
#[should_panic(expected = "source 'numbers' is fed after its end")]
fn source_that_has_ended_is_fed_no_more() {
    let driver = TestDriver::new(1, parts).unwrap();
    let numbers = driver.source::<u64>("numbers").unwrap();
    numbers.end();
    numbers.feed(1);
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

#[test]
fn driver_runs_within_a_runtime_and_after_the_end_of_the_job() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let mut driver = TestDriver::new(6, parts).unwrap();
        driver.source("numbers").unwrap().feed_all((1_u64..=1_000).map(|n| n % 50 + 1));
        assert_eq!(driver.outcome().map(|outcome| outcome.kind), None);
        let outcome = driver.finish().unwrap();
        assert!(!outcome.already_complete);
        assert_eq!(driver.outcome(), Some(outcome));
        assert!(!driver.step().unwrap());
        assert!(matches!(driver.checkpoint(), Ok(_) | Err(TestDriverError::Checkpoint(_))));
        driver.crash().unwrap();
        assert!(driver.finish().unwrap().already_complete);
        assert_eq!(driver.sink::<u64>("parts").unwrap().committed().len(), 1_000);
    });
}
