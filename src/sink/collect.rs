//! A sink that collects in memory.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use millstream_actors::contract::{
    Batch, PendingCommit, Retry, Sink, SinkContext, SinkError, SinkGuarantee, SinkRestore, SinkWriter,
};
use millstream_actors::protocol::CheckpointId;

use super::committed_blocks::{SinkName, WriterId};
use crate::packed::packed;

/// What one writer prepared for one checkpoint.
type BlockId = (WriterId, u64);

/// Collects records in memory, where [`Collected`] shows them. Exactly once: records show once the checkpoint that
/// covers them has completed.
///
/// What it has collected lives as long as the process, and with it the promise. On a store that outlives the process a job
/// goes on, and the sink collects from there on: records of an earlier process are not shown again, nor those that it had
/// prepared and not committed when it ended. Within a process a start goes on likewise if the sink of the start before it
/// has committed all that it prepared; if not, as after a job that gave up, the records are gone, and it fails. Holds all that
/// it collects: for tests and small results. One sink, one job.
///
/// ```
/// use millstream::prelude::*;
///
/// # actix_rt::System::new().block_on(async {
/// let sink = CollectSink::new();
/// let squares = sink.handle();
/// let env = StreamEnvironment::new("squares");
/// env.source("numbers", SequenceSource::new(1..4)).map(|n| n * n).sink("squares", sink);
/// env.start()?.await?;
/// assert_eq!(squares.snapshot(), [1, 4, 9]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
pub struct CollectSink<T> {
    shared: Arc<Mutex<Shared<T>>>,
}

/// What a [`CollectSink`] has collected and committed. Clones show the same.
///
/// ```
/// use millstream::prelude::*;
///
/// # let sink = CollectSink::new();
/// let collected: Collected<u64> = sink.handle();
/// let env = StreamEnvironment::new("ticks");
/// env.source("ticks", SequenceSource::unbounded().rate_per_second(100_000)).sink("out", sink);
/// let job = env.start()?;
/// # actix_rt::System::new().block_on(async {
/// while collected.snapshot().is_empty() {
///     job.checkpoint().await?;                             // what it covers shows when it is complete
/// }
/// assert_eq!(collected.snapshot()[0], 0);
/// job.drain().await?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Collected<T> {
    shared: Arc<Mutex<Shared<T>>>,
}

struct Shared<T> {
    name: SinkName,
    /// In the order of commits.
    committed: Vec<(CheckpointId, Vec<T>)>,
    prepared: BTreeMap<BlockId, Vec<T>>,
}

fn lock<T>(shared: &Mutex<Shared<T>>) -> MutexGuard<'_, Shared<T>> {
    // Every change is whole before anything can panic.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T> Shared<T> {
    /// Commits a block; false if there is none, which may be because it is committed.
    fn commit(&mut self, (writer, checkpoint): BlockId) -> bool {
        let Some(records) = self.prepared.remove(&(writer, checkpoint)) else { return false };
        self.name.commits(writer, checkpoint);
        self.committed.push((CheckpointId(checkpoint), records));
        true
    }

    /// Settles what a sink had prepared: this one, one of an earlier start in this process, or one of an earlier process,
    /// with which all that it had collected has gone.
    fn settle(&mut self, pending: &PendingCommit, cx: &SinkContext) -> Result<Settled, SinkError> {
        let (sink, (writer, checkpoint)) = decode(pending)?;
        if self.commit((writer, checkpoint)) {
            return Ok(Settled::Here);
        }
        if !sink.is_of_this_process() {
            return Ok(Settled::ByAnotherProcess);
        }
        if sink.has_committed(writer, checkpoint) {
            return Ok(Settled::Here);
        }
        let location = format!("memory of sink '{}'", cx.operator);
        let reason = format!(
            "what was prepared for checkpoint {} is gone with the sink of an earlier start; use a sink that outlives a start, \
             such as FileSink, or start on another store",
            pending.checkpoint
        );
        Err(SinkError::external(location, reason, Retry::Never))
    }
}

/// Who has shown the records of a pending commit.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Settled {
    Here,
    ByAnotherProcess,
}

impl<T> CollectSink<T> {
    /// A sink that has collected nothing.
    pub fn new() -> Self {
        let shared = Shared { name: SinkName::new(), committed: Vec::new(), prepared: BTreeMap::new() };
        Self { shared: Arc::new(Mutex::new(shared)) }
    }

    /// Shows what is committed, from any thread.
    pub fn handle(&self) -> Collected<T> {
        Collected { shared: self.shared.clone() }
    }
}

impl<T> Default for CollectSink<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> fmt::Debug for CollectSink<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CollectSink").finish_non_exhaustive()
    }
}

impl<T> Collected<T> {
    /// Number of committed records.
    pub fn len(&self) -> usize {
        lock(&self.shared).committed.iter().map(|(_, records)| records.len()).sum()
    }

    /// Whether nothing is committed.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T: Clone> Collected<T> {
    /// The committed records: checkpoint by checkpoint, each subtask's in its order.
    pub fn snapshot(&self) -> Vec<T> {
        lock(&self.shared).committed.iter().flat_map(|(_, records)| records.iter().cloned()).collect()
    }
}

impl<T> Clone for Collected<T> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<T> fmt::Debug for Collected<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collected").field("len", &self.len()).finish()
    }
}

impl<T: Send + 'static> Sink for CollectSink<T> {
    type Item = T;

    fn guarantee(&self) -> SinkGuarantee {
        SinkGuarantee::ExactlyOnce
    }

    fn can_withdraw(&self) -> bool {
        true
    }

    fn open(&self, cx: &SinkContext, restored: SinkRestore) -> Result<Box<dyn SinkWriter<Item = T>>, SinkError> {
        let execution = cx.execution;
        let writer = (execution.incarnation.0, execution.region.0, execution.attempt.0, cx.subtask_index);
        let mut shared = lock(&self.shared);
        if let Some(up_to) = restored.withdraw.iter().max() {
            let after = restored.checkpoint.unwrap_or(CheckpointId::NONE);
            shared.committed.retain(|(checkpoint, _)| *checkpoint <= after || checkpoint > up_to);
        }
        let mut has_other_process = false;
        for pending in &restored.pending {
            has_other_process |= shared.settle(pending, cx)? == Settled::ByAnotherProcess;
        }
        if has_other_process {
            log::info!(
                target: "millstream::sink",
                "job={} sink={} subtask={} collects from here on: what it had collected before went with another process",
                cx.job, cx.operator, cx.subtask_index + 1
            );
        }
        let elsewhere = restored.pending_elsewhere.iter().map(decode).collect::<Result<Vec<_>, _>>()?;
        shared.prepared.retain(|block, _| {
            let (incarnation, region, attempt, _) = block.0;
            let same_execution = (incarnation, region, attempt) == (writer.0, writer.1, writer.2);
            same_execution || elsewhere.iter().any(|(_, other)| other == block)
        });
        let (name, shared) = (shared.name.clone(), self.shared.clone());
        Ok(Box::new(CollectWriter { name, shared, writer, records: Vec::new(), prepared: Vec::new() }))
    }
}

fn decode(pending: &PendingCommit) -> Result<(SinkName, BlockId), SinkError> {
    rmp_serde::from_slice(&pending.data).map_err(|error| SinkError::pending(pending.checkpoint, error))
}

struct CollectWriter<T> {
    name: SinkName,
    shared: Arc<Mutex<Shared<T>>>,
    writer: WriterId,
    records: Vec<T>,
    /// Checkpoints with blocks that are not committed, oldest first.
    prepared: Vec<u64>,
}

impl<T: Send + 'static> SinkWriter for CollectWriter<T> {
    type Item = T;

    fn write(&mut self, batch: &mut Batch<T>) -> Result<(), SinkError> {
        self.records.extend(batch.drain());
        Ok(())
    }

    fn prepare(&mut self, checkpoint: CheckpointId) -> Result<Vec<PendingCommit>, SinkError> {
        if !self.records.is_empty() {
            let records = std::mem::take(&mut self.records);
            lock(&self.shared).prepared.insert((self.writer, checkpoint.0), records);
            self.prepared.push(checkpoint.0);
        }
        let pending = self.prepared.iter().map(|checkpoint| PendingCommit {
            checkpoint: CheckpointId(*checkpoint),
            data: packed(&(&self.name, (self.writer, *checkpoint))),
        });
        Ok(pending.collect())
    }

    fn commit(&mut self, up_to: CheckpointId) -> Result<(), SinkError> {
        let mut shared = lock(&self.shared);
        let count = self.prepared.partition_point(|checkpoint| *checkpoint <= up_to.0);
        for checkpoint in self.prepared.drain(..count) {
            shared.commit((self.writer, checkpoint));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::driver::context;
    use crate::testing::SinkHarness;

    fn batch(records: &[u32]) -> Batch<u32> {
        Batch::counted(records.to_vec(), 0)
    }

    // Guarantee G2.
    #[test]
    fn every_life_of_a_job_shows_each_record_once() {
        let collected = |sink: &Arc<CollectSink<u32>>| sink.handle().snapshot();
        SinkHarness::new(|| Arc::new(CollectSink::new()), Arc::clone, collected).check((0..7).chain(0..7));
    }

    #[test]
    fn pending_records_are_settled_by_whoever_gets_them_and_others_are_dropped() {
        let sink = CollectSink::new();
        let seen = sink.handle();
        let mut pending = Vec::new();
        for subtask in 0..2 {
            let mut writer = sink.open(&context(1, 1, subtask, 2), SinkRestore::default()).unwrap();
            writer.write(&mut batch(&[subtask])).unwrap();
            pending.extend(writer.prepare(CheckpointId(1)).unwrap());
            writer.write(&mut batch(&[99])).unwrap();
            writer.prepare(CheckpointId(2)).unwrap();
        }
        let checkpoint = Some(CheckpointId(1));
        for attempt in 2..4 {
            let restore = SinkRestore { checkpoint, pending: pending.clone(), ..SinkRestore::default() };
            sink.open(&context(1, attempt, 0, 1), restore).unwrap();
            assert_eq!(seen.snapshot(), [0, 1]);
        }
        assert!(lock(&sink.shared).prepared.is_empty());
    }

    // Cause: a sink knew of nothing but itself, so what was pending in the last checkpoint of an earlier start counted as lost
    // although it had been shown. Repair: the process remembers what its sinks have committed, and nothing of other processes.
    #[test]
    fn later_start_goes_on_unless_records_of_this_process_were_never_shown() {
        let first = CollectSink::new();
        let mut writer = first.open(&context(1, 1, 0, 1), SinkRestore::default()).unwrap();
        writer.write(&mut batch(&[1])).unwrap();
        let pending = writer.prepare(CheckpointId(1)).unwrap();
        let restore = |pending: &[PendingCommit]| SinkRestore {
            checkpoint: Some(CheckpointId(1)),
            pending: pending.to_vec(),
            ..SinkRestore::default()
        };
        let start = |pending: &[PendingCommit]| {
            let sink = CollectSink::<u32>::new();
            sink.open(&context(2, 1, 0, 1), restore(pending)).map(|_| sink.handle().len())
        };
        let lost = start(&pending).unwrap_err();
        assert!(lost.to_string().contains("checkpoint 1 is gone") && !lost.is_retryable(), "{lost}");
        writer.commit(CheckpointId(1)).unwrap();
        assert_eq!(start(&pending).unwrap(), 0, "the first sink shows it");

        let (_, block) = decode(&pending[0]).unwrap();
        let elsewhere = PendingCommit { data: packed(&(("another process", 0_u64), block)), ..pending[0].clone() };
        assert_eq!(start(&[elsewhere]).unwrap(), 0);
    }
}
