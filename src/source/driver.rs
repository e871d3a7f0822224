//! Runs sources by their contract alone, for unit tests.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use millstream_actors::contract::{
    Batch, Clock, ReadStatus, SideRecord, Sleep, Source, SourceContext, SourceReader, SourceWaker, SplitPosition,
};
use millstream_actors::protocol::OperatorId;

/// A clock that stands still until told otherwise.
pub(crate) struct TestClock(AtomicU64);

impl TestClock {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(0)))
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.0.fetch_add(by.as_nanos() as u64, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::SeqCst))
    }

    fn unix_ms(&self) -> u64 {
        1_700_000_000_000 + self.now().as_millis() as u64
    }

    fn sleep(&self, _: Duration) -> Sleep {
        Box::pin(std::future::pending())
    }
}

pub(crate) fn context(subtask_index: u32, parallelism: u32) -> SourceContext {
    SourceContext {
        job: "job".into(),
        operator: OperatorId::new("source"),
        subtask_index,
        parallelism,
        clock: TestClock::new(),
        waker: SourceWaker::new(|| ()),
    }
}

/// What several subtasks read.
pub(crate) struct Run<T> {
    /// Subtask by subtask.
    pub(crate) records: Vec<T>,
    /// Of all splits.
    pub(crate) positions: Vec<SplitPosition>,
    pub(crate) side: Vec<SideRecord>,
    pub(crate) batches: Vec<usize>,
}

/// Reads `reads` batches on each subtask (all, if `None`), one after another.
pub(crate) fn read_from<T: Send + 'static>(
    source: &dyn Source<Item = T>,
    parallelism: u32,
    restored: Option<Vec<SplitPosition>>,
    reads: Option<usize>,
) -> Run<T> {
    let mut run = Run { records: vec![], positions: vec![], side: vec![], batches: vec![] };
    let mut positions = BTreeMap::new();
    for index in 0..parallelism {
        let mut reader = source.open(&context(index, parallelism), restored.clone()).expect("opens");
        note(&mut *reader, &mut positions);
        let mut batch = Batch::new();
        for _ in 0..reads.unwrap_or(usize::MAX) {
            let status = reader.read(&mut batch).expect("reads");
            run.batches.push(batch.bytes());
            run.records.extend(batch.drain());
            run.side.extend(reader.take_side_records());
            note(&mut *reader, &mut positions);
            if status == ReadStatus::End {
                break;
            }
        }
    }
    run.positions = positions.into_values().collect();
    run
}

fn note<T: 'static>(reader: &mut dyn SourceReader<Item = T>, positions: &mut BTreeMap<String, SplitPosition>) {
    let mut moved = Vec::new();
    reader.report_positions(&mut moved);
    positions.extend(moved.into_iter().map(|position| (position.split.clone(), position)));
}

pub(crate) fn read_all<T: Send + 'static>(
    source: &dyn Source<Item = T>,
    parallelism: u32,
    restored: Option<Vec<SplitPosition>>,
) -> Run<T> {
    read_from(source, parallelism, restored, None)
}

/// Checks a straight run at parallelism 1 with `check`, then that stopping after every number of batches and reading
/// on, at any parallelism, gives the same records: in order while the parallelism stays 1, else as a multiset.
pub(crate) fn assert_resumes_anywhere<T: Clone + Debug + Ord + Send + 'static>(
    source: &dyn Source<Item = T>,
    check: impl Fn(&Vec<T>),
) {
    let straight = read_all(source, 1, None);
    check(&straight.records);
    let mut sorted = straight.records.clone();
    sorted.sort();
    for before in 1..=3 {
        for after in 1..=3 {
            for reads in 0..=straight.batches.len() {
                let first = read_from(source, before, None, Some(reads));
                let second = read_all(source, after, Some(first.positions));
                let mut records = first.records;
                records.extend(second.records);
                if (before, after) == (1, 1) {
                    assert_eq!(records, straight.records, "stopped after {reads} batches");
                }
                records.sort();
                assert!(records == sorted, "{before} -> {after} subtasks after {reads} batches");
                let again = read_all(source, before, Some(second.positions));
                assert!(again.records.is_empty(), "nothing follows the end");
            }
        }
    }
}
