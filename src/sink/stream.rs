//! A sink whose records the host reads, as an asynchronous stream.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use futures_util::stream::{FusedStream, Stream};
use millstream_actors::contract::{
    Batch, Demand, PendingCommit, Retry, Sink, SinkContext, SinkError, SinkGuarantee, SinkRestore, SinkWriter,
};
use millstream_actors::protocol::CheckpointId;

use super::committed_blocks::{BlockWriter, Blocks, Show, lock};

/// Gives the host records as an asynchronous stream, a [`CommittedStream`]. Exactly once within the process: a record is in the
/// stream once the checkpoint that covers it has completed, and then once, whatever restarts.
///
/// The records of a subtask keep their order, also over restarts; those of different subtasks come checkpoint by checkpoint, in any
/// order. The stream ends when the job has ended and all is read.
///
/// **A slow host holds the job back.** The sink holds up to `capacity` records in all its subtasks, read by nobody yet: those whose
/// checkpoint is not complete, and those that wait in the stream. With so many it takes no more until the host reads; nothing is
/// lost, nothing fails, and no thread waits. Checkpoints go on: what is before their barriers is taken, up to twice the capacity.
/// From then on their barriers wait for the host, too, and a host that reads nothing for the time-out of checkpoints (10 minutes if
/// nothing is said) has them expire, which fails the job only where
/// [`tolerate_failures`](crate::Checkpointing::tolerate_failures) says so. The job's end waits for the host likewise: who awaits it
/// reads the stream meanwhile. `capacity` is best some times what comes in an interval of checkpoints, or the job waits for each
/// checkpoint. Without periodic checkpoints the sink holds the whole output until the input ends.
///
/// **Records that are not read** are in memory alone. Dropping the stream ends the job with [`StreamSinkError::NobodyReads`] as soon as
/// there is something for it, since nobody would see that. When the process dies, records that were not read are gone, with those that
/// were prepared: the next process reads from where its job goes on, which is behind them. A host that must not miss any takes a
/// sink that outlives it, such as [`RedbSink`](super::RedbSink). A second start in one process goes on likewise if the first one's
/// sink had committed all, or its stream was dropped before it ended. Else the host would miss records without knowing, as after a
/// job that was cancelled or gave up between a checkpoint and its commits: the start fails, as with
/// [`CollectSink`](super::CollectSink).
///
/// **Two streams of one job** are read at the same time: one that is full holds back the source that both may have.
///
/// ```
/// use futures_util::StreamExt;
/// use millstream::prelude::*;
///
/// # actix_rt::System::new().block_on(async {
/// let (sink, mut squares) = StreamSink::new(1_000);
/// let env = StreamEnvironment::new("squares").parallelism(1);
/// env.source("numbers", SequenceSource::new(1..4)).map(|n| n * n).sink("squares", sink);
/// let job = env.start()?;
///
/// let mut read = Vec::new();
/// while let Some(square) = squares.next().await {
///     read.push(square);
/// }
/// assert_eq!(read, [1, 4, 9]);
/// assert_eq!(job.await?.kind, OutcomeKind::Finished);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
pub struct StreamSink<T> {
    feed: Arc<Feed<T>>,
}

/// The committed records of a [`StreamSink`], each once: a [`Stream`] for the host, on any runtime and thread.
///
/// ```
/// use futures_util::StreamExt;
/// use millstream::prelude::*;
///
/// # actix_rt::System::new().block_on(async {
/// let (sink, ticks): (_, CommittedStream<u64>) = StreamSink::new(100);
/// let env = StreamEnvironment::new("ticks").parallelism(1);
/// env.source("ticks", SequenceSource::unbounded()).sink("out", sink);
/// let job = env.start()?;
/// job.checkpoint().await?;                                    // what it covers is in the stream when it is complete
/// let first: Vec<u64> = ticks.take(3).collect().await;
/// assert_eq!(first, [0, 1, 2]);
/// job.cancel().await?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
pub struct CommittedStream<T> {
    shared: Arc<Mutex<Shared<T>>>,
}

/// The [reason](SinkError::reason) for which a [`StreamSink`] failed.
///
/// ```
/// use millstream::TaskError;
/// use millstream::prelude::*;
/// use millstream::sink::StreamSinkError;
///
/// let (sink, numbers) = StreamSink::new(10);
/// drop(numbers);
/// let env = StreamEnvironment::new("numbers").restart_strategy(RestartStrategy::none());
/// env.source("numbers", SequenceSource::new(0..100)).sink("out", sink);
/// let failure = env.start()?.wait().unwrap_err();
///
/// let Some(TaskError::Sink(error)) = failure.task_error() else { panic!("{failure}") };
/// assert!(matches!(error.reason().downcast_ref(), Some(StreamSinkError::NobodyReads)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StreamSinkError {
    /// The host has dropped the stream, and there are records for it. The job fails; it goes on from its newest checkpoint when it
    /// is started again, with a new stream. What that checkpoint covers and the host had not read is in neither.
    #[error(
        "the host has dropped the stream, so nobody would read the records; keep it as long as the job runs, or cancel the job"
    )]
    NobodyReads,
}

type Shared<T> = Blocks<T, Unread<T>>;

/// What the host has to read, and who waits for that.
struct Unread<T> {
    capacity: usize,
    /// Committed.
    records: VecDeque<T>,
    /// Written by writers that live, and not prepared.
    open: usize,
    reader: Reader,
    /// No more records come.
    is_over: bool,
    /// Of tasks that may wait for room.
    writers: Vec<(u64, Waker)>,
    next_writer: u64,
}

/// The host's end.
enum Reader {
    Reads,
    Waits(Waker),
    Gone,
}

/// The job's end of a stream. When its last holder is gone, no more records come.
struct Feed<T> {
    shared: Arc<Mutex<Shared<T>>>,
}

impl<T> Unread<T> {
    /// To be called without the lock.
    fn take_reader(&mut self) -> Option<Waker> {
        match std::mem::replace(&mut self.reader, Reader::Reads) {
            Reader::Waits(waker) => Some(waker),
            Reader::Reads => None,
            Reader::Gone => {
                self.reader = Reader::Gone;
                None
            }
        }
    }

    fn wakers(&self) -> Vec<Waker> {
        self.writers.iter().map(|(_, waker)| waker.clone()).collect()
    }
}

impl<T> Show<T> for Unread<T> {
    fn show(&mut self, _: CheckpointId, records: Vec<T>) {
        self.records.extend(records);
    }
}

fn held<T>(shared: &Shared<T>) -> usize {
    shared.prepared_records() + shared.shown.open + shared.shown.records.len()
}

impl<T> StreamSink<T> {
    /// A sink that holds up to `capacity` records that nobody has read, and the stream of its records. Zero is a mistake that
    /// `start()` reports. One sink, one job.
    pub fn new(capacity: usize) -> (Self, CommittedStream<T>) {
        let (records, writers) = (VecDeque::new(), Vec::new());
        let shown =
            Unread { capacity, records, open: 0, reader: Reader::Reads, is_over: false, writers, next_writer: 0 };
        let shared = Blocks::shared(shown);
        (Self { feed: Arc::new(Feed { shared: shared.clone() }) }, CommittedStream { shared })
    }
}

impl<T> fmt::Debug for StreamSink<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamSink").field("capacity", &lock(&self.feed.shared).shown.capacity).finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for CommittedStream<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CommittedStream").field("unread", &lock(&self.shared).shown.records.len()).finish()
    }
}

impl<T: Send + 'static> Sink for StreamSink<T> {
    type Item = T;

    fn guarantee(&self) -> SinkGuarantee {
        SinkGuarantee::ExactlyOnce
    }

    fn may_hold_back(&self) -> bool {
        true
    }

    fn mistake(&self) -> Option<String> {
        let has_none = lock(&self.feed.shared).shown.capacity == 0;
        has_none.then(|| "StreamSink::new(0): there is room for no record; at least 1".to_owned())
    }

    fn open(&self, cx: &SinkContext, restored: SinkRestore) -> Result<Box<dyn SinkWriter<Item = T>>, SinkError> {
        let mut shared = lock(&self.feed.shared);
        shared.restore(cx, &restored)?;
        let number = shared.shown.next_writer;
        shared.shown.next_writer += 1;
        let reader = shared.shown.take_reader();
        drop(shared);
        reader.into_iter().for_each(Waker::wake);
        let location = format!("stream of sink '{}'", cx.operator);
        let blocks = BlockWriter::new(self.feed.shared.clone(), cx);
        Ok(Box::new(StreamWriter { feed: self.feed.clone(), blocks, open: 0, number, location }))
    }
}

struct StreamWriter<T> {
    feed: Arc<Feed<T>>,
    blocks: BlockWriter<T, Unread<T>>,
    /// Records that are written and not prepared.
    open: usize,
    number: u64,
    location: String,
}

impl<T> StreamWriter<T> {
    /// Somebody may read what comes.
    fn check_reader(&self) -> Result<(), SinkError> {
        match lock(&self.feed.shared).shown.reader {
            Reader::Gone => Err(SinkError::external(&*self.location, StreamSinkError::NobodyReads, Retry::Never)),
            Reader::Reads | Reader::Waits(_) => Ok(()),
        }
    }
}

impl<T: Send + 'static> SinkWriter for StreamWriter<T> {
    type Item = T;

    fn attach(&mut self, waker: Waker) {
        lock(&self.feed.shared).shown.writers.push((self.number, waker));
    }

    fn demand(&self) -> Demand {
        let shared = lock(&self.feed.shared);
        let (held, Unread { capacity, records, .. }) = (held(&shared), &shared.shown);
        if held < *capacity || matches!(shared.shown.reader, Reader::Gone) {
            Demand::Any
        } else if records.is_empty() || held < capacity.saturating_mul(2) {
            Demand::BeforeBarrier
        } else {
            Demand::Nothing
        }
    }

    fn write(&mut self, batch: &mut Batch<T>) -> Result<(), SinkError> {
        if batch.is_empty() {
            return Ok(());
        }
        self.check_reader()?;
        self.open += batch.len();
        lock(&self.feed.shared).shown.open += batch.len();
        self.blocks.write(batch);
        Ok(())
    }

    fn prepare(&mut self, checkpoint: CheckpointId) -> Result<Vec<PendingCommit>, SinkError> {
        lock(&self.feed.shared).shown.open -= std::mem::take(&mut self.open);
        Ok(self.blocks.prepare(checkpoint))
    }

    fn commit(&mut self, up_to: CheckpointId) -> Result<(), SinkError> {
        self.blocks.commit(up_to);
        let mut shared = lock(&self.feed.shared);
        if shared.shown.records.is_empty() {
            return Ok(());
        }
        let reader = shared.shown.take_reader();
        drop(shared);
        reader.into_iter().for_each(Waker::wake);
        self.check_reader()
    }
}

impl<T> Drop for StreamWriter<T> {
    fn drop(&mut self) {
        let mut shared = lock(&self.feed.shared);
        shared.shown.open -= self.open;
        shared.shown.writers.retain(|(number, _)| *number != self.number);
        // Room for those of other subtasks.
        let wakers = shared.shown.wakers();
        drop(shared);
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl<T> Drop for Feed<T> {
    fn drop(&mut self) {
        let mut shared = lock(&self.shared);
        let reader = shared.shown.take_reader();
        shared.shown.is_over = true;
        drop(shared);
        reader.into_iter().for_each(Waker::wake);
    }
}

impl<T> Stream for CommittedStream<T> {
    type Item = T;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let mut shared = lock(&self.shared);
        let Some(record) = shared.shown.records.pop_front() else {
            if shared.shown.is_over {
                return Poll::Ready(None);
            }
            shared.shown.reader = Reader::Waits(cx.waker().clone());
            return Poll::Pending;
        };
        let (held, capacity) = (held(&shared) + 1, shared.shown.capacity);
        // Where that makes a difference to what is taken.
        let frees = shared.shown.records.is_empty() || held == capacity || held == capacity.saturating_mul(2);
        let wakers = if frees { shared.shown.wakers() } else { Vec::new() };
        drop(shared);
        wakers.into_iter().for_each(Waker::wake);
        Poll::Ready(Some(record))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let shared = lock(&self.shared);
        let unread = shared.shown.records.len();
        (unread, shared.shown.is_over.then_some(unread))
    }
}

impl<T> FusedStream for CommittedStream<T> {
    fn is_terminated(&self) -> bool {
        let shared = lock(&self.shared);
        shared.shown.is_over && shared.shown.records.is_empty()
    }
}

impl<T> Drop for CommittedStream<T> {
    fn drop(&mut self) {
        let mut shared = lock(&self.shared);
        shared.shown.reader = Reader::Gone;
        // A host that has read to the end has not said that it wants no more.
        if !(shared.shown.is_over && shared.shown.records.is_empty()) {
            shared.nobody_wants_more();
        }
        let (unread, wakers) = (std::mem::take(&mut shared.shown.records), shared.shown.wakers());
        drop(shared);
        drop(unread);
        wakers.into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
