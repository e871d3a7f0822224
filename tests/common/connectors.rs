//! Sources and sinks as a user would write them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use millstream::CheckpointId;
use millstream::sink::{Batch, PendingCommit, Sink, SinkContext, SinkError, SinkRestore, SinkWriter};
use millstream::source::{
    Boundedness, ReadStatus, Source, SourceContext, SourceError, SourceReader, SourceWaker, SplitPosition, Threading,
};

/// A queue that others fill while the job runs. Not replayable: for jobs that do not fail.
#[derive(Clone, Default)]
pub(crate) struct QueueSource(Arc<Mutex<(VecDeque<u64>, Option<SourceWaker>)>>);

impl QueueSource {
    pub(crate) fn push(&self, records: impl IntoIterator<Item = u64>) {
        let mut queue = self.0.lock().expect("no panic under it");
        queue.0.extend(records);
        if let Some(waker) = &queue.1 {
            waker.wake();
        }
    }
}

impl Source for QueueSource {
    type Item = u64;

    fn boundedness(&self) -> Boundedness {
        Boundedness::Unbounded
    }

    fn open(
        &self,
        cx: &SourceContext,
        _: Option<Vec<SplitPosition>>,
    ) -> Result<Box<dyn SourceReader<Item = u64>>, SourceError> {
        self.0.lock().expect("no panic under it").1 = Some(cx.waker.clone());
        Ok(Box::new(self.clone()))
    }
}

impl SourceReader for QueueSource {
    type Item = u64;

    fn read(&mut self, batch: &mut Batch<u64>) -> Result<ReadStatus, SourceError> {
        let mut queue = self.0.lock().expect("no panic under it");
        while let Some(record) = if batch.is_full() { None } else { queue.0.pop_front() } {
            batch.push(record, 8);
        }
        Ok(if queue.0.is_empty() { ReadStatus::Idle { retry_after: None } } else { ReadStatus::More })
    }

    fn report_positions(&mut self, _: &mut Vec<SplitPosition>) {}
}

/// Reads on a thread of its own, and finds something every other time only.
pub(crate) struct HesitantSource(pub(crate) u64);

struct HesitantReader {
    reads: u64,
    next: u64,
    end: u64,
}

impl Source for HesitantSource {
    type Item = u64;

    fn threading(&self) -> Threading {
        Threading::Blocking
    }

    fn open(
        &self,
        _: &SourceContext,
        _: Option<Vec<SplitPosition>>,
    ) -> Result<Box<dyn SourceReader<Item = u64>>, SourceError> {
        Ok(Box::new(HesitantReader { reads: 0, next: 0, end: self.0 }))
    }
}

impl SourceReader for HesitantReader {
    type Item = u64;

    fn read(&mut self, batch: &mut Batch<u64>) -> Result<ReadStatus, SourceError> {
        self.reads += 1;
        if self.reads % 2 == 1 {
            return Ok(ReadStatus::Idle { retry_after: Some(Duration::from_millis(1)) });
        }
        batch.push(self.next, 8);
        self.next += 1;
        Ok(if self.next < self.end { ReadStatus::More } else { ReadStatus::End })
    }

    fn report_positions(&mut self, _: &mut Vec<SplitPosition>) {}
}

/// Writes nothing before it is released, by dropping what [`HeldSink::new`] gives.
pub(crate) struct HeldSink {
    released: Arc<Mutex<mpsc::Receiver<()>>>,
    pub(crate) written: Arc<Mutex<Vec<u64>>>,
}

impl HeldSink {
    pub(crate) fn new() -> (Self, mpsc::Sender<()>) {
        let (release, released) = mpsc::channel();
        (Self { released: Arc::new(Mutex::new(released)), written: Arc::default() }, release)
    }
}

struct HeldWriter {
    released: Arc<Mutex<mpsc::Receiver<()>>>,
    written: Arc<Mutex<Vec<u64>>>,
}

impl Sink for HeldSink {
    type Item = u64;

    fn threading(&self) -> Threading {
        Threading::Blocking
    }

    fn open(&self, _: &SinkContext, _: SinkRestore) -> Result<Box<dyn SinkWriter<Item = u64>>, SinkError> {
        Ok(Box::new(HeldWriter { released: self.released.clone(), written: self.written.clone() }))
    }
}

impl SinkWriter for HeldWriter {
    type Item = u64;

    fn write(&mut self, batch: &mut Batch<u64>) -> Result<(), SinkError> {
        // Fails at once when the test has dropped its end.
        let _ = self.released.lock().expect("no panic under it").recv();
        self.written.lock().expect("no panic under it").extend(batch.drain());
        Ok(())
    }

    fn prepare(&mut self, _: CheckpointId) -> Result<Vec<PendingCommit>, SinkError> {
        Ok(Vec::new())
    }

    fn commit(&mut self, _: CheckpointId) -> Result<(), SinkError> {
        Ok(())
    }
}

/// What each subtask of a [`TaggedSink`] was given, in order.
pub(crate) type Tagged<T> = Arc<Mutex<Vec<Vec<T>>>>;

/// Keeps what each of its subtasks is given. At least once.
pub(crate) struct TaggedSink<T>(pub(crate) Tagged<T>);

struct TaggedWriter<T> {
    subtask: usize,
    records: Tagged<T>,
}

impl<T: Send + 'static> Sink for TaggedSink<T> {
    type Item = T;

    fn open(&self, cx: &SinkContext, _: SinkRestore) -> Result<Box<dyn SinkWriter<Item = T>>, SinkError> {
        self.0.lock().expect("no panic under it").resize_with(cx.parallelism as usize, Vec::new);
        Ok(Box::new(TaggedWriter { subtask: cx.subtask_index as usize, records: self.0.clone() }))
    }
}

impl<T: Send + 'static> SinkWriter for TaggedWriter<T> {
    type Item = T;

    fn write(&mut self, batch: &mut Batch<T>) -> Result<(), SinkError> {
        self.records.lock().expect("no panic under it")[self.subtask].extend(batch.drain());
        batch.clear();
        Ok(())
    }

    fn prepare(&mut self, _: CheckpointId) -> Result<Vec<PendingCommit>, SinkError> {
        Ok(Vec::new())
    }

    fn commit(&mut self, _: CheckpointId) -> Result<(), SinkError> {
        Ok(())
    }
}
