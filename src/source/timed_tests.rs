use std::sync::Arc;

use millstream_actors::contract::Clock;
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
            let at_end = vec![Mark::Watermark(watermark.unwrap())];
            assert_eq!(read_one(&mut *restored), (ReadStatus::More, vec![], at_end), "it is known how far it had come");
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
    assert_eq!(read_one(&mut *reader).2, [Mark::Watermark(29)], "the first has a record, and was not idle before");
}

/// T14: also where the reader had nothing before, and where it is called late.
#[test]
fn time_of_a_pause_is_no_silence() {
    let clock = ManualClock::new();
    let cx = SourceContext { clock: Arc::new(clock.clone()), ..source_context(0, 1) };
    let strategy = bounded(0).with_idleness(Duration::from_secs(1));
    let mut reader = Timed::new(SideBySide { tells_splits: true }, strategy).open(&cx, None).unwrap();
    assert_eq!(read_one(&mut *reader).2, []);
    let left = |ms| ReadStatus::Idle { retry_after: Some(Duration::from_millis(ms)) };
    assert_eq!(read_one(&mut *reader).0, left(1_000));
    clock.advance(Duration::from_millis(400));
    cx.time.hold(Hold::Paused, clock.now());
    clock.advance(Duration::from_secs(3_600));
    cx.time.release(Hold::Paused, clock.now());
    assert_eq!(read_one(&mut *reader), (ReadStatus::More, vec![(20, Some(20))], vec![]));
    assert_eq!(read_one(&mut *reader).0, left(600), "of the second split");
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

/// Says something of event time with each read.
struct Says {
    /// Of which split a read was, if that is told.
    split: Option<&'static str>,
    marks: Vec<Mark>,
}

impl Source for Says {
    type Item = i64;

    fn open(
        &self,
        _: &SourceContext,
        _: Option<Vec<SplitPosition>>,
    ) -> Result<Box<dyn SourceReader<Item = i64>>, SourceError> {
        Ok(Box::new(Self { split: self.split, marks: self.marks.clone() }))
    }
}

impl SourceReader for Says {
    type Item = i64;

    fn read(&mut self, _: &mut Batch<i64>) -> Result<ReadStatus, SourceError> {
        Ok(ReadStatus::More)
    }

    fn report_positions(&mut self, _: &mut Vec<SplitPosition>) {}

    fn last_read(&self) -> Option<SplitRead<'_>> {
        self.split.map(|split| SplitRead { split, at_end: false })
    }

    fn take_marks(&mut self) -> Vec<Mark> {
        std::mem::take(&mut self.marks)
    }
}

#[test]
fn what_a_reader_says_itself_counts_for_the_split_that_it_names_unless_that_has_a_strategy() {
    let says = |split| Says { split, marks: vec![Mark::Watermark(7)] };
    let said = |source: &dyn Source<Item = i64>| {
        let mut restored = SplitPosition::new("a", [0; 8]);
        restored.event_time = Some(3);
        let mut reader = source.open(&source_context(0, 1), Some(vec![restored])).unwrap();
        (read_one(&mut *reader).2, read_one(&mut *reader).2)
    };
    let restored = Mark::Watermark(3);
    assert_eq!(said(&Timed::new(says(Some("a")), bounded(5))), (vec![restored], vec![Mark::Watermark(7)]));
    assert_eq!(said(&Timed::new(says(None), bounded(5))), (vec![restored], vec![]), "it is of no split");
    let nested = Timed::new(Timed::new(says(Some("a")), bounded(5)), bounded(5));
    assert_eq!(said(&nested), (vec![restored], vec![]));
}
