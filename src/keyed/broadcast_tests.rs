//! Rules that come while they are applied, in every way of running, on both backends.

use std::collections::{BTreeMap, BTreeSet};

use millstream_actors::protocol::{OperatorId, Timestamp};

use super::KeyedBroadcastOperator;
use crate::keyed::{BroadcastRow, EveryKey, KeyedBroadcastProcessFunction, KeyedContext, KeyedRow, Timers};
use crate::operator::Either::{self, First, Second};
use crate::operator::{ByValue, Emitter, ProcessContext, SideOutputs};
use crate::state::test_kit::Random;
use crate::state::{BroadcastState, RedbBackend, Timer, ValueState};
use crate::testing::{BoxedOperator, OperatorHarness, merged};

/// Key, number.
type Record = (u64, u64);
type Input = Either<Record, u64>;
/// Key, why it was emitted, sum, weight.
type Told = (u64, &'static str, u64, u64);

/// Sums the numbers of each key times a weight, which the other stream sets. What is set is also added to each sum.
#[derive(Clone)]
struct Weighted;

impl KeyedBroadcastProcessFunction<u64, Record, u64> for Weighted {
    type Out = Told;
    type State = (ValueState<u64>, Timers);
    type Broadcast = BroadcastState<String, u64>;

    fn state(&self) -> Self::State {
        (ValueState::new("sum"), Timers::new("timers"))
    }

    fn broadcast_state(&self) -> Self::Broadcast {
        BroadcastState::new("weights")
    }

    fn process(
        &mut self,
        (key, number): Record,
        (mut sum, mut timers): KeyedRow<'_, Self, u64, Record, u64>,
        weights: &BroadcastRow<'_, Self, u64, Record, u64>,
        _: &mut KeyedContext<'_, u64>,
        out: &mut Emitter<'_, Told>,
    ) {
        let weight = weights.get("weight").copied().unwrap_or(1);
        let sum = sum.get_or_insert_with(|| 0);
        *sum += number * weight;
        if number.is_multiple_of(3) {
            timers.register(Timer::EventTime(number as Timestamp));
        }
        out.emit((key, "record", *sum, weight));
    }

    fn process_broadcast(
        &mut self,
        weight: u64,
        mut weights: BroadcastRow<'_, Self, u64, Record, u64>,
        keys: &mut EveryKey<'_, u64, Self::State>,
        _: &mut ProcessContext<'_>,
        out: &mut Emitter<'_, Told>,
    ) {
        weights.insert("weight".to_owned(), weight);
        keys.for_each(|key, (mut sum, _)| {
            let sum = sum.get_or_insert_with(|| 0);
            *sum += weight;
            out.emit((*key, "weight", *sum, weight));
        });
    }

    fn on_timer(
        &mut self,
        _: Timer,
        (sum, _): KeyedRow<'_, Self, u64, Record, u64>,
        weights: &BroadcastRow<'_, Self, u64, Record, u64>,
        ctx: &mut KeyedContext<'_, u64>,
        out: &mut Emitter<'_, Told>,
    ) {
        out.emit((*ctx.key(), "timer", *sum.get().unwrap(), weights.get("weight").copied().unwrap_or(1)));
    }

    fn end_of_input(
        &mut self,
        (sum, _): KeyedRow<'_, Self, u64, Record, u64>,
        weights: &BroadcastRow<'_, Self, u64, Record, u64>,
        ctx: &mut KeyedContext<'_, u64>,
        out: &mut Emitter<'_, Told>,
    ) {
        out.emit((*ctx.key(), "end", *sum.get().unwrap(), weights.get("weight").copied().unwrap_or(1)));
    }
}

/// What a plain loop tells.
#[derive(Default)]
struct Plain {
    sums: BTreeMap<u64, u64>,
    timers: BTreeSet<(u64, u64)>,
    weight: Option<u64>,
    watermark: Timestamp,
    told: Vec<Told>,
}

impl Plain {
    fn take(&mut self, input: Input) {
        match input {
            First((key, number)) => {
                let (weight, sum) = (self.weight.unwrap_or(1), self.sums.entry(key).or_default());
                *sum += number * weight;
                self.told.push((key, "record", *sum, weight));
                if number.is_multiple_of(3) {
                    self.timers.insert((number, key));
                }
            }
            Second(weight) => {
                self.weight = Some(weight);
                for (key, sum) in &mut self.sums {
                    *sum += weight;
                    self.told.push((*key, "weight", *sum, weight));
                }
            }
        }
    }

    fn watermark(&mut self, to: Timestamp) {
        if to > self.watermark {
            self.watermark = to;
            while let Some((_, key)) = self.timers.pop_first_if(|(at, _)| *at as Timestamp <= to) {
                self.told.push((key, "timer", self.sums[&key], self.weight.unwrap_or(1)));
            }
        }
    }

    fn end(mut self) -> Vec<Told> {
        self.watermark(Timestamp::MAX);
        let end = self.sums.iter().map(|(key, sum)| (*key, "end", *sum, self.weight.unwrap_or(1)));
        self.told.extend(end);
        self.told
    }
}

/// The first of a set, if it fits.
trait PopFirstIf<T> {
    fn pop_first_if(&mut self, fits: impl Fn(&T) -> bool) -> Option<T>;
}

impl<T: Ord> PopFirstIf<T> for BTreeSet<T> {
    fn pop_first_if(&mut self, fits: impl Fn(&T) -> bool) -> Option<T> {
        if self.first().is_some_and(fits) { self.pop_first() } else { None }
    }
}

type Harness = OperatorHarness<Input, Told>;

/// Random input, and what a plain loop makes of it.
fn fed(mut harness: Harness, seed: u64, keys: u64) -> (Harness, Vec<Told>) {
    let (mut random, mut plain) = (Random(seed), Plain::default());
    for round in 1..15 {
        let batch: Vec<Input> = (0..random.below(40))
            .map(|_| match random.below(8) {
                0 => Second(random.below(5)),
                _ => First((random.below(keys), random.below(300))),
            })
            .collect();
        batch.iter().for_each(|input| plain.take(*input));
        plain.watermark(round * 20);
        harness = harness.batch(batch).watermark(round * 20);
    }
    (harness, plain.end())
}

fn selector() -> ByValue<fn(&Record) -> u64> {
    ByValue::new(|record| record.0)
}

#[test]
fn every_subtask_has_every_rule_and_applies_it_to_all_its_keys() {
    for (seed, keys) in [(1, 1), (2, 5), (3, 60)] {
        let (harness, expected) = fed(OperatorHarness::keyed_broadcast(selector(), Weighted), seed, keys);
        harness.check_in_any_order(expected);
    }
}

#[test]
fn rules_come_to_keys_that_are_in_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    let factory = move |range, max| -> BoxedOperator<Input, Told> {
        let backend = RedbBackend::tiny(Weighted.state(), range, max, &path, 10, true);
        let (id, sides) = (OperatorId::from("weighted"), SideOutputs::default());
        merged(KeyedBroadcastOperator::with_backend(id, backend, selector(), Weighted, sides))
    };
    let (harness, expected) = fed(OperatorHarness::new(factory, None), 4, 100);
    harness.check_in_any_order(expected);
}

#[test]
fn a_rule_behind_the_end_has_all_keys_come_to_it_again() {
    let harness = OperatorHarness::keyed_broadcast(selector(), Weighted);
    let mut run = harness.start(1);
    run.feed([First((1, 10)), First((2, 20))]);
    run.end_of_input();
    assert_eq!(run.take_output().len(), 4);
    let mut restored = harness.restore(&run.snapshot(), 2);
    restored.feed([Second(3)]);
    restored.end_of_input();
    let mut told = restored.take_output();
    told.sort_unstable();
    assert_eq!(told, [(1, "end", 13, 3), (1, "weight", 13, 3), (2, "end", 23, 3), (2, "weight", 23, 3)]);
}
