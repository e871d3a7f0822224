//! A source each subtask of which reads records of its own.

use millstream::source::{
    Batch, ReadStatus, Source, SourceContext, SourceError, SourceReader, SplitPosition, decode_position,
    encode_position,
};

use crate::{events, nexmark};

/// Records that can be read from a position on.
pub(super) trait Resume: Iterator<Item: Send + 'static> + Send + 'static {
    fn position(&self) -> u64;

    fn resume(&mut self, position: u64);
}

impl Resume for events::Events {
    fn position(&self) -> u64 {
        self.position()
    }

    fn resume(&mut self, position: u64) {
        self.resume(position);
    }
}

impl Resume for nexmark::Events {
    fn position(&self) -> u64 {
        self.position()
    }

    fn resume(&mut self, position: u64) {
        self.resume(position);
    }
}

/// Hands out what `share` gives of subtask and parallelism.
pub(super) struct Shares<F>(pub(super) F);

struct Reader<R> {
    subtask: u32,
    records: R,
}

impl<R: Resume, F: Fn(u64, u64) -> R + Send + Sync + 'static> Source for Shares<F> {
    type Item = R::Item;

    fn open(
        &self,
        cx: &SourceContext,
        restored: Option<Vec<SplitPosition>>,
    ) -> Result<Box<dyn SourceReader<Item = R::Item>>, SourceError> {
        let mut records = (self.0)(cx.subtask_index.into(), cx.parallelism.into());
        let split = cx.subtask_index.to_string();
        if let Some(stored) = restored.into_iter().flatten().find(|stored| stored.split == split) {
            records.resume(decode_position(&stored)?);
        }
        Ok(Box::new(Reader { subtask: cx.subtask_index, records }))
    }
}

impl<R: Resume> SourceReader for Reader<R> {
    type Item = R::Item;

    fn read(&mut self, batch: &mut Batch<R::Item>) -> Result<ReadStatus, SourceError> {
        while !batch.is_full() {
            let Some(record) = self.records.next() else { return Ok(ReadStatus::End) };
            batch.push(record, 0);
        }
        Ok(ReadStatus::More)
    }

    fn report_positions(&mut self, moved: &mut Vec<SplitPosition>) {
        moved.push(encode_position(&self.subtask.to_string(), &self.records.position()));
    }
}
