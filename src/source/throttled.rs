//! A source that is read no faster than at a given rate.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use millstream_actors::contract::{
    Batch, Boundedness, Clock, CompletedPositions, Located, ReadStatus, SideRecord, Source, SourceContext, SourceError,
    SourceReader, SplitPosition, SplitRead, Threading,
};
use millstream_actors::protocol::Mark;

/// Reads another source at no more than a given rate, batch by batch: after a batch it waits until the rate allows the
/// next. Each subtask keeps to the rate by itself.
///
/// ```
/// use millstream::prelude::*;
///
/// # let sink = CollectSink::new();
/// # let records = sink.handle();
/// let env = StreamEnvironment::new("replay");
/// env.source("records", Throttled::new(VecSource::new(vec![1, 2, 3]), 1_000)).sink("out", sink);
/// env.start()?.wait()?;
/// assert_eq!(records.snapshot(), [1, 2, 3]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Throttled<S> {
    source: S,
    records_per_second: u64,
}

impl<S: Source> Throttled<S> {
    /// Reads `source` at this rate; 0 is no limit.
    pub fn new(source: S, records_per_second: u64) -> Self {
        Self { source, records_per_second }
    }
}

impl<S: Source> Source for Throttled<S> {
    type Item = S::Item;

    fn boundedness(&self) -> Boundedness {
        self.source.boundedness()
    }

    fn threading(&self) -> Threading {
        self.source.threading()
    }

    fn mistake(&self) -> Option<String> {
        self.source.mistake()
    }

    fn strategy(&self) -> Option<Box<dyn Any>> {
        self.source.strategy()
    }

    fn open(
        &self,
        cx: &SourceContext,
        restored: Option<Vec<SplitPosition>>,
    ) -> Result<Box<dyn SourceReader<Item = S::Item>>, SourceError> {
        let reader = self.source.open(cx, restored)?;
        if self.records_per_second == 0 {
            return Ok(reader);
        }
        let per_record = Duration::from_secs(1).div_f64(self.records_per_second as f64);
        Ok(Box::new(ThrottledReader { reader, per_record, clock: cx.clock.clone(), due: Duration::ZERO }))
    }

    fn ends_on_finish(&self) -> bool {
        self.source.ends_on_finish()
    }

    fn job_finished(&self) {
        self.source.job_finished();
    }

    fn job_ended(&self) {
        self.source.job_ended();
    }

    fn describe_position(&self, position: &[u8]) -> String {
        self.source.describe_position(position)
    }

    fn locate(&self, place: &dyn Any) -> Located {
        self.source.locate(place)
    }

    fn offset_of(&self, position: &[u8]) -> Option<u64> {
        self.source.offset_of(position)
    }
}

struct ThrottledReader<T> {
    reader: Box<dyn SourceReader<Item = T>>,
    per_record: Duration,
    clock: Arc<dyn Clock>,
    /// When the next batch may be read.
    due: Duration,
}

impl<T: 'static> SourceReader for ThrottledReader<T> {
    type Item = T;

    fn read(&mut self, batch: &mut Batch<T>) -> Result<ReadStatus, SourceError> {
        let now = self.clock.now();
        if now < self.due {
            return Ok(ReadStatus::Idle { retry_after: Some(self.due - now) });
        }
        let before = batch.len();
        let status = self.reader.read(batch)?;
        self.due = now + self.per_record.mul_f64((batch.len() - before) as f64);
        Ok(status)
    }

    fn report_positions(&mut self, moved: &mut Vec<SplitPosition>) {
        self.reader.report_positions(moved);
    }

    fn take_forgotten(&mut self) -> Vec<String> {
        self.reader.take_forgotten()
    }

    fn awaits_splits(&self) -> bool {
        self.reader.awaits_splits()
    }

    fn last_read(&self) -> Option<SplitRead<'_>> {
        self.reader.last_read()
    }

    fn concurrent_splits(&self) -> Vec<String> {
        self.reader.concurrent_splits()
    }

    fn tells_idleness(&self) -> bool {
        self.reader.tells_idleness()
    }

    fn take_marks(&mut self) -> Vec<Mark> {
        self.reader.take_marks()
    }

    fn checkpoint_completed(&mut self, completed: &CompletedPositions) -> Result<(), SourceError> {
        self.reader.checkpoint_completed(completed)
    }

    fn reading_stopped(&mut self) {
        self.reader.reading_stopped();
    }

    fn finish(&mut self) {
        self.reader.finish();
    }

    fn input_ended(&mut self) {
        self.reader.input_ended();
    }

    fn take_side_records(&mut self) -> Vec<SideRecord> {
        self.reader.take_side_records()
    }
}

#[cfg(test)]
mod tests {
    use millstream_actors::contract::{EventTimes, SourceTime, SourceWaker};

    use super::*;
    use crate::source::VecSource;
    use crate::time::ManualClock;

    #[test]
    fn next_batch_waits_until_the_rate_allows_it() {
        let clock = ManualClock::new();
        let cx = SourceContext {
            job: "job".into(),
            operator: "numbers".into(),
            subtask_index: 0,
            parallelism: 1,
            clock: Arc::new(clock.clone()),
            waker: SourceWaker::new(|| {}),
            event_times: EventTimes::default(),
            counters: Arc::default(),
            time: SourceTime::default(),
        };
        let mut reader = Throttled::new(VecSource::new((0..2000u32).collect()), 1000).open(&cx, None).unwrap();
        let mut read = || {
            let mut batch = Batch::new();
            (reader.read(&mut batch).unwrap(), batch.len())
        };
        assert_eq!(read(), (ReadStatus::More, 1024));
        clock.advance(Duration::from_millis(1000));
        let left = Some(Duration::from_millis(24));
        assert_eq!(read(), (ReadStatus::Idle { retry_after: left }, 0));
        clock.advance(Duration::from_millis(24));
        assert_eq!(read(), (ReadStatus::End, 976));
    }
}
