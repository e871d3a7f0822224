//! Event time for a source.

use std::any::Any;
use std::fmt;
use std::time::Duration;

use millstream_actors::contract::{
    Batch, Boundedness, CompletedPositions, ReadStatus, SideRecord, Source, SourceContext, SourceError, SourceReader,
    SplitPosition, SplitRead, Threading,
};
use millstream_actors::protocol::{Mark, Timestamp};

use crate::time::{AlignedMember, SplitTimes, TimesBatches, WatermarkStrategy};

/// Of the time between two reads so much counts for idleness, unless the first one had found nothing.
const BETWEEN_READS_MAX: Duration = Duration::from_millis(100);

/// Gives the records of a source event times, and the stream watermarks.
///
/// Each split has a generator of its own, and so its own event time, from its first read to its end; that of the stream is the
/// least of them. How far each has come is stored with its position, and a restored stream says again, before its first
/// record, the least of those that were being read. A source whose reader does not say of which split a read was counts as one
/// split. A watermark that the source's own reader gives counts for the split that was read, beside what the strategy says.
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
}

impl<S: Source> Timed<S> {
    /// The source with this strategy.
    pub fn new(source: S, strategy: WatermarkStrategy<S::Item>) -> Self {
        Self { source, strategy }
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
        let known: Vec<_> = known.filter_map(|position| Some((position.split.clone(), position.event_time?))).collect();
        let reader = self.source.open(cx, restored)?;
        for id in reader.concurrent_splits() {
            times.begun(&id, || self.strategy.new_generator());
        }
        // All begin before the first says something: the least counts.
        let numbers: Vec<_> = known.iter().map(|(id, _)| times.begun(id, || self.strategy.new_generator())).collect();
        let mut marks = Vec::new();
        for (number, (_, at)) in numbers.into_iter().zip(known) {
            if at < Timestamp::MAX {
                times.generator(number).restore(at);
            }
            times.restore(number, at, &mut marks);
        }
        let (strategy, cx) = (self.strategy.clone(), cx.clone());
        let aligned = strategy.join_alignment(&cx);
        Ok(Box::new(TimedReader { reader, strategy, times, marks, cx, returned: None, aligned }))
    }

    fn describe_position(&self, position: &[u8]) -> String {
        self.source.describe_position(position)
    }
}

struct TimedReader<T> {
    reader: Box<dyn SourceReader<Item = T>>,
    strategy: WatermarkStrategy<T>,
    times: SplitTimes<Box<dyn TimesBatches<T>>>,
    /// To be taken.
    marks: Vec<Mark>,
    cx: SourceContext,
    /// When the last read returned, and whether it had found nothing.
    returned: Option<(Duration, bool)>,
    /// Until the end, if it waits for others.
    aligned: Option<AlignedMember>,
}

/// After so long one that waits for others looks again.
const WAIT_FOR_OTHERS: Duration = Duration::from_millis(1);

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

    /// Counts the time since the last read.
    fn wait(&mut self) {
        if let Some((at, had_nothing)) = self.returned {
            let waited = self.cx.clock.now().saturating_sub(at);
            let counts = if had_nothing { waited } else { waited.min(BETWEEN_READS_MAX) };
            self.times.waited(counts, &mut self.marks);
        }
    }

    /// A read returns, and has found nothing, or all that there was. Tells where event time stands.
    fn returns(&mut self, had_nothing: bool, is_end: bool) {
        let now = self.cx.clock.now();
        self.returned = Some((now, had_nothing));
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
        if !self.marks.is_empty() && self.returned.is_none() {
            // Restored: how far event time had come goes out before the first record.
            self.tell_others(0, false);
            self.returns(false, false);
            return Ok(ReadStatus::More);
        }
        if self.aligned.as_ref().is_some_and(|aligned| !aligned.may_read()) {
            // That it does not read makes no split idle.
            self.returns(false, false);
            return Ok(ReadStatus::Idle { retry_after: Some(WAIT_FOR_OTHERS) });
        }
        let told = self.marks.len();
        self.wait();
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
            let watermark = times.generator(number).assign(batch);
            times.read(number, watermark, marks);
        }
        if !batch.is_empty() && marks.len() > told {
            // It was silent until this read.
            marks.pop_if(|mark| *mark == Mark::Idle);
        }
        let said = reader.take_marks();
        let SplitRead { split, at_end } = reader.last_read().unwrap_or(WHOLE);
        if !said.is_empty() {
            let number = times.begun(split, || strategy.new_generator());
            said.into_iter().for_each(|mark| times.said(number, mark, marks));
        }
        if at_end {
            let number = times.begun(split, || strategy.new_generator());
            times.ended(number, marks);
        }
        self.tell_others(told, !batch.is_empty());
        if status == ReadStatus::End {
            self.aligned = None;
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
        let whole = self.times.of(WHOLE.split);
        for position in &mut moved[before..] {
            position.event_time = whole.or_else(|| self.times.of(&position.split));
        }
    }

    fn checkpoint_completed(&mut self, completed: &CompletedPositions) -> Result<(), SourceError> {
        self.reader.checkpoint_completed(completed)
    }

    fn input_ended(&mut self) {
        self.aligned = None;
        self.cx.event_times.clear(&self.cx.operator);
        self.reader.input_ended();
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
mod tests {
    use std::sync::Arc;

    use millstream_actors::protocol::OperatorId;

    use super::*;
    use crate::source::{SequenceSource, Split, SplitQueue, VecSource};
    use crate::testing::{assert_resumes_anywhere, source_context};
    use crate::time::{ManualClock, WatermarkAlignment};

    /// Its status, the records with their times, and the marks behind them.
    type ReadOne<T> = (ReadStatus, Vec<(T, Option<i64>)>, Vec<Mark>);

    /// One record for each read.
    fn read_one<T: 'static>(reader: &mut dyn SourceReader<Item = T>) -> ReadOne<T> {
        let mut batch = Batch::new();
        batch.limit_to(1);
        let status = reader.read(&mut batch).unwrap();
        let times: Vec<_> = (0..batch.len()).map(|place| batch.time(place)).collect();
        (status, batch.drain().zip(times).collect(), reader.take_marks())
    }

    fn bounded(bound_ms: u64) -> WatermarkStrategy<i64> {
        WatermarkStrategy::bounded_out_of_orderness(Duration::from_millis(bound_ms), |time: &i64| *time)
    }

    #[test]
    fn records_get_their_times_and_watermarks_follow_behind_them() {
        let source = Timed::new(VecSource::new(vec![10, 30, 20]), bounded(5));
        let mut reader = source.open(&source_context(0, 1), None).unwrap();
        let mut batch = Batch::new();
        assert_eq!(reader.read(&mut batch).unwrap(), ReadStatus::End);
        assert_eq!([0, 1, 2].map(|place| batch.time(place)), [Some(10), Some(30), Some(20)]);
        assert_eq!(reader.take_marks(), [Mark::Watermark(24)]);
        assert_eq!(reader.take_marks(), []);
    }

    #[test]
    fn restored_stream_says_its_watermark_before_its_first_record_and_never_an_earlier_one() {
        let source = Timed::new(VecSource::new(vec![10, 30, 20, 31]), bounded(5));
        let cx = source_context(0, 1);
        let mut reader = source.open(&cx, None).unwrap();
        let mut first = Vec::new();
        reader.report_positions(&mut first);
        assert_eq!(first[0].event_time, None, "nothing was read");
        let mut watermark = None;
        for (record, marks) in [(10, Some(4)), (30, Some(24)), (20, None), (31, Some(25))] {
            let (_, records, said) = read_one(&mut *reader);
            assert_eq!(records, [(record, Some(record))]);
            assert_eq!(said, marks.map(Mark::Watermark).into_iter().collect::<Vec<_>>());
            watermark = marks.or(watermark);
            let mut moved = Vec::new();
            reader.report_positions(&mut moved);
            let mut restored = source.open(&cx, Some(moved.clone())).unwrap();
            if record == 31 {
                assert_eq!(moved[0].event_time, Some(i64::MAX), "nothing of it is to come");
                assert_eq!(read_one(&mut *restored), (ReadStatus::End, vec![], vec![]));
                continue;
            }
            assert_eq!(moved[0].event_time, watermark);
            let first = read_one(&mut *restored);
            assert_eq!(first, (ReadStatus::More, vec![], vec![Mark::Watermark(watermark.unwrap())]));
            let (_, _, next) = read_one(&mut *restored);
            assert!(next.iter().all(|mark| matches!(mark, Mark::Watermark(at) if Some(*at) > watermark)), "{next:?}");
        }
    }

    #[test]
    fn splits_of_one_subtask_have_times_of_their_own() {
        // 64 pieces of one number each, one after another, with times that go down: each generator sees its piece alone, and what
        // the stream has said is not taken back.
        let down = WatermarkStrategy::monotonous(|n: &u64| -(*n as i64));
        let source = Timed::new(SequenceSource::new(0..64), down);
        let mut reader = source.open(&source_context(0, 1), None).unwrap();
        let mut said = Vec::new();
        loop {
            let (status, records, marks) = read_one(&mut *reader);
            assert!(records.iter().all(|(n, time)| *time == Some(-(*n as i64))));
            said.extend(marks);
            if status == ReadStatus::End {
                break;
            }
        }
        assert_eq!(said, [Mark::Watermark(-1)], "and none of the others goes back");
        let mut moved = Vec::new();
        reader.report_positions(&mut moved);
        assert!(moved.iter().all(|position| position.event_time == Some(i64::MAX)), "{moved:?}");
        let timed = Timed::new(SequenceSource::new(0..500), WatermarkStrategy::monotonous(|n: &u64| *n as i64));
        assert_resumes_anywhere(&timed, |read| assert_eq!(read, &(0..500).collect::<Vec<_>>()));
    }

    /// Two splits side by side, of which the second has nothing.
    struct SideBySide {
        tells_splits: bool,
    }

    struct SideBySideReader {
        splits: SplitQueue<i64>,
        tells_splits: bool,
        has: bool,
    }

    impl Source for SideBySide {
        type Item = i64;

        fn open(
            &self,
            cx: &SourceContext,
            restored: Option<Vec<SplitPosition>>,
        ) -> Result<Box<dyn SourceReader<Item = i64>>, SourceError> {
            let list = || Ok(["a", "b"].map(|id| Split { id: id.to_owned(), position: 0 }).into());
            let splits = SplitQueue::open(cx, restored, list)?;
            Ok(Box::new(SideBySideReader { splits, tells_splits: self.tells_splits, has: false }))
        }
    }

    impl SourceReader for SideBySideReader {
        type Item = i64;

        /// A record, and then none, in turn.
        fn read(&mut self, batch: &mut Batch<i64>) -> Result<ReadStatus, SourceError> {
            self.has = !self.has;
            if !self.has {
                return Ok(ReadStatus::Idle { retry_after: None });
            }
            let split = self.splits.current().expect("never finished");
            split.position += 10;
            batch.push(split.position, 0);
            Ok(ReadStatus::More)
        }

        fn report_positions(&mut self, moved: &mut Vec<SplitPosition>) {
            self.splits.report(moved);
        }

        fn last_read(&self) -> Option<SplitRead<'_>> {
            self.splits.last_read().filter(|_| self.tells_splits)
        }

        fn concurrent_splits(&self) -> Vec<String> {
            let ids = self.splits.iter().map(|split| split.id.clone());
            ids.filter(|_| self.tells_splits).collect()
        }
    }

    #[test]
    fn split_without_records_holds_time_back_until_it_is_idle() {
        let clock = ManualClock::new();
        let cx = SourceContext { clock: Arc::new(clock.clone()), ..source_context(0, 1) };
        let strategy = bounded(0).with_idleness(Duration::from_secs(1));
        let mut reader = Timed::new(SideBySide { tells_splits: true }, strategy).open(&cx, None).unwrap();
        assert_eq!(read_one(&mut *reader), (ReadStatus::More, vec![(10, Some(10))], vec![]));
        // The task is blocked for a minute: a tenth of a second of it counts.
        clock.advance(Duration::from_secs(60));
        let left = |ms| ReadStatus::Idle { retry_after: Some(Duration::from_millis(ms)) };
        assert_eq!(read_one(&mut *reader), (left(900), vec![], vec![]));
        clock.advance(Duration::from_millis(899));
        assert_eq!(read_one(&mut *reader), (ReadStatus::More, vec![(20, Some(20))], vec![]));
        clock.advance(Duration::from_millis(1));
        let (_, _, marks) = read_one(&mut *reader);
        assert_eq!(marks, [Mark::Watermark(19)], "the second split is idle, the first is not");
        clock.advance(Duration::from_secs(2));
        assert_eq!(read_one(&mut *reader).2, [Mark::Idle, Mark::Watermark(29)]);
    }

    #[test]
    fn reader_that_does_not_tell_splits_is_one() {
        let source = Timed::new(SideBySide { tells_splits: false }, bounded(0));
        let mut reader = source.open(&source_context(0, 1), None).unwrap();
        assert_eq!(read_one(&mut *reader).2, [Mark::Watermark(9)]);
        let mut moved = Vec::new();
        reader.report_positions(&mut moved);
        assert!(moved.iter().all(|position| position.event_time == Some(9)), "{moved:?}");
        let mut restored = source.open(&source_context(0, 1), Some(moved)).unwrap();
        assert_eq!(read_one(&mut *restored), (ReadStatus::More, vec![], vec![Mark::Watermark(9)]));
        assert_eq!(read_one(&mut *restored), (ReadStatus::More, vec![(20, Some(20))], vec![Mark::Watermark(19)]));
    }

    #[test]
    fn subtask_that_is_ahead_does_not_read_until_the_others_are_near() {
        let alignment = WatermarkAlignment::within(Duration::from_millis(10));
        let strategy = || WatermarkStrategy::monotonous(|n: &u64| *n as i64).with_alignment(&alignment);
        let sources = [0..100, 5..30].map(|range| Timed::new(SequenceSource::new(range), strategy()));
        let open = |source: usize| {
            let operator = OperatorId::from(["one", "other"][source]);
            sources[source].open(&SourceContext { operator, ..source_context(0, 1) }, None).unwrap()
        };
        let (mut one, mut other) = (open(0), open(1));
        // Reads until it waits, and gives the last number that it has read.
        let read = |reader: &mut dyn SourceReader<Item = u64>| {
            let mut last = None;
            loop {
                let (status, records, _) = read_one(reader);
                last = records.last().map(|(n, _)| *n).or(last);
                if status != ReadStatus::More {
                    assert!(matches!(status, ReadStatus::End | ReadStatus::Idle { retry_after: Some(_) }));
                    return last;
                }
            }
        };
        assert_eq!(read(&mut *one), Some(0), "the other has said nothing yet");
        assert_eq!(read(&mut *other), Some(11), "a watermark is below its record, and one read goes beyond");
        assert_eq!((read(&mut *one), read(&mut *one)), (Some(22), None));
        assert_eq!(read(&mut *other), Some(29), "to its end");
        let mut told_to_finish = open(1);
        assert_eq!(read(&mut *one), None, "one that has just begun is waited for");
        told_to_finish.input_ended();
        assert_eq!(read(&mut *one), Some(99), "nobody is waited for");
    }

    #[test]
    fn idleness_of_no_time_is_a_mistake() {
        let source = Timed::new(VecSource::new(vec![1]), bounded(0).with_idleness(Duration::ZERO));
        assert!(source.mistake().is_some_and(|mistake| mistake.contains("idle")));
        assert!(source.open(&source_context(0, 1), None).is_err());
    }
}
