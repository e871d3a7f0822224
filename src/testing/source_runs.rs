//! Runs sources by their contract alone.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use millstream_actors::contract::{
    BATCH_RECORDS_MAX, Batch, ReadStatus, SideRecord, Source, SourceContext, SourceReader, SourceWaker, SplitPosition,
};

use super::source_context;
use crate::time::ManualClock;

/// A source that waits to be woken, and is not, is given up after this time.
const WAKE_TIMEOUT: Duration = Duration::from_secs(30);

/// What the subtasks of a source read: what [`read_source`] gives.
#[derive(Debug)]
pub struct SourceRun<T> {
    /// Subtask by subtask, each in its order.
    pub records: Vec<T>,
    /// Of which split each of them is.
    pub splits: Vec<String>,
    /// The last reported position of every split, by its id.
    pub positions: Vec<SplitPosition>,
    /// For side outputs.
    pub side: Vec<SideRecord>,
    /// Payload bytes of each read.
    pub read_bytes: Vec<usize>,
}

/// Opens `source` at `restored` and has each of `parallelism` subtasks read `reads` times (to its end, if `None`), one
/// after another, with the contexts of [`source_context`]. Where a reader asks to be read again after a delay the clock moves;
/// where it waits to be woken it is read when it has been.
///
/// ```
/// use millstream::source::VecSource;
/// use millstream::testing::read_source;
///
/// let run = read_source(&VecSource::new(vec!["a", "b"]), 1, None, None);
/// assert_eq!(run.records, ["a", "b"]);
/// let rest = read_source(&VecSource::new(vec!["a", "b"]), 1, Some(run.positions), None);
/// assert!(rest.records.is_empty());
/// ```
///
/// # Panics
/// If opening or reading fails, if nobody wakes a reader within half a minute, or a read breaks the contract: records of more
/// than one split in it, or a position that is not reported.
pub fn read_source<T: Send + 'static>(
    source: &dyn Source<Item = T>,
    parallelism: u32,
    restored: Option<Vec<SplitPosition>>,
    reads: Option<usize>,
) -> SourceRun<T> {
    read_in_portions(source, parallelism, restored, reads, BATCH_RECORDS_MAX)
}

/// The same with at most so many records in a read.
fn read_in_portions<T: Send + 'static>(
    source: &dyn Source<Item = T>,
    parallelism: u32,
    restored: Option<Vec<SplitPosition>>,
    reads: Option<usize>,
    portion: usize,
) -> SourceRun<T> {
    let mut run = SourceRun { records: vec![], splits: vec![], positions: vec![], side: vec![], read_bytes: vec![] };
    let mut positions = BTreeMap::new();
    for index in 0..parallelism {
        let mut subtask = Subtask::open(source, index, parallelism, restored.clone());
        note(&mut *subtask.reader, &mut positions);
        for _ in 0..reads.unwrap_or(usize::MAX) {
            if subtask.read(portion, &mut run, &mut positions) == ReadStatus::End {
                break;
            }
        }
    }
    run.positions = positions.into_values().collect();
    run
}

/// A reader, and what it waits for.
struct Subtask<T> {
    reader: Box<dyn SourceReader<Item = T>>,
    index: u32,
    clock: ManualClock,
    woken: Receiver<()>,
}

impl<T: Send + 'static> Subtask<T> {
    fn open(source: &dyn Source<Item = T>, index: u32, parallelism: u32, restored: Option<Vec<SplitPosition>>) -> Self {
        let (wake, woken) = mpsc::channel();
        let clock = ManualClock::new();
        let waker = SourceWaker::new(move || wake.send(()).unwrap_or(()));
        let cx = SourceContext { clock: Arc::new(clock.clone()), waker, ..source_context(index, parallelism) };
        let reader =
            source.open(&cx, restored).unwrap_or_else(|error| panic!("subtask {index} does not open: {error}"));
        Self { reader, index, clock, woken }
    }

    /// One read, and the wait that it asks for.
    fn read(
        &mut self,
        portion: usize,
        run: &mut SourceRun<T>,
        positions: &mut BTreeMap<String, SplitPosition>,
    ) -> ReadStatus {
        let (index, mut batch) = (self.index, Batch::new());
        batch.limit_to(portion);
        let read = self.reader.read(&mut batch);
        let status = read.unwrap_or_else(|error| panic!("subtask {index} does not read: {error}"));
        run.read_bytes.push(batch.bytes());
        let moved = note(&mut *self.reader, positions);
        assert!(moved.len() <= 1, "one read has moved several splits: {moved:?}");
        assert!(batch.is_empty() || moved.len() == 1, "a read gave records, and no split has moved");
        run.splits.extend(batch.iter().map(|_| moved[0].clone()));
        run.records.extend(batch.drain());
        run.side.extend(self.reader.take_side_records());
        match status {
            ReadStatus::Idle { retry_after: Some(delay) } => self.clock.advance(delay),
            ReadStatus::Idle { retry_after: None } => {
                let woken = self.woken.recv_timeout(WAKE_TIMEOUT);
                assert!(
                    woken.is_ok(),
                    "subtask {index} is idle, and has not been woken: whoever adds records calls `SourceContext::waker` then"
                );
            }
            ReadStatus::More | ReadStatus::End => {}
        }
        status
    }
}

/// Answers the ids of the splits that have moved.
fn note<T: 'static>(
    reader: &mut dyn SourceReader<Item = T>,
    positions: &mut BTreeMap<String, SplitPosition>,
) -> Vec<String> {
    let mut moved = Vec::new();
    reader.report_positions(&mut moved);
    let splits = moved.iter().map(|position| position.split.clone()).collect();
    positions.extend(moved.into_iter().map(|position| (position.split.clone(), position)));
    splits
}

/// Checks what the contract asks of a bounded [`Source`]: that it can be resumed anywhere.
///
/// A straight run by one subtask is handed to `check`. Then one to three subtasks read, stop after each number of reads,
/// and one to three others read on from the positions: together they must give the same records of each split, in the same
/// order. That is done with reads as large as a batch, and with small ones (of one record where there are few), to stop in
/// the middle of splits, at some twenty places; and by subtasks that are stopped and resumed, each time in another number,
/// after every read. After the end nothing may follow, and each read may have records of one split only.
///
/// Readers may wait as [`read_source`] says. A source that does not end by itself is given an end by its test.
///
/// ```
/// use millstream::source::SequenceSource;
/// use millstream::testing::assert_resumes_anywhere;
///
/// assert_resumes_anywhere(&SequenceSource::new(0..100), |numbers| {
///     assert!(numbers.iter().copied().eq(0..100));
/// });
/// ```
///
/// # Panics
/// If the source breaks its contract, or `check` panics. The message says where it was stopped, and which record of which split
/// is wrong.
pub fn assert_resumes_anywhere<T: Clone + Debug + PartialEq + Send + 'static>(
    source: &dyn Source<Item = T>,
    check: impl Fn(&[T]),
) {
    let straight = read_source(source, 1, None, None);
    check(&straight.records);
    let expected = by_split(&straight);
    let small = (straight.records.len() / 16).max(1);
    let all_ways = (1..=3).flat_map(|before| (1..=3).map(move |after| (BATCH_RECORDS_MAX, before, after)));
    for (portion, before, after) in all_ways.chain([(small, 1, 1), (small, 2, 3), (small, 3, 1)]) {
        let reads = read_in_portions(source, 1, None, None, portion).read_bytes.len();
        // Small reads of a large source are for places within splits, and some of these will do.
        let step = if portion < BATCH_RECORDS_MAX { reads.div_ceil(18).max(1) } else { 1 };
        for stop in (0..=reads).step_by(step) {
            let first = read_in_portions(source, before, None, Some(stop), portion);
            let at = in_words(source, &first.positions);
            let case = format!("{before} subtasks stopped after {stop} reads each, at {at}; {after} read on");
            let second = read_in_portions(source, after, Some(first.positions.clone()), None, portion);
            let positions = second.positions.clone();
            assert_same_splits(&case, &by_split(&first), &by_split(&second), &expected);
            let again = read_source(source, before, Some(positions), None);
            assert!(again.records.is_empty(), "{case}: records follow the end: {:?}", again.records);
        }
    }
    assert_resumes_after_every_read(source, small, &expected);
}

/// Stops after every read, and goes on with one to three subtasks in turn.
fn assert_resumes_after_every_read<T: Clone + Debug + PartialEq + Send + 'static>(
    source: &dyn Source<Item = T>,
    portion: usize,
    expected: &BySplit<T>,
) {
    let (mut restored, mut seen) = (None, BySplit::new());
    for parallelism in (1..=3).cycle() {
        let run = read_in_portions(source, parallelism, restored, Some(1), portion);
        let case = format!("stopped after every read, at last at {}", in_words(source, &run.positions));
        for (split, records) in by_split(&run) {
            seen.entry(split).or_default().extend(records);
        }
        let read = seen.values().map(Vec::len).sum::<usize>();
        let all = expected.values().map(Vec::len).sum::<usize>();
        if read >= all || run.records.is_empty() {
            let rest = read_in_portions(source, 1, Some(run.positions), None, portion);
            return assert_same_splits(&case, &seen, &by_split(&rest), expected);
        }
        restored = Some(run.positions);
    }
}

/// The records of each split, in order.
type BySplit<T> = BTreeMap<String, Vec<T>>;

fn by_split<T: Clone>(run: &SourceRun<T>) -> BySplit<T> {
    let mut splits = BySplit::new();
    for (split, record) in run.splits.iter().zip(&run.records) {
        splits.entry(split.clone()).or_default().push(record.clone());
    }
    splits
}

fn in_words<T: Send + 'static>(source: &dyn Source<Item = T>, positions: &[SplitPosition]) -> String {
    let word =
        |position: &SplitPosition| format!("'{}': {}", position.split, source.describe_position(&position.position));
    positions.iter().map(word).collect::<Vec<_>>().join(", ")
}

/// Compares what was read before and after a stop with a straight run.
fn assert_same_splits<T: Debug + PartialEq>(
    case: &str,
    before: &BySplit<T>,
    after: &BySplit<T>,
    expected: &BySplit<T>,
) {
    let none = Vec::new();
    for split in expected.keys().chain(before.keys()).chain(after.keys()) {
        let [before, after, expected] = [before, after, expected].map(|run| run.get(split).unwrap_or(&none));
        let all = before.iter().chain(after);
        let different = all.clone().zip(expected).position(|(record, expected)| record != expected);
        let common = all.clone().count().min(expected.len());
        let place = different.unwrap_or(common);
        if place == before.len() + after.len() && place == expected.len() {
            continue;
        }
        let whose = if place < before.len() { "before" } else { "after" };
        let (got, wanted) = (all.clone().nth(place), expected.get(place));
        let last = before.last();
        let cause = match got {
            None => "records are lost: a position that is too far, or a split that nobody took over",
            Some(_) if got == last && whose == "after" => {
                "it repeats the last one before the stop: a position that is behind"
            }
            Some(_) if wanted.is_none() => {
                "records are repeated: a position that is behind, or a split with two owners"
            }
            Some(_) => {
                "records are lost, repeated or out of order: is the position that of the last record handed out?"
            }
        };
        panic!(
            "{case}: split '{split}', record {place}, read {whose} the stop: {got:?} instead of {wanted:?}; {cause}"
        );
    }
}

#[cfg(test)]
#[path = "source_runs_tests.rs"]
mod tests;
