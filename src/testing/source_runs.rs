//! Runs sources by their contract alone.

use std::collections::BTreeMap;
use std::fmt::Debug;

use millstream_actors::contract::{Batch, ReadStatus, SideRecord, Source, SourceReader, SplitPosition};

use super::source_context;

/// What the subtasks of a source read.
#[derive(Debug)]
pub struct SourceRun<T> {
    /// Subtask by subtask, each in its order.
    pub records: Vec<T>,
    /// The last reported position of every split, by its id.
    pub positions: Vec<SplitPosition>,
    /// For side outputs.
    pub side: Vec<SideRecord>,
    /// Payload bytes of each read.
    pub read_bytes: Vec<usize>,
}

/// Opens `source` at `restored` and has each of `parallelism` subtasks read `reads` times (to its end, if `None`), one
/// after another, with the contexts of [`source_context`].
///
/// # Panics
/// If opening or reading fails, or a read breaks the contract: records of more than one split in it, or a position that
/// is not reported.
pub fn read_source<T: Send + 'static>(
    source: &dyn Source<Item = T>,
    parallelism: u32,
    restored: Option<Vec<SplitPosition>>,
    reads: Option<usize>,
) -> SourceRun<T> {
    let mut run = SourceRun { records: vec![], positions: vec![], side: vec![], read_bytes: vec![] };
    let mut positions = BTreeMap::new();
    for index in 0..parallelism {
        let mut reader = source.open(&source_context(index, parallelism), restored.clone()).expect("the source opens");
        note(&mut *reader, &mut positions);
        let mut batch = Batch::new();
        for _ in 0..reads.unwrap_or(usize::MAX) {
            let status = reader.read(&mut batch).expect("the source reads");
            run.read_bytes.push(batch.bytes());
            let moved = note(&mut *reader, &mut positions);
            assert!(moved.len() <= 1, "one read has moved several splits: {moved:?}");
            assert!(batch.is_empty() || moved.len() == 1, "a read gave records, and no split has moved");
            run.records.extend(batch.drain());
            batch.clear();
            run.side.extend(reader.take_side_records());
            if status == ReadStatus::End {
                break;
            }
        }
    }
    run.positions = positions.into_values().collect();
    run
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
/// and one to three others read on from the positions: together they must give the same records, in the same order with
/// one subtask each, as a multiset otherwise. After the end nothing may follow, and each read may have records of one
/// split only.
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
/// If the source breaks its contract, or `check` panics.
pub fn assert_resumes_anywhere<T: Clone + Debug + Ord + Send + 'static>(
    source: &dyn Source<Item = T>,
    check: impl Fn(&[T]),
) {
    let straight = read_source(source, 1, None, None);
    check(&straight.records);
    let mut sorted = straight.records.clone();
    sorted.sort();
    for before in 1..=3 {
        for after in 1..=3 {
            for reads in 0..=straight.read_bytes.len() {
                let first = read_source(source, before, None, Some(reads));
                let second = read_source(source, after, Some(first.positions), None);
                let mut records = first.records;
                records.extend(second.records);
                if (before, after) == (1, 1) {
                    assert_eq!(records, straight.records, "stopped after {reads} reads");
                }
                records.sort();
                assert!(records == sorted, "{before} -> {after} subtasks after {reads} reads");
                let again = read_source(source, before, Some(second.positions), None);
                assert!(again.records.is_empty(), "records follow the end: {:?}", again.records);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use millstream_actors::contract::{SourceContext, SourceError};

    use super::*;
    use crate::source::{Split, SplitQueue};

    /// Two splits of a record each: reads both at once, or does not move their positions.
    struct Careless {
        over_splits: bool,
    }

    struct CarelessReader {
        splits: SplitQueue<u64>,
        over_splits: bool,
    }

    impl Source for Careless {
        type Item = u64;

        fn open(
            &self,
            cx: &SourceContext,
            restored: Option<Vec<SplitPosition>>,
        ) -> Result<Box<dyn SourceReader<Item = u64>>, SourceError> {
            let list = || Ok(["a", "b"].map(|id| Split { id: id.to_owned(), position: 0 }).into());
            let splits = SplitQueue::open(cx, restored, list)?;
            Ok(Box::new(CarelessReader { splits, over_splits: self.over_splits }))
        }
    }

    impl SourceReader for CarelessReader {
        type Item = u64;

        fn read(&mut self, batch: &mut Batch<u64>) -> Result<ReadStatus, SourceError> {
            while let Some(split) = self.splits.current() {
                batch.push(split.position, 0);
                if self.over_splits {
                    split.position += 1;
                }
                self.splits.finish();
                if !self.over_splits {
                    break;
                }
            }
            Ok(if self.splits.is_finished() { ReadStatus::End } else { ReadStatus::More })
        }

        fn report_positions(&mut self, moved: &mut Vec<SplitPosition>) {
            self.splits.report(moved);
        }
    }

    #[test]
    #[should_panic(expected = "several splits")]
    fn read_over_two_splits_is_found() {
        assert_resumes_anywhere(&Careless { over_splits: true }, |_| ());
    }

    #[test]
    #[should_panic(expected = "records follow the end")]
    fn position_that_does_not_move_is_found() {
        assert_resumes_anywhere(&Careless { over_splits: false }, |_| ());
    }
}
