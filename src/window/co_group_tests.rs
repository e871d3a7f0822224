//! Windows of two streams give what a plain loop does, in every way of running, on both backends.

use std::collections::BTreeMap;
use std::time::Duration;

use millstream_actors::protocol::Timestamp;

use super::super::*;
use super::*;
use crate::keyed::OfEither;
use crate::operator::Either::{First, Second};
use crate::operator::{ByValue, OutputTag};
use crate::state::test_kit::Random;
use crate::testing::OperatorHarness;

/// Key, event time, number.
type Record = (u64, Timestamp, u64);
type Input = Either<Record, Record>;
/// Key, window, the numbers of both.
type Found = (u64, Window, Vec<u64>, Vec<u64>);
type Place = (u64, Window);
type Numbers = (Vec<u64>, Vec<u64>);
type Open = BTreeMap<Place, Numbers>;

const GAP_MS: i64 = 60;
const SIZE_MS: i64 = 200;
const LATENESS_MS: i64 = 50;

enum Step {
    Batch(Vec<Input>),
    Watermark(Timestamp),
}

fn of(input: &Input) -> Record {
    match input {
        First(record) | Second(record) => *record,
    }
}

fn input(seed: u64, keys: u64, batches: u64) -> Vec<Step> {
    let (mut random, mut now, mut latest, mut steps, mut number) = (Random(seed), 0, -10_000, Vec::new(), 0);
    for _ in 0..batches {
        let records = (0..random.below(20)).map(|_| {
            now += random.below(40) as i64;
            let at = now - random.below(800) as i64 - 300;
            latest = latest.max(at);
            number += 1;
            let record = (random.below(keys), at, number);
            if random.below(2) == 0 { First(record) } else { Second(record) }
        });
        steps.push(Step::Batch(records.collect()));
        if random.below(3) > 0 {
            steps.push(Step::Watermark(latest - 100));
        }
    }
    steps
}

/// What a plain loop gives of tumbling windows, or of sessions, and which records are late.
fn expected(steps: &[Step], merges: bool) -> (Vec<Found>, Vec<Input>) {
    let (mut open, mut found, mut late, mut watermark) = (Open::new(), Vec::new(), Vec::new(), Timestamp::MIN);
    let give =
        |((key, window), (firsts, seconds)): (&Place, &Numbers)| (*key, *window, firsts.clone(), seconds.clone());
    for step in steps.iter().chain([&Step::Watermark(Timestamp::MAX)]) {
        match step {
            Step::Watermark(to) if *to <= watermark => {}
            Step::Watermark(to) => {
                let ends = |window: &Window| watermark < window.max_timestamp() && window.max_timestamp() <= *to;
                found.extend(open.iter().filter(|((_, window), _)| ends(window)).map(give));
                watermark = *to;
                open.retain(|(_, window), _| window.max_timestamp().saturating_add(LATENESS_MS) > watermark);
            }
            Step::Batch(records) => {
                for record in records {
                    let (key, at, number) = of(record);
                    let begins = at.div_euclid(SIZE_MS) * SIZE_MS;
                    let (start, length) = if merges { (at, GAP_MS) } else { (begins, SIZE_MS) };
                    let own = Window::new(start, start + length);
                    let is_one = |(of, window): &&(u64, Window)| {
                        *of == key && if merges { window.touches(own) } else { *window == own }
                    };
                    let touched: Vec<_> = open.keys().filter(is_one).copied().collect();
                    let window = touched.iter().fold(own, |all, (_, window)| all.cover(*window));
                    if window.max_timestamp() + LATENESS_MS <= watermark {
                        late.push(*record);
                        continue;
                    }
                    let (mut firsts, mut seconds) = (Vec::new(), Vec::new());
                    for place in touched {
                        let (one, other) = open.remove(&place).unwrap();
                        firsts.extend(one);
                        seconds.extend(other);
                    }
                    match record {
                        First(_) => firsts.push(number),
                        Second(_) => seconds.push(number),
                    }
                    open.insert((key, window), (firsts, seconds));
                    if window.max_timestamp() <= watermark {
                        found.extend(open.get_key_value(&(key, window)).map(give));
                    }
                }
            }
        }
    }
    (found, late)
}

fn check<W: WindowAssigner<Input, Trigger = TimeTrigger>>(assigner: W, merges: bool) {
    let dir = tempfile::tempdir().unwrap();
    let tag: OutputTag<Input> = OutputTag::new("late");
    let trigger = assigner.trigger();
    let late = Some(tag.clone());
    let windowing = Windowing { assigner, trigger, has_own_trigger: true, lateness: LATENESS_MS, late };
    let function =
        |firsts: &[Record], seconds: &[Record], ctx: &WindowContext<'_, u64>, out: &mut Emitter<'_, Found>| {
            let [firsts, seconds] = [firsts, seconds].map(|records| records.iter().map(|record| record.2).collect());
            out.emit((*ctx.key(), ctx.window(), firsts, seconds));
        };
    let function = OfEither(Windowed::new(windowing, CoGrouped::new(function)));
    let selector = || ByValue::new(|record: &Record| record.0);
    for (seed, keys, batches, in_file) in [(1, 4, 20, false), (2, 20, 14, false), (3, 25, 8, true)] {
        let steps = input(seed, keys, batches);
        let (found, late) = expected(&steps, merges);
        assert!(found.len() > 20 && !late.is_empty(), "{} results, {} late", found.len(), late.len());
        assert!(found.iter().any(|(.., firsts, seconds)| !firsts.is_empty() && !seconds.is_empty()));
        let harness = if in_file {
            OperatorHarness::keyed_two_inputs_in_file((selector(), selector()), function.clone(), dir.path())
        } else {
            OperatorHarness::keyed_two_inputs(selector(), selector(), function.clone())
        };
        let harness = steps.into_iter().fold(harness.event_times(|input| of(input).1), |harness, step| match step {
            Step::Batch(records) => harness.batch(records),
            Step::Watermark(to) => harness.watermark(to),
        });
        harness.side_output(&tag, late).check_in_any_order(found);
    }
}

/// T7, T8, T11.
#[test]
fn windows_of_two_streams_give_what_a_plain_loop_does() {
    check(TumblingWindows::event_time(Duration::from_millis(SIZE_MS as u64)), false);
}

/// T7, T8, T11. Sessions are made of the records of both.
#[test]
fn sessions_of_two_streams_give_what_a_plain_loop_does() {
    check(SessionWindows::event_time(Duration::from_millis(GAP_MS as u64)), true);
}
