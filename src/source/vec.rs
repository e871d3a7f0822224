//! A source that hands out what it was given.

use std::sync::Arc;

use millstream_actors::contract::{
    Batch, ReadStatus, Source, SourceContext, SourceError, SourceReader, SplitPosition, SplitRead,
};

use super::position::described;
use super::{Split, SplitQueue};

const SPLIT: &str = "vec";

/// Hands out the elements of a `Vec`, in order, and ends. Bounded.
///
/// One split: whatever the parallelism, one subtask reads it all. A restored job must be given the same elements.
///
/// ```
/// use millstream::prelude::*;
///
/// # let sink = CollectSink::new();
/// # let lengths = sink.handle();
/// let env = StreamEnvironment::new("lengths");
/// env.source("words", VecSource::new(vec!["tea", "milk"])).map(str::len).sink("lengths", sink);
/// env.start()?.wait()?;
/// assert_eq!(lengths.snapshot(), [3, 4]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
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
        let list = || Ok(vec![Split { id: SPLIT.to_owned(), position: 0 }]);
        let splits = SplitQueue::open(cx, restored, list)?;
        let len = self.records.len() as u64;
        if let Some(split) = splits.iter().find(|split| split.position > len) {
            let reason = format!("it is record {}, there are {len}", split.position);
            return Err(SourceError::position(&split.id, reason));
        }
        Ok(Box::new(VecReader { records: self.records.clone(), splits }))
    }

    fn describe_position(&self, position: &[u8]) -> String {
        described(position, |next: u64| format!("record {next} from 0"))
    }
}

struct VecReader<T> {
    records: Arc<[T]>,
    /// The position is the index of the next record.
    splits: SplitQueue<u64>,
}

impl<T: Clone + Send + Sync + 'static> SourceReader for VecReader<T> {
    type Item = T;

    fn read(&mut self, batch: &mut Batch<T>) -> Result<ReadStatus, SourceError> {
        let Some(split) = self.splits.current() else { return Ok(ReadStatus::End) };
        let next = usize::try_from(split.position).expect("at most the number of records");
        let end = self.records.len().min(next + batch.room());
        batch.extend(self.records[next..end].iter().cloned());
        split.position = end as u64;
        if end == self.records.len() {
            self.splits.finish();
        }
        Ok(if self.splits.is_finished() { ReadStatus::End } else { ReadStatus::More })
    }

    fn report_positions(&mut self, moved: &mut Vec<SplitPosition>) {
        self.splits.report(moved);
    }

    fn last_read(&self) -> Option<SplitRead<'_>> {
        self.splits.last_read()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::encode_position;
    use crate::testing::{assert_resumes_anywhere, read_source, source_context};

    #[test]
    fn resumed_anywhere_at_any_parallelism_gives_the_straight_run() {
        let records: Vec<u32> = (0..5000).collect();
        assert_resumes_anywhere(&VecSource::new(records.clone()), |read| assert_eq!(read, &records));
    }

    #[test]
    fn empty_vec_ends_at_once() {
        assert!(read_source(&VecSource::<u8>::new(vec![]), 1, None, None).records.is_empty());
    }

    #[test]
    fn position_beyond_the_records_is_refused() {
        let stored = encode_position(SPLIT, &4_u64);
        let error = VecSource::new(vec![1, 2, 3]).open(&source_context(0, 1), Some(vec![stored])).err().unwrap();
        assert!(error.location().contains(SPLIT) && !error.is_retryable(), "{error}");
    }
}
