//! Timers fire as in a plain model, in every way of running, on both backends.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use millstream_actors::contract::{Batch, BatchOperator, Output, Progress};
use millstream_actors::protocol::{KeyGroupRange, Mark, Timestamp};

use super::*;
use crate::keyed::{KeyedContext, Row, Timers};
use crate::operator::{ByValue, Emitted, Emitter, SideOutputs};
use crate::state::test_kit::Random;
use crate::state::{MapState, RedbBackend, State, StateTtl, Timer, ValueState, group_of_hash, stable_hash};
use crate::testing::{BoxedOperator, OperatorHarness};

type Alarm = (u64, Timestamp, Timestamp, u64);

/// What a record wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Want {
    Register(Timestamp),
    Delete(Timestamp),
    /// Registers a timer, and with it one each so many milliseconds up to a time.
    Repeat {
        at: Timestamp,
        every: i64,
        up_to: Timestamp,
    },
}

/// Does what records want with the timers of their keys, and emits key, time, watermark and the number of the key's timers that
/// have fired. Holds that the timers of a pass come by time.
#[derive(Clone, Default)]
struct Alarms {
    /// Watermark and time of the last one.
    last: Option<(Timestamp, Timestamp)>,
}

impl KeyedProcessFunction<u64, (u64, Want)> for Alarms {
    type Out = Alarm;
    type State = (ValueState<u64>, Timers, ValueState<(i64, Timestamp)>);

    fn state(&self) -> Self::State {
        (ValueState::new("fired"), Timers::new("timers"), ValueState::new("repeats"))
    }

    fn process(
        &mut self,
        (_, want): (u64, Want),
        (_, mut timers, mut repeats): Row<'_, Self, u64, (u64, Want)>,
        _: &mut KeyedContext<'_, u64>,
        _: &mut Emitter<'_, Alarm>,
    ) {
        match want {
            Want::Register(at) => timers.register(Timer::EventTime(at)),
            Want::Delete(at) => timers.delete(Timer::EventTime(at)),
            Want::Repeat { at, every, up_to } => {
                repeats.set((every, up_to));
                timers.register(Timer::EventTime(at));
            }
        }
    }

    fn on_timer(
        &mut self,
        timer: Timer,
        (mut fired, mut timers, repeats): Row<'_, Self, u64, (u64, Want)>,
        ctx: &mut KeyedContext<'_, u64>,
        out: &mut Emitter<'_, Alarm>,
    ) {
        let Timer::EventTime(at) = timer else { panic!("{timer:?} was not registered") };
        assert!(!timers.contains(timer) && ctx.timestamp() == Some(at));
        let last = self.last.replace((ctx.watermark(), at));
        assert!(
            last.is_none_or(|(watermark, before)| watermark != ctx.watermark() || before <= at),
            "{last:?}, then {at}"
        );
        if let Some((every, up_to)) = repeats.get()
            && at + every <= *up_to
        {
            timers.register(Timer::EventTime(at + every));
        }
        *fired.get_or_insert_with(|| 0) += 1;
        out.emit((*ctx.key(), at, ctx.watermark(), fired.get().copied().unwrap_or_default()));
    }
}

/// A step of an input.
#[derive(Clone, Debug)]
enum Step {
    Batch(Vec<(u64, Want)>),
    Watermark(Timestamp),
}

/// So many batches, with a watermark now and then. Some timers are registered for times that have passed.
fn input(seed: u64, keys: u64, batches: u64) -> Vec<Step> {
    let (mut random, mut now, mut steps) = (Random(seed), 0, Vec::new());
    for _ in 0..batches {
        let records = (0..random.below(40)).map(|_| {
            let at = now + random.below(400) as i64 - 50;
            let want = match random.below(10) {
                0..6 => Want::Register(at),
                6..9 => Want::Delete(at),
                _ => Want::Repeat { at, every: 20 + random.below(200) as i64, up_to: at + 1000 },
            };
            (random.below(keys), want)
        });
        steps.push(Step::Batch(records.collect()));
        if random.below(2) == 0 {
            now += random.below(300) as i64;
            steps.push(Step::Watermark(now));
        }
    }
    steps
}

/// What a plain loop makes of it.
fn expected(steps: &[Step]) -> Vec<Alarm> {
    let mut timers: BTreeSet<(Timestamp, u64, u64)> = BTreeSet::new();
    let mut of_key: BTreeMap<u64, (u64, Option<(i64, Timestamp)>)> = BTreeMap::new();
    let (mut alarms, mut reached) = (Vec::new(), Timestamp::MIN);
    let end = Step::Watermark(Timestamp::MAX);
    for step in steps.iter().chain([&end]) {
        match step {
            Step::Batch(records) => {
                for (key, want) in records {
                    match *want {
                        Want::Register(at) => drop(timers.insert((at, stable_hash(key), *key))),
                        Want::Delete(at) => drop(timers.remove(&(at, stable_hash(key), *key))),
                        Want::Repeat { at, every, up_to } => {
                            of_key.entry(*key).or_default().1 = Some((every, up_to));
                            timers.insert((at, stable_hash(key), *key));
                        }
                    }
                }
            }
            Step::Watermark(watermark) if *watermark > reached => {
                reached = *watermark;
                while let Some(timer) = timers.first().copied().filter(|(at, ..)| at <= watermark) {
                    timers.remove(&timer);
                    let (at, hash, key) = timer;
                    let (fired, repeats) = of_key.entry(key).or_default();
                    *fired += 1;
                    alarms.push((key, at, *watermark, *fired));
                    if let Some((every, up_to)) = repeats
                        && at + *every <= *up_to
                    {
                        timers.insert((at + *every, hash, key));
                    }
                }
            }
            Step::Watermark(_) => {}
        }
    }
    alarms
}

/// The harness with an input, and what is expected of it.
fn fed(
    mut harness: OperatorHarness<(u64, Want), Alarm>,
    (seed, keys, batches): (u64, u64, u64),
) -> (OperatorHarness<(u64, Want), Alarm>, Vec<Alarm>) {
    let steps = input(seed, keys, batches);
    for step in &steps {
        harness = match step {
            Step::Batch(records) => harness.batch(records.clone()),
            Step::Watermark(to) => harness.watermark(*to),
        };
    }
    let expected = expected(&steps);
    assert!(expected.len() > 50, "{} timers", expected.len());
    (harness, expected)
}

fn selector() -> ByValue<impl Fn(&(u64, Want)) -> u64 + Clone + Send> {
    ByValue::new(|record: &(u64, Want)| record.0)
}

/// T3. Also where timers of the past, deletions and timers that register others are among them.
#[test]
fn timers_fire_as_in_a_plain_loop_in_every_way_of_running() {
    for (seed, keys) in [(1, 1), (2, 7), (3, 60), (4, 600)] {
        let (harness, expected) = fed(OperatorHarness::keyed(selector(), Alarms::default()), (seed, keys, 60));
        // Those of one time come in any order: as the table has their rows, if they are many of these.
        harness.check_in_any_order(expected);
    }
}

/// T3. So few rows and timers in memory that all go to the file and back.
#[test]
fn timers_of_state_larger_than_memory_fire_as_in_a_plain_loop() {
    for (seed, keys, is_inline) in [(5, 3, true), (6, 60, true), (7, 300, false)] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_owned();
        let factory = move |range, max| -> BoxedOperator<(u64, Want), Alarm> {
            let backend = RedbBackend::tiny(Alarms::default().state(), range, max, &path, 10, is_inline);
            let (id, sides) = (OperatorId::from("alarms"), SideOutputs::default());
            Box::new(KeyedOperator::with_backend(id, backend, selector(), Alarms::default(), sides))
        };
        let group_of = |record: &(u64, Want)| group_of_hash(stable_hash(&record.0), 128);
        let harness = OperatorHarness::new(factory, Some(Box::new(group_of)));
        let (harness, expected) = fed(harness, (seed, keys, 12));
        // Those of one time come in another order, as some of them are in the file.
        harness.check_in_any_order(expected);
    }
}

/// T3. What a row in the file knows of the queue stays true when nothing of the row itself has changed: key 0 has a timer that is
/// deleted, whose entry in the queue is taken, and gets an earlier one than is left.
#[test]
fn rows_in_the_file_know_what_the_queue_does() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    let factory = move |range, max| -> BoxedOperator<(u64, Want), Alarm> {
        let backend = RedbBackend::tiny(Alarms::default().state(), range, max, &path, 10, true);
        let (id, sides) = (OperatorId::from("alarms"), SideOutputs::default());
        Box::new(KeyedOperator::with_backend(id, backend, selector(), Alarms::default(), sides))
    };
    let mut run = OperatorHarness::new(factory, Some(Box::new(|_| 0))).start(1);
    // Rows of others drive the one of key 0 out of the cache.
    let others = |run: &mut crate::testing::OperatorRun<_, _>| {
        (0..5).for_each(|_| run.feed((1..200).map(|key| (key, Want::Register(9_000)))));
    };
    run.feed([(0, Want::Register(5)), (0, Want::Register(10))]);
    others(&mut run);
    run.feed([(0, Want::Delete(5))]);
    others(&mut run);
    // What has not changed since is not written again.
    drop(run.snapshot());
    run.watermark(6);
    others(&mut run);
    run.feed([(0, Want::Register(7))]);
    others(&mut run);
    run.watermark(8);
    assert_eq!(run.take_output(), [(0, 7, 8, 1)]);
    run.watermark(10);
    assert_eq!(run.take_output(), [(0, 10, 10, 2)]);
}

/// A key whose hash says little: many keys have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
struct Alike(u64);

impl std::hash::Hash for Alike {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        (self.0 % 2).hash(state);
    }
}

/// Registers a timer at the record's number, and clears its state then.
#[derive(Clone)]
struct Once;

impl KeyedProcessFunction<Alike, u64> for Once {
    type Out = u64;
    type State = (MapState<u64, u64>, Timers);

    fn state(&self) -> Self::State {
        (MapState::new("numbers"), Timers::new("timers"))
    }

    fn process(
        &mut self,
        n: u64,
        (mut numbers, mut timers): Row<'_, Self, Alike, u64>,
        _: &mut KeyedContext<'_, Alike>,
        _: &mut Emitter<'_, u64>,
    ) {
        numbers.insert(n, n);
        timers.register(Timer::EventTime(n as i64 / 10));
    }

    fn on_timer(
        &mut self,
        _: Timer,
        (mut numbers, _): Row<'_, Self, Alike, u64>,
        _: &mut KeyedContext<'_, Alike>,
        out: &mut Emitter<'_, u64>,
    ) {
        numbers.iter().for_each(|(n, _)| out.emit(*n));
        numbers.clear();
    }
}

/// T3.
#[test]
fn keys_with_one_hash_have_timers_of_their_own() {
    let harness = OperatorHarness::keyed(ByValue::new(|n: &u64| Alike(*n)), Once);
    harness.batch(0..200).watermark(7).batch(200..300).check_in_any_order(0..300);
}

#[test]
fn timers_that_were_all_deleted_or_have_fired_leave_no_state() {
    let mut operator: KeyedOperator<(u64, Want), _, _> = KeyedOperator::new(
        OperatorId::from("alarms"),
        KeyGroupRange { start: 0, end: 4 },
        4,
        selector(),
        Alarms::default(),
        SideOutputs::default(),
    );
    let give = |operator: &mut KeyedOperator<_, _, _>, records: &[(u64, Want)]| {
        let mut batch = Batch::counted(records.to_vec(), records.len());
        let budget = &mut RunBudget::start_by(Some(|| Duration::ZERO));
        assert_eq!(operator.process(&mut batch, &mut Output::new(), budget).unwrap(), Progress::Done);
    };
    let records: Vec<_> = (0..1000).map(|key| (key, Want::Register(key as i64))).collect();
    give(&mut operator, &records);
    assert_eq!(operator.keys(), 1000);
    let records: Vec<_> = (0..1000).map(|key| (key, Want::Delete(key as i64))).collect();
    give(&mut operator, &records);
    assert_eq!(operator.keys(), 0);
}

#[test]
fn two_states_with_timers_and_timers_that_expire_are_refused() {
    use crate::state::StateRows;
    let reason = |mistakes: Vec<(Arc<str>, String)>| mistakes.into_iter().map(|(_, reason)| reason).collect::<String>();
    assert!(
        reason((Timers::new("a"), ValueState::<u64>::new("b"), Timers::new("c")).mistakes()).contains("a second one")
    );
    let ttl = StateTtl::processing_time(Duration::from_secs(1));
    assert!(reason(Timers::new("a").with_ttl(ttl).mistakes()).contains("do not expire"));
    assert_eq!(reason((Timers::new("a"), ValueState::<u64>::new("b").with_ttl(ttl)).mistakes()), "");
}

/// Registers timers at times by the clock, and emits key and time of each, and how late it came.
#[derive(Clone)]
struct ByClock;

impl KeyedProcessFunction<u64, (u64, i64)> for ByClock {
    type Out = (u64, Timestamp, i64);
    type State = (Timers, ValueState<u64>);

    fn state(&self) -> Self::State {
        (Timers::new("timers"), ValueState::new("count"))
    }

    fn process(
        &mut self,
        (_, after): (u64, i64),
        (mut timers, mut count): Row<'_, Self, u64, (u64, i64)>,
        ctx: &mut KeyedContext<'_, u64>,
        _: &mut Emitter<'_, Self::Out>,
    ) {
        *count.get_or_insert_with(|| 0) += 1;
        timers.register(Timer::ProcessingTime(ctx.clock().unix_ms() as i64 + after));
        // One that a later record is to delete, and one of the other domain at the same time.
        timers.register(Timer::ProcessingTime(Timestamp::MAX));
        timers.register(Timer::EventTime(Timestamp::MAX));
    }

    fn on_timer(
        &mut self,
        timer: Timer,
        (mut timers, count): Row<'_, Self, u64, (u64, i64)>,
        ctx: &mut KeyedContext<'_, u64>,
        out: &mut Emitter<'_, Self::Out>,
    ) {
        let now = ctx.clock().unix_ms() as i64;
        match timer {
            Timer::ProcessingTime(at) => {
                assert_eq!(ctx.timestamp(), None);
                out.emit((*ctx.key(), at, now - at));
                if at % 100 == 7 {
                    timers.register(Timer::ProcessingTime(at + 3));
                }
            }
            Timer::EventTime(_) => {
                assert_eq!(ctx.watermark(), Timestamp::MAX, "the end of input");
                out.emit((*ctx.key(), Timestamp::MAX, count.get().copied().unwrap_or_default() as i64));
            }
        }
    }
}

/// T3, T4. By jumps of the clock. Those that are not due at the end of input do not fire.
#[test]
fn timers_of_processing_time_fire_by_the_clock_in_every_way_of_running() {
    let begin = crate::time::ManualClock::new().unix_ms() as i64;
    let seven = begin + 107 - begin % 100;
    OperatorHarness::keyed(ByValue::new(|record: &(u64, i64)| record.0), ByClock)
        .batch([(1, 0), (2, seven - begin), (3, 500), (1, -5)])
        .advance(Duration::from_millis(300))
        .batch([(2, 1_000)])
        .advance(Duration::from_millis(1_000))
        .batch([(3, 10)])
        .check_in_any_order([
            (1, begin - 5, 5),
            (1, begin, 0),
            (2, seven, begin + 300 - seven),
            (2, seven + 3, begin + 300 - seven - 3),
            (3, begin + 500, 800),
            (2, begin + 1_300, 0),
            (1, Timestamp::MAX, 2),
            (2, Timestamp::MAX, 2),
            (3, Timestamp::MAX, 2),
        ]);
}

/// T3, T4. Those of many keys at one time of either domain, which register others.
#[test]
fn timers_of_many_keys_at_one_time_fire_by_the_clock_in_every_way_of_running() {
    let begin = crate::time::ManualClock::new().unix_ms() as i64;
    let seven = begin + 107 - begin % 100;
    let records: Vec<_> = (0..300).flat_map(|key| [(key, 50), (key, seven - begin)]).collect();
    let expected = (0..300u64).flat_map(|key| {
        let late = |at| (key, at, begin + 200 - at);
        let records = if key < 20 { 3 } else { 2 };
        let again = (key < 20).then_some((key, begin + 250, 50));
        let at_end = (key, Timestamp::MAX, records);
        [late(begin + 50), late(seven), late(seven + 3), at_end].into_iter().chain(again)
    });
    OperatorHarness::keyed(ByValue::new(|record: &(u64, i64)| record.0), ByClock)
        .batch(records)
        .advance(Duration::from_millis(200))
        .batch((0..20).map(|key| (key, 50)))
        .advance(Duration::from_millis(100))
        .check_in_any_order(expected);
}

/// T3. A process that comes back later finds them overdue.
#[test]
fn timers_of_processing_time_that_are_overdue_fire_when_the_state_is_restored() {
    let harness = OperatorHarness::keyed(ByValue::new(|record: &(u64, i64)| record.0), ByClock);
    let mut run = harness.start(2);
    run.feed((0..100).map(|key| (key, 50 + key as i64)));
    run.advance(Duration::from_millis(70));
    let fired = run.take_output().len();
    assert_eq!(fired, 21);
    let mut restored = harness.restore(&run.snapshot(), 3);
    restored.advance(Duration::from_secs(1));
    let mut keys: Vec<_> = restored.take_output().into_iter().map(|(key, ..)| key).collect();
    keys.sort_unstable();
    // One of them registers another one.
    keys.dedup();
    assert_eq!(keys, (21..100).collect::<Vec<_>>());
}

/// T4. When the input ends, those that are due by the clock fire before those of event time, both by time.
#[test]
fn timers_that_are_due_by_the_clock_when_the_input_ends_fire_before_those_of_event_time() {
    let clock = crate::time::ManualClock::new();
    let groups = KeyGroupRange { start: 0, end: 8 };
    let selector = ByValue::new(|record: &(u64, i64)| record.0);
    let operator = KeyedOperator::new("op".into(), groups, 8, selector, ByClock, SideOutputs::default());
    let mut operator = operator.clock(Arc::new(clock.clone()));
    let (mut out, mut given) = (Output::new(), Vec::new());
    let mut batch: Batch<(u64, i64)> = [(1, 30), (2, 10), (3, 20), (4, 1_000)].into_iter().collect();
    let budget = &mut crate::state::test_kit::all_the_time();
    assert_eq!(operator.process(&mut batch, &mut out, budget).unwrap(), Progress::Done);
    // Nobody wakes the operator in between.
    clock.advance(Duration::from_millis(30));
    while operator.mark(Mark::End, &mut out, budget).unwrap() == Progress::Suspended {}
    out.drain(|emitted| {
        if let Emitted::Batch(batch) = emitted {
            given.extend(batch.drain().map(|(key, at, _)| (key, at == Timestamp::MAX)));
        }
    });
    assert_eq!(given[..3], [(2, false), (3, false), (1, false)]);
    given[3..].sort_unstable();
    assert_eq!(given[3..], [(1, true), (2, true), (3, true), (4, true)]);
}
