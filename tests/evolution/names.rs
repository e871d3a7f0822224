//! Operators and states with other names, and without some that they had.

use std::path::PathBuf;
use std::time::Duration;

use millstream::prelude::*;
use millstream::stream::DataStream;

use crate::common::{committed_lines, run, watched};
use crate::lives::{KEYS, Sums, Version, rounds, with_each_backend};

fn keyed(numbers: DataStream<u64>, id: &str, state: fn() -> ValueState<u64>) -> DataStream<(u64, u64)> {
    numbers.key_by(|n| n % KEYS).process(id, Sums(state))
}

const FIRST: Version = |numbers| keyed(numbers, "sums", || ValueState::new("sum"));

#[test]
fn state_under_another_name_goes_on_and_needs_no_former_name_in_the_life_after() {
    with_each_backend(|mut place| {
        place.live(2, FIRST, rounds());
        place.live(3, |numbers| keyed(numbers, "sums", || ValueState::new("total").formerly("sum")), rounds());
        place.live(1, |numbers| keyed(numbers, "sums", || ValueState::new("total")), rounds());
    });
}

#[test]
fn operator_under_another_id_goes_on_and_needs_no_former_id_in_the_life_after() {
    with_each_backend(|mut place| {
        place.live(2, FIRST, rounds());
        place.live(2, |numbers| keyed(numbers, "totals", || ValueState::new("sum")).formerly("sums"), rounds());
        place.live(3, |numbers| keyed(numbers, "totals", || ValueState::new("sum")), rounds());
    });
}

#[test]
fn operator_and_state_renamed_twice_go_on_from_any_of_their_names_and_from_a_savepoint() {
    const TWICE: Version = |numbers| {
        let state = || ValueState::new("c").formerly("b").formerly("sum");
        keyed(numbers, "third", state).formerly("second").formerly("sums")
    };
    with_each_backend(|mut place| {
        place.live(2, FIRST, rounds());
        place.live(2, TWICE, rounds());
        let start = place.on("store.redb", 2);
        place.live_in(start, TWICE, rounds(), Some("savepoint"));
        let start = place.on("other.redb", 1).from("savepoint");
        let fourth: Version = |numbers| keyed(numbers, "4", || ValueState::new("d").formerly("c")).formerly("third");
        place.live_in(start, fourth, rounds(), None);
    });
}

/// As [`Sums`], and counts its records.
#[derive(Clone)]
struct SumsAndCounts;

impl KeyedProcessFunction<u64, u64> for SumsAndCounts {
    type Out = (u64, u64);
    type State = (ValueState<u64>, MapState<u64, u64>);

    fn state(&self) -> Self::State {
        (ValueState::new("sum"), MapState::new("counts"))
    }

    fn process(
        &mut self,
        n: u64,
        (mut sum, mut counts): Row<'_, Self, u64, u64>,
        ctx: &mut KeyedContext<'_, u64>,
        out: &mut Emitter<'_, (u64, u64)>,
    ) {
        *counts.get_or_insert_with(n % 5, || 0) += 1;
        let sum = sum.get_or_insert_with(|| 0);
        *sum += n;
        out.emit((*ctx.key(), *sum));
    }
}

#[test]
fn state_that_is_dropped_by_name_is_gone_with_the_next_checkpoint_and_the_others_go_on() {
    with_each_backend(|mut place| {
        place.live(2, |numbers| numbers.key_by(|n| n % KEYS).process("sums", SumsAndCounts), rounds());
        place.live(3, |numbers| keyed(numbers, "sums", || ValueState::new("sum")).drop_state("counts"), rounds());
        place.live(2, FIRST, rounds());
    });
}

/// Counts all numbers that its subtasks have seen in a list with one item each, and gives numbers and counts on.
#[derive(Clone)]
struct Count(fn() -> OperatorListState<u64>);

impl ProcessFunction<u64> for Count {
    type Out = (u64, u64);
    type State = OperatorListState<u64>;

    fn state(&self) -> Self::State {
        (self.0)()
    }

    fn process(
        &mut self,
        n: u64,
        mut count: States<'_, Self, u64>,
        _: &mut ProcessContext<'_>,
        out: &mut Emitter<'_, (u64, u64)>,
    ) {
        let now = count.iter().sum::<u64>() + 1;
        count.clear();
        count.push(now);
        out.emit((n, now));
    }
}

const RECORDS: u64 = 60;

/// What is called how.
#[derive(Clone, Copy)]
struct Names {
    source: &'static str,
    count: &'static str,
    state: fn() -> OperatorListState<u64>,
    sink: &'static str,
}

/// A life of a job that counts numbers into files: it is cancelled when it has published some, or goes on to its end.
fn count_into_files(dir: PathBuf, names: Names, former: Option<Names>, is_cancelled: bool) {
    run("a life of numbers in files", move |handles| async move {
        let env = StreamEnvironment::new("numbers")
            .snapshot_store(RedbStore::open(dir.join("store.redb")).unwrap())
            .checkpointing(Checkpointing::every(Duration::from_millis(5)));
        // It is not to come to its end before it is cancelled, however slow the machine is.
        let numbers = Throttled::new(SequenceSource::new(0..RECORDS), if is_cancelled { 2 } else { 10_000 });
        let out = dir.join("out");
        let (mut numbers, sink) = (env.source(names.source, numbers), FileSink::json_lines(&out));
        if let Some(former) = former {
            numbers = numbers.formerly(former.source);
        }
        let mut counts = numbers.process(names.count, Count(names.state));
        if let Some(former) = former {
            counts = counts.formerly(former.count);
        }
        let sink = counts.sink(names.sink, sink);
        if let Some(former) = former {
            sink.formerly(former.sink);
        }
        let job = env.start().unwrap();
        watched(&handles, &job);
        if !is_cancelled {
            assert_eq!(job.await.unwrap().kind, OutcomeKind::Finished);
            return;
        }
        let before = committed_lines(&out).len();
        while committed_lines(&out).len() == before {
            job.checkpoint().await.unwrap();
        }
        job.cancel().await.unwrap();
    });
}

#[test]
fn source_sink_and_list_under_other_names_go_on_where_they_were() {
    let dir = tempfile::tempdir().unwrap();
    let old = Names { source: "numbers", count: "count", state: || OperatorListState::new("seen"), sink: "files" };
    let new = Names { source: "n", count: "c", state: || OperatorListState::new("s").formerly("seen"), sink: "f" };
    let newer = Names { state: || OperatorListState::new("s"), ..new };
    count_into_files(dir.path().to_owned(), old, None, true);
    count_into_files(dir.path().to_owned(), new, Some(old), true);
    count_into_files(dir.path().to_owned(), newer, None, false);
    let mut lines = committed_lines(&dir.path().join("out"));
    lines.sort_by_key(|line| line.len());
    let expected: Vec<String> = (0..RECORDS).map(|n| format!("[{n},{}]", n + 1)).collect();
    assert_eq!(lines, expected);
}
