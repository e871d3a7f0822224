//! A sink that collects in memory.

use std::fmt;
use std::sync::{Arc, Mutex};

use millstream_actors::contract::{
    Batch, PendingCommit, Sink, SinkContext, SinkError, SinkGuarantee, SinkRestore, SinkWriter,
};
use millstream_actors::protocol::CheckpointId;

use super::committed_blocks::{BlockWriter, Blocks, Show, lock};

/// Collects records in memory, where [`Collected`] shows them. Exactly once: records show once the checkpoint that
/// covers them has completed, those of a subtask in their order.
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

type Shared<T> = Blocks<T, Committed<T>>;

/// In the order of commits.
struct Committed<T>(Vec<(CheckpointId, Vec<T>)>);

impl<T> Show<T> for Committed<T> {
    fn show(&mut self, checkpoint: CheckpointId, records: Vec<T>) {
        self.0.push((checkpoint, records));
    }
}

impl<T> CollectSink<T> {
    /// A sink that has collected nothing.
    pub fn new() -> Self {
        Self { shared: Blocks::shared(Committed(Vec::new())) }
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
        lock(&self.shared).shown.0.iter().map(|(_, records)| records.len()).sum()
    }

    /// Whether nothing is committed.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T: Clone> Collected<T> {
    /// The committed records: checkpoint by checkpoint, each subtask's in its order.
    pub fn snapshot(&self) -> Vec<T> {
        lock(&self.shared).shown.0.iter().flat_map(|(_, records)| records.iter().cloned()).collect()
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
        let mut shared = lock(&self.shared);
        if let Some(up_to) = restored.withdraw.iter().max() {
            let after = restored.checkpoint.unwrap_or(CheckpointId::NONE);
            shared.shown.0.retain(|(checkpoint, _)| *checkpoint <= after || checkpoint > up_to);
        }
        shared.restore(cx, &restored)?;
        drop(shared);
        Ok(Box::new(CollectWriter(BlockWriter::new(self.shared.clone(), cx))))
    }
}

struct CollectWriter<T>(BlockWriter<T, Committed<T>>);

impl<T: Send + 'static> SinkWriter for CollectWriter<T> {
    type Item = T;

    fn write(&mut self, batch: &mut Batch<T>) -> Result<(), SinkError> {
        self.0.write(batch);
        Ok(())
    }

    fn prepare(&mut self, checkpoint: CheckpointId) -> Result<Vec<PendingCommit>, SinkError> {
        Ok(self.0.prepare(checkpoint))
    }

    fn commit(&mut self, up_to: CheckpointId) -> Result<(), SinkError> {
        self.0.commit(up_to);
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
        let collected = |sink: &Arc<CollectSink<u32>>| sink.handle().snapshot();
        SinkHarness::new(|| Arc::new(CollectSink::new()), Arc::clone, collected).check((0..7).chain(0..7));
    }
}
