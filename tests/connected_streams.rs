//! Jobs with operators of two inputs give what plain iterators give, also when they panic.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use millstream::operator::{
    Batch, Output, Progress, RestoredSection, RunBudget, SectionWriter, StateError, Stateful, TwoInputOperator,
};
use millstream::prelude::*;
use millstream::{JobOutcome, TaskError};

use common::{InputEnd, SteppedSource, Tagged, TaggedSink, run_to_end};

mod common;

/// Several batches of a source, and more than a channel holds of the smallest.
const N: u64 = 5_000;
const PARALLELISMS: [u32; 2] = [1, 3];

/// Runs a job to its end and returns what its sink collected.
fn collect<T: Clone + Send + 'static>(
    parallelism: u32,
    build: impl FnOnce(&StreamEnvironment) -> DataStream<T> + Send + 'static,
) -> Vec<T> {
    let sink = CollectSink::new();
    let collected = sink.handle();
    finish(move || {
        let env = StreamEnvironment::new("connected").snapshot_store(MemoryStore::new()).parallelism(parallelism);
        build(&env).sink("collected", sink);
        env
    });
    collected.snapshot()
}

fn finish(build: impl FnOnce() -> StreamEnvironment + Send + 'static) -> JobOutcome {
    let outcome = run_to_end("a job with connected streams", build).0.expect("finished");
    assert_eq!(outcome.kind, OutcomeKind::Finished);
    outcome
}

fn sorted<T: Ord>(records: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut records: Vec<T> = records.into_iter().collect();
    records.sort();
    records
}

fn texts(env: &StreamEnvironment) -> DataStream<String> {
    env.source("texts", SequenceSource::new(0..N / 2)).map(|n| format!("text {n}"))
}

#[test]
fn map_gives_the_records_of_both_inputs_and_keeps_the_order_of_each() {
    for parallelism in PARALLELISMS {
        let got = collect(parallelism, |env| {
            let numbers = env.source("numbers", SequenceSource::new(0..N));
            numbers.connect(texts(env)).map(|n| (1, (n * 3).to_string()), |text| (2, text))
        });
        let want = [
            (0..N).map(|n| (1, (n * 3).to_string())).collect::<Vec<_>>(),
            (0..N / 2).map(|n| (2, format!("text {n}"))).collect(),
        ];
        if parallelism == 1 {
            // Guarantee G3.
            for (input, want) in (1..).zip(&want) {
                assert!(got.iter().filter(|record| record.0 == input).eq(want), "input {input}");
            }
        }
        assert!(sorted(got) == sorted(want.concat()), "parallelism {parallelism}");
    }
}

#[test]
fn inputs_of_one_type_are_told_apart_also_those_of_a_stream_and_its_clone() {
    for parallelism in PARALLELISMS {
        let got = collect(parallelism, |env| {
            let numbers = env.source("numbers", SequenceSource::new(0..N));
            let others = env.source("others", SequenceSource::new(N..2 * N));
            let itself = numbers.clone().connect(numbers.clone()).map(|n| (1, n), |n| (2, n));
            itself.union(others.connect(numbers).map(|n| (3, n), |n| (4, n)))
        });
        let want = [(1, 0), (2, 0), (3, N), (4, 0)].map(|(input, start)| (start..start + N).map(move |n| (input, n)));
        assert!(sorted(got) == sorted(want.into_iter().flatten()), "parallelism {parallelism}");
    }
}

#[test]
fn flat_map_emits_to_a_stream_that_is_keyed_and_to_side_outputs_of_both_inputs() {
    for parallelism in PARALLELISMS {
        let (sink, even) = (CollectSink::new(), Arc::new(OutputTag::new("even")));
        let evens = sink.handle();
        let got = collect(parallelism, move |env| {
            let tags = [even.clone(), even.clone()];
            let [of_numbers, of_texts] = tags;
            let numbers = env.source("numbers", SequenceSource::new(0..N));
            let stream = numbers.connect(texts(env)).flat_map(
                move |n, out| if n % 2 == 0 { out.emit_to(&of_numbers, n) } else { (0..3).for_each(|_| out.emit(n)) },
                move |text, out| {
                    let n: u64 = text["text ".len()..].parse().expect("a number");
                    if n.is_multiple_of(2) { out.emit_to(&of_texts, N + n) } else { out.emit(n) }
                },
            );
            stream.side_output(&even).sink("evens", sink);
            stream.key_by(|n| n % 7).fold("count", 0_u64, |count, _| *count += 1)
        });
        let mut counts = BTreeMap::new();
        let odd = |end| (0..end).filter(|n| n % 2 == 1);
        odd(N).flat_map(|n| [n; 3]).chain(odd(N / 2)).for_each(|n| *counts.entry(n % 7).or_insert(0) += 1);
        let want = counts.into_iter().flat_map(|(key, count)| (1..=count).map(move |n| (key, n)));
        assert!(sorted(got) == sorted(want), "parallelism {parallelism}");
        let want = (0..N).step_by(2).chain((N..N + N / 2).step_by(2));
        assert!(sorted(evens.snapshot()) == sorted(want), "parallelism {parallelism}");
    }
}

#[test]
fn each_input_keeps_its_own_way_to_the_subtasks() {
    let records: Tagged<(u8, u64)> = Tagged::default();
    let tagged = records.clone();
    finish(move || {
        let env = StreamEnvironment::new("ways").snapshot_store(MemoryStore::new()).parallelism(3);
        let numbers = env.source("numbers", SequenceSource::new(0..N)).parallelism(2);
        let more = env.source("more", SequenceSource::new(N..2 * N));
        let rules = env.source("rules", VecSource::new(vec![7_u64, 8]));
        let parted = numbers.union(more).partition_by(|n, subtasks| (n % u64::from(subtasks)) as u32);
        parted.connect(rules.broadcast()).map(|n| (1, n), |n| (2, n)).sink("tagged", TaggedSink(tagged));
        env
    });
    let records = records.lock().expect("no panic under it");
    assert_eq!(records.len(), 3);
    for (subtask, records) in (0..).zip(&*records) {
        let numbers = (0..2 * N).filter(|n| n % 3 == subtask).map(|n| (1, n));
        assert!(sorted(records.iter().copied()) == sorted(numbers.chain([(2, 7), (2, 8)])), "subtask {subtask}");
    }
}

const KEYS: u64 = 20;
/// Of each source, and how many between two barriers.
const RECORDS: u64 = 240;
const STEP: u64 = 40;

/// Source, key, record, number and sum of the key's records of that source.
type Line = (u8, u64, u64, u64, u64);

/// Counts and sums the records of each key and input.
#[derive(Default)]
struct RunningFigures {
    figures: BTreeMap<(u8, u64), (u64, u64)>,
}

impl RunningFigures {
    fn line(&mut self, source: u8, id: u64) -> Line {
        let (count, sum) = self.figures.entry((source, id % KEYS)).or_default();
        (*count, *sum) = (*count + 1, *sum + id);
        (source, id % KEYS, id, *count, *sum)
    }
}

/// [`RunningFigures`] as an operator's state, with a panic for one record.
struct Figures {
    running: RunningFigures,
    bomb: Bomb,
}

impl TwoInputOperator for Figures {
    type First = (&'static str, u64);
    type Second = u64;
    type Out = Line;

    fn process_first(
        &mut self,
        input: &mut Batch<Self::First>,
        out: &mut Output<Line>,
        _: &mut RunBudget,
    ) -> Result<Progress, TaskError> {
        if out.is_full() {
            return Ok(Progress::Suspended);
        }
        input.drain().for_each(|(_, id)| out.emit(self.running.line(1, self.bomb.passes(1, id))));
        Ok(Progress::Done)
    }

    fn process_second(
        &mut self,
        input: &mut Batch<u64>,
        out: &mut Output<Line>,
        _: &mut RunBudget,
    ) -> Result<Progress, TaskError> {
        if out.is_full() {
            return Ok(Progress::Suspended);
        }
        input.drain().for_each(|id| out.emit(self.running.line(2, self.bomb.passes(2, id))));
        Ok(Progress::Done)
    }

    fn stateful(&mut self) -> Option<&mut dyn Stateful> {
        Some(self)
    }
}

impl Stateful for Figures {
    fn snapshot(&mut self, writer: &mut SectionWriter) -> Result<Progress, StateError> {
        let stored = serde_json::to_vec(&self.running.figures.iter().collect::<Vec<_>>()).expect("numbers");
        writer.subtask(&"figures".into()).put(&stored);
        Ok(Progress::Done)
    }

    fn restore(&mut self, sections: Vec<RestoredSection>) -> Result<(), StateError> {
        for section in sections {
            let stored: Vec<((u8, u64), (u64, u64))> = serde_json::from_slice(&section.bytes).expect("numbers");
            self.running.figures.extend(stored);
        }
        Ok(())
    }
}

/// Panics once, at this record of this source.
#[derive(Clone, Default)]
struct Bomb(Option<(u8, u64, Arc<AtomicBool>)>);

impl Bomb {
    fn at(source: u8, id: u64) -> Self {
        Self(Some((source, id, Arc::default())))
    }

    /// The record, if it does not panic.
    fn passes(&self, source: u8, id: u64) -> u64 {
        if let Self(Some((of, at, exploded))) = self
            && (*of, *at) == (source, id)
            && !exploded.swap(true, Ordering::Relaxed)
        {
            panic!("at record {id} of source {source}");
        }
        id
    }
}

/// How the two streams are worked on.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// By functions without state, with a keyed operator behind them.
    FlatMap,
    /// By an operator that keeps its state itself.
    Transform,
}

/// Lines by source and key, in order.
type Lines = BTreeMap<(u8, u64), Vec<Line>>;

/// Runs the job with a panic, or with none.
fn lines(way: Way, bomb: Bomb) -> (JobOutcome, Lines) {
    let sink = CollectSink::new();
    let collected = sink.handle();
    let outcome = finish(move || {
        let input = InputEnd::default();
        let env = StreamEnvironment::new("figures")
            .parallelism(3)
            .snapshot_store(MemoryStore::new())
            .checkpointing(Checkpointing::every(Duration::from_millis(1)))
            .restart_strategy(RestartStrategy::fixed_delay(1000, Duration::ZERO));
        let left = env.source("left", SteppedSource::new("left", RECORDS, STEP, &input)).parallelism(1);
        let right = env.source("right", SteppedSource::new("right", RECORDS, STEP, &input)).parallelism(2);
        // Records of a key take one way, so that they keep their order.
        let way_of = |id: u64, subtasks: u32| (id % KEYS % u64::from(subtasks)) as u32;
        let left = left.partition_by(move |(_, id), subtasks| way_of(*id, subtasks));
        let right = right.map(|(_, id)| id).parallelism(2).partition_by(move |id, subtasks| way_of(*id, subtasks));
        let both = left.connect(right);
        match way {
            Way::FlatMap => {
                let again = bomb.clone();
                both.flat_map(
                    move |(_, id), out| out.emit((1_u8, bomb.passes(1, id))),
                    move |id, out| out.emit((2_u8, again.passes(2, id))),
                )
                .key_by(|(source, id)| (*source, id % KEYS))
                .fold_map(
                    "figures",
                    (0, 0, 0),
                    |(last, count, sum), (_, id)| (*last, *count, *sum) = (id, *count + 1, *sum + id),
                    |(source, key), (last, count, sum)| (*source, *key, *last, *count, *sum),
                )
            }
            Way::Transform => {
                let operator = move || Figures { running: RunningFigures::default(), bomb: bomb.clone() };
                both.transform("figures", operator).parallelism(1)
            }
        }
        .sink("lines", sink)
        .parallelism(1);
        env
    });
    let mut lines = Lines::new();
    collected.snapshot().into_iter().for_each(|line| lines.entry((line.0, line.1)).or_default().push(line));
    (outcome, lines)
}

#[test]
fn panic_at_any_record_leaves_the_output_of_an_undisturbed_run() {
    let mut expected = Lines::new();
    for source in [1, 2] {
        let mut running = RunningFigures::default();
        let all = (0..RECORDS).map(|id| running.line(source, id));
        all.for_each(|line| expected.entry((line.0, line.1)).or_default().push(line));
    }
    for way in [Way::FlatMap, Way::Transform] {
        let (outcome, undisturbed) = lines(way, Bomb::default());
        assert_eq!((outcome.restarts, undisturbed == expected), (0, true), "{way:?}, undisturbed");
        assert!(outcome.checkpoints >= RECORDS / STEP, "{way:?}: {outcome:?}");
        for (source, id) in (0..RECORDS).step_by(9).map(|id| (1 + (id % 2) as u8, id)).chain([(1, 239), (2, 239)]) {
            let (outcome, lines) = lines(way, Bomb::at(source, id));
            // Guarantee G1, guarantee G2, guarantee G3.
            assert_eq!(outcome.restarts, 1, "{way:?}, record {id} of source {source}");
            assert!(lines == expected, "{way:?}, record {id} of source {source}: {lines:?}");
        }
    }
}
