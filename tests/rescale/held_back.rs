//! A source that hands out a part of another one, in step with checkpoints.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use millstream::source::{
    Batch, ReadStatus, Source, SourceContext, SourceError, SourceReader, SourceWaker, SplitPosition,
};

/// Records handed out by one read.
const READ_RECORDS: u64 = 8;

/// A batch that is one byte below its limit takes one record.
const ALMOST_FULL: usize = 256 * 1024 - 1;

/// How soon to look again. With no delay the stream would count as idle.
const AGAIN: Duration = Duration::from_millis(1);

/// Hands out so many records in all, and each subtask only so many between two barriers, so that a run takes many
/// checkpoints on a machine of any speed. At the end of its part it waits, as if the rest were still to come.
pub(crate) struct HeldBack<S> {
    source: S,
    /// Of all subtasks together.
    left: Arc<AtomicU64>,
    step: u64,
}

impl<S> HeldBack<S> {
    pub(crate) fn new(source: S, left: Arc<AtomicU64>, step: u64) -> Self {
        Self { source, left, step }
    }
}

impl<S: Source> Source for HeldBack<S> {
    type Item = S::Item;

    /// Reads in the task itself, so that it knows of each barrier.
    fn open(
        &self,
        cx: &SourceContext,
        restored: Option<Vec<SplitPosition>>,
    ) -> Result<Box<dyn SourceReader<Item = S::Item>>, SourceError> {
        let reader = self.source.open(cx, restored)?;
        let (left, step, waker) = (self.left.clone(), self.step, cx.waker.clone());
        Ok(Box::new(Reader { reader, left, step, allowed: step, waker }))
    }
}

struct Reader<T> {
    reader: Box<dyn SourceReader<Item = T>>,
    left: Arc<AtomicU64>,
    step: u64,
    allowed: u64,
    waker: SourceWaker,
}

impl<T: 'static> SourceReader for Reader<T> {
    type Item = T;

    fn read(&mut self, batch: &mut Batch<T>) -> Result<ReadStatus, SourceError> {
        for _ in 0..READ_RECORDS {
            if self.allowed == 0 || self.left.load(Ordering::Relaxed) == 0 {
                return Ok(ReadStatus::Idle { retry_after: Some(AGAIN) });
            }
            let mut one = Batch::counted(Vec::new(), ALMOST_FULL);
            let status = self.reader.read(&mut one)?;
            let Some(record) = one.drain().next_back() else { return Ok(status) };
            self.allowed -= 1;
            // Subtasks may take one more than is left, between them.
            let _ = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
            batch.push(record, 16);
        }
        Ok(ReadStatus::More)
    }

    /// A barrier: the next step may be read.
    fn report_positions(&mut self, moved: &mut Vec<SplitPosition>) {
        self.reader.report_positions(moved);
        self.allowed = self.step;
        self.waker.wake();
    }
}
