//! Operators of other kinds: broadcast state, patterns, connected streams, side outputs, windows of processing time.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use millstream::keyed::{BroadcastRow, EveryKey, KeyedRow};
use millstream::operator::OutputTag;
use millstream::prelude::*;
use millstream::state::BroadcastState;
use millstream::testing::{TestDriver, TestDriverError, assert_survives_crashes};

use crate::common::{Service, sorted};

/// Tells of users with as many visits as a rule says, also when the rule comes later.
#[derive(Clone)]
struct Often;

impl KeyedBroadcastProcessFunction<u64, u64, u64> for Often {
    type Out = (u64, u64);
    type State = ValueState<u64>;
    type Broadcast = BroadcastState<u64, ()>;

    fn state(&self) -> Self::State {
        ValueState::new("visits")
    }

    fn broadcast_state(&self) -> Self::Broadcast {
        BroadcastState::new("rules")
    }

    fn process(
        &mut self,
        _: u64,
        mut visits: KeyedRow<'_, Self, u64, u64, u64>,
        rules: &BroadcastRow<'_, Self, u64, u64, u64>,
        ctx: &mut KeyedContext<'_, u64>,
        out: &mut Emitter<'_, (u64, u64)>,
    ) {
        let visits = visits.get_or_insert_with(|| 0);
        *visits += 1;
        if rules.get(visits).is_some() {
            out.emit((*ctx.key(), *visits));
        }
    }

    fn process_broadcast(
        &mut self,
        rule: u64,
        mut rules: BroadcastRow<'_, Self, u64, u64, u64>,
        keys: &mut EveryKey<'_, u64, Self::State>,
        _: &mut ProcessContext<'_>,
        out: &mut Emitter<'_, (u64, u64)>,
    ) {
        rules.insert(rule, ());
        keys.for_each(|user, visits| {
            if visits.get().is_some_and(|visits| *visits >= rule) {
                out.emit((*user, rule));
            }
        });
    }
}

fn visits() -> StreamEnvironment {
    let env = StreamEnvironment::new("visits").parallelism(2).chaining(false).max_parallelism(8).own_arbiters(3);
    let odd = OutputTag::<u64>::new("odd");
    let tag = odd.clone();
    let rules = env.source("rules", VecSource::<u64>::new(Vec::new())).parallelism(1);
    let strategy = WatermarkStrategy::monotonous(|n: &u64| *n as i64);
    let visits = env.source_with_watermarks("visits", VecSource::<u64>::new(Vec::new()), strategy);
    let even = visits.clone().flat_map(move |n, out| if n % 2 == 0 { out.emit(n) } else { out.emit_to(&tag, n) });
    let sides = even.side_output(&odd);
    even.connect(sides).map(|n| n, |n| n + 1_000).sink("numbers", CollectSink::new());
    visits
        .clone()
        .key_by(|n| n % 3)
        .connect_broadcast(rules)
        .process("often", Often)
        .sink("often-out", CollectSink::new());
    let rise = Pattern::begin("low", |n: &u64| n.is_multiple_of(4)).followed_by("high", |n| n % 4 == 3);
    visits
        .key_by(|n| n % 3)
        .pattern(rise)
        .select("rises", |found| (found.first("low").copied(), found.first("high").copied()))
        .sink("rises-out", CollectSink::new());
    env
}

type Rise = (Option<u64>, Option<u64>);
/// Numbers; users and rules; rises.
type Given = (Vec<u64>, Vec<(u64, u64)>, Vec<Rise>);

fn visit(driver: &mut TestDriver) -> Result<Given, TestDriverError> {
    let (visits, rules) = (driver.source("visits")?, driver.source("rules")?);
    visits.feed_all(0_u64..8);
    rules.feed(2_u64);
    driver.begin_checkpoint()?;
    visits.feed_all(8..14);
    driver.finish()?;
    let numbers = sorted(driver.sink("numbers")?.committed());
    Ok((numbers, sorted(driver.sink("often-out")?.committed()), sorted(driver.sink("rises-out")?.committed())))
}

// Guarantees G1 and G2.
#[test]
fn operators_of_all_kinds_give_the_same_in_any_order_and_after_any_crash() {
    let (numbers, often, rises) = assert_survives_crashes(1, visits, visit).unwrap();
    let expected = (0..14).map(|n| if n % 2 == 0 { n } else { n + 1_000 });
    assert_eq!(numbers, sorted(expected.collect()));
    assert_eq!(often, [(0, 2), (1, 2), (2, 2)]);
    assert_eq!(rises.len(), 3, "{rises:?}");
    for seed in 2..12 {
        let given = visit(&mut TestDriver::new(seed, visits).unwrap()).unwrap();
        assert_eq!(given, (numbers.clone(), often.clone(), rises.clone()), "seed {seed}");
    }
}

/// T13: answers that the test gives between steps, and one that only a second attempt has.
#[test]
fn asynchronous_answers_are_given_once_after_any_crash() {
    let service = Service::default();
    let of_job = service.clone();
    let build = move || {
        let (env, service) = (StreamEnvironment::new("asks").parallelism(2), of_job.clone());
        let wait = AsyncWait::unordered(Duration::MAX).capacity(2);
        let wait = wait.retry(AsyncRetry::fixed(u32::MAX, Duration::from_secs(1)));
        env.source("numbers", VecSource::<u64>::new(Vec::new()))
            .async_map("ask", wait, move |n| {
                let service = service.clone();
                poll_fn(move |cx| match n {
                    3 if service.answered() < 4 => Poll::Ready(Err(AsyncError::retryable("busy"))),
                    _ if service.answers(cx.waker()) => Poll::Ready(Ok(n)),
                    _ => Poll::Pending,
                })
            })
            .sink("out", CollectSink::new());
        env
    };
    let answered = assert_survives_crashes(1, build, |driver: &mut TestDriver| {
        service.allow(Some(3));
        let numbers = driver.source("numbers")?;
        numbers.feed_all(0_u64..8);
        driver.run_until_idle()?;
        driver.checkpoint()?;
        service.allow(None);
        driver.advance_processing_time(Duration::from_secs(2))?;
        driver.begin_checkpoint()?;
        numbers.feed_all(8..10);
        driver.finish()?;
        Ok(sorted(driver.sink::<u64>("out")?.committed()))
    });
    assert_eq!(answered.unwrap(), (0..10).collect::<Vec<_>>());
}

#[test]
fn windows_of_processing_time_close_when_it_advances() {
    let build = || {
        let env = StreamEnvironment::new("per-second").parallelism(2);
        env.source("numbers", SequenceSource::unbounded())
            .key_by(|_| 0_u8)
            .window(TumblingWindows::processing_time(Duration::from_secs(1)))
            .reduce("sum", |a, b| a + b)
            .sink("sums", CollectSink::new());
        env
    };
    let mut driver = TestDriver::new(9, build).unwrap();
    let (numbers, sums) = (driver.source::<u64>("numbers").unwrap(), driver.sink::<u64>("sums").unwrap());
    for second in 0..3_u64 {
        numbers.feed_all([10 * second, 1]);
        driver.advance_processing_time(Duration::from_millis(999)).unwrap();
        assert_eq!(sums.written().len() as u64, second);
        driver.checkpoint().unwrap();
        driver.crash().unwrap();
        driver.advance_processing_time(Duration::from_millis(1)).unwrap();
        assert_eq!(sums.written().last(), Some(&(10 * second + 1)));
    }
}
