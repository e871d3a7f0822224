//! The contract of a source: replayable splits, read in batches.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Batch, Clock, EventTimes, Located, OperatorCounters, SourceTime};
use crate::protocol::{CheckpointId, Mark, OperatorId, SourceError, Timestamp};

/// Whether a source ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Boundedness {
    /// It ends.
    Bounded,
    /// It goes on until the job is cancelled, drained or finished.
    Unbounded,
}

/// Where a connector's calls are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threading {
    /// On the task's arbiter: calls must not block, nor take longer than about 200 us.
    Inline,
    /// On a thread of the connector's own: calls may block on files, devices or services.
    Blocking,
}

/// How far one split has been read. What `position` means is the source's business; it must be enough to read on after
/// exactly the records that were handed out before.
///
/// ```
/// use millstream::source::{SplitPosition, decode_position, encode_position};
///
/// // Of bytes that the source knows, or by the form that the shipped sources use.
/// let own = SplitPosition::new("journal", 17u64.to_le_bytes());
/// let encoded = encode_position("journal", &17u64);
/// assert_eq!(own.split, encoded.split);
/// assert_eq!(decode_position::<u64>(&encoded)?, 17);
/// # Ok::<(), millstream::source::SourceError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SplitPosition {
    /// The split: unique in the source, stable over restarts.
    pub split: String,
    /// The position, in the source's own encoding.
    pub position: Vec<u8>,
    /// How far event time has come in the split, where it is read with a strategy for watermarks. Whatever gives event times
    /// fills this in: a source does not, and need not look at it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_time: Option<Timestamp>,
    /// What goes with that. Whatever fills that in fills this in.
    #[doc(hidden)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream_time: Option<StreamTime>,
}

/// How far event time had come when the position of a split was stored, where that is more than the split's own time tells.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamTime {
    /// Of the splits of how many subtasks the stream had one's.
    pub parallelism: u32,
    /// What the stream of the subtask had said.
    pub said: Timestamp,
    /// What the split had said, at its end, too.
    pub of_split: Timestamp,
}

impl SplitPosition {
    /// A position of a split.
    pub fn new(split: impl Into<String>, position: impl Into<Vec<u8>>) -> Self {
        Self { split: split.into(), position: position.into(), event_time: None, stream_time: None }
    }
}

/// How far the splits of a reader were read, as of a completed checkpoint.
///
/// ```
/// use millstream::source::{CompletedPositions, decode_position};
///
/// /// How far a journal may be trimmed: nothing before it is read again.
/// fn trim_to(completed: &CompletedPositions) -> Option<u64> {
///     let oldest = completed.oldest_needed.as_ref()?;
///     oldest.iter().filter_map(|position| decode_position(position).ok()).min()
/// }
/// # let _ = trim_to;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CompletedPositions {
    /// The checkpoint.
    pub checkpoint: CheckpointId,
    /// The positions in it, by split, ascending.
    pub positions: Vec<SplitPosition>,
    /// The positions in the oldest checkpoint that the job can still be restored from: nothing before them is read again by
    /// this job from its store. `None` while that checkpoint was written by an earlier attempt and is not the one that this
    /// attempt was restored from: then nothing more may be trimmed yet.
    ///
    /// A savepoint that the job was started from counts while it may be fallen back to, as long as the program says so.
    /// Savepoints that are kept beside the store do not count: who trims an input that they need takes care of it.
    pub oldest_needed: Option<Vec<SplitPosition>>,
}

impl CompletedPositions {
    /// As the engine gives it to a reader.
    pub fn new(
        checkpoint: CheckpointId,
        positions: Vec<SplitPosition>,
        oldest_needed: Option<Vec<SplitPosition>>,
    ) -> Self {
        Self { checkpoint, positions, oldest_needed }
    }
}

/// What a source sees of the job.
///
/// ```
/// use millstream::testing::source_context;
///
/// // Three subtasks read a folder: each file has one of them that reads it.
/// let owners = (0..3).filter(|&subtask| source_context(subtask, 3).owns("orders.jsonl"));
/// assert_eq!(owners.count(), 1);
/// ```
#[derive(Clone)]
pub struct SourceContext {
    /// The job.
    pub job: Arc<str>,
    /// The source's id.
    pub operator: OperatorId,
    /// Index of this subtask.
    pub subtask_index: u32,
    /// Number of subtasks.
    pub parallelism: u32,
    /// The job's clock.
    pub clock: Arc<dyn Clock>,
    /// Prompts another read after [`ReadStatus::Idle`].
    pub waker: SourceWaker,
    /// Where a source that knows event time tells how far it has come.
    pub event_times: EventTimes,
    /// What the source counts; where one that knows what waits before it says [how to ask](OperatorCounters::set_backlog).
    pub counters: Arc<OperatorCounters>,
    /// The subtask's own time, which stands still while the job is paused.
    pub time: SourceTime,
}

impl fmt::Debug for SourceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (index, of) = (self.subtask_index, self.parallelism);
        write!(f, "SourceContext({}/{}, subtask {index} of {of})", self.job, self.operator)
    }
}

impl SourceContext {
    /// Whether this subtask reads the split: xxh3 of its id modulo the parallelism. Every split has exactly one owner,
    /// at every parallelism.
    pub fn owns(&self, split: &str) -> bool {
        owner_of(split, self.parallelism) == Some(self.subtask_index)
    }
}

/// The subtask that reads a split, of so many.
pub(crate) fn owner_of(split: &str, parallelism: u32) -> Option<u32> {
    let owner = super::checksum(split.as_bytes()).checked_rem(u64::from(parallelism))?;
    u32::try_from(owner).ok()
}

/// Prompts a source task to read again. Clones are one waker; waking an ended task does nothing.
///
/// A wake-up is never lost: one that comes at any time after a [`read`](SourceReader::read) has begun leads to another read,
/// also if that one goes on to answer [`ReadStatus::Idle`]. So a reader looks for records and answers `Idle` if there are
/// none, and whoever adds some adds them first and then wakes. Several wake-ups may lead to one read.
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicBool, Ordering};
///
/// use millstream::source::SourceWaker;
///
/// let read_again = Arc::new(AtomicBool::new(false));          // stands for the engine
/// let prompted = read_again.clone();
/// let waker = SourceWaker::new(move || prompted.store(true, Ordering::Relaxed));
///
/// let feeder = std::thread::spawn(move || waker.wake());      // add a record first, then wake
/// feeder.join().unwrap();
/// assert!(read_again.load(Ordering::Relaxed));
/// ```
#[derive(Clone)]
pub struct SourceWaker(Arc<dyn Fn() + Send + Sync>);

impl fmt::Debug for SourceWaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SourceWaker")
    }
}

impl SourceWaker {
    /// A waker that calls `wake`.
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::new(wake))
    }

    /// Prompts a read. Any thread; never blocks.
    pub fn wake(&self) {
        (self.0)();
    }
}

/// What a read found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadStatus {
    /// Read again at once.
    More,
    /// Nothing now: read again after the delay or when woken, whichever is first. Without a delay only when woken, and
    /// until then the stream counts as idle, so that it does not hold event time back, unless the reader
    /// [says itself](SourceReader::tells_idleness) when it is.
    Idle {
        /// The delay.
        retry_after: Option<Duration>,
    },
    /// Every split is exhausted. The reader is not read again, but asked for its positions to the end of the job.
    End,
}

/// A replayable input: one description per job, from which each subtask of each attempt opens a reader.
///
/// A source owns no state but positions. It promises to hand out the same records in the same order when read again
/// from a position; the engine promises that positions and the state of the job are of one moment.
///
/// ```
/// use millstream::source::*;
///
/// /// Counts up to a limit, on one subtask.
/// struct Counter(u64);
///
/// struct CounterReader { next: Option<u64>, end: u64 }
///
/// impl Source for Counter {
///     type Item = u64;
///
///     fn open(
///         &self,
///         cx: &SourceContext,
///         restored: Option<Vec<SplitPosition>>,
///     ) -> Result<Box<dyn SourceReader<Item = u64>>, SourceError> {
///         let start = restored.into_iter().flatten().find(|split| split.split == "counter");
///         let next = match start {
///             Some(split) => split.position.try_into().map(u64::from_le_bytes).map_err(|bytes| {
///                 SourceError::position("counter", format!("{bytes:?} is no counter"))
///             })?,
///             None => 0,
///         };
///         Ok(Box::new(CounterReader { next: cx.owns("counter").then_some(next), end: self.0 }))
///     }
/// }
///
/// impl SourceReader for CounterReader {
///     type Item = u64;
///
///     fn read(&mut self, batch: &mut Batch<u64>) -> Result<ReadStatus, SourceError> {
///         let Some(next) = &mut self.next else { return Ok(ReadStatus::End) };
///         while *next < self.end && !batch.is_full() {
///             batch.push(*next, 0);
///             *next += 1;
///         }
///         Ok(if *next < self.end { ReadStatus::More } else { ReadStatus::End })
///     }
///
///     fn report_positions(&mut self, moved: &mut Vec<SplitPosition>) {
///         if let Some(next) = self.next {
///             moved.push(SplitPosition::new("counter", next.to_le_bytes()));
///         }
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a source",
    note = "records that are at hand are for `VecSource::new(..)`, a range of numbers for `SequenceSource::new(..)`"
)]
pub trait Source: Send + Sync + 'static {
    /// Its records.
    type Item: Send + 'static;

    /// Whether it ends by itself.
    fn boundedness(&self) -> Boundedness {
        Boundedness::Bounded
    }

    /// Where its readers' calls are made; [`open`](Self::open) included.
    fn threading(&self) -> Threading {
        Threading::Inline
    }

    /// What is wrong with its settings, where that can be told before it is opened: the job does not start then, and says
    /// where in the program it was added. What is wrapped by another should be asked, too.
    fn mistake(&self) -> Option<String> {
        None
    }

    /// The `WatermarkStrategy` of its records, if they have one, for what stands in for the source in a test. What is wrapped by
    /// another should be asked, too.
    #[doc(hidden)]
    fn strategy(&self) -> Option<Box<dyn Any>> {
        None
    }

    /// Opens the reader of one subtask. `restored` holds the positions of *all* splits of the source, of whatever
    /// parallelism wrote them: the subtask takes those it [owns](SourceContext::owns). `None` is a start from the
    /// beginning.
    ///
    /// # Errors
    /// [`SourceError`]; fails the attempt.
    fn open(
        &self,
        cx: &SourceContext,
        restored: Option<Vec<SplitPosition>>,
    ) -> Result<Box<dyn SourceReader<Item = Self::Item>>, SourceError>;

    /// Whether its readers come to an end of their own when the job is told to finish: they are
    /// [told](SourceReader::finish), and read until each answers [`ReadStatus::End`]. By default the input is cut where it
    /// has been read to. What is wrapped by another should be asked, too.
    fn ends_on_finish(&self) -> bool {
        false
    }

    /// The job has finished: its input had ended, and its last checkpoint is complete and committed. Called once, right before
    /// [`job_ended`](Self::job_ended), and as that is. Does nothing by default.
    fn job_finished(&self) {}

    /// The job has ended, in whatever way, and no reader is opened any more. Called once, before the outcome is told; it
    /// must not block. A reader whose thread has not come back may still be there. What is wrapped by another should be
    /// told, too. Does nothing by default.
    fn job_ended(&self) {}

    /// A position of one of its splits in words, for the report of a failure; by default its bytes in hexadecimal.
    fn describe_position(&self, position: &[u8]) -> String {
        position.iter().fold("0x".to_owned(), |text, byte| text + &format!("{byte:02x}"))
    }

    /// Where a place lies that the program was told of by whoever takes its records, as by the receipt of one. Called on threads of the
    /// host; must not block. What is wrapped by another should be asked, too. Nowhere by default.
    fn locate(&self, place: &dyn Any) -> Located {
        let _ = place;
        Located::Elsewhere
    }

    /// How far a position of one of its splits is, by a number that grows with each record, for [`locate`](Self::locate). What is wrapped by
    /// another should be asked, too. None by default.
    fn offset_of(&self, position: &[u8]) -> Option<u64> {
        let _ = position;
        None
    }
}

/// Of which split a read was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SplitRead<'a> {
    /// The split.
    pub split: &'a str,
    /// Nothing of it is to come, as far as is known: event time does not wait for it. One that is read again nevertheless counts
    /// again, once it has caught up.
    pub at_end: bool,
}

/// Reads the splits of one subtask.
pub trait SourceReader: Send + 'static {
    /// Its records.
    type Item;

    /// Appends records of *one* split to `batch` until it [is full](Batch::is_full), the split ends, or no more are at
    /// hand. How many it takes follows how fast the job works them off: one at first, and few where a function is slow, since a
    /// checkpoint waits for the batch that is worked on. A reader that hands out more than fit delays checkpoints. A read that comes to the end of a split and knows of another answers [`ReadStatus::More`]. Counts their
    /// payload bytes where they are known. Records appended before an error or an `Idle` count as read.
    ///
    /// # Errors
    /// [`SourceError`]: fails the attempt.
    fn read(&mut self, batch: &mut Batch<Self::Item>) -> Result<ReadStatus, SourceError>;

    /// Appends the position of each owned split that has moved since the last call (all of them in the first), as of
    /// the last record appended by [`read`](Self::read). Called between reads.
    fn report_positions(&mut self, moved: &mut Vec<SplitPosition>);

    /// Takes the splits that are no longer part of the input: they are in no snapshot from here on, so that a source whose
    /// splits come and go has a bounded state. Asked whenever the positions are; of a split that is in both, the position counts.
    /// What is wrapped by another should be asked, too. None by default.
    fn take_forgotten(&mut self) -> Vec<String> {
        Vec::new()
    }

    /// Every split that it has is at its end, or it has none, and others may come: until then event time does not wait for this subtask.
    /// Asked when a read is `Idle`, of a reader that says [of which split](Self::last_read) its reads are. False by default: splits
    /// that have not begun are waited for.
    fn awaits_splits(&self) -> bool {
        false
    }

    /// A checkpoint is complete: what was read before its barrier will not be read again, unless the job falls back to an
    /// older checkpoint. To acknowledge it to a broker, or to trim a journal up to
    /// [`oldest_needed`](CompletedPositions::oldest_needed). Called between reads, with the positions of all splits of this
    /// reader; also after [`ReadStatus::End`].
    ///
    /// Called at most once for a checkpoint in an attempt, for higher ones later. It may be missed, when the attempt or the
    /// process ends in between: what is said of the next checkpoint covers all before it.
    ///
    /// # Errors
    /// [`SourceError`]: fails the attempt.
    fn checkpoint_completed(&mut self, completed: &CompletedPositions) -> Result<(), SourceError> {
        let _ = completed;
        Ok(())
    }

    /// Nothing more is read in this attempt, and the input has not ended: the job is drained, or stopped with a savepoint,
    /// to go on from here another time. Checkpoints are told still. If the savepoint cannot be written, the job reads on,
    /// with a new reader; if it is told to finish instead, with this one, which is told then. Does nothing by default.
    fn reading_stopped(&mut self) {}

    /// The job is told to finish: the reader is to come to an end soon, and is read until it does. Called where the source
    /// [says so](Source::ends_on_finish), at most once in an attempt, and again in each later one.
    fn finish(&mut self) {}

    /// Nothing is read any more in this attempt: after [`ReadStatus::End`], or since the job was told to finish. Checkpoints are told
    /// still. Does nothing by default.
    fn input_ended(&mut self) {}

    /// Of which split the last [`read`](Self::read) was. With it each split has an event time of its own, from its first read to
    /// its end; a reader that does not say it, as by default, is taken as one split.
    fn last_read(&self) -> Option<SplitRead<'_>> {
        None
    }

    /// Splits that are read side by side, so that event time waits for each from the beginning. Asked once, before the first
    /// read. By default none is known before it is read, as where splits are read one after another.
    fn concurrent_splits(&self) -> Vec<String> {
        Vec::new()
    }

    /// Whether its [marks](Self::take_marks) say when the stream is idle. By default they do not: it is idle where a read answers
    /// [`ReadStatus::Idle`] without a delay.
    fn tells_idleness(&self) -> bool {
        false
    }

    /// Takes what the stream says of itself behind the records of the last [`read`](Self::read), in order. Watermarks are put in by
    /// whatever gives event times, so that a source as a rule says nothing, as by default. Where a strategy gives them, what is
    /// said here counts for the split of the [last read](Self::last_read), if that is said. [`Mark::End`] is not among them.
    fn take_marks(&mut self) -> Vec<Mark> {
        Vec::new()
    }

    /// Takes what the last [`read`](Self::read) found for side outputs, in order. Side records that nobody consumes are
    /// dropped.
    fn take_side_records(&mut self) -> Vec<SideRecord> {
        Vec::new()
    }
}

/// A record for a side output of a source: a malformed line, say. Rare, so boxed.
pub struct SideRecord {
    /// The tag's name.
    pub tag: Arc<str>,
    /// The record, of the tag's type.
    pub record: Box<dyn Any + Send>,
}

impl fmt::Debug for SideRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SideRecord({})", self.tag)
    }
}
