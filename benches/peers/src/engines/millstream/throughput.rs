//! Jobs that work their input off as fast as they can.

use std::ops::Range;

use millstream::operator::Emitter;
use millstream::prelude::*;
use millstream::source::{
    Batch, ReadStatus, Source, SourceContext, SourceError, SourceReader, SplitPosition, decode_position,
    encode_position,
};
use millstream::state::{ValueHandle, ValueState};

use super::own_map::OwnMap;
use super::sink::add_up;
use super::{environment, folder, nexmark, run_to_end, windows};
use crate::measure::{Run, Stopwatch};
use crate::numbers::{Totals, chain, key, update, weigh};
use crate::plan::{Contender, Engine, Plan, Workload};
use crate::text::{self, Word, Words};
use crate::total::Total;

pub(super) fn run(plan: Plan, contender: Contender) -> Run {
    let folder = folder();
    let total = Total::default();
    let watch = Stopwatch::start();
    let env = environment(plan, contender, &folder);
    match plan.workload {
        Workload::Chain => chained(&env, plan, &total),
        Workload::Keyed if contender.engine == Engine::MillstreamMap => own_map(&env, plan, &total),
        Workload::Keyed => keyed(&env, plan, &total),
        Workload::Updates => updates(&env, plan, &total),
        Workload::Words => words(&env, &total),
        Workload::Window | Workload::Sliding | Workload::Sliding100 => windows::counts(&env, plan, &total),
        Workload::Timers => windows::timers(&env, plan, &total),
        Workload::Nexmark(query) => nexmark::build(query, &env, plan, &total),
        other => unreachable!("{other} is no matter of throughput"),
    }
    run_to_end(env);
    let figures = watch.throughput(plan.records);
    Run::of(total.wait(), figures)
}

fn chained(env: &StreamEnvironment, plan: Plan, total: &Total) {
    env.source("numbers", SequenceSource::new(0..plan.records))
        .map(chain::mix)
        .map(chain::scale)
        .filter(chain::is_kept)
        .map(chain::fold)
        .sink("sum", add_up(total, |x| x));
}

/// Keys from two sources.
fn keys(env: &StreamEnvironment, plan: Plan) -> DataStream<u64> {
    let numbers = |id, range: Range<u64>| {
        let numbers = env.source(id, SequenceSource::new(range)).parallelism(1);
        numbers.map(move |i| key(i, plan.keys)).parallelism(1)
    };
    let half = plan.records / 2;
    numbers("low", 0..half).union(numbers("high", half..plan.records))
}

fn keyed(env: &StreamEnvironment, plan: Plan, total: &Total) {
    keys(env, plan).key_by(|key| *key).process("totals", Count).sink("sum", add_up(total, weigh));
}

fn own_map(env: &StreamEnvironment, plan: Plan, total: &Total) {
    keys(env, plan)
        .partition_by(|key, subtasks| (key % u64::from(subtasks)) as u32)
        .transform("totals", OwnMap::default)
        .sink("sum", add_up(total, weigh));
}

fn updates(env: &StreamEnvironment, plan: Plan, total: &Total) {
    keys(env, plan)
        .key_by(|key| *key)
        .fold_map("totals", (0, 0), |totals, key| update(totals, key), |_, totals| *totals)
        .sink("sum", add_up(total, weigh));
}

fn words(env: &StreamEnvironment, total: &Total) {
    env.source("words", WordSource)
        .key_by_ref(|word: &Word| word.as_str())
        .process("counts", CountWords)
        .sink("sum", add_up(total, |count| count));
}

/// Counts and adds up the values of each key, and emits the totals at the end.
#[derive(Clone)]
struct Count;

impl KeyedProcessFunction<u64, u64> for Count {
    type Out = Totals;
    type State = ValueState<Totals>;

    fn state(&self) -> Self::State {
        ValueState::new("totals")
    }

    #[inline]
    fn process(
        &mut self,
        key: u64,
        mut totals: ValueHandle<'_, Totals>,
        _: &mut KeyedContext<'_, u64>,
        _: &mut Emitter<'_, Totals>,
    ) {
        update(totals.get_or_insert_with(|| (0, 0)), key);
    }

    fn end_of_input(
        &mut self,
        totals: ValueHandle<'_, Totals>,
        _: &mut KeyedContext<'_, u64>,
        out: &mut Emitter<'_, Totals>,
    ) {
        out.emit(totals.get().copied().unwrap_or_default());
    }
}

/// Counts words, and emits what each one weighs at the end.
#[derive(Clone)]
struct CountWords;

impl KeyedProcessFunction<String, Word> for CountWords {
    type Out = u64;
    type State = ValueState<u64>;

    fn state(&self) -> Self::State {
        ValueState::new("count")
    }

    #[inline]
    fn process(
        &mut self,
        _: Word,
        mut count: ValueHandle<'_, u64>,
        _: &mut KeyedContext<'_, String>,
        _: &mut Emitter<'_, u64>,
    ) {
        *count.get_or_insert_with(|| 0) += 1;
    }

    fn end_of_input(
        &mut self,
        count: ValueHandle<'_, u64>,
        ctx: &mut KeyedContext<'_, String>,
        out: &mut Emitter<'_, u64>,
    ) {
        out.emit(text::weigh(ctx.key(), count.get().copied().unwrap_or_default()));
    }
}

/// Hands out the words of the text, each subtask its part.
struct WordSource;

struct WordReader {
    subtask: u32,
    words: Words,
    len: usize,
}

impl Source for WordSource {
    type Item = Word;

    fn open(
        &self,
        cx: &SourceContext,
        restored: Option<Vec<SplitPosition>>,
    ) -> Result<Box<dyn SourceReader<Item = Word>>, SourceError> {
        let mut words = text::words(cx.subtask_index as usize, cx.parallelism as usize);
        let len = words.left();
        let split = cx.subtask_index.to_string();
        if let Some(stored) = restored.into_iter().flatten().find(|stored| stored.split == split) {
            words.skip_bytes(decode_position::<u64>(&stored)? as usize);
        }
        Ok(Box::new(WordReader { subtask: cx.subtask_index, words, len }))
    }
}

impl SourceReader for WordReader {
    type Item = Word;

    fn read(&mut self, batch: &mut Batch<Word>) -> Result<ReadStatus, SourceError> {
        while !batch.is_full() {
            let Some(word) = self.words.next() else { return Ok(ReadStatus::End) };
            batch.push(word, 0);
        }
        Ok(ReadStatus::More)
    }

    fn report_positions(&mut self, moved: &mut Vec<SplitPosition>) {
        let read = (self.len - self.words.left()) as u64;
        moved.push(encode_position(&self.subtask.to_string(), &read));
    }
}
