//! The sink that stands in for one of a job's in a [`TestDriver`](crate::testing::TestDriver): exactly once, and shows what is
//! not committed, too.

use std::any::Any;
use std::sync::{Arc, Mutex, MutexGuard};

use millstream_actors::contract::{
    Batch, PendingCommit, Sink, SinkContext, SinkError, SinkGuarantee, SinkRestore, SinkWriter,
};
use millstream_actors::protocol::CheckpointId;

use super::committed_blocks::{WriterId, is_same_execution, lock, unpacked, writer_id};
use crate::packed::packed;

/// All that a sink was given, but what lives of the job that are over have lost. Clones are one.
pub(crate) struct Shown<T>(Arc<Mutex<Rows<T>>>);

struct Rows<T> {
    /// In the order of commits, and of one commit in that in which they came.
    committed: Vec<(CheckpointId, T)>,
    /// In the order in which they came.
    open: Vec<OpenRow<T>>,
}

/// A record that is not committed.
struct OpenRow<T> {
    writer: WriterId,
    /// The checkpoint that it is prepared for.
    prepared: Option<u64>,
    record: T,
}

impl<T> Clone for Shown<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Shown<T> {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(Rows { committed: Vec::new(), open: Vec::new() })))
    }

    fn lock(&self) -> MutexGuard<'_, Rows<T>> {
        lock(&self.0)
    }
}

impl<T: Clone> Shown<T> {
    /// What is committed.
    pub(crate) fn committed(&self) -> Vec<T> {
        self.lock().committed.iter().map(|(_, record)| record.clone()).collect()
    }

    /// What is committed, and then what is not.
    pub(crate) fn written(&self) -> Vec<T> {
        let rows = self.lock();
        let committed = rows.committed.iter().map(|(_, record)| record);
        committed.chain(rows.open.iter().map(|row| &row.record)).cloned().collect()
    }
}

/// What a sink was given, whatever its records.
pub(crate) trait AnyShown: Any + Send + Sync {
    /// The life of the job is over: what is not prepared for a checkpoint is lost.
    fn crashed(&self);
}

impl<T: Send + 'static> AnyShown for Shown<T> {
    fn crashed(&self) {
        self.lock().open.retain(|row| row.prepared.is_some());
    }
}

impl<T> Rows<T> {
    fn commit(&mut self, up_to: CheckpointId, of: impl Fn(&OpenRow<T>, u64) -> bool) {
        let is_due = |row: &OpenRow<T>| row.prepared.is_some_and(|prepared| prepared <= up_to.0 && of(row, prepared));
        let (due, open): (Vec<_>, _) = std::mem::take(&mut self.open).into_iter().partition(is_due);
        self.open = open;
        let committed =
            due.into_iter().map(|OpenRow { prepared, record, .. }| (CheckpointId(prepared.unwrap_or(up_to.0)), record));
        self.committed.extend(committed);
    }
}

/// Stands in for a sink.
pub(crate) struct ShownSink<T>(pub(crate) Shown<T>);

/// Whose a pending commit is, and for which checkpoint.
fn decode(pending: &PendingCommit) -> Result<(WriterId, u64), SinkError> {
    unpacked(pending)
}

impl<T: Send + 'static> Sink for ShownSink<T> {
    type Item = T;

    fn guarantee(&self) -> SinkGuarantee {
        SinkGuarantee::ExactlyOnce
    }

    fn can_withdraw(&self) -> bool {
        true
    }

    /// What a savepoint has pending is of the sink that this one stands in for, and is not shown.
    fn open(&self, cx: &SinkContext, restored: SinkRestore) -> Result<Box<dyn SinkWriter<Item = T>>, SinkError> {
        let writer = writer_id(cx);
        let mut rows = self.0.lock();
        if let Some(up_to) = restored.withdraw.iter().max() {
            let after = restored.checkpoint.unwrap_or(CheckpointId::NONE);
            rows.committed.retain(|(checkpoint, _)| *checkpoint <= after || checkpoint > up_to);
        }
        for pending in &restored.pending {
            if let Ok(block) = decode(pending) {
                rows.commit(pending.checkpoint, |row, prepared| (row.writer, prepared) == block);
            }
        }
        let elsewhere: Vec<_> = restored.pending_elsewhere.iter().filter_map(|pending| decode(pending).ok()).collect();
        rows.open.retain(|row| {
            let is_pending = row.prepared.is_some_and(|prepared| elsewhere.contains(&(row.writer, prepared)));
            is_same_execution(row.writer, writer) || is_pending
        });
        drop(rows);
        Ok(Box::new(ShownWriter { shown: self.0.clone(), writer }))
    }
}

struct ShownWriter<T> {
    shown: Shown<T>,
    writer: WriterId,
}

impl<T: Send + 'static> SinkWriter for ShownWriter<T> {
    type Item = T;

    fn write(&mut self, batch: &mut Batch<T>) -> Result<(), SinkError> {
        let writer = self.writer;
        let rows = batch.drain().map(|record| OpenRow { writer, prepared: None, record });
        self.shown.lock().open.extend(rows);
        Ok(())
    }

    fn prepare(&mut self, checkpoint: CheckpointId) -> Result<Vec<PendingCommit>, SinkError> {
        let mut rows = self.shown.lock();
        let mut prepared: Vec<u64> = Vec::new();
        for row in rows.open.iter_mut().filter(|row| row.writer == self.writer) {
            prepared.push(*row.prepared.get_or_insert(checkpoint.0));
        }
        prepared.dedup();
        let pending = prepared.into_iter().map(|checkpoint| PendingCommit {
            checkpoint: CheckpointId(checkpoint),
            data: packed(&(self.writer, checkpoint)),
        });
        Ok(pending.collect())
    }

    fn commit(&mut self, up_to: CheckpointId) -> Result<(), SinkError> {
        self.shown.lock().commit(up_to, |row, _| row.writer == self.writer);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::SinkHarness;

    // Guarantee G2.
    #[test]
    fn every_life_of_a_job_shows_each_record_once() {
        let shown = |sink: &Arc<ShownSink<u32>>| sink.0.committed();
        SinkHarness::new(|| Arc::new(ShownSink(Shown::new())), Arc::clone, shown).check((0..7).chain(0..7));
    }
}
