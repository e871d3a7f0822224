//! Event time for a source.

use std::any::Any;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use millstream_actors::contract::{
    Batch, Boundedness, CompletedPositions, Hold, Located, ReadStatus, SideRecord, Source, SourceContext, SourceError,
    SourceReader, SplitPosition, SplitRead, Threading,
};
use millstream_actors::protocol::{Mark, OperatorId, Timestamp};

use crate::time::{AlignedMember, SplitTimes, TimesBatches, WatermarkStrategy};

/// Of the time between two reads so much counts for idleness, unless the first one had found nothing.
const BETWEEN_READS_MAX: Duration = Duration::from_millis(100);

/// Gives the records of a source event times, and the stream watermarks.
///
/// Each split has a generator of its own, and so its own event time, from its first read to its end; that of the stream is the
/// least of them. How far each has come is stored with its position, and a restored stream says again, before its first
/// record, the least of those that were being read. A source whose reader does not say of which split a read was counts as one
/// split. A watermark that the source's own reader gives with a read counts for the split that it says was read, beside what the strategy
/// says; of a source that has a strategy already this one alone counts.
///
/// [`StreamEnvironment::source_with_watermarks`](crate::StreamEnvironment::source_with_watermarks) is this; it is written out
/// where a source is wrapped once more:
///
/// ```
/// use millstream::prelude::*;
/// use millstream::source::{Throttled, Timed};
///
/// # let env = StreamEnvironment::new("slow");
/// let ticks = Timed::new(SequenceSource::new(0..10_000), WatermarkStrategy::monotonous(|tick: &u64| *tick as i64));
/// env.source("ticks", Throttled::new(ticks, 1_000)).sink("out", CollectSink::new());
/// # env.explain().unwrap();
/// ```
pub struct Timed<S: Source> {
    source: S,
    strategy: WatermarkStrategy<S::Item>,
    /// The job in which it was opened, and its id there.
    place: OnceLock<(Arc<str>, OperatorId)>,
}

impl<S: Source> Timed<S> {
    /// The source with this strategy.
    pub fn new(source: S, strategy: WatermarkStrategy<S::Item>) -> Self {
        Self { source, strategy, place: OnceLock::new() }
    }
}

impl<S: Source + fmt::Debug> fmt::Debug for Timed<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timed").field("source", &self.source).field("strategy", &self.strategy).finish()
    }
}

impl<S: Source> Source for Timed<S> {
    type Item = S::Item;

    fn boundedness(&self) -> Boundedness {
        self.source.boundedness()
    }

    fn threading(&self) -> Threading {
        self.source.threading()
    }

    fn mistake(&self) -> Option<String> {
        self.strategy.mistake().or_else(|| self.source.mistake())
    }

    fn strategy(&self) -> Option<Box<dyn Any>> {
        Some(Box::new(self.strategy.clone()))
    }

    fn open(
        &self,
        cx: &SourceContext,
        restored: Option<Vec<SplitPosition>>,
    ) -> Result<Box<dyn SourceReader<Item = S::Item>>, SourceError> {
        if let Some(mistake) = self.mistake() {
            return Err(SourceError::configuration(mistake));
        }
        let mut times = SplitTimes::new(self.strategy.idle_after());
        let known = restored.iter().flatten().filter(|position| cx.owns(&position.split));
        let known = known.filter_map(|stored| Some((stored.split.clone(), stored.event_time?, stored.stream_time)));
        let known: Vec<_> = known.collect();
        let reader = self.source.open(cx, restored)?;
        for id in reader.concurrent_splits() {
            times.begun(&id, || self.strategy.new_generator());
        }
        // All begin before the first says something: the least counts.
        let numbers: Vec<_> = known.iter().map(|(id, ..)| times.begun(id, || self.strategy.new_generator())).collect();
        let mut marks = Vec::new();
        for (number, (_, at, stored)) in numbers.into_iter().zip(&known) {
            let at = *at;
            if at < Timestamp::MAX {
                times.generator(number).restore(at);
            }
            times.restore(number, at, *stored, &mut marks);
        }
        let stored: Vec<_> = known.into_iter().filter_map(|(_, _, stored)| stored).collect();
        times.restore_stream(&stored, cx.parallelism, &mut marks);
        let (strategy, cx) = (self.strategy.clone(), cx.clone());
        self.place.get_or_init(|| (cx.job.clone(), cx.operator.clone()));
        let aligned = strategy.join_alignment(&cx);
        let counts_marks = self.source.strategy().is_none();
        let (has_begun, returned) = (false, None);
        Ok(Box::new(TimedReader { reader, strategy, times, marks, cx, has_begun, returned, aligned, counts_marks }))
    }

    fn ends_on_finish(&self) -> bool {
        self.source.ends_on_finish()
    }

    fn job_finished(&self) {
        self.source.job_finished();
    }

    fn job_ended(&self) {
        if let Some((job, source)) = self.place.get() {
            self.strategy.job_ended(job, source);
        }
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

struct TimedReader<T> {
    reader: Box<dyn SourceReader<Item = T>>,
    strategy: WatermarkStrategy<T>,
    times: SplitTimes<Box<dyn TimesBatches<T>>>,
    /// To be taken.
    marks: Vec<Mark>,
    cx: SourceContext,
    /// It was read in this attempt.
    has_begun: bool,
    /// When the last read returned, and whether it had found nothing; `None` if the time since does not count.
    returned: Option<(Duration, bool)>,
    /// Until the end, if it waits for others.
    aligned: Option<AlignedMember>,
    /// What the reader says of a split that it names counts: it comes of no other strategy.
    counts_marks: bool,
}

/// After so long one that waits for others looks again.
pub(crate) const WAIT_FOR_OTHERS: Duration = Duration::from_millis(1);

/// A reader that does not say what it has read is this one split.
const WHOLE: SplitRead<'_> = SplitRead { split: "", at_end: false };

impl<T: Send + 'static> TimedReader<T> {
    /// Those that wait for this one are told of the marks from the one in place `first` on, and that it has records.
    fn tell_others(&self, first: usize, has_records: bool) {
        if let Some(aligned) = &self.aligned {
            let marks = &self.marks[first..];
            let watermark = |mark: &Mark| if let Mark::Watermark(at) = mark { Some(*at) } else { None };
            let is_idle =
                if matches!(marks.last(), Some(Mark::Idle)) { Some(true) } else { has_records.then_some(false) };
            aligned.tell(marks.iter().rev().find_map(watermark), is_idle);
        }
    }

    /// How much counts of the time since the last read, but for pauses.
    fn waited(&self) -> Duration {
        let Some((at, had_nothing)) = self.returned else { return Duration::ZERO };
        let waited = self.now().saturating_sub(at);
        if had_nothing { waited } else { waited.min(BETWEEN_READS_MAX) }
    }

    /// It is at its end, and nobody waits for it.
    fn leave(&mut self) {
        if let Some(aligned) = self.aligned.take() {
            aligned.leave();
        }
    }

    /// Whether others have to come nearer first. That it does not read then makes no split idle, and no stream behind it.
    fn waits_for_others(&mut self) -> bool {
        let Some(aligned) = &self.aligned else { return false };
        let waits = !aligned.may_read();
        if waits {
            self.cx.time.hold(Hold::Waiting, self.cx.clock.now());
            self.returns(false, false);
            self.returned = None;
        } else {
            self.cx.time.release(Hold::Waiting, self.cx.clock.now());
        }
        waits
    }

    /// The time that counts, now.
    fn now(&self) -> Duration {
        self.cx.time.at(self.cx.clock.now())
    }

    /// A read returns, and has found nothing, or all that there was. Tells where event time stands.
    fn returns(&mut self, had_nothing: bool, is_end: bool) {
        self.returned = Some((self.now(), had_nothing));
        let now = self.cx.clock.now();
        let SourceContext { event_times, operator, subtask_index, .. } = &self.cx;
        match self.times.slowest().filter(|_| !is_end) {
            Some((split, watermark, ahead)) => {
                event_times.stands((operator, *subtask_index), split, (watermark, ahead), now);
            }
            None => event_times.clear(operator),
        }
    }
}

impl<T> Drop for TimedReader<T> {
    fn drop(&mut self) {
        self.cx.event_times.clear(&self.cx.operator);
    }
}

impl<T: Send + 'static> SourceReader for TimedReader<T> {
    type Item = T;

    fn read(&mut self, batch: &mut Batch<T>) -> Result<ReadStatus, SourceError> {
        let has_begun = std::mem::replace(&mut self.has_begun, true);
        if !self.marks.is_empty() && !has_begun {
            // Restored: how far event time had come goes out before the first record.
            self.tell_others(0, false);
            self.returns(false, false);
            return Ok(ReadStatus::More);
        }
        if self.waits_for_others() {
            return Ok(ReadStatus::Idle { retry_after: Some(WAIT_FOR_OTHERS) });
        }
        let (told, waited) = (self.marks.len(), self.waited());
        let status = self.reader.read(batch)?;
        let Self { reader, strategy, times, marks, .. } = self;
        let read = reader.last_read();
        let SplitRead { split, .. } = read.unwrap_or(WHOLE);
        if !batch.is_empty() {
            let new_generator = || strategy.new_generator();
            let number = match read {
                Some(_) => times.begun(split, new_generator),
                None => times.become_whole(split, new_generator, marks),
            };
            times.waited(waited, Some(number), marks);
            let watermark = times.generator(number).assign(batch);
            times.read(number, watermark, marks);
        } else {
            times.waited(waited, None, marks);
        }
        times.read_is_over(matches!(status, ReadStatus::Idle { .. }), marks);
        let said = reader.take_marks();
        if let (Some(SplitRead { split, .. }), true) = (reader.last_read(), self.counts_marks && !said.is_empty()) {
            let number = times.begun(split, || strategy.new_generator());
            said.into_iter().for_each(|mark| times.said(number, mark, marks));
        }
        let SplitRead { split, at_end } = reader.last_read().unwrap_or(WHOLE);
        if at_end {
            let number = times.begun(split, || strategy.new_generator());
            times.ended(number, marks);
        }
        if matches!(status, ReadStatus::Idle { .. }) && reader.awaits_splits() {
            times.awaits_splits(marks);
        }
        if status == ReadStatus::End {
            times.all_ended(marks);
        }
        self.tell_others(told, !batch.is_empty());
        if status == ReadStatus::End {
            self.leave();
        }
        self.returns(matches!(status, ReadStatus::Idle { .. }), status == ReadStatus::End);
        Ok(match (status, self.times.next_idle_in()) {
            (ReadStatus::Idle { retry_after }, Some(until_idle)) => {
                ReadStatus::Idle { retry_after: Some(retry_after.map_or(until_idle, |retry| retry.min(until_idle))) }
            }
            (status, _) => status,
        })
    }

    fn report_positions(&mut self, moved: &mut Vec<SplitPosition>) {
        let before = moved.len();
        self.reader.report_positions(moved);
        let is_whole = self.times.of(WHOLE.split).is_some();
        for position in &mut moved[before..] {
            let split = if is_whole { WHOLE.split } else { &position.split };
            position.event_time = self.times.of(split);
            let parallelism = self.cx.parallelism;
            position.stream_time = position.event_time.and_then(|_| self.times.stream_time(split, parallelism));
        }
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
        self.leave();
        self.cx.event_times.clear(&self.cx.operator);
        self.reader.input_ended();
    }

    fn take_forgotten(&mut self) -> Vec<String> {
        let forgotten = self.reader.take_forgotten();
        forgotten.iter().for_each(|split| self.times.forget(split, &mut self.marks));
        forgotten
    }

    fn last_read(&self) -> Option<SplitRead<'_>> {
        self.reader.last_read()
    }

    fn concurrent_splits(&self) -> Vec<String> {
        self.reader.concurrent_splits()
    }

    fn tells_idleness(&self) -> bool {
        true
    }

    fn take_marks(&mut self) -> Vec<Mark> {
        std::mem::take(&mut self.marks)
    }

    fn take_side_records(&mut self) -> Vec<SideRecord> {
        self.reader.take_side_records()
    }
}

#[cfg(test)]
#[path = "timed_tests.rs"]
mod tests;
