//! A source of numbers.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use millstream_actors::contract::{
    Batch, Boundedness, Clock, ReadStatus, Source, SourceContext, SourceError, SourceReader, SourceTime, SplitPosition,
    SplitRead,
};

use super::position::described;
use super::{Split, SplitQueue, spread_split_id};

/// The range is cut into this many pieces, whatever the parallelism, so that it can change.
const PIECES: u64 = 64;
/// A paced reader is not woken more often: each wake-up costs some 20 us of CPU time.
const PAUSE_MIN: Duration = Duration::from_micros(150);
/// A paced reader that was held up makes up for at most this much time.
const CATCH_UP_MAX: Duration = Duration::from_secs(1);

/// Hands out the numbers of a range.
///
/// The range is cut into 64 contiguous splits. Each subtask hands out its numbers in ascending order; at parallelism 1
/// that is all of them. On a store it goes on with the range that it was first started with; another one is refused. Payload
/// bytes are not counted: batches close at 1,024 records.
///
/// ```
/// use millstream::prelude::*;
///
/// # let sink = CollectSink::new();
/// # let numbers = sink.handle();
/// let env = StreamEnvironment::new("numbers");
/// env.source("numbers", SequenceSource::new(5..8)).sink("out", sink);
/// env.start()?.wait()?;
/// assert_eq!(numbers.snapshot(), [5, 6, 7]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct SequenceSource {
    range: Range<u64>,
    boundedness: Boundedness,
    rate: Option<u64>,
}

impl SequenceSource {
    /// The numbers `[start, end)`; none if `start >= end`. Bounded.
    pub fn new(range: Range<u64>) -> Self {
        Self { range, boundedness: Boundedness::Bounded, rate: None }
    }

    /// All numbers below `u64::MAX`, which nobody lives to see: unbounded. From 0 upwards at parallelism 1, else each
    /// subtask from where its first split starts.
    pub fn unbounded() -> Self {
        Self { range: 0..u64::MAX, boundedness: Boundedness::Unbounded, rate: None }
    }

    /// At most `records` per second by the job's clock, shared evenly by the subtasks. After a hold-up the source makes
    /// up for at most one second, after a pause for nothing. Above zero.
    pub fn rate_per_second(mut self, records: u64) -> Self {
        self.rate = Some(records);
        self
    }

    /// Refuses positions of another range than this source's.
    fn check_range(&self, restored: &[SplitPosition]) -> Result<(), SourceError> {
        let pieces = || restored.iter().filter_map(|position| bounds_of(&position.split));
        let (start, end) = (pieces().map(|piece| piece.start).min(), pieces().map(|piece| piece.end).max());
        let (Some(start), Some(end)) = (start, end) else { return Ok(()) };
        if (start..end) == self.range {
            return Ok(());
        }
        let reason = format!(
            "the checkpoint is of the numbers {start}..{end}, and the source was given {:?}; give it that range, or another \
             id to start anew",
            self.range
        );
        Err(SourceError::configuration(reason))
    }

    fn pieces(&self) -> impl Iterator<Item = Range<u64>> + use<> {
        let Range { start, end } = self.range.clone();
        let len = end.saturating_sub(start);
        let pieces = len.min(PIECES);
        let bound = move |i: u64| start + (u128::from(len) * u128::from(i) / u128::from(pieces)) as u64;
        (0..pieces).map(move |i| bound(i)..bound(i + 1))
    }
}

/// The id of a piece: its bounds, so that they can be read from it.
fn split_id(index: u64, piece: &Range<u64>) -> String {
    spread_split_id(&format!("{}..{}", piece.start, piece.end), index)
}

fn bounds_of(split: &str) -> Option<Range<u64>> {
    let (bounds, _salt) = split.split_once('#')?;
    let (start, end) = bounds.split_once("..")?;
    Some(start.parse().ok()?..end.parse().ok()?)
}

impl Source for SequenceSource {
    type Item = u64;

    fn boundedness(&self) -> Boundedness {
        self.boundedness
    }

    fn mistake(&self) -> Option<String> {
        (self.rate == Some(0)).then(|| "a rate of 0 records per second would never give one".to_owned())
    }

    fn open(
        &self,
        cx: &SourceContext,
        restored: Option<Vec<SplitPosition>>,
    ) -> Result<Box<dyn SourceReader<Item = u64>>, SourceError> {
        if let Some(mistake) = self.mistake() {
            return Err(SourceError::configuration(mistake));
        }
        let first = |(index, piece): (u64, Range<u64>)| Split { id: split_id(index, &piece), position: piece.start };
        let list = || Ok((0..).zip(self.pieces()).map(first).collect());
        self.check_range(restored.as_deref().unwrap_or_default())?;
        let splits = SplitQueue::open(cx, restored, list)?.sorted_by_key(|split| split.position);
        for split in splits.iter() {
            rest_of(split)?;
        }
        let pace = self.rate.map(|rate| Pace::start(cx, rate));
        Ok(Box::new(SequenceReader { splits, end: None, pace }))
    }

    fn describe_position(&self, position: &[u8]) -> String {
        described(position, |next: u64| format!("number {next}"))
    }
}

/// What has not been handed out.
fn rest_of(split: &Split<u64>) -> Result<Range<u64>, SourceError> {
    let next = split.position;
    let piece = bounds_of(&split.id).filter(|piece| (piece.start..=piece.end).contains(&next));
    let piece = piece.ok_or_else(|| SourceError::position(&split.id, format!("{next} is no number of this split")))?;
    Ok(next..piece.end)
}

struct SequenceReader {
    /// The position is the next number.
    splits: SplitQueue<u64>,
    /// Where the current split ends, once it was read.
    end: Option<u64>,
    pace: Option<Pace>,
}

impl SourceReader for SequenceReader {
    type Item = u64;

    fn read(&mut self, batch: &mut Batch<u64>) -> Result<ReadStatus, SourceError> {
        let mut room = batch.room() as u64;
        if let Some(pace) = self.pace.as_mut().filter(|_| !self.splits.is_finished()) {
            let due = pace.due();
            if due == 0 {
                return Ok(ReadStatus::Idle { retry_after: Some(pace.pause()) });
            }
            room = room.min(due);
        }
        let Some(split) = self.splits.current() else { return Ok(ReadStatus::End) };
        let end = match self.end {
            Some(end) => end,
            None => *self.end.insert(rest_of(split)?.end),
        };
        let start = split.position;
        let take = room.min(end - start);
        split.position = start + take;
        batch.extend(start..split.position);
        if let Some(pace) = &mut self.pace {
            pace.handed_out += u128::from(take);
        }
        if split.position == end {
            self.end = None;
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

/// Says how many records are due.
struct Pace {
    clock: Arc<dyn Clock>,
    /// Stands still in a pause.
    time: SourceTime,
    rate: u128,
    parallelism: u128,
    origin: Duration,
    handed_out: u128,
}

impl Pace {
    fn start(cx: &SourceContext, rate: u64) -> Self {
        let (clock, time) = (cx.clock.clone(), cx.time.clone());
        let origin = time.at(clock.now());
        Self { clock, time, rate: rate.into(), parallelism: cx.parallelism.into(), origin, handed_out: 0 }
    }

    fn elapsed(&self) -> Duration {
        self.time.at(self.clock.now()).saturating_sub(self.origin)
    }

    fn within(&self, time: Duration) -> u128 {
        time.as_nanos() * self.rate / (1_000_000_000 * self.parallelism)
    }

    fn due(&mut self) -> u64 {
        let due = self.within(self.elapsed()).saturating_sub(self.handed_out);
        let most = self.within(CATCH_UP_MAX).max(1);
        if due > most {
            self.handed_out += due - most;
        }
        u64::try_from(due.min(most)).unwrap_or(u64::MAX)
    }

    /// Until the next record is due.
    fn pause(&self) -> Duration {
        let due_at = ((self.handed_out + 1) * 1_000_000_000 * self.parallelism).div_ceil(self.rate);
        let elapsed = self.elapsed().as_nanos();
        let pause = u64::try_from(due_at.saturating_sub(elapsed)).unwrap_or(u64::MAX);
        Duration::from_nanos(pause).max(PAUSE_MIN)
    }
}

#[cfg(test)]
mod tests {
    use millstream_actors::contract::{BATCH_RECORDS_MAX, Hold, checksum};

    use super::*;
    use crate::source::encode_position;
    use crate::testing::{assert_resumes_anywhere, read_source, source_context};
    use crate::time::ManualClock;

    #[test]
    fn one_subtask_counts_upwards_and_resumes_anywhere() {
        for len in [0, 1, 63, 65, 5000] {
            let want: Vec<u64> = (7..7 + len).collect();
            assert_resumes_anywhere(&SequenceSource::new(7..7 + len), |read| assert_eq!(read, &want));
        }
    }

    #[test]
    fn pieces_spread_evenly_over_the_subtasks() {
        let source = SequenceSource::new(0..1 << 20);
        for parallelism in [2_u64, 3, 4, 5, 6, 8, 16] {
            let mut shares = vec![0; parallelism as usize];
            for (index, piece) in (0..).zip(source.pieces()) {
                let owner = checksum(split_id(index, &piece).as_bytes()) % parallelism;
                shares[owner as usize] += 1;
            }
            assert!(shares.iter().max().unwrap() - shares.iter().min().unwrap() <= 1, "{parallelism}: {shares:?}");
        }
    }

    #[test]
    fn exhausted_split_is_reported_once_and_only_moved_ones_again() {
        let source = SequenceSource::new(0..64 * 1024);
        let mut reader = source.open(&source_context(0, 1), None).unwrap();
        let mut positions = Vec::new();
        reader.report_positions(&mut positions);
        assert_eq!(positions.len(), 64);
        let reported = |reader: &mut Box<dyn SourceReader<Item = u64>>| {
            let mut positions = Vec::new();
            reader.report_positions(&mut positions);
            positions.len()
        };
        assert_eq!(reported(&mut reader), 0);
        let mut batch = Batch::new();
        assert_eq!(reader.read(&mut batch).unwrap(), ReadStatus::More);
        assert_eq!(batch.len(), BATCH_RECORDS_MAX);
        assert!((1..=2).contains(&reported(&mut reader)));
    }

    #[test]
    fn paced_reader_follows_the_clock() {
        let clock = ManualClock::new();
        let cx = SourceContext { clock: Arc::new(clock.clone()), ..source_context(0, 1) };
        let mut reader = SequenceSource::unbounded().rate_per_second(100).open(&cx, None).unwrap();
        let mut batch = Batch::new();
        let idle = reader.read(&mut batch).unwrap();
        assert_eq!(idle, ReadStatus::Idle { retry_after: Some(Duration::from_millis(10)) });
        clock.advance(Duration::from_millis(10));
        assert_eq!(reader.read(&mut batch).unwrap(), ReadStatus::More);
        assert_eq!(batch.as_slice(), [0]);
        clock.advance(Duration::from_secs(3600));
        reader.read(&mut batch).unwrap();
        assert_eq!(batch.len(), 101, "makes up for one second");
        assert!(matches!(reader.read(&mut batch).unwrap(), ReadStatus::Idle { .. }));
    }

    #[test]
    fn paced_reader_does_not_make_up_for_a_pause() {
        let clock = ManualClock::new();
        let cx = SourceContext { clock: Arc::new(clock.clone()), ..source_context(0, 1) };
        let mut reader = SequenceSource::unbounded().rate_per_second(100).open(&cx, None).unwrap();
        clock.advance(Duration::from_millis(5));
        cx.time.hold(Hold::Paused, clock.now());
        clock.advance(Duration::from_secs(3600));
        cx.time.release(Hold::Paused, clock.now());
        let mut batch = Batch::new();
        let idle = reader.read(&mut batch).unwrap();
        assert_eq!(idle, ReadStatus::Idle { retry_after: Some(Duration::from_millis(5)) });
        clock.advance(Duration::from_millis(5));
        reader.read(&mut batch).unwrap();
        assert_eq!(batch.as_slice(), [0]);
    }

    #[test]
    fn changed_range_is_refused_with_both_ranges() {
        let stored = read_source(&SequenceSource::new(0..1000), 1, None, Some(1)).positions;
        for range in [0..2000, 1..1000] {
            let text = format!("{range:?}");
            let error = SequenceSource::new(range).open(&source_context(0, 1), Some(stored.clone())).err().unwrap();
            assert!(error.to_string().contains("0..1000") && error.to_string().contains(&text), "{error}");
            assert!(!error.is_retryable());
        }
        SequenceSource::new(0..1000).open(&source_context(0, 1), Some(stored)).unwrap();
    }

    #[test]
    fn foreign_split_or_number_is_refused() {
        for stored in [encode_position("0..10#0", &11_u64), encode_position("elsewhere", &0_u64)] {
            let error = SequenceSource::new(0..10).open(&source_context(0, 1), Some(vec![stored])).err().unwrap();
            assert!(error.to_string().contains("position") && !error.is_retryable(), "{error}");
        }
    }
}
