//! A source that hands records out in step with checkpoints.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use millstream::source::{
    Batch, ReadStatus, Source, SourceContext, SourceError, SourceReader, SourceWaker, SplitPosition, SplitRead,
};

/// Splits of a [`SteppedSource`], whatever its parallelism.
const SPLITS: u64 = 4;
/// Records handed out by one read.
const READ_RECORDS: u64 = 8;

/// Where all [`SteppedSource`]s of a job are. Clones are one.
#[derive(Clone, Debug, Default)]
pub(crate) struct InputEnd(Arc<Mutex<BTreeMap<String, (u64, u64)>>>);

impl InputEnd {
    /// Whether everything has been read, as far as the running attempts are.
    pub(crate) fn is_over(&self) -> bool {
        let splits = self.lock();
        !splits.is_empty() && splits.values().all(|(next, end)| next >= end)
    }

    /// Records read, as far as the running attempts are.
    pub(crate) fn records_read(&self) -> u64 {
        self.lock().values().map(|(next, _)| next).sum()
    }

    fn set(&self, split: &str, next: u64, end: u64) {
        self.lock().insert(split.to_owned(), (next, end));
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, (u64, u64)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Hands out `(name, id)` for `id` in `0..records`: at most `step` records of each subtask between two barriers, so
/// that a run takes many checkpoints on a machine of any speed.
///
/// Ids that are equal modulo 4 are in one split, and in order.
pub(crate) struct SteppedSource {
    pub(crate) name: &'static str,
    pub(crate) records: u64,
    pub(crate) step: u64,
    /// Nothing is handed out from here on of any split, as if the rest of the input were still to come.
    pub(crate) hold_at: u64,
    pub(crate) end: InputEnd,
}

impl SteppedSource {
    pub(crate) fn new(name: &'static str, records: u64, step: u64, end: &InputEnd) -> Self {
        assert!(records.is_multiple_of(SPLITS), "splits of one length");
        for split in 0..SPLITS {
            end.set(&split_id(name, split), 0, records / SPLITS);
        }
        Self { name, records, step, hold_at: u64::MAX, end: end.clone() }
    }

    /// Holds each split back from `position` on.
    pub(crate) fn hold_at(mut self, position: u64) -> Self {
        self.hold_at = position;
        self
    }
}

fn split_id(name: &str, split: u64) -> String {
    format!("{name}-{split}")
}

struct Split {
    index: u64,
    id: String,
    next: u64,
}

struct Reader {
    name: &'static str,
    splits: Vec<Split>,
    split_records: u64,
    hold_at: u64,
    step: u64,
    /// Records that may be handed out before the next barrier.
    allowed: u64,
    /// The split of the last read.
    last: Option<usize>,
    end: InputEnd,
    waker: SourceWaker,
}

impl Source for SteppedSource {
    type Item = (&'static str, u64);

    fn open(
        &self,
        cx: &SourceContext,
        restored: Option<Vec<SplitPosition>>,
    ) -> Result<Box<dyn SourceReader<Item = Self::Item>>, SourceError> {
        let restored = restored.unwrap_or_default();
        let split_records = self.records / SPLITS;
        let mut splits = Vec::new();
        for index in 0..SPLITS {
            let id = split_id(self.name, index);
            if !cx.owns(&id) {
                continue;
            }
            let stored = restored.iter().find(|position| position.split == id);
            let next = stored.map_or(Ok(0), |stored| {
                stored
                    .position
                    .clone()
                    .try_into()
                    .map(u64::from_le_bytes)
                    .map_err(|bytes| SourceError::position(&id, format!("{bytes:?}")))
            })?;
            self.end.set(&id, next, split_records);
            splits.push(Split { index, id, next });
        }
        let (name, step, hold_at, end) = (self.name, self.step, self.hold_at, self.end.clone());
        let (allowed, waker) = (step, cx.waker.clone());
        Ok(Box::new(Reader { name, splits, split_records, hold_at, step, allowed, last: None, end, waker }))
    }
}

impl SourceReader for Reader {
    type Item = (&'static str, u64);

    fn read(&mut self, batch: &mut Batch<Self::Item>) -> Result<ReadStatus, SourceError> {
        if self.splits.iter().all(|split| split.next == self.split_records) {
            return Ok(ReadStatus::End);
        }
        let end = self.split_records.min(self.hold_at);
        let open = (0..self.splits.len()).filter(|&s| self.splits[s].next < end);
        // In the same order after a restart, from wherever it goes on.
        let Some(turn) = open.min_by_key(|&s| self.splits[s].next).filter(|_| self.allowed > 0) else {
            return Ok(ReadStatus::Idle { retry_after: None });
        };
        self.last = Some(turn);
        let split = &mut self.splits[turn];
        let take = READ_RECORDS.min(self.allowed).min(end - split.next);
        for next in split.next..split.next + take {
            batch.push((self.name, next * SPLITS + split.index), 16);
        }
        split.next += take;
        self.allowed -= take;
        self.end.set(&split.id, split.next, self.split_records);
        Ok(ReadStatus::More)
    }

    fn last_read(&self) -> Option<SplitRead<'_>> {
        let split = &self.splits[self.last?];
        Some(SplitRead { split: &split.id, at_end: split.next == self.split_records })
    }

    fn concurrent_splits(&self) -> Vec<String> {
        let open = self.splits.iter().filter(|split| split.next < self.split_records);
        open.map(|split| split.id.clone()).collect()
    }

    /// A barrier: the next step may be read.
    fn report_positions(&mut self, moved: &mut Vec<SplitPosition>) {
        moved.extend(self.splits.iter().map(|split| SplitPosition::new(split.id.as_str(), split.next.to_le_bytes())));
        self.allowed = self.step;
        self.waker.wake();
    }
}
