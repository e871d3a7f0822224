//! A source that hands out what it was given.

use std::sync::Arc;

use millstream_actors::contract::{Batch, ReadStatus, Source, SourceContext, SourceError, SourceReader, SplitPosition};

use super::position;

const SPLIT: &str = "vec";
const READ_MAX: usize = millstream_actors::contract::BATCH_RECORDS_MAX;

/// Hands out the elements of a `Vec`, in order, and ends. Bounded.
///
/// One split: whatever the parallelism, one subtask reads it all. A restored job must be given the same elements.
#[derive(Clone, Debug)]
pub struct VecSource<T> {
    records: Arc<[T]>,
}

impl<T> VecSource<T> {
    /// A source of these records.
    pub fn new(records: Vec<T>) -> Self {
        Self { records: records.into() }
    }
}

impl<T: Clone + Send + Sync + 'static> Source for VecSource<T> {
    type Item = T;

    fn open(
        &self,
        cx: &SourceContext,
        restored: Option<Vec<SplitPosition>>,
    ) -> Result<Box<dyn SourceReader<Item = T>>, SourceError> {
        let mut next = 0;
        if let Some(stored) = restored.iter().flatten().find(|stored| stored.split == SPLIT) {
            let stored: u64 = position::decode(stored)?;
            next = usize::try_from(stored).ok().filter(|next| *next <= self.records.len()).ok_or_else(|| {
                let reason = format!("it is record {stored}, there are {}", self.records.len());
                SourceError::Position { split: SPLIT.into(), reason }
            })?;
        }
        Ok(Box::new(VecReader { records: self.records.clone(), next, owned: cx.owns(SPLIT), moved: true }))
    }
}

struct VecReader<T> {
    records: Arc<[T]>,
    next: usize,
    owned: bool,
    moved: bool,
}

impl<T: Clone + Send + Sync + 'static> SourceReader for VecReader<T> {
    type Item = T;

    fn read(&mut self, batch: &mut Batch<T>) -> Result<ReadStatus, SourceError> {
        if !self.owned || self.next == self.records.len() {
            return Ok(ReadStatus::End);
        }
        let end = self.records.len().min(self.next + READ_MAX.saturating_sub(batch.len()));
        batch.extend(self.records[self.next..end].iter().cloned());
        self.moved |= end > self.next;
        self.next = end;
        Ok(if end < self.records.len() { ReadStatus::More } else { ReadStatus::End })
    }

    fn report_positions(&mut self, moved: &mut Vec<SplitPosition>) {
        if self.owned && std::mem::take(&mut self.moved) {
            moved.push(position::encode(SPLIT, &(self.next as u64)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::driver;

    #[test]
    fn resumed_anywhere_at_any_parallelism_gives_the_straight_run() {
        let records: Vec<u32> = (0..5000).collect();
        driver::assert_resumes_anywhere(&VecSource::new(records.clone()), |read| assert_eq!(read, &records));
    }

    #[test]
    fn empty_vec_ends_at_once() {
        assert!(driver::read_all(&VecSource::<u8>::new(vec![]), 1, None).records.is_empty());
    }

    #[test]
    fn position_beyond_the_records_is_refused() {
        let stored = position::encode(SPLIT, &4_u64);
        let error = VecSource::new(vec![1, 2, 3]).open(&driver::context(0, 1), Some(vec![stored])).err().unwrap();
        assert!(matches!(error, SourceError::Position { .. }), "{error}");
    }
}
