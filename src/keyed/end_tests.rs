//! What is called at the start and at the end of the input, with every key.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::keyed::{EveryKey, KeyedContext, Row};
use crate::operator::{ByValue, Emitted, Emitter};
use crate::state::ValueState;
use crate::testing::OperatorHarness;

/// Sums the numbers of each key, and emits the sums at the end. A sum that is a multiple of three is taken out of the state.
#[derive(Clone)]
struct Sums;

impl KeyedProcessFunction<u64, u64> for Sums {
    type Out = (u64, u64);
    type State = ValueState<u64>;

    fn state(&self) -> Self::State {
        ValueState::new("sum")
    }

    fn process(
        &mut self,
        n: u64,
        mut sum: Row<'_, Self, u64, u64>,
        ctx: &mut KeyedContext<'_, u64>,
        out: &mut Emitter<'_, Self::Out>,
    ) {
        *sum.get_or_insert_with(|| 0) += n;
        if n == 0 {
            out.emit((*ctx.key(), 0));
        }
    }

    fn end_of_input(
        &mut self,
        mut sum: Row<'_, Self, u64, u64>,
        ctx: &mut KeyedContext<'_, u64>,
        out: &mut Emitter<'_, Self::Out>,
    ) {
        let total = sum.get().copied().expect("only keys that have state");
        if total.is_multiple_of(3) {
            sum.clear();
        }
        out.emit((*ctx.key(), total));
    }
}

fn selector(keys: u64) -> ByValue<impl Fn(&u64) -> u64 + Clone + Send> {
    ByValue::new(move |n: &u64| n % keys)
}

fn sums(keys: u64, records: u64) -> Vec<(u64, u64)> {
    let zero = std::iter::once((0, 0));
    zero.chain((0..keys.min(records)).map(|key| (key, (key..records).step_by(keys as usize).sum()))).collect()
}

#[test]
fn each_key_is_emitted_once_at_the_end_in_every_way_of_running() {
    for (keys, records) in [(1, 1), (7, 500), (1_500, 3_000)] {
        OperatorHarness::keyed(selector(keys), Sums).batch(0..records).check_in_any_order(sums(keys, records));
    }
}

fn operator<F: KeyedProcessFunction<u64, u64>>(
    function: F,
) -> KeyedOperator<u64, ByValue<impl Fn(&u64) -> u64 + Clone + Send>, F> {
    let groups = KeyGroupRange { start: 0, end: 8 };
    KeyedOperator::new("op".into(), groups, 8, selector(100), function, SideOutputs::default())
}

fn emitted<T>(out: &mut Output<T>) -> Vec<T> {
    let mut all = Vec::new();
    out.drain(|emitted| {
        if let Emitted::Batch(batch) = emitted {
            all.extend(batch.drain());
        }
    });
    all
}

fn feed<Op: BatchOperator<In = u64>>(operator: &mut Op, records: std::ops::Range<u64>) -> Vec<Op::Out> {
    let (mut input, mut out, mut all) = (records.collect::<Batch<u64>>(), Output::new(), Vec::new());
    let mut budget = crate::state::test_kit::all_the_time();
    while operator.process(&mut input, &mut out, &mut budget).expect("it works") == Progress::Suspended {
        all.extend(emitted(&mut out));
    }
    all.extend(emitted(&mut out));
    all
}

fn end<Op: BatchOperator>(operator: &mut Op) -> Vec<Op::Out> {
    let (mut out, mut all) = (Output::new(), Vec::new());
    while operator.mark(Mark::End, &mut out, &mut crate::state::test_kit::no_time()).expect("it works")
        == Progress::Suspended
    {
        all.extend(emitted(&mut out));
    }
    assert!(out.has_ended());
    all.extend(emitted(&mut out));
    all
}

#[test]
fn keys_whose_groups_get_records_after_the_end_come_again_and_others_do_not() {
    let mut op = operator(Sums);
    feed(&mut op, 0..100);
    assert_eq!(end(&mut op).len(), 100);
    assert_eq!(end(&mut op), [], "nothing has come since");
    feed(&mut op, 1..2);
    let again = end(&mut op);
    assert!(again.contains(&(1, 2)), "{again:?}");
    assert!(again.len() < 50, "those of one group of eight: {again:?}");
}

/// Counts the keys at the start.
#[derive(Clone)]
struct CountsAtStart(&'static AtomicUsize, bool);

impl KeyedProcessFunction<u64, u64> for CountsAtStart {
    type Out = u64;
    type State = ValueState<u64>;

    fn state(&self) -> Self::State {
        ValueState::new("n")
    }

    fn open(&mut self, keys: &mut EveryKey<'_, u64, Self::State>) {
        assert!(!std::mem::replace(&mut self.1, true), "an instance is opened once");
        keys.for_each(|key, n| {
            assert_eq!(n.get(), Some(key));
            self.0.fetch_add(1, Ordering::Relaxed);
        });
    }

    fn process(
        &mut self,
        n: u64,
        mut state: Row<'_, Self, u64, u64>,
        _: &mut KeyedContext<'_, u64>,
        _: &mut Emitter<'_, u64>,
    ) {
        assert!(self.1, "it is opened before its first record");
        state.set(n);
    }
}

#[test]
fn function_is_opened_once_with_the_keys_that_were_restored() {
    static KEYS: AtomicUsize = AtomicUsize::new(0);
    let mut op = operator(CountsAtStart(&KEYS, false));
    assert!(feed(&mut op, 0..70).is_empty());
    assert_eq!((KEYS.load(Ordering::Relaxed), end(&mut op).len()), (0, 0));
    let sections = super::tests::saved(&mut op);
    let mut restored = operator(CountsAtStart(&KEYS, false));
    super::tests::restore(&mut restored, &sections).expect("it was written");
    feed(&mut restored, 70..80);
    feed(&mut restored, 80..90);
    assert_eq!(KEYS.load(Ordering::Relaxed), 70);
}

#[test]
fn function_without_a_step_at_the_end_leaves_no_trace_of_one() {
    static KEYS: AtomicUsize = AtomicUsize::new(0);
    let mut op = operator(CountsAtStart(&KEYS, false));
    feed(&mut op, 0..70);
    end(&mut op);
    let sections = super::tests::saved(&mut op);
    assert!(sections.iter().all(|section| &*section.state == "n"), "{sections:?}");
    let mut op = operator(Sums);
    feed(&mut op, 0..70);
    end(&mut op);
    let sections = super::tests::saved(&mut op);
    assert!(sections.iter().any(|section| &*section.state == "end-of-input"), "{sections:?}");
    let damaged = sections.into_iter().map(|mut section| {
        section.bytes.truncate(if &*section.state == "end-of-input" { 1 } else { usize::MAX });
        section
    });
    let damaged: Vec<_> = damaged.filter(|section| &*section.state == "end-of-input").collect();
    let mut again = operator(Sums);
    let error = again.stateful().expect("it has state").restore(damaged).expect_err("it is damaged");
    assert!(error.to_string().contains("end-of-input"), "{error}");
}

#[test]
fn error_at_the_end_is_that_of_the_function() {
    let mut op = operator(Sums).emit_per_call_max(0);
    feed(&mut op, 1..100);
    let error = op.mark(Mark::End, &mut Output::new(), &mut crate::state::test_kit::all_the_time());
    assert!(matches!(error, Err(TaskError::EmitLimit { limit: 0, .. })), "{error:?}");
}
