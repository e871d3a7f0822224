//! A job of a join, windows and timers, in the driver and in the engine.

use std::time::Duration;

use millstream::OutcomeKind;
use millstream::prelude::*;
use millstream::state::StateBackend;
use millstream::testing::{TestDriver, TestDriverError, assert_survives_crashes};

use crate::common::sorted;

/// Account, time, amount.
type Payment = (u64, i64, u64);
/// Account, time, rate.
type Rate = (u64, i64, u64);
/// Account, end of window, sum of the amounts at their rates.
pub(crate) type Total = (u64, i64, u64);
/// Account, span, number of payments.
pub(crate) type Quiet = (u64, i64, u64);

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
pub(crate) struct Market {
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
    pub(crate) fn of(count: u64) -> Self {
        let at = |n: u64, step: i64| n as i64 * step - (n.wrapping_mul(0x9e37_79b9) >> 8) as i64 % 15;
        let payments = (0..count).map(|n| (n * n % 5, at(n, 7), n));
        let rates = (0..count / 3 + 1).flat_map(|n| (0..5).map(move |id| (id, at(n, 20), n + 1)));
        Self { payments: payments.collect(), rates: rates.collect(), backend: None }
    }

    /// For the driver: nothing is read of its connectors.
    pub(crate) fn build(&self) -> impl Fn() -> StreamEnvironment + Clone + 'static {
        let backend = self.backend.clone();
        move || {
            let nothing = Market { backend: backend.clone(), ..Market::default() };
            market(&nothing, CollectSink::new(), CollectSink::new())
        }
    }

    /// Feeds everything, with a checkpoint now and then.
    pub(crate) fn drive(&self, driver: &mut TestDriver) -> Result<(Vec<Total>, Vec<Quiet>), TestDriverError> {
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

// Guarantees G1 and G2.
#[test]
fn job_that_crashes_again_and_again_commits_what_it_does_without() {
    let input = Market::of(60);
    let expected = input.drive(&mut TestDriver::new(0, input.build()).unwrap()).unwrap();
    for seed in 0..10 {
        let mut driver = TestDriver::new(seed, input.build()).unwrap();
        let (payments, rates) = (driver.source("payments").unwrap(), driver.source("rates").unwrap());
        let mut payments_left = input.payments.iter();
        for life in 0..8 {
            payments.feed_all(payments_left.by_ref().take(6).copied());
            driver.begin_checkpoint().unwrap();
            for _ in 0..(seed * 97 + life * 131) % 400 {
                driver.step().unwrap();
            }
            driver.crash().unwrap();
        }
        payments.feed_all(payments_left.copied());
        rates.feed_all(input.rates.iter().copied());
        driver.finish().unwrap();
        let totals = sorted(driver.sink::<Total>("totals").unwrap().committed());
        let quiet = sorted(driver.sink::<Quiet>("quiet").unwrap().committed());
        assert_eq!((totals, quiet), expected, "seed {seed}");
    }
}

/// Whether, in the order that this seed gives, a run that crashes gives something else than the one that does not.
fn a_crash_shows(seed: u64, build: impl Fn() -> StreamEnvironment + Clone + 'static) -> bool {
    let input = Market::of(14);
    let mut straight = TestDriver::new(seed, build.clone()).unwrap();
    let expected = input.drive(&mut straight).unwrap();
    (0..straight.steps()).any(|step| {
        let mut driver = TestDriver::new(seed, build.clone()).unwrap();
        driver.crash_at(step);
        input.drive(&mut driver).unwrap() != expected
    })
}

#[test]
fn crashes_show_that_barriers_were_not_aligned() {
    let build = Market::of(14).build();
    let not_aligned = move || build().checkpointing(Checkpointing::disabled().at_least_once());
    // Not every order has records between the two barriers.
    assert!((0..20).any(|seed| a_crash_shows(seed, not_aligned.clone())), "no crash was between two barriers");
}
