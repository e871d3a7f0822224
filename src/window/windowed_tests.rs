//! Windows give what a plain loop does, in every way of running, on both backends.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::*;
use super::{Windowed, Windowing};
use crate::keyed::KeyedProcessFunction;
use crate::operator::{ByValue, Emitter, OutputTag};
use crate::state::AggregateFunction;
use crate::state::test_kit::Random;
use crate::testing::OperatorHarness;
use millstream_actors::protocol::Timestamp;

/// Key, event time, number.
type Input = (u64, Timestamp, u64);
/// Key, window, how many records, the sum of their numbers.
type Result = (u64, Window, u64, u64);

#[derive(Clone, Debug)]
enum Step {
    Batch(Vec<Input>),
    Watermark(Timestamp),
}

/// Batches of records whose times are up to `disorder` ms out of order, with watermarks `bound` ms behind the latest.
fn input(seed: u64, (keys, batches): (u64, u64), (disorder, bound): (u64, i64)) -> Vec<Step> {
    let (mut random, mut now, mut latest, mut steps, mut number) = (Random(seed), 0, -10_000, Vec::new(), 0);
    for _ in 0..batches {
        let records = (0..random.below(30)).map(|_| {
            now += random.below(60) as i64;
            let at = now - random.below(disorder + 1) as i64 - 2_000;
            latest = latest.max(at);
            number += 1;
            (random.below(keys), at, number)
        });
        steps.push(Step::Batch(records.collect()));
        if random.below(3) > 0 {
            steps.push(Step::Watermark(latest - bound));
        }
        if random.below(20) == 0 {
            now += 3_000;
        }
    }
    steps
}

/// Which windows a record belongs to, without the arithmetic of the assigners: all that could be are tried.
type WindowsOf = fn(Timestamp) -> Vec<Window>;

fn all_with(at: Timestamp, size: i64, slide: i64, offset: i64) -> Vec<Window> {
    let starts = (at - 2 * size - 2 * slide..=at).filter(|start| (start - offset).rem_euclid(slide) == 0);
    starts.map(|start| Window::new(start, start + size)).filter(|window| window.contains(at)).collect()
}

fn result((key, window): (u64, Window), numbers: &[u64]) -> Result {
    (key, window, numbers.len() as u64, numbers.iter().sum())
}

/// The windows of a plain loop: those that are open with their numbers, and what has come of them.
struct Plain {
    open: BTreeMap<(u64, Window), Vec<u64>>,
    results: Vec<Result>,
    late: Vec<Input>,
    watermark: Timestamp,
}

impl Plain {
    fn new() -> Self {
        Self { open: BTreeMap::new(), results: Vec::new(), late: Vec::new(), watermark: Timestamp::MIN }
    }

    fn watermark(&mut self, to: Timestamp, lateness: i64) {
        let Self { open, results, watermark, .. } = self;
        if to <= *watermark {
            return;
        }
        let is_complete = |window: &Window| (*watermark + 1..=to).contains(&window.max_timestamp());
        let mut complete: Vec<_> = open.iter().filter(|((_, window), _)| is_complete(window)).collect();
        complete.sort_by_key(|((_, window), _)| window.end());
        results.extend(complete.into_iter().map(|(place, numbers)| result(*place, numbers)));
        *watermark = to;
        open.retain(|(_, window), _| window.max_timestamp().saturating_add(lateness) > to);
    }
}

/// What a plain loop gives, and which records are late.
fn expected(steps: &[Step], lateness: i64, windows_of: WindowsOf) -> (Vec<Result>, Vec<Input>) {
    let mut plain = Plain::new();
    for step in steps.iter().chain([&Step::Watermark(Timestamp::MAX)]) {
        match step {
            Step::Batch(records) => {
                for &(key, at, number) in records {
                    let mut windows = windows_of(at);
                    let is_in_none = windows.is_empty();
                    windows.retain(|window| window.max_timestamp() + lateness > plain.watermark);
                    if windows.is_empty() && !is_in_none {
                        plain.late.push((key, at, number));
                    }
                    for window in windows {
                        let numbers = plain.open.entry((key, window)).or_default();
                        numbers.push(number);
                        if window.max_timestamp() <= plain.watermark {
                            plain.results.push(result((key, window), numbers));
                        }
                    }
                }
            }
            Step::Watermark(to) => plain.watermark(*to, lateness),
        }
    }
    (plain.results, plain.late)
}

/// As [`expected`], of sessions.
fn expected_sessions(steps: &[Step], lateness: i64, gap: i64) -> (Vec<Result>, Vec<Input>) {
    let mut plain = Plain::new();
    for step in steps.iter().chain([&Step::Watermark(Timestamp::MAX)]) {
        match step {
            Step::Batch(records) => {
                for &(key, at, number) in records {
                    let of_record = Window::new(at, at + gap);
                    let touched: Vec<_> = plain
                        .open
                        .keys()
                        .filter(|(other, window)| *other == key && window.touches(of_record))
                        .copied()
                        .collect();
                    let window = touched.iter().fold(of_record, |all, (_, window)| all.cover(*window));
                    if window.max_timestamp() + lateness <= plain.watermark {
                        plain.late.push((key, at, number));
                        continue;
                    }
                    let mut numbers: Vec<u64> =
                        touched.iter().flat_map(|place| plain.open.remove(place).unwrap()).collect();
                    numbers.push(number);
                    if window.max_timestamp() <= plain.watermark {
                        plain.results.push(result((key, window), &numbers));
                    }
                    plain.open.insert((key, window), numbers);
                }
            }
            Step::Watermark(to) => plain.watermark(*to, lateness),
        }
    }
    (plain.results, plain.late)
}

fn selector() -> ByValue<impl Fn(&Input) -> u64 + Clone + Send> {
    ByValue::new(|record: &Input| record.0)
}

fn late_tag() -> OutputTag<Input> {
    OutputTag::new("late")
}

fn windowing<A: WindowAssigner<Input>>(assigner: A, lateness: i64) -> Windowing<Input, A, A::Trigger> {
    let trigger = assigner.trigger();
    Windowing { assigner, trigger, has_own_trigger: true, lateness, late: Some(late_tag()) }
}

/// The number of records and the sum of their numbers, and how many were merged.
#[derive(Clone)]
struct Totals;

impl AggregateFunction for Totals {
    type In = Input;
    type Accumulator = (u64, u64);
    type Out = (u64, u64);

    fn create(&self) -> (u64, u64) {
        (0, 0)
    }

    fn add(&self, totals: &mut (u64, u64), record: Input) {
        self.merge(totals, (1, record.2));
    }

    fn result(&self, totals: &(u64, u64)) -> (u64, u64) {
        *totals
    }

    fn merge(&self, totals: &mut (u64, u64), other: (u64, u64)) {
        *totals = (totals.0 + other.0, totals.1 + other.1);
    }
}

fn totals<A: WindowAssigner<Input>>(
    windowing: Windowing<Input, A, A::Trigger>,
) -> impl KeyedProcessFunction<u64, Input, Out = Result, State: Send> {
    let emit = |ctx: &WindowContext<'_, u64>, (count, sum)| (*ctx.key(), ctx.window(), count, sum);
    Windowed::new(windowing, Aggregated { function: Totals, emit })
}

fn all_records<A: WindowAssigner<Input>>(
    windowing: Windowing<Input, A, A::Trigger>,
) -> impl KeyedProcessFunction<u64, Input, Out = Result, State: Send> {
    let function = |records: &[Input], ctx: &WindowContext<'_, u64>, out: &mut Emitter<'_, Result>| {
        let numbers: Vec<u64> = records.iter().map(|record| record.2).collect();
        out.emit(result((*ctx.key(), ctx.window()), &numbers));
    };
    Windowed::new(windowing, Processed::new(EachWindow::new(function), NoEvictor))
}

fn in_memory(function: impl KeyedProcessFunction<u64, Input, Out = Result>) -> OperatorHarness<Input, Result> {
    OperatorHarness::keyed(selector(), function)
}

/// With so few rows in memory that all go to the file and back.
fn spilled<F: KeyedProcessFunction<u64, Input, Out = Result>>(
    function: F,
    dir: &std::path::Path,
) -> OperatorHarness<Input, Result> {
    OperatorHarness::keyed_in_file(selector(), function, dir)
}

fn fed(mut harness: OperatorHarness<Input, Result>, steps: &[Step]) -> OperatorHarness<Input, Result> {
    harness = harness.event_times(|record| record.1);
    for step in steps {
        harness = match step {
            Step::Batch(records) => harness.batch(records.clone()),
            Step::Watermark(to) => harness.watermark(*to),
        };
    }
    harness
}

/// Of one key by time; of one time in any order, so all are compared sorted.
fn check(harness: OperatorHarness<Input, Result>, steps: &[Step], expected: (Vec<Result>, Vec<Input>)) {
    let (results, late) = expected;
    assert!(results.len() > 20, "{} results", results.len());
    let harness = fed(harness, steps);
    let harness = if late.is_empty() { harness } else { harness.side_output(&late_tag(), late) };
    harness.check_in_any_order(results);
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

const DISORDERS: [(u64, i64); 3] = [(0, 1), (300, 301), (2_000, 200)];

/// T7, T8. With little, much and too much disorder, with lateness and without.
#[test]
fn tumbling_windows_give_what_a_plain_loop_does() {
    for (seed, (disorder, lateness)) in DISORDERS.into_iter().zip([0, 0, 700]).enumerate() {
        let steps = input(seed as u64, (5, 30), disorder);
        let of = |at| all_with(at, 500, 500, 120);
        let windows = windowing(TumblingWindows::event_time(ms(500)).offset(120), lateness);
        check(in_memory(totals(windows.clone())), &steps, expected(&steps, lateness, of));
        check(in_memory(all_records(windows)), &steps, expected(&steps, lateness, of));
    }
}

/// T7, T8. Sizes that are a multiple of the slide, that are none, and that leave gaps.
#[test]
fn sliding_windows_give_what_a_plain_loop_does_with_slices_and_without() {
    let sizes: [(u64, u64, i64, WindowsOf); 4] = [
        (1_000, 200, 0, |at| all_with(at, 1_000, 200, 0)),
        (900, 400, -150, |at| all_with(at, 900, 400, -150)),
        (5_000, 100, 7, |at| all_with(at, 5_000, 100, 7)),
        (300, 500, 0, |at| all_with(at, 300, 500, 0)),
    ];
    for (index, (size, slide, offset, of)) in sizes.into_iter().enumerate() {
        let (disorder, lateness) = (DISORDERS[index % 3], [0, 450, 0, 250][index]);
        let steps = input(10 + index as u64, (3, 20), disorder);
        let expected = expected(&steps, lateness, of);
        let windows = windowing(SlidingWindows::event_time(ms(size), ms(slide)).offset(offset), lateness);
        assert!(
            Windowed::new(
                windows.clone(),
                Aggregated { function: Totals, emit: |_: &WindowContext<'_, u64>, sum| sum }
            )
            .slicing
            .is_some()
        );
        check(in_memory(totals(windows.clone())), &steps, expected.clone());
        check(in_memory(all_records(windows)), &steps, expected);
    }
}

/// T7, T8.
#[test]
fn sessions_give_what_a_plain_loop_does() {
    for (index, (disorder, lateness)) in DISORDERS.into_iter().zip([0, 300, 900]).enumerate() {
        let steps = input(20 + index as u64, (6, 30), disorder);
        let windows = windowing(SessionWindows::event_time(ms(150)), lateness);
        let expected = expected_sessions(&steps, lateness, 150);
        check(in_memory(totals(windows.clone())), &steps, expected.clone());
        check(in_memory(all_records(windows)), &steps, expected);
    }
}

/// T7. So few rows in memory that all go to the file and back.
#[test]
fn windows_larger_than_memory_give_what_a_plain_loop_does() {
    let dir = tempfile::tempdir().unwrap();
    let steps = input(30, (40, 12), (300, 301));
    assert!(expected(&steps, 0, |at| all_with(at, 500, 500, 0)).1.is_empty(), "within the bound nothing is late");
    let windows = windowing(TumblingWindows::event_time(ms(500)), 0);
    let of = |at| all_with(at, 500, 500, 0);
    check(spilled(all_records(windows), dir.path()), &steps, expected(&steps, 0, of));
    let windows = windowing(SlidingWindows::event_time(ms(600), ms(100)), 0);
    check(spilled(totals(windows), dir.path()), &steps, expected(&steps, 0, |at| all_with(at, 600, 100, 0)));
    let windows = windowing(SessionWindows::event_time(ms(150)), 0);
    check(spilled(totals(windows), dir.path()), &steps, expected_sessions(&steps, 0, 150));
}

/// Windows that were open when the size changed keep the span that they have, and no record comes to them any more.
#[test]
fn open_windows_keep_their_span_when_the_size_changes() {
    let of = |millis| {
        let windows = windowing(TumblingWindows::event_time(ms(millis)), 0);
        in_memory(totals(windows)).event_times(|record: &Input| record.1)
    };
    let (mut old, window) = (of(1_000).start(1), Window::new);
    old.feed([(1, 100, 1), (1, 1_200, 2), (1, 200, 4)]);
    let mut new = of(2_000).restore(&old.snapshot(), 1);
    new.feed([(1, 300, 8), (1, 1_300, 16), (1, 2_100, 32), (1, 400, 64)]);
    new.watermark(5_000);
    let mut results = new.take_output();
    results.sort();
    let expected = [
        (1, window(0, 1_000), 2, 5),
        (1, window(0, 2_000), 3, 88),
        (1, window(1_000, 2_000), 1, 2),
        (1, window(2_000, 4_000), 1, 32),
    ];
    assert_eq!(results, expected);
}

/// T7. Of a key that has a window of the old size, the shorter ones in it give their results before the watermark goes on, too.
#[test]
fn windows_that_became_shorter_do_not_wait_for_open_ones_that_are_longer() {
    let of = |millis| {
        let windows = windowing(TumblingWindows::event_time(ms(millis)), 0);
        in_memory(totals(windows)).event_times(|record: &Input| record.1)
    };
    let (mut old, window) = (of(3_000).start(1), Window::new);
    old.feed([(1, 100, 1)]);
    let mut new = of(1_000).restore(&old.snapshot(), 1);
    new.feed([(1, 300, 2), (1, 1_300, 4), (1, 2_100, 8), (1, 3_300, 16)]);
    new.watermark(999);
    assert_eq!(new.take_output(), [(1, window(0, 1_000), 1, 2)]);
    new.watermark(1_999);
    assert_eq!(new.take_output(), [(1, window(1_000, 2_000), 1, 4)]);
    new.watermark(5_000);
    let mut results = new.take_output();
    results.sort();
    let expected = [(1, window(0, 3_000), 1, 1), (1, window(2_000, 3_000), 1, 8), (1, window(3_000, 4_000), 1, 16)];
    assert_eq!(results, expected);
}

/// T7, T8. Each life of the job has windows of another size and offset, and windows of those before are open.
#[test]
fn windows_of_a_size_that_changes_give_what_a_plain_loop_does() {
    for seed in 0..40 {
        let (mut random, mut plain, mut snapshot) = (Random(seed), Plain::new(), None);
        let (mut latest, mut fired) = (0, 0);
        for _ in 0..6 {
            let size = [100, 200, 300, 500, 600, 1_500, 3_000][random.below(7) as usize];
            let offset = if random.below(2) == 0 { 0 } else { random.below(size as u64) as i64 };
            let windows = windowing(TumblingWindows::event_time(ms(size as u64)).offset(offset), 0);
            let harness = in_memory(totals(windows)).event_times(|record: &Input| record.1);
            let mut run = match &snapshot {
                None => harness.start(1),
                Some(snapshot) => harness.restore(snapshot, 1 + random.below(3) as u32),
            };
            for _ in 0..5 {
                for _ in 0..random.below(40) {
                    latest += random.below(60) as i64;
                    let record = (random.below(4), latest - random.below(500) as i64, random.below(100));
                    run.feed([record]);
                    let window = all_with(record.1, size, size, offset)[0];
                    if window.max_timestamp() <= plain.watermark {
                        plain.late.push(record);
                    } else {
                        plain.open.entry((record.0, window)).or_default().push(record.2);
                    }
                }
                let to = plain.watermark.max(latest - random.below(600) as i64);
                run.watermark(to);
                plain.watermark(to, 0);
                let (mut results, mut late) = (run.take_output(), run.take_side_output(&late_tag()));
                [&mut results, &mut plain.results].into_iter().for_each(|results| results.sort());
                [&mut late, &mut plain.late].into_iter().for_each(|late| late.sort());
                fired += results.len();
                assert_eq!(
                    (results, late),
                    (std::mem::take(&mut plain.results), std::mem::take(&mut plain.late)),
                    "seed {seed}, by {to}"
                );
            }
            snapshot = Some(run.snapshot());
        }
        assert!(fired > 50, "{fired} windows");
    }
}
