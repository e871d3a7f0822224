//! A sink that collects in memory.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use millstream_actors::contract::{
    Batch, PendingCommit, Retry, Sink, SinkContext, SinkError, SinkGuarantee, SinkRestore, SinkWriter,
};
use millstream_actors::protocol::CheckpointId;

use crate::packed::packed;

/// One opening of one subtask: incarnation, region, attempt, subtask.
type WriterId = (u64, u32, u32, u32);
/// What one writer prepared for one checkpoint.
type BlockId = (WriterId, u64);

/// Collects records in memory, where [`Collected`] shows them. Exactly once: records show once the checkpoint that
/// covers them has completed.
///
/// Survives restarts of its job in the process, not the process itself: a job restored from a checkpoint with records
/// that were prepared and never committed fails for good, since they are gone. Holds all that it
/// collects: for tests and small results. One sink, one job.
pub struct CollectSink<T> {
    shared: Arc<Mutex<Shared<T>>>,
}

/// What a [`CollectSink`] has collected and committed. Clones show the same.
pub struct Collected<T> {
    shared: Arc<Mutex<Shared<T>>>,
}

struct Shared<T> {
    /// In the order of commits.
    committed: Vec<(CheckpointId, Vec<T>)>,
    prepared: BTreeMap<BlockId, Vec<T>>,
    /// Up to which checkpoint each writer's blocks are committed.
    committed_up_to: BTreeMap<WriterId, u64>,
}

fn lock<T>(shared: &Mutex<Shared<T>>) -> MutexGuard<'_, Shared<T>> {
    // Every change is whole before anything can panic.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T> Shared<T> {
    /// Commits a block; false if it is unknown.
    fn commit(&mut self, (writer, checkpoint): BlockId) -> bool {
        let up_to = self.committed_up_to.entry(writer).or_default();
        match self.prepared.remove(&(writer, checkpoint)) {
            Some(records) => {
                *up_to = checkpoint.max(*up_to);
                self.committed.push((CheckpointId(checkpoint), records));
                true
            }
            None => *up_to >= checkpoint,
        }
    }
}

impl<T> CollectSink<T> {
    /// A sink that has collected nothing.
    pub fn new() -> Self {
        let shared = Shared { committed: Vec::new(), prepared: BTreeMap::new(), committed_up_to: BTreeMap::new() };
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
        for pending in &restored.pending {
            let block = decode(pending)?;
            if !shared.commit(block) {
                let location = format!("memory of sink '{}'", cx.operator);
                let reason = format!("what was prepared for checkpoint {} is gone", pending.checkpoint);
                return Err(SinkError::external(location, reason, Retry::Never));
            }
        }
        let elsewhere = restored.pending_elsewhere.iter().map(decode).collect::<Result<Vec<_>, _>>()?;
        shared.prepared.retain(|block, _| {
            let (incarnation, region, attempt, _) = block.0;
            let same_execution = (incarnation, region, attempt) == (writer.0, writer.1, writer.2);
            same_execution || elsewhere.contains(block)
        });
        drop(shared);
        Ok(Box::new(CollectWriter { shared: self.shared.clone(), writer, records: Vec::new(), prepared: Vec::new() }))
    }
}

fn decode(pending: &PendingCommit) -> Result<BlockId, SinkError> {
    rmp_serde::from_slice(&pending.data).map_err(|error| SinkError::pending(pending.checkpoint, error))
}

struct CollectWriter<T> {
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
            data: packed(&(self.writer, *checkpoint)),
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

    fn batch(records: &[u32]) -> Batch<u32> {
        Batch::counted(records.to_vec(), 0)
    }

    #[test]
    fn only_committed_records_show_and_a_skipped_commit_is_covered() {
        let sink = CollectSink::new();
        let seen = sink.handle();
        let mut writer = sink.open(&context(1, 1, 0, 1), SinkRestore::default()).unwrap();
        writer.write(&mut batch(&[1, 2])).unwrap();
        writer.prepare(CheckpointId(1)).unwrap();
        writer.write(&mut batch(&[3])).unwrap();
        assert_eq!(writer.prepare(CheckpointId(2)).unwrap().len(), 2);
        writer.write(&mut batch(&[4])).unwrap();
        assert!(seen.is_empty());
        writer.commit(CheckpointId(2)).unwrap();
        writer.commit(CheckpointId(2)).unwrap();
        assert_eq!(seen.snapshot(), [1, 2, 3]);
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
        let restore = SinkRestore { checkpoint, pending, ..SinkRestore::default() };
        let lost = CollectSink::<u32>::new().open(&context(2, 1, 0, 1), restore).err().unwrap();
        assert!(lost.to_string().contains("checkpoint 1 is gone") && !lost.is_retryable(), "{lost}");
    }

    #[test]
    fn records_of_withdrawn_checkpoints_disappear() {
        let sink = CollectSink::new();
        let mut writer = sink.open(&context(1, 1, 0, 1), SinkRestore::default()).unwrap();
        for checkpoint in 1..4 {
            writer.write(&mut batch(&[checkpoint])).unwrap();
            writer.prepare(CheckpointId(checkpoint.into())).unwrap();
            writer.commit(CheckpointId(checkpoint.into())).unwrap();
        }
        let withdraw = vec![CheckpointId(3)];
        let restore = SinkRestore { checkpoint: Some(CheckpointId(1)), withdraw, ..SinkRestore::default() };
        sink.open(&context(1, 2, 0, 1), restore).unwrap();
        assert_eq!(sink.handle().snapshot(), [1]);
    }
}
