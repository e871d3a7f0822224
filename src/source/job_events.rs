//! The events of a job as the records of another.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::Stream;
use log::warn;
use millstream_actors::contract::{
    Batch, Boundedness, CompletedPositions, ReadStatus, Source, SourceContext, SourceError, SourceReader, SourceWaker,
    SplitPosition, SplitRead,
};
use millstream_actors::{JobEvent, JobEvents};

use super::position::described;
use super::{decode_position, encode_position};
use crate::unique::unique;

const SPLIT: &str = "events";
/// Events that are kept for a restart, if nothing is said: a job that takes checkpoints trims them with each.
const KEPT_MAX: usize = 100_000;

/// The supervision and checkpoint events of a job as records, in order: for another job that windows them, counts them, and
/// raises the alarm. It ends when that job has ended.
///
/// Within a process each event is read *exactly once*: those that are read are kept until a checkpoint of the reading job has them, at most
/// [`kept_max`](Self::kept_max) of them, so that it can go back. Beyond the process it is *at most once*: of the process
/// before, what no checkpoint had is lost, and a new start begins with the events of the new `JobEvents`. So is what the bounded
/// `JobEvents` has dropped since nobody read it. Whatever is lost in this process is told in the log, target `millstream::source`. Where no
/// event may be lost, send what matters of each to an [`IngestSource`](super::IngestSource), whose log is on disk.
///
/// One subtask reads, whatever the parallelism; event times are given by a strategy that goes by
/// [`JobEvent::unix_ms`]. A job may read its own events: its last ones it does not get to.
///
/// ```
/// use std::time::Duration;
///
/// use millstream::aggregates::Count;
/// use millstream::prelude::*;
/// use millstream::source::JobEventSource;
/// use millstream::JobEventKind;
///
/// # actix_rt::System::new().block_on(async {
/// # let (sink, panicked) = (CollectSink::new(), std::sync::atomic::AtomicBool::new(false));
/// # let (alarms, panicked) = (sink.handle(), std::sync::Arc::new(panicked));
/// let watched = StreamEnvironment::new("watched").tell_panic_hook(false);
/// let events = watched.events(1_000);                         // from the start on
/// watched
///     .source("numbers", SequenceSource::new(0..1000))
///     .inspect(move |n| {
/// #       if !panicked.swap(true, std::sync::atomic::Ordering::Relaxed) {
///         panic!("once, at {n}");
/// #       }
///     })
///     .for_each("out", |_| {});
///
/// let times = WatermarkStrategy::monotonous(|event: &JobEvent| event.unix_ms as i64);
/// let watching = StreamEnvironment::new("watching");
/// watching
///     .source_with_watermarks("events", JobEventSource::new(events), times)
///     .filter(|event| matches!(event.kind, JobEventKind::RegionRestarting { .. }))
///     .key_by(|event| event.job.to_string())
///     .window(TumblingWindows::event_time(Duration::from_secs(60)))
///     .aggregate_with("restarts-a-minute", Count::new(), |ctx, restarts| (ctx.key().clone(), restarts))
///     .sink("alarms", sink);
/// let watching = watching.start()?;
/// watched.start()?.await?;
/// watching.await?;
/// # assert_eq!(alarms.snapshot(), [("watched".to_owned(), 1)]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
pub struct JobEventSource {
    log: Arc<KeptEvents>,
}

impl JobEventSource {
    /// The events of [`JobHandle::events`](crate::JobHandle::events), or, from the start of the job on, of
    /// [`StreamEnvironment::events`](crate::StreamEnvironment::events). More of them may wait there than the reading job needs time
    /// to restart.
    pub fn new(events: JobEvents) -> Self {
        Self::keeping(events, KEPT_MAX)
    }

    /// Sets how many events are kept for a restart of the reading job, at least 1, by default 100,000: beyond that the oldest are not read
    /// again.
    pub fn kept_max(self, events: usize) -> Self {
        self.log.lock().kept_max = events.max(1);
        self
    }

    fn keeping(events: JobEvents, kept_max: usize) -> Self {
        let kept = Kept { events: Some(events), kept: VecDeque::new(), first: 0, kept_max, told: 0 };
        Self { log: Arc::new(KeptEvents { name: unique(), kept: Mutex::new(kept) }) }
    }
}

impl Source for JobEventSource {
    type Item = JobEvent;

    fn boundedness(&self) -> Boundedness {
        Boundedness::Unbounded
    }

    fn open(
        &self,
        cx: &SourceContext,
        restored: Option<Vec<SplitPosition>>,
    ) -> Result<Box<dyn SourceReader<Item = JobEvent>>, SourceError> {
        let mut next = 0;
        for stored in restored.iter().flatten() {
            let Position(log, at) = decode_position(stored)?;
            if log == self.log.name {
                next = at;
            }
        }
        let waker = Waker::from(Arc::new(Prompt(cx.waker.clone())));
        let is_owner = cx.owns(SPLIT);
        Ok(Box::new(JobEventReader { log: self.log.clone(), waker, next, is_owner, is_moved: true, at_end: false }))
    }

    fn job_ended(&self) {
        let mut kept = self.log.lock();
        kept.events = None;
        kept.kept.clear();
    }

    fn describe_position(&self, position: &[u8]) -> String {
        described(position, |Position(_, next)| format!("event {next} from 0"))
    }
}

/// Which log, since another process has another one; and the number of the next event there.
#[derive(serde::Serialize, serde::Deserialize)]
struct Position(String, u64);

/// Events that are read, and where more come from.
#[derive(Debug)]
struct KeptEvents {
    name: String,
    kept: Mutex<Kept>,
}

struct Kept {
    /// `None` once the reading job has ended.
    events: Option<JobEvents>,
    kept: VecDeque<JobEvent>,
    /// Number of the first that is kept.
    first: u64,
    kept_max: usize,
    /// How many had been dropped when that was told last.
    told: u64,
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { events, kept, first, .. } = self;
        f.debug_struct("Kept").field("events", events).field("kept", &kept.len()).field("first", first).finish()
    }
}

impl KeptEvents {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    /// Takes the next event that has come; `Ready(None)` if none will.
    fn take_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<JobEvent>> {
        let Some(events) = &mut self.events else { return Poll::Ready(None) };
        let next = Pin::new(&mut *events).poll_next(cx);
        let dropped = events.dropped();
        if let Poll::Ready(Some(event)) = &next {
            if self.kept.len() == self.kept_max {
                self.kept.pop_front();
                self.first += 1;
            }
            self.kept.push_back(event.clone());
        }
        if dropped > self.told {
            self.told = dropped;
            warn!(target: "millstream::source", "{dropped} events of a job were dropped so far: as many as may wait had not been read");
        }
        next
    }

    /// Drops those before `next`.
    fn trim(&mut self, next: u64) {
        let read = next.saturating_sub(self.first).min(self.kept.len() as u64);
        self.kept.drain(..read as usize);
        self.first += read;
    }
}

/// Has the source read when the events' stream wakes it.
struct Prompt(SourceWaker);

impl Wake for Prompt {
    fn wake(self: Arc<Self>) {
        self.0.wake();
    }
}

struct JobEventReader {
    log: Arc<KeptEvents>,
    waker: Waker,
    /// Number of the next event.
    next: u64,
    is_owner: bool,
    is_moved: bool,
    at_end: bool,
}

impl JobEventReader {
    fn next_event(&mut self, kept: &mut Kept) -> Poll<Option<JobEvent>> {
        if self.next < kept.first {
            let lost = kept.first - self.next;
            warn!(target: "millstream::source", "{lost} events of a job are not read again after a restart: no more than {} are kept", kept.kept_max);
            self.next = kept.first;
        }
        match kept.kept.get((self.next - kept.first) as usize) {
            Some(event) => Poll::Ready(Some(event.clone())),
            None => kept.take_next(&mut Context::from_waker(&self.waker)),
        }
    }
}

impl SourceReader for JobEventReader {
    type Item = JobEvent;

    fn read(&mut self, batch: &mut Batch<JobEvent>) -> Result<ReadStatus, SourceError> {
        if !self.is_owner {
            return Ok(ReadStatus::End);
        }
        let log = self.log.clone();
        let mut kept = log.lock();
        while !batch.is_full() {
            match self.next_event(&mut kept) {
                Poll::Ready(Some(event)) => {
                    batch.push(event, 0);
                    self.next += 1;
                    self.is_moved = true;
                }
                Poll::Ready(None) => {
                    self.at_end = true;
                    return Ok(ReadStatus::End);
                }
                Poll::Pending => return Ok(ReadStatus::Idle { retry_after: None }),
            }
        }
        Ok(ReadStatus::More)
    }

    fn report_positions(&mut self, moved: &mut Vec<SplitPosition>) {
        if self.is_owner && std::mem::take(&mut self.is_moved) {
            moved.push(encode_position(SPLIT, &Position(self.log.name.clone(), self.next)));
        }
    }

    fn checkpoint_completed(&mut self, completed: &CompletedPositions) -> Result<(), SourceError> {
        for needed in completed.oldest_needed.iter().flatten() {
            let Position(log, next) = decode_position(needed)?;
            if log == self.log.name {
                self.log.lock().trim(next);
            }
        }
        Ok(())
    }

    fn last_read(&self) -> Option<SplitRead<'_>> {
        self.is_owner.then_some(SplitRead { split: SPLIT, at_end: self.at_end })
    }
}

#[cfg(test)]
mod tests {
    use millstream_actors::protocol::CheckpointId;

    use super::*;
    use crate::prelude::*;
    use crate::testing::{read_source, source_context};

    /// The events of a job that has ended.
    fn events() -> JobEvents {
        let env = StreamEnvironment::new("watched");
        env.source("numbers", SequenceSource::new(0..10)).for_each("out", |_| {});
        let events = env.events(1_000);
        env.start().unwrap().wait().unwrap();
        events
    }

    fn read(
        source: &JobEventSource,
        restored: Option<Vec<SplitPosition>>,
    ) -> (u64, Box<dyn SourceReader<Item = JobEvent>>) {
        let mut reader = source.open(&source_context(0, 1), restored).unwrap();
        let mut batch = Batch::new();
        while reader.read(&mut batch).unwrap() != ReadStatus::End {}
        (batch.len() as u64, reader)
    }

    fn position(reader: &mut dyn SourceReader<Item = JobEvent>) -> Vec<SplitPosition> {
        let mut moved = Vec::new();
        reader.report_positions(&mut moved);
        moved
    }

    #[test]
    fn what_was_read_is_read_again_from_any_position() {
        let texts = |records: Vec<JobEvent>| records.iter().map(|event| event.kind.to_string()).collect::<Vec<_>>();
        let source = JobEventSource::new(events());
        let all = texts(read_source(&source, 1, None, None).records);
        assert!(all.len() > 4 && all.last().is_some_and(|last| last.contains("finished")), "{all:?}");
        for (at, parallelism) in (0..=all.len()).zip([1, 2, 3].into_iter().cycle()) {
            let position = encode_position(SPLIT, &Position(source.log.name.clone(), at as u64));
            let rest = read_source(&source, parallelism, Some(vec![position]), None);
            assert_eq!(texts(rest.records), all[at..]);
        }
    }

    #[test]
    fn what_a_retained_checkpoint_has_is_kept_no_longer() {
        let source = JobEventSource::new(events());
        let (all, mut reader) = read(&source, None);
        let at_end = position(&mut *reader);
        let completed = |oldest| CompletedPositions::new(CheckpointId(1), at_end.clone(), oldest);
        reader.checkpoint_completed(&completed(None)).unwrap();
        assert_eq!(source.log.lock().kept.len() as u64, all);
        reader.checkpoint_completed(&completed(Some(at_end.clone()))).unwrap();
        let trimmed = |kept: MutexGuard<'_, Kept>| (kept.kept.len(), kept.first);
        assert_eq!(trimmed(source.log.lock()), (0, all));
        assert_eq!(read(&source, Some(at_end)).0, 0);
    }

    #[test]
    fn no_more_are_kept_than_may_be() {
        let source = JobEventSource::new(events()).kept_max(2);
        let (all, _) = read(&source, None);
        assert!(all > 4);
        assert_eq!(read(&source, None).0, 2, "the newest");
    }

    #[test]
    fn position_of_another_process_is_that_of_no_event_here() {
        let before = JobEventSource::new(events());
        let (_, mut reader) = read(&before, None);
        let source = JobEventSource::new(events());
        let (again, _) = read(&source, Some(position(&mut *reader)));
        assert_eq!(again, read(&source, None).0);
    }

    #[test]
    fn subscription_ends_with_the_reading_job() {
        let source = JobEventSource::new(events());
        source.job_ended();
        assert_eq!(read(&source, None).0, 0);
    }
}
