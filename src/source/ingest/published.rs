//! What of a log can be read, and who reads it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use millstream_actors::contract::SourceWaker;

use super::batch::RecordBatch;
use super::log_file::{Change, SplitRow};

/// What a batch in memory takes beside its bytes, about.
const BATCH_OVERHEAD: usize = 128;

/// What a batch takes of the bound on memory.
fn size(batch: &RecordBatch) -> usize {
    batch.bytes().len() + BATCH_OVERHEAD
}

/// All splits, as of the last change that became durable.
#[derive(Debug)]
pub(super) struct Published {
    splits: Vec<PublishedSplit>,
    /// Of which split each batch in memory is, oldest first.
    order: VecDeque<u32>,
    bytes: usize,
    bytes_max: usize,
    readers: BTreeMap<u64, (Vec<u32>, SourceWaker)>,
    next_reader: u64,
}

#[derive(Debug)]
struct PublishedSplit {
    row: SplitRow,
    /// The newest batches.
    newest: VecDeque<Arc<RecordBatch>>,
    /// No record before this offset is needed, as far as readers have said.
    needed_from: u64,
    /// Up to where it was trimmed, but for the batch in which that is.
    trimmed: u64,
}

impl Published {
    pub(super) fn new(rows: &[SplitRow], bytes_max: usize) -> Self {
        let split = |row: &SplitRow| {
            let (needed_from, trimmed) = (row.start, row.start);
            PublishedSplit { row: *row, newest: VecDeque::new(), needed_from, trimmed }
        };
        Self {
            splits: rows.iter().map(split).collect(),
            order: VecDeque::new(),
            bytes: 0,
            bytes_max,
            readers: BTreeMap::new(),
            next_reader: 0,
        }
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = SplitRow> {
        self.splits.iter().map(|split| split.row)
    }

    pub(super) fn row(&self, split: u32) -> SplitRow {
        self.splits[split as usize].row
    }

    /// A change became durable, and splits stand so now. Answers who is to be woken.
    pub(super) fn advance(&mut self, change: &Change, rows: &[SplitRow]) -> Vec<SourceWaker> {
        let Change { appended, trimmed, .. } = change;
        for (split, row) in self.splits.iter_mut().zip(rows) {
            split.row = *row;
        }
        for (split, up_to) in trimmed {
            self.splits[*split as usize].trimmed = *up_to;
        }
        for (split, batch) in appended {
            self.bytes += size(batch);
            self.order.push_back(*split);
            self.splits[*split as usize].newest.push_back(batch.clone());
        }
        while self.bytes > self.bytes_max {
            let Some(split) = self.order.pop_front() else { break };
            let oldest = self.splits[split as usize].newest.pop_front();
            self.bytes -= oldest.map_or(0, |batch| size(&batch));
        }
        let moved = |splits: &[u32]| appended.iter().any(|(split, _)| splits.contains(split));
        self.readers.values().filter(|(splits, _)| moved(splits)).map(|(_, waker)| waker.clone()).collect()
    }

    /// Batches in memory from the one with the record `from` on, of about so many bytes at most. None if it is not in memory.
    pub(super) fn batches(&self, split: u32, from: u64, bytes_max: usize) -> Vec<Arc<RecordBatch>> {
        let newest = &self.splits[split as usize].newest;
        let first = newest.partition_point(|batch| batch.end() <= from);
        let mut bytes = 0;
        let fits = |batch: &&Arc<RecordBatch>| {
            let is_first = bytes == 0;
            bytes += batch.bytes().len();
            is_first || bytes <= bytes_max
        };
        match newest.get(first) {
            Some(batch) if batch.first() <= from => newest.range(first..).take_while(fits).cloned().collect(),
            _ => Vec::new(),
        }
    }

    /// No record of the split before this offset is needed. Answers whether something is to be trimmed: also if that was said
    /// before, and has failed.
    pub(super) fn needs_from(&mut self, split: u32, offset: u64) -> bool {
        let split = &mut self.splits[split as usize];
        split.needed_from = split.needed_from.max(offset.min(split.row.end));
        split.needed_from > split.trimmed
    }

    /// Splits of which something may be removed, and up to where.
    pub(super) fn unneeded(&self) -> Vec<(u32, u64)> {
        let splits = (0..).zip(&self.splits).filter(|(_, split)| split.needed_from > split.trimmed);
        splits.map(|(number, split)| (number, split.needed_from)).collect()
    }

    pub(super) fn add_reader(&mut self, splits: Vec<u32>, waker: SourceWaker) -> u64 {
        self.next_reader += 1;
        self.readers.insert(self.next_reader, (splits, waker));
        self.next_reader
    }

    /// Whether a later reader has any of its splits, as of a newer attempt.
    pub(super) fn is_replaced(&self, reader: u64) -> bool {
        let Some((splits, _)) = self.readers.get(&reader) else { return true };
        let mut later = self.readers.range(reader + 1..);
        later.any(|(_, (others, _))| others.iter().any(|split| splits.contains(split)))
    }

    pub(super) fn remove_reader(&mut self, reader: u64) {
        self.readers.remove(&reader);
    }

    pub(super) fn wakers(&self) -> Vec<SourceWaker> {
        self.readers.values().map(|(_, waker)| waker.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trim_that_has_failed_is_due_again_with_each_checkpoint_and_never_goes_beyond_the_end() {
        let row = SplitRow { start: 0, end: 10, bytes: 100 };
        let mut published = Published::new(&[row], 1_000);
        assert!(!published.needs_from(0, 0));
        for _ in 0..2 {
            assert!(published.needs_from(0, 7));
            assert_eq!(published.unneeded(), [(0, 7)]);
        }
        let trimmed = Change { trimmed: published.unneeded(), ..Change::default() };
        published.advance(&trimmed, &[row]);
        assert!(!published.needs_from(0, 7) && published.unneeded().is_empty());
        assert!(published.needs_from(0, 25));
        assert_eq!(published.unneeded(), [(0, 10)]);
    }
}
