//! Joins give what a plain loop does, in every way of running, on both backends.

use std::time::Duration;

use millstream_actors::contract::{Batch, Emitted};
use millstream_actors::protocol::{KeyGroupRange, OperatorId, Timestamp};

use super::{IntervalJoin, LivingJoin, TemporalJoin, TimeBounds};
use crate::keyed::{KeyedCoOperator, KeyedCoProcessFunction};
use crate::operator::Either::{self, First, Second};
use crate::operator::{ByValue, Output, OutputTag, Progress, SideOutputs};
use crate::state::RedbBackend;
use crate::state::test_kit::{Random, all_the_time};
use crate::testing::{OperatorHarness, merged};

/// Key, event time, number.
type Record = (u64, Timestamp, u64);
type Input = Either<Record, Record>;
/// The numbers of both.
type Pair = (u64, u64);
/// The number of a record, and of the version that held at its time.
type AsOf = (u64, Option<u64>);

#[derive(Clone, Debug)]
enum Step {
    Batch(Vec<Input>),
    Watermark(Timestamp),
}

fn of(input: &Input) -> Record {
    match input {
        First(record) | Second(record) => *record,
    }
}

/// Batches of records of both streams, whose times are up to `disorder` ms out of order and often the same, with watermarks `bound`
/// ms behind the latest.
fn input(seed: u64, keys: u64, (disorder, bound): (u64, i64)) -> Vec<Step> {
    let (mut random, mut now, mut latest, mut steps) = (Random(seed), 0, -10_000, Vec::new());
    let mut number = 0;
    for _ in 0..12 {
        let records = (0..random.below(30)).map(|_| {
            now += random.below(60) as i64;
            let at = (now - random.below(disorder + 1) as i64 - 500) / 10 * 10;
            latest = latest.max(at);
            number += 1;
            let record = (random.below(keys), at, number);
            if random.below(2) == 0 { First(record) } else { Second(record) }
        });
        steps.push(Step::Batch(records.collect()));
        if random.below(3) > 0 {
            steps.push(Step::Watermark(latest - bound));
        }
    }
    steps
}

/// Gives each record to `take` with the watermark before it, and each watermark that is news.
fn replay(steps: &[Step], mut take: impl FnMut(Result<Input, Timestamp>, Timestamp)) {
    let mut watermark = Timestamp::MIN;
    for step in steps.iter().chain([&Step::Watermark(Timestamp::MAX)]) {
        match step {
            Step::Batch(records) => records.iter().for_each(|record| take(Ok(*record), watermark)),
            Step::Watermark(to) if *to > watermark => {
                watermark = *to;
                take(Err(watermark), watermark);
            }
            Step::Watermark(_) => {}
        }
    }
}

fn is_late(input: &Input, watermark: Timestamp) -> bool {
    of(input).1 <= watermark
}

/// All pairs of records that are not late.
fn expected_pairs(steps: &[Step], (lower, upper): (i64, i64)) -> (Vec<Pair>, Vec<Input>) {
    let (mut firsts, mut seconds, mut late) = (Vec::new(), Vec::new(), Vec::new());
    replay(steps, |step, watermark| match step {
        Ok(input) if is_late(&input, watermark) => late.push(input),
        Ok(First(record)) => firsts.push(record),
        Ok(Second(record)) => seconds.push(record),
        Err(_) => {}
    });
    let meets =
        |first: &Record, second: &Record| first.0 == second.0 && (lower..=upper).contains(&(second.1 - first.1));
    let pairs = firsts.iter().flat_map(|first| seconds.iter().map(move |second| (first, second)));
    (pairs.filter(|(first, second)| meets(first, second)).map(|(first, second)| (first.2, second.2)).collect(), late)
}

/// Each record that is not late with the version that is known when the watermark has come to its time.
fn expected_as_of(steps: &[Step]) -> (Vec<AsOf>, Vec<Record>) {
    let (mut waiting, mut versions, mut results, mut late) = (Vec::new(), Vec::<Record>::new(), Vec::new(), Vec::new());
    replay(steps, |step, watermark| match step {
        Ok(First(record)) if record.1 <= watermark => late.push(record),
        Ok(First(record)) => waiting.push(record),
        Ok(Second(version)) => versions.push(version),
        Err(watermark) => waiting.retain(|record: &Record| {
            let holds = versions.iter().filter(|version| version.0 == record.0 && version.1 <= record.1);
            if record.1 <= watermark {
                // Of several with the greatest time it is the last.
                results.push((record.2, holds.max_by_key(|version| version.1).map(|version| version.2)));
            }
            record.1 > watermark
        }),
    });
    (results, late)
}

type Harness<Out> = OperatorHarness<Input, Out>;

fn key(record: &Record) -> u64 {
    record.0
}

fn selector() -> ByValue<fn(&Record) -> u64> {
    ByValue::new(key)
}

fn in_memory<F: KeyedCoProcessFunction<u64, Record, Record>>(function: F) -> Harness<F::Out>
where
    F::Out: std::fmt::Debug + PartialEq,
{
    OperatorHarness::keyed_two_inputs(selector(), selector(), function)
}

/// With most rows in a file.
fn in_file<F: KeyedCoProcessFunction<u64, Record, Record>>(function: F, dir: &std::path::Path) -> Harness<F::Out>
where
    F::Out: std::fmt::Debug + PartialEq,
{
    OperatorHarness::keyed_two_inputs_in_file((selector(), selector()), function, dir)
}

fn fed<Out>(harness: Harness<Out>, steps: &[Step]) -> Harness<Out>
where
    Out: std::fmt::Debug + PartialEq + Send + 'static,
{
    let harness = harness.event_times(|input| of(input).1);
    steps.iter().fold(harness, |harness, step| match step {
        Step::Batch(records) => harness.batch(records.iter().copied()),
        Step::Watermark(to) => harness.watermark(*to),
    })
}

#[test]
fn records_meet_whose_times_differ_by_what_is_in_the_interval() {
    let dir = tempfile::tempdir().unwrap();
    let intervals = [(-100, 100), (0, 0), (50, 300), (-300, -50), (-200, 0), (0, 200)];
    for (number, (lower, upper)) in intervals.into_iter().enumerate() {
        for (seed, keys, times) in [(1, 3, (200, 200)), (2, 1, (400, 100)), (3, 40, (400, 100))] {
            let steps = input(seed * 100 + number as u64, keys, times);
            let (pairs, late) = expected_pairs(&steps, (lower, upper));
            assert!(!pairs.is_empty() || keys == 40 && (lower, upper) == (0, 0));
            assert_eq!(late.is_empty(), times.0 == 200, "seed {seed}");
            let tag = OutputTag::new("late");
            let bounds = TimeBounds::of(&(lower..=upper)).unwrap();
            let join =
                IntervalJoin::new(bounds, Some(tag.clone()), |first: &Record, second: &Record| (first.2, second.2));
            for harness in [in_memory(join.clone()), in_file(join, dir.path())] {
                fed(harness, &steps).side_output(&tag, late.clone()).check_in_any_order(pairs.clone());
            }
        }
    }
}

#[test]
fn a_record_of_a_key_with_many_that_wait_reads_a_few_pages_of_them() {
    const WAITING: i64 = 100_000;
    let dir = tempfile::tempdir().unwrap();
    let bounds = TimeBounds::of(&(-5..=5)).unwrap();
    let join = IntervalJoin::new(bounds, None, |first: &Record, second: &Record| (first.2, second.2));
    let states = KeyedCoProcessFunction::<u64, Record, Record>::state(&join);
    let backend = RedbBackend::tiny(states, KeyGroupRange { start: 0, end: 4 }, 4, dir.path(), 10, true);
    let pages_read = backend.pages_read();
    let (id, selectors) = (OperatorId::from("join"), (selector(), selector()));
    let mut operator = merged(KeyedCoOperator::with_backend(id, backend, selectors, join, SideOutputs::default()));
    let mut out = Output::new();
    let mut feed = |records: Vec<Input>| {
        let mut batch = Batch::new();
        records.into_iter().for_each(|input| batch.push_at(input, 0, of(&input).1));
        while operator.process(&mut batch, &mut out, &mut all_the_time()).unwrap() == Progress::Suspended {}
        let mut emitted = Vec::new();
        out.drain(|part| match part {
            Emitted::Batch(pairs) => emitted.extend(pairs.drain()),
            Emitted::Mark(mark) => panic!("{mark:?}"),
        });
        emitted
    };
    for first in (0..WAITING).step_by(1_000) {
        feed((first..first + 1_000).map(|time| First((7, time, time as u64))).collect());
    }
    let mut random = Random(9);
    for number in 0..100 {
        // Others have its row leave the cache now and then.
        if number % 10 == 0 {
            feed((0..40).map(|key| First((100 + key, 0, 0))).collect());
        }
        let time = 10 + random.below(WAITING as u64 - 20) as i64;
        let before = pages_read();
        let mut met = feed(vec![Second((7, time, number))]);
        let read = pages_read() - before;
        // Four to a page at most, two at least.
        assert!(read <= 11, "{read} pages of {WAITING} records");
        met.sort_unstable();
        assert!(met.into_iter().eq((time as u64 - 5..=time as u64 + 5).map(|first| (first, number))));
    }
}

#[test]
fn a_record_meets_the_version_that_held_at_its_time() {
    let dir = tempfile::tempdir().unwrap();
    for (seed, keys, times) in [(1, 3, (200, 200)), (2, 1, (400, 100)), (3, 40, (400, 100)), (4, 5, (800, 20))] {
        let steps = input(seed, keys, times);
        let (results, late) = expected_as_of(&steps);
        assert_eq!(late.is_empty(), times.0 == 200, "seed {seed}");
        assert!(results.iter().any(|(_, version)| version.is_some()));
        let tag = OutputTag::new("late");
        let matched = |record: &Record, version: Option<&Record>| Some((record.2, version.map(|version| version.2)));
        let join = TemporalJoin::new(Some(tag.clone()), matched);
        for harness in [in_memory(join.clone()), in_file(join, dir.path())] {
            fed(harness, &steps).side_output(&tag, late.clone()).check_in_any_order(results.clone());
        }
    }
}

#[test]
fn versions_and_records_are_dropped_when_nothing_can_meet_them() {
    let bounds = TimeBounds::of(&(-100..=100)).unwrap();
    let join = IntervalJoin::new(bounds, None, |first: &Record, second: &Record| (first.2, second.2));
    let start = || in_memory(join.clone()).event_times(|input| of(input).1).start(1);
    let mut run = start();
    run.feed((0..50).map(|number| First((number % 5, 1_000, number))));
    run.feed((0..50).map(|number| Second((number % 5, 1_050, number))));
    run.watermark(1_149);
    run.feed([Second((0, 1_150, 99))]);
    assert_eq!(run.take_output().len(), 5 * 10 * 10, "the last comes too late for all of 1,000");
    let mut nothing = start();
    run.watermark(1_250);
    nothing.watermark(1_250);
    assert_eq!(run.snapshot().bytes(), nothing.snapshot().bytes());

    let matched = |record: &Record, version: Option<&Record>| Some((record.2, version.map(|version| version.2)));
    let join = TemporalJoin::new(None, matched);
    let start = || in_memory(join.clone()).event_times(|input| of(input).1).start(1);
    let (mut run, mut few) = (start(), start());
    for at in 0..200 {
        run.feed([Second((1, at, at as u64))]);
        run.watermark(at);
    }
    few.feed([Second((1, 198, 198)), Second((1, 199, 199))]);
    few.watermark(199);
    assert_eq!(run.snapshot().bytes(), few.snapshot().bytes(), "the last version, and the one that held when it came");
    run.feed([First((1, 300, 7))]);
    run.watermark(300);
    assert_eq!(run.take_output(), [(7, Some(199))]);
}

#[test]
fn records_meet_while_the_earlier_one_lives() {
    let join = LivingJoin::new(1_000, |first: &Record, second: &Record| (first.2, second.2));
    let second = Duration::from_secs(1);
    let dir = tempfile::tempdir().unwrap();
    for harness in [in_memory(join.clone()), in_file(join.clone(), dir.path())] {
        harness
            .batch([First((1, 0, 1)), Second((1, 0, 2)), First((2, 0, 3))])
            .advance(second - Duration::from_millis(1))
            .batch([Second((1, 0, 4)), Second((2, 0, 5)), First((1, 0, 6))])
            .advance(Duration::from_millis(1))
            .batch([First((1, 0, 7)), Second((2, 0, 8))])
            .advance(second)
            .batch([First((1, 0, 9)), Second((1, 0, 10))])
            .check_in_any_order([(1, 2), (1, 4), (3, 5), (6, 2), (6, 4), (7, 4), (9, 10)]);
    }

    let mut run = in_memory(join).start(1);
    run.feed((0..100).map(|number| First((number, 0, number))));
    run.advance(second);
    let nothing = in_memory(LivingJoin::new(1_000, |_: &Record, _: &Record| 0u64)).start(1).snapshot();
    assert_eq!(run.snapshot().bytes(), nothing.bytes(), "what does not live any more is dropped without input");
}

/// T11: many keys, and a clock that moves while the join is down, too.
#[test]
fn records_that_live_meet_as_in_a_plain_loop() {
    const LIVES_MS: i64 = 300;
    let dir = tempfile::tempdir().unwrap();
    for (seed, keys, spills) in [(1, 3, false), (2, 40, false), (3, 40, true)] {
        let (mut random, mut now, mut pairs) = (Random(seed), 0, Vec::new());
        let (mut firsts, mut seconds) = (Vec::<(Timestamp, Record)>::new(), Vec::<(Timestamp, Record)>::new());
        let join = LivingJoin::new(LIVES_MS, |first: &Record, second: &Record| (first.2, second.2));
        let mut harness = if spills { in_file(join, dir.path()) } else { in_memory(join) };
        for _ in 0..12 {
            let batch: Vec<Input> = (0..random.below(20))
                .map(|_| {
                    let record = (random.below(keys), 0, random.below(1_000));
                    let meets = |(came, other): &&(Timestamp, Record)| other.0 == record.0 && now - came < LIVES_MS;
                    if random.below(2) == 0 {
                        pairs.extend(seconds.iter().filter(meets).map(|(_, second)| (record.2, second.2)));
                        firsts.push((now, record));
                        First(record)
                    } else {
                        pairs.extend(firsts.iter().filter(meets).map(|(_, first)| (first.2, record.2)));
                        seconds.push((now, record));
                        Second(record)
                    }
                })
                .collect();
            let passes = random.below(200);
            now += passes as i64;
            harness = harness.batch(batch).advance(Duration::from_millis(passes));
        }
        assert!(pairs.len() > 20, "{} pairs", pairs.len());
        harness.check_in_any_order(pairs);
    }
}

#[test]
fn intervals_are_as_ranges_say_and_end_somewhere() {
    use std::ops::Bound::{Excluded, Included, Unbounded};
    let of = |range: (std::ops::Bound<i64>, std::ops::Bound<i64>)| TimeBounds::of(&range);
    let same = [(Included(-5), Included(5)), (Excluded(-6), Included(5)), (Included(-5), Excluded(6))];
    assert!(same.into_iter().all(|range| of(range) == TimeBounds::of(&(-5..=5))));
    let none = [(Included(5), Excluded(5)), (Included(6), Included(5)), (Excluded(i64::MAX), Included(i64::MAX))];
    assert!(none.into_iter().all(|range| of(range).unwrap_err().ends_with("an interval without a millisecond")));
    for (range, bound) in [((Unbounded, Included(5)), "lower"), ((Included(5), Unbounded), "upper")] {
        assert!(of(range).unwrap_err().contains(&format!("without {bound} bound")));
    }
}

#[test]
fn records_at_the_ends_of_time_meet_as_others_do() {
    let bounds = TimeBounds::of(&(i64::MIN..=i64::MAX)).unwrap();
    let join = IntervalJoin::new(bounds, None, |first: &Record, second: &Record| (first.2, second.2));
    let times = [Timestamp::MIN + 1, -1, Timestamp::MAX];
    let firsts = (0..).zip(times).map(|(number, at)| First((1, at, number)));
    let seconds = (0..).zip(times).map(|(number, at)| Second((1, at, number)));
    // From the first time to the last there are more milliseconds than an interval can have.
    let pairs = (0..3).flat_map(|first| (0..3).map(move |second| (first, second)));
    let pairs = pairs.filter(|pair| ![(0, 2), (1, 2), (2, 0)].contains(pair));
    let harness = in_memory(join).event_times(|input| of(input).1);
    harness.batch(firsts.chain(seconds)).check_in_any_order(pairs);

    // What would be behind the last time is not at it, whichever comes first.
    let bounds = TimeBounds::of(&(10..=20)).unwrap();
    let join = IntervalJoin::new(bounds, None, |first: &Record, second: &Record| (first.2, second.2));
    let harness = || in_memory(join.clone()).event_times(|input| of(input).1);
    let (first, second) = (First((1, Timestamp::MAX - 5, 0)), Second((1, Timestamp::MAX, 0)));
    harness().batch([first, second]).check_in_any_order([]);
    harness().batch([second, first]).check_in_any_order([]);
}

/// What has been taken off the front of a buffer costs nothing more, also while a checkpoint may need the marks of it.
#[test]
fn buffers_whose_records_come_and_go_between_checkpoints_keep_their_order() {
    let join =
        TemporalJoin::new(None, |record: &Record, version: Option<&Record>| Some((record.2, version.map(|v| v.2))));
    let mut run = in_memory(join).event_times(|input| of(input).1).start(1);
    for round in 0..30u64 {
        let at = round as i64 * 100;
        run.feed((0..100).map(|n| First((1, at + (n * 37 % 100) as i64, round * 100 + n))));
        run.feed([Second((1, at + 50, round))]);
        drop(run.snapshot());
        // The last ones wait, and earlier ones come behind those that are gone.
        run.watermark(at + 89);
    }
    run.end_of_input();
    let output = run.take_output();
    assert_eq!(output.len(), 3_000);
    for (number, version) in output {
        let (round, at) = (number / 100, number % 100 * 37 % 100);
        let holds = if at >= 50 { Some(round) } else { round.checked_sub(1) };
        assert_eq!(version, holds, "record {number}");
    }
}
