//! Poison before functions with states for each key: what they have of other records stays as it is.

use std::collections::BTreeMap;
use std::time::Duration;

use millstream::operator::Either;
use millstream::prelude::*;

use crate::common::{BOUND_MS, sorted, time_of};
use crate::rig::{RECORDS, Ran, Record, numbers, ran};

const KEYS: u64 = 7;

/// The running sums of each key over these numbers.
fn sums(numbers: impl Iterator<Item = u64>) -> Vec<(u64, u64)> {
    let mut sums: BTreeMap<u64, u64> = BTreeMap::new();
    let add = |n: u64| {
        let sum = sums.entry(n % KEYS).or_default();
        *sum += n;
        (n % KEYS, *sum)
    };
    sorted(numbers.map(add).collect())
}

/// Guarantee D1.
#[test]
fn poison_of_a_key_leaves_no_trace_in_its_state() {
    const POISON: [u64; 3] = [0, 101, RECORDS - 1];
    for (parallelism, spills) in [(1, false), (3, false), (2, true)] {
        let ran: Ran<(u64, u64), u64> = ran("keyed", parallelism, move |env, out, dead| {
            let tag = OutputTag::new("dead");
            // One subtask in front, so that the records of a key keep their order.
            let one = env.source("numbers", numbers("n")).parallelism(1).map(|(_, n): Record| n).parallelism(1);
            let mut sums = one.key_by(|n| n % KEYS).fold("sums", 0, |sum, n| {
                // Half-way, so that what a continued instance would have changed would be seen.
                *sum += n;
                assert!(!POISON.contains(&n), "cannot add {n}");
            });
            if spills {
                let dir = tempfile::tempdir().unwrap().keep();
                sums = sums.state_backend(StateBackend::redb(dir).cache_bytes(64 << 10));
            }
            let sums = sums.on_panic(OnPanic::<u64>::dead_letter(&tag));
            sums.side_output(&tag).sink("dead", dead);
            sums.sink("out", out);
        });
        // The running sums depend on the order of the splits; how many there are of a key, and the last, do not.
        let expected = sums((0..RECORDS).filter(|n| !POISON.contains(n)));
        assert!(ran.output.iter().map(|(key, _)| key).eq(expected.iter().map(|(key, _)| key)));
        let last = |of: &[(u64, u64)]| of.iter().copied().collect::<BTreeMap<u64, u64>>();
        assert_eq!(last(&ran.output), last(&expected));
        assert_eq!(ran.dead(), POISON);
        for DeadLetter { record, key, .. } in &ran.letters {
            assert_eq!(*key, Some((record % KEYS).to_string()));
        }
    }
}

/// The count of a key makes its third record poison, whatever that is.
#[derive(Clone)]
struct NoThird;

impl KeyedProcessFunction<u64, u64> for NoThird {
    type Out = (u64, u32);
    type State = ValueState<u32>;

    fn state(&self) -> Self::State {
        ValueState::new("count")
    }

    fn process(
        &mut self,
        n: u64,
        mut count: Row<'_, Self, u64, u64>,
        _: &mut KeyedContext<'_, u64>,
        out: &mut Emitter<'_, (u64, u32)>,
    ) {
        let count = count.get_or_insert_with(|| 0);
        *count += 1;
        assert!(*count < 3, "two are enough");
        out.emit((n, *count));
    }
}

#[test]
fn key_that_takes_no_more_records_has_each_of_them_diverted_also_of_the_same_bytes() {
    let ran: Ran<(u64, u32), u64> = ran("same-bytes-of-a-key", 2, |env, out, dead| {
        let tag = OutputTag::new("dead");
        let directive = OnPanic::dead_letter(&tag).at_most(100, Duration::from_secs(60));
        // Each number below 100 comes four times.
        let stream = env.source("numbers", numbers("n")).map(|(_, n): Record| n % 100).filter(|n| n % 25 == 3);
        let stream = stream.key_by(|n| *n).process("no-third", NoThird).on_panic(directive);
        stream.side_output(&tag).sink("dead", dead);
        stream.sink("out", out);
    });
    let numbers = [3, 28, 53, 78];
    assert_eq!(ran.output, sorted(numbers.iter().flat_map(|n| [(*n, 1), (*n, 2)]).collect()));
    assert_eq!(ran.dead(), sorted(numbers.iter().flat_map(|n| [*n, *n]).collect()));
}

#[test]
fn poison_that_a_window_cannot_add_is_missing_from_it_and_nothing_else_is() {
    const POISON: [u64; 2] = [12, 300];
    const SIZE_MS: i64 = 500;
    let ran: Ran<(u64, Window, Vec<u64>), Record> = ran("window", 2, |env, out, dead| {
        let tag = OutputTag::new("dead");
        let bound = Duration::from_millis(BOUND_MS);
        let strategy = WatermarkStrategy::bounded_out_of_orderness(bound, |(_, n): &Record| time_of(*n));
        let windows = env
            .source_with_watermarks("numbers", numbers("n"), strategy)
            .key_by(|(_, n)| n % KEYS)
            .window(TumblingWindows::event_time(Duration::from_millis(SIZE_MS as u64)))
            .aggregate_with("windows", Numbers, |ctx, numbers| (*ctx.key(), ctx.window(), numbers))
            .on_panic(OnPanic::<Record>::dead_letter(&tag));
        windows.side_output(&tag).sink("dead", dead);
        windows.sink("out", out);
    });
    let mut expected: BTreeMap<(u64, Window), Vec<u64>> = BTreeMap::new();
    for n in (0..RECORDS).filter(|n| !POISON.contains(n)) {
        let start = time_of(n).div_euclid(SIZE_MS) * SIZE_MS;
        expected.entry((n % KEYS, Window::new(start, start + SIZE_MS))).or_default().push(n);
    }
    let output = ran.output.iter().map(|(key, window, numbers)| ((*key, *window), sorted(numbers.clone())));
    assert!(output.eq(expected), "{:?}", ran.output);
    assert_eq!(ran.dead(), POISON.map(|n| ("n", n)));
}

/// All numbers, but poison.
#[derive(Clone)]
struct Numbers;

impl AggregateFunction for Numbers {
    type In = Record;
    type Accumulator = Vec<u64>;
    type Out = Vec<u64>;

    fn create(&self) -> Vec<u64> {
        Vec::new()
    }

    fn add(&self, numbers: &mut Vec<u64>, (_, n): Record) {
        assert!(n != 12 && n != 300, "cannot add {n}");
        numbers.push(n);
    }

    fn result(&self, numbers: &Vec<u64>) -> Vec<u64> {
        numbers.clone()
    }

    fn merge(&self, numbers: &mut Vec<u64>, others: Vec<u64>) {
        numbers.extend(others);
    }
}

/// The pairs of a job that joins numbers with themselves by key, and of which one cannot be made; and whether it was the first
/// or the second of that pair that was diverted.
fn joined(parallelism: u32) -> (Vec<Pair>, Vec<Either<u64, u64>>) {
    let second_sink = CollectSink::new();
    let seconds = second_sink.handle();
    let ran: Ran<(u64, u64), (String, u64)> = ran("join", parallelism, move |env, out, dead| {
        let (of_first, of_second) = (OutputTag::new("first"), OutputTag::new("second"));
        let timed = |name: &'static str| {
            let bound = Duration::from_millis(BOUND_MS);
            let strategy = WatermarkStrategy::bounded_out_of_orderness(bound, |(_, n): &Record| time_of(*n));
            env.source_with_watermarks(name, numbers(name), strategy)
        };
        // A type of its own for each side.
        let second = timed("second").map(|record: Record| Second(record.0.to_owned(), record.1));
        let first = timed("first").map(|(name, n): Record| (name.to_owned(), n));
        let pairs = first.key_by(|(_, n)| n % KEYS).join(second.key_by(|second| second.1 % KEYS));
        let pairs = pairs.between(-100..=100).inner("pairs", |first: &(String, u64), second: &Second| {
            assert!((first.1, second.1) != (50, 50), "no such pair");
            (first.1, second.1)
        });
        let pairs = pairs.on_panic(OnPanic::dead_letter(&of_first)).on_panic(OnPanic::dead_letter(&of_second));
        pairs
            .side_output(&of_second)
            .map(|letter: DeadLetter<Second>| letter.record.1)
            .sink("second-dead", second_sink);
        pairs.side_output(&of_first).sink("dead", dead);
        pairs.sink("out", out);
    });
    let seconds = seconds.snapshot().into_iter().map(Either::Second);
    let diverted = ran.letters.iter().map(|letter| Either::First(letter.record.1)).chain(seconds).collect();
    (ran.output, diverted)
}

/// The numbers of both sides.
type Pair = (u64, u64);

#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
struct Second(String, u64);

#[test]
fn record_of_either_side_of_a_join_is_diverted_and_meets_nothing() {
    let all: Vec<(u64, u64)> = (0..RECORDS)
        .flat_map(|first| (0..RECORDS).map(move |second| (first, second)))
        .filter(|(first, second)| first % KEYS == second % KEYS)
        .filter(|(first, second)| (time_of(*second) - time_of(*first)).abs() <= 100)
        .collect();
    for parallelism in [1, 2] {
        let (pairs, diverted) = joined(parallelism);
        let gone = |pair: &(u64, u64)| match diverted[..] {
            [Either::First(50)] => pair.0 == 50,
            [Either::Second(50)] => pair.1 == 50,
            _ => panic!("one record of one side: {diverted:?}"),
        };
        let (mut before, mut others): (Vec<Pair>, Vec<Pair>) = pairs.into_iter().partition(gone);
        others.sort_unstable();
        let rest: Vec<_> = all.iter().filter(|pair| !gone(pair)).copied().collect();
        assert_eq!(others, rest, "each pair of other records is there once");
        before.sort_unstable();
        assert!(before.windows(2).all(|two| two[0] != two[1]), "{before:?}");
        assert!(
            before.iter().all(|pair| *pair != (50, 50) && all.contains(pair)),
            "pairs made before it came stay: {before:?}"
        );
    }
}
