//! Timers, and results of windows, at which functions panic: key and time are diverted, and what else the key has is kept.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use millstream::aggregates::Sum;
use millstream::prelude::*;
use millstream::window::WindowContext;

use crate::common::{BOUND_MS, CountedPanics, checkpointed, run_to_end, sorted, time_of};
use crate::rig::{RECORDS, Record, numbers, withheld};

const KEYS: u64 = 7;
const AFTER_MS: i64 = 300;

/// The records with event times.
fn timed(env: &StreamEnvironment) -> DataStream<u64> {
    let bound = Duration::from_millis(BOUND_MS);
    let strategy = WatermarkStrategy::bounded_out_of_orderness(bound, |(_, n): &Record| time_of(*n));
    env.source_with_watermarks("numbers", numbers("n"), strategy).map(|(_, n): Record| n)
}

/// Output, sorted, and what was withheld, of a job in which other calls panic, too.
fn ran<T: Ord + Clone + Send + 'static>(
    name: &'static str,
    (parallelism, spills): (u32, bool),
    build: impl FnOnce(DataStream<u64>, OutputTag<DeadFiring>) -> DataStream<T> + Send + 'static,
) -> (Vec<T>, Vec<DeadFiring>) {
    let (sink, dead) = (CollectSink::new(), CollectSink::new());
    let (output, firings) = (sink.handle(), dead.handle());
    let panics = CountedPanics::at(&[40, 130, 180]);
    let dir = tempfile::tempdir().unwrap();
    let spills_to = spills.then(|| dir.path().to_owned());
    let (outcome, job) = run_to_end(name, move || {
        let env = checkpointed(name, parallelism, spills_to.as_deref());
        let env = env.snapshot_store(MemoryStore::new()).tell_panic_hook(false);
        let tag = OutputTag::new("dead");
        let stream = build(timed(&env), tag.clone());
        stream.side_output(&tag).sink("dead", dead);
        stream.inspect(move |_| panics.count_and_panic()).sink("out", sink);
        env
    });
    outcome.unwrap();
    assert!(job.history().iter().any(|event| withheld(&event.kind)));
    (sorted(output.snapshot()), firings.snapshot())
}

fn key_and_time(firings: &[DeadFiring]) -> Vec<(String, Timer)> {
    sorted(firings.iter().map(|firing| (firing.key.clone(), firing.timer)).collect())
}

/// Counts the records of a key, and says when each is so long ago, unless that cannot be said.
#[derive(Clone)]
struct Reminders;

fn cannot_be_said(key: u64, at: i64) -> bool {
    key == 3 && at % 40 < 10
}

impl KeyedProcessFunction<u64, u64> for Reminders {
    type Out = (u64, &'static str, i64);
    type State = (ValueState<i64>, Timers);

    fn state(&self) -> Self::State {
        (ValueState::new("count"), Timers::new("reminders"))
    }

    fn process(
        &mut self,
        n: u64,
        (mut count, mut timers): Row<'_, Self, u64, u64>,
        _: &mut KeyedContext<'_, u64>,
        _: &mut Emitter<'_, Self::Out>,
    ) {
        *count.get_or_insert_with(|| 0) += 1;
        timers.register(Timer::EventTime(time_of(n) + AFTER_MS));
    }

    fn on_timer(
        &mut self,
        timer: Timer,
        (mut count, _): Row<'_, Self, u64, u64>,
        ctx: &mut KeyedContext<'_, u64>,
        out: &mut Emitter<'_, Self::Out>,
    ) {
        let Timer::EventTime(at) = timer else { panic!("no other is registered") };
        // Would be seen if the instance went on.
        *count.get_or_insert_with(|| 0) += 1000;
        assert!(!cannot_be_said(*ctx.key(), at), "no reminder at {at}");
        *count.get_or_insert_with(|| 0) -= 1000;
        out.emit((*ctx.key(), "at", at));
    }

    fn timer_withheld(
        &mut self,
        _: Timer,
        (mut count, _): Row<'_, Self, u64, u64>,
        ctx: &mut KeyedContext<'_, u64>,
        out: &mut Emitter<'_, Self::Out>,
    ) {
        *count.get_or_insert_with(|| 0) += 1_000_000;
        out.emit((*ctx.key(), "none", 0));
    }

    fn end_of_input(
        &mut self,
        (count, _): Row<'_, Self, u64, u64>,
        ctx: &mut KeyedContext<'_, u64>,
        out: &mut Emitter<'_, Self::Out>,
    ) {
        out.emit((*ctx.key(), "counted", count.get().copied().unwrap_or_default()));
    }
}

/// Guarantee D3.
#[test]
fn timer_is_diverted_and_its_key_goes_on_with_its_state() {
    for how in [(1, false), (2, false), (2, true)] {
        let (output, firings) = ran("timers", how, |numbers, tag| {
            let reminded = numbers.key_by(|n| n % KEYS).process("reminders", Reminders);
            reminded.on_panic(OnPanic::<u64>::skip().after(2).firings(&tag))
        });
        let timers: BTreeSet<(u64, i64)> = (0..RECORDS).map(|n| (n % KEYS, time_of(n) + AFTER_MS)).collect();
        let (gone, come): (Vec<_>, Vec<_>) = timers.into_iter().partition(|(key, at)| cannot_be_said(*key, *at));
        assert!(gone.len() > 5, "{gone:?}");
        let counted = (0..KEYS).map(|key| {
            let records = (0..RECORDS).filter(|n| n % KEYS == key).count();
            let gone = if key == 3 { gone.len() } else { 0 };
            (key, "counted", (records + 1_000_000 * gone) as i64)
        });
        let come = come.into_iter().map(|(key, at)| (key, "at", at));
        let expected = come.chain(counted).chain(gone.iter().map(|_| (3, "none", 0)));
        assert_eq!(output, sorted(expected.collect()), "{how:?}");
        let expected = gone.iter().map(|(key, at)| (key.to_string(), Timer::EventTime(*at)));
        assert_eq!(key_and_time(&firings), sorted(expected.collect()), "{how:?}");
        for firing in &firings {
            let DeadFiring { timer: Timer::EventTime(at), message, panics, .. } = firing else { panic!("{firing:?}") };
            assert_eq!((message.as_str(), *panics), (format!("no reminder at {at}").as_str(), 2));
        }
    }
}

/// Which windows give results.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// Of their records.
    Tumbling,
    /// Of slices that they share.
    Sliding,
    /// Of records, by a trigger that is asked.
    Triggered,
}

/// Key, last instant, sum.
type Total = (u64, i64, u64);

fn has_no_result(key: u64, last: i64) -> bool {
    key == 2 && (last + 1) % 1_000 == 0
}

fn total(ctx: &WindowContext<'_, u64>, sum: u64) -> Total {
    let last = ctx.window().max_timestamp();
    assert!(!has_no_result(*ctx.key(), last), "no result");
    (*ctx.key(), last, sum)
}

fn windows(kind: Kind, numbers: DataStream<u64>) -> DataStream<Total> {
    let (keyed, ms) = (numbers.key_by(|n| n % KEYS), Duration::from_millis);
    match kind {
        Kind::Tumbling => keyed
            .window(TumblingWindows::event_time(ms(500)))
            .apply("totals", |numbers: &[u64], ctx, out: &mut Emitter<'_, Total>| {
                out.emit(total(ctx, numbers.iter().sum()))
            }),
        Kind::Sliding => keyed.window(SlidingWindows::event_time(ms(1_000), ms(250))).aggregate_with(
            "totals",
            Sum::of(|n: &u64| *n),
            total,
        ),
        Kind::Triggered => keyed.window(TumblingWindows::event_time(ms(500))).allowed_lateness(ms(100)).aggregate_with(
            "totals",
            Sum::of(|n: &u64| *n),
            total,
        ),
    }
}

/// Guarantee D3.
#[test]
fn window_without_a_result_is_diverted_and_purged_and_the_others_of_its_key_are_whole() {
    for kind in [Kind::Tumbling, Kind::Sliding, Kind::Triggered] {
        let (size, slide) = if matches!(kind, Kind::Sliding) { (1_000, 250) } else { (500, 500) };
        let mut sums: BTreeMap<(u64, i64), u64> = BTreeMap::new();
        for n in 0..RECORDS {
            let last = time_of(n).div_euclid(slide) * slide;
            let starts = (0..).map(|back| last - back * slide).take_while(|start| start + size > time_of(n));
            starts.for_each(|start| *sums.entry((n % KEYS, start + size - 1)).or_default() += n);
        }
        let (gone, come): (Vec<_>, Vec<_>) = sums.into_iter().partition(|((key, last), _)| has_no_result(*key, *last));
        assert!(gone.len() >= 3, "{gone:?}");
        for how in [(1, false), (2, true)] {
            let (output, firings) = ran("windows", how, move |numbers, tag| {
                windows(kind, numbers).on_panic(OnPanic::<u64>::skip().firings(&tag))
            });
            assert!(output.iter().copied().eq(come.iter().map(|((key, last), sum)| (*key, *last, *sum))), "{kind:?}");
            let expected = gone.iter().map(|((key, last), _)| (key.to_string(), Timer::EventTime(*last)));
            assert_eq!(key_and_time(&firings), sorted(expected.collect()), "{kind:?}");
        }
    }
}
