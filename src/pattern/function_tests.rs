//! The function gives what the automaton finds in the records of each key by time, in every way of running, on both backends.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use millstream_actors::protocol::{OperatorId, Timestamp};

use super::*;
use crate::keyed::KeyedOperator;
use crate::operator::{ByValue, SideOutputs};
use crate::pattern::{AfterMatchSkip, Dropped, Pattern, TimedOutTo};
use crate::state::test_kit::Random;
use crate::state::{RedbBackend, group_of_hash, stable_hash};
use crate::testing::{BoxedOperator, OperatorHarness};

/// Key, event time, number.
type Record = (u64, Timestamp, u64);
/// Key, and the numbers of a match.
type Found = (u64, Vec<u64>);

#[derive(Clone, Debug)]
enum Step {
    Batch(Vec<Record>),
    Watermark(Timestamp),
}

/// Batches of records whose times are up to `disorder` ms out of order and often the same, with watermarks `bound` ms behind the
/// latest.
fn input(seed: u64, keys: u64, (disorder, bound): (u64, i64)) -> Vec<Step> {
    let (mut random, mut now, mut latest, mut steps, mut number) = (Random(seed), 0, -10_000, Vec::new(), 0);
    for _ in 0..12 {
        let records = (0..random.below(30)).map(|_| {
            now += random.below(60) as i64;
            let at = (now - random.below(disorder + 1) as i64 - 500) / 10 * 10;
            latest = latest.max(at);
            number += 1;
            (random.below(keys), at, number)
        });
        steps.push(Step::Batch(records.collect()));
        if random.below(3) > 0 {
            steps.push(Step::Watermark(latest - bound));
        }
    }
    steps
}

/// What kind of record it is.
fn kind(record: &Record) -> u64 {
    record.2 * 7 % 5
}

/// Patterns that use all there is, each of them within a time.
fn patterns() -> Vec<Pattern<Record>> {
    let is = |these: &'static [u64]| move |record: &Record| these.contains(&kind(record));
    let begin = || Pattern::begin("a", is(&[0, 1]));
    let within = Duration::from_millis(400);
    vec![
        begin().followed_by("b", is(&[2])).one_or_more().followed_by_any("c", is(&[3])).within(within),
        begin()
            .not_followed_by("d", is(&[4]))
            .followed_by("b", is(&[1, 2]))
            .optional()
            .followed_by("c", is(&[3]))
            .within(within),
        begin().times_between(1..=3).greedy().next("c", is(&[2, 3])).within(within),
        begin().not_followed_by("d", is(&[2, 4])).within(Duration::from_millis(150)),
        begin()
            .followed_by("b", is(&[2, 3]))
            .one_or_more()
            .allow_combinations()
            .where_so_far(|record, so_far| so_far.last("b").is_none_or(|last| last.1 < record.1))
            .until(is(&[4]))
            .followed_by("c", is(&[0]))
            .skip_after_match(AfterMatchSkip::PastLastEvent)
            .within(within),
    ]
}

/// What a plain loop gives: matches and what times out of each key, and late records.
fn expected(pattern: &Pattern<Record>, steps: &[Step]) -> (Vec<Found>, Vec<Found>, Vec<Record>) {
    let (mut watermark, mut of_keys, mut late) = (Timestamp::MIN, BTreeMap::<u64, Vec<Record>>::new(), Vec::new());
    for step in steps {
        match step {
            Step::Batch(records) => records.iter().for_each(|record| match record.1 > watermark {
                true => of_keys.entry(record.0).or_default().push(*record),
                false => late.push(*record),
            }),
            Step::Watermark(to) => watermark = watermark.max(*to),
        }
    }
    let (mut found, mut timed_out) = (Vec::new(), Vec::new());
    for (key, mut records) in of_keys {
        records.sort_by_key(|record| record.1);
        let records: Vec<_> = records.into_iter().map(|record| (record.1, record)).collect();
        for (_, given) in crate::pattern::tests::run(pattern, &records) {
            let of =
                |path: &[(u32, EventId)]| path.iter().map(|(_, (_, place))| records[*place as usize].1.2).collect();
            match given {
                Given::Match(path) => found.push((key, of(&path))),
                Given::TimedOut(path) => timed_out.push((key, of(&path))),
            }
        }
    }
    (found, timed_out, late)
}

fn numbers(matched: &Matched<'_, Record>) -> Found {
    let first = matched.iter().next().map(|(_, record)| record.0);
    (first.unwrap_or_default(), matched.iter().map(|(_, record)| record.2).collect())
}

type Harness<Out> = OperatorHarness<Record, Out>;

fn selector() -> ByValue<fn(&Record) -> u64> {
    ByValue::new(|record| record.0)
}

fn function<O: OnTimeout<Record>>(
    pattern: &Pattern<Record>,
    time: PatternTime,
    late: Option<OutputTag<Record>>,
    timed_out: O,
) -> impl KeyedProcessFunction<u64, Record, Out = Found, State = States<Record>> {
    let give = |matched: &Matched<'_, Record>, out: &mut Emitter<'_, Found>| out.emit(numbers(matched));
    PatternFunction::new(Arc::new(pattern.compile(time)), time, late, timed_out, give)
}

/// Drops what is late and what times out.
fn plain(pattern: &Pattern<Record>) -> impl KeyedProcessFunction<u64, Record, Out = Found, State = States<Record>> {
    function(pattern, PatternTime::Event, None, Dropped)
}

/// With most rows in a file.
fn in_file<F: KeyedProcessFunction<u64, Record, Out = Found>>(function: F, dir: &Path) -> Harness<Found> {
    let path = dir.to_owned();
    let factory = move |range, max| -> BoxedOperator<Record, Found> {
        let backend = RedbBackend::tiny(function.state(), range, max, &path, 10, true);
        let sides = SideOutputs::default();
        Box::new(KeyedOperator::with_backend(OperatorId::from("p"), backend, selector(), function.clone(), sides))
    };
    OperatorHarness::new(factory, Some(Box::new(|record: &Record| group_of_hash(stable_hash(&record.0), 128))))
}

fn fed(harness: Harness<Found>, steps: &[Step]) -> Harness<Found> {
    steps.iter().fold(harness.event_times(|record| record.1), |harness, step| match step {
        Step::Batch(records) => harness.batch(records.iter().copied()),
        Step::Watermark(to) => harness.watermark(*to),
    })
}

#[test]
fn matches_timed_out_and_late_records_are_given_in_every_way_of_running() {
    let dir = tempfile::tempdir().unwrap();
    let patterns = patterns();
    assert!(patterns.iter().all(|pattern| pattern.mistakes().is_empty()));
    for (number, pattern) in patterns.iter().enumerate() {
        for (seed, keys, times) in [(1, 3, (200, 200)), (2, 1, (400, 100)), (3, 20, (400, 100))] {
            let steps = input(seed * 100 + number as u64, keys, times);
            let (found, timed_out, late) = expected(pattern, &steps);
            assert!(keys > 3 || !found.is_empty(), "pattern {number}, seed {seed}");
            assert_eq!(late.is_empty(), times.0 == 200, "seed {seed}");
            let (late_tag, timed_out_tag) = (OutputTag::new("late"), OutputTag::new("timed out"));
            let with_late = function(pattern, PatternTime::Event, Some(late_tag.clone()), Dropped);
            let harness = fed(OperatorHarness::keyed(selector(), with_late), &steps);
            harness.side_output(&late_tag, late).check_in_any_order(found.clone());
            if keys == 1 {
                // Those of several keys have no order.
                let handler = TimedOutTo::new(timed_out_tag.clone(), numbers);
                let with_timed_out = function(pattern, PatternTime::Event, None, handler);
                let harness = fed(OperatorHarness::keyed(selector(), with_timed_out), &steps);
                harness.side_output(&timed_out_tag, timed_out).check_by(|(key, _)| *key, found.clone());
            }
            fed(in_file(plain(pattern), dir.path()), &steps).check_in_any_order(found);
        }
    }
}

#[test]
fn a_key_with_nothing_pending_stores_nothing() {
    let pattern = Pattern::begin("a", |record: &Record| record.2 < 10).followed_by("b", |record| record.2 >= 10);
    let start = |pattern: &Pattern<Record>| {
        OperatorHarness::keyed(selector(), plain(pattern)).event_times(|record| record.1).start(1)
    };
    let within = pattern.clone().within(Duration::from_millis(100));
    let (mut run, mut nothing) = (start(&within), start(&within));
    run.feed((0..50).map(|key| (key, 1_000, 1)));
    run.feed([(60, 1_000, 20), (61, 1_000, 3), (61, 1_050, 30)]);
    run.watermark(1_099);
    assert_eq!(run.take_output(), [(61, vec![3, 30])]);
    let pending = run.snapshot().bytes();
    run.watermark(1_100);
    nothing.watermark(1_100);
    assert_eq!(run.snapshot().bytes(), nothing.snapshot().bytes(), "partial matches end without a record of their key");
    assert!(pending > nothing.snapshot().bytes());

    // Without a time, what is matched is gone too.
    let pattern = pattern.skip_after_match(AfterMatchSkip::PastLastEvent);
    let (mut run, mut nothing) = (start(&pattern), start(&pattern));
    run.feed([(1, 0, 1), (1, 5, 2), (1, 10, 30)]);
    [&mut run, &mut nothing].into_iter().for_each(|run| run.watermark(20));
    assert_eq!(run.take_output(), [(1, vec![1, 30])]);
    assert_eq!(run.snapshot().bytes(), nothing.snapshot().bytes());
}

#[test]
fn records_are_there_once_however_many_partial_matches_have_them() {
    // Each of 100 records begins a match that has all behind it.
    let bytes = |text: &'static str, pattern: Pattern<(u64, String)>| {
        let give = |_: &Matched<'_, (u64, String)>, _: &mut Emitter<'_, u64>| {};
        let function = PatternFunction::new(
            Arc::new(pattern.compile(PatternTime::Processing)),
            PatternTime::Processing,
            None,
            Dropped,
            give,
        );
        let mut run = OperatorHarness::keyed(ByValue::new(|record: &(u64, String)| record.0), function).start(1);
        run.feed((0..100).map(|_| (1, text.to_owned())));
        run.snapshot().bytes()
    };
    let all = || Pattern::begin("a", |_: &(u64, String)| true).one_or_more().consecutive().followed_by("b", |_| false);
    let (short, long) = (
        bytes("", all()),
        bytes(
            "one hundred bytes, which each of the partial matches would have, if they did not share their records",
            all(),
        ),
    );
    assert!(long - short < 100 * 120, "{} bytes more", long - short);
}

#[test]
fn records_are_matched_when_they_come_in_processing_time() {
    let pattern = Pattern::begin("a", |record: &Record| record.2 < 10).followed_by("b", |record| record.2 >= 10);
    let pattern = pattern.within(Duration::from_millis(100));
    let tag = OutputTag::new("timed out");
    let harness = || {
        let timed_out = TimedOutTo::new(tag.clone(), numbers);
        OperatorHarness::keyed(selector(), function(&pattern, PatternTime::Processing, None, timed_out))
    };
    let millis = Duration::from_millis;
    harness()
        .batch([(1, 9, 1), (1, 5, 2), (2, 0, 3)])
        .advance(millis(99))
        .batch([(1, 0, 20), (2, 0, 4)])
        .advance(millis(1))
        .batch([(2, 0, 30)])
        .side_output(&tag, [(2, vec![3])])
        .check([(1, vec![1, 20]), (1, vec![2, 20]), (2, vec![4, 30])]);

    let mut run = harness().start(1);
    run.feed([(1, 0, 1)]);
    run.advance(millis(100));
    assert_eq!(run.take_side_output(&tag), [(1, vec![1])]);
    assert_eq!(run.snapshot().bytes(), harness().start(1).snapshot().bytes());
}

#[test]
fn partial_matches_of_another_pattern_are_refused() {
    let begin = || Pattern::begin("a", |record: &Record| record.2 < 10);
    let start =
        |pattern: &Pattern<Record>| OperatorHarness::keyed(selector(), plain(pattern)).event_times(|record| record.1);
    let mut run = start(&begin().followed_by("b", |_| false)).start(1);
    run.feed([(1, 0, 1)]);
    run.watermark(0);
    let snapshot = run.snapshot();
    // Other names, conditions and times are the same places.
    let mut renamed = start(&begin().followed_by("c", |record| record.2 == 77)).restore(&snapshot, 1);
    renamed.feed([(1, 5, 77)]);
    renamed.watermark(5);
    assert_eq!(renamed.take_output(), [(1, vec![1, 77])]);
    let longer = start(&begin().followed_by("b", |_| false).next("c", |_| true));
    let refused = catch_unwind(AssertUnwindSafe(|| {
        let mut run = longer.restore(&snapshot, 1);
        run.watermark(Timestamp::MAX - 1);
        run.end_of_input();
    }));
    let panic = refused.expect_err("it is refused");
    let text = panic.downcast_ref::<String>().expect("a panic with a text");
    assert!(text.contains("other stages or quantifiers") && text.contains("partial-matches"), "{text}");
}

/// The end works on all that waits, and the job may go on after it with the watermark that it had.
#[test]
fn records_behind_an_end_of_input_are_behind_what_was_looked_at() {
    let pattern = Pattern::begin("a", |record: &Record| record.2 < 10).followed_by("b", |record| record.2 >= 10);
    let tag = OutputTag::new("late");
    let harness =
        OperatorHarness::keyed(selector(), function(&pattern, PatternTime::Event, Some(tag.clone()), Dropped))
            .event_times(|record| record.1);
    let mut run = harness.start(1);
    run.feed([(1, 1_000, 1)]);
    run.watermark(499);
    run.end_of_input();
    let mut after = harness.restore(&run.snapshot(), 1);
    after.feed([(1, 700, 2), (1, 1_000, 3), (1, 1_000, 20)]);
    after.watermark(2_000);
    assert_eq!(after.take_output(), [(1, vec![1, 20]), (1, vec![3, 20])]);
    assert_eq!(after.take_side_output(&tag), [(1, 700, 2)]);
}

/// A backlog of one key is worked on in more than one call, and by one watermark.
#[test]
fn backlog_of_a_key_is_worked_off_by_the_watermark_that_comes_to_it() {
    let pattern = Pattern::begin("a", |record: &Record| record.2.is_multiple_of(2)).next("b", |_| true);
    let mut run = OperatorHarness::keyed(selector(), plain(&pattern)).event_times(|record| record.1).start(1);
    let records = 2 * RECORDS_PER_CALL as u64 + 500;
    // Some of one time, across the places where a call ends.
    run.feed((0..records).map(|number| (1, number as i64 / 7, number)));
    run.watermark(records as i64);
    let expected: Vec<Found> = (0..records / 2).map(|pair| (1, vec![2 * pair, 2 * pair + 1])).collect();
    assert_eq!(run.take_output(), expected);
}

/// What was to be over before the watermark is given the first time behind it.
#[test]
fn time_within_that_is_shorter_after_a_restore_gives_nothing_late() {
    let give = |matched: &Matched<'_, Record>, out: &mut Emitter<'_, (Found, Timestamp)>| {
        out.emit((numbers(matched), out.time()));
    };
    let harness = |within| {
        let pattern = Pattern::begin("a", |_: &Record| true).not_followed_by("b", |_| false);
        let pattern = pattern.within(Duration::from_millis(within)).compile(PatternTime::Event);
        let function = PatternFunction::new(Arc::new(pattern), PatternTime::Event, None, Dropped, give);
        OperatorHarness::keyed(selector(), function).event_times(|record: &Record| record.1)
    };
    let mut run = harness(1_000).start(1);
    run.feed([(1, 0, 1)]);
    run.watermark(500);
    let mut shorter = harness(100).restore(&run.snapshot(), 1);
    shorter.feed([(1, 600, 2)]);
    shorter.watermark(700);
    assert_eq!(shorter.take_output(), [((1, vec![1]), 501), ((1, vec![2]), 700)]);
}

#[test]
fn results_have_the_time_at_which_they_came_to_be() {
    let pattern = Pattern::begin("a", |record: &Record| record.2 < 10).not_followed_by("b", |record| record.2 >= 10);
    let pattern = pattern.within(Duration::from_millis(100));
    let give = |matched: &Matched<'_, Record>, out: &mut Emitter<'_, (Found, Timestamp)>| {
        out.emit((numbers(matched), out.time()));
    };
    let function =
        PatternFunction::new(Arc::new(pattern.compile(PatternTime::Event)), PatternTime::Event, None, Dropped, give);
    let harness = OperatorHarness::keyed(selector(), function).event_times(|record: &Record| record.1);
    let harness = harness.batch([(1, 30, 3), (1, 10, 1)]).watermark(500);
    harness.check([((1, vec![1]), 110), ((1, vec![3]), 130)]);
}
