//! Runs one sink through all that a job may do to it, and looks at what is visible.

use std::fmt::{self, Debug};
use std::sync::Arc;

use millstream_actors::contract::Sink;

use super::sink_lives::{Lives, Restart};

/// A sink, the world outside that it writes to, and the ways of running it.
///
/// [`check`](Self::check) runs it as jobs do that fail: see there.
///
/// ```
/// use std::sync::Arc;
///
/// use millstream::sink::CollectSink;
/// use millstream::testing::SinkHarness;
///
/// SinkHarness::new(
///     || Arc::new(CollectSink::new()), // the world: here the sink itself, which collects in memory
///     |sink| sink.clone(),             // a sink on it, as each start of the job makes one
///     |sink| sink.handle().snapshot(), // what can be seen there
/// )
/// .check(0..20);
/// ```
///
/// A sink of one's own, which adds rows to a table in a transaction with a mark of what was committed:
///
/// ```
/// use std::collections::BTreeMap;
/// use std::sync::{Arc, Mutex};
///
/// use millstream::CheckpointId;
/// use millstream::sink::{
///     Batch, PendingCommit, Sink, SinkContext, SinkError, SinkGuarantee, SinkRestore, SinkWriter,
/// };
/// use millstream::testing::SinkHarness;
///
/// /// Stands for a database: rows, and the transactions that were prepared, by name.
/// #[derive(Clone, Default)]
/// struct Database(Arc<Mutex<(Vec<u32>, BTreeMap<Vec<u8>, Vec<u32>>)>>);
///
/// impl Database {
///     /// Does nothing for a transaction that is committed.
///     fn commit(&self, transaction: &[u8]) {
///         let (rows, prepared) = &mut *self.0.lock().unwrap();
///         rows.extend(prepared.remove(transaction).into_iter().flatten());
///     }
/// }
///
/// struct Rows(Database);
///
/// struct RowWriter { database: Database, name: String, rows: Vec<u32>, pending: Vec<PendingCommit> }
///
/// impl Sink for Rows {
///     type Item = u32;
///
///     fn guarantee(&self) -> SinkGuarantee {
///         SinkGuarantee::ExactlyOnce
///     }
///
///     fn open(&self, cx: &SinkContext, restored: SinkRestore) -> Result<Box<dyn SinkWriter<Item = u32>>, SinkError> {
///         restored.pending.iter().for_each(|pending| self.0.commit(&pending.data));
///         let name = format!("{:?}, subtask {}", cx.execution, cx.subtask_index);
///         Ok(Box::new(RowWriter { database: self.0.clone(), name, rows: vec![], pending: vec![] }))
///     }
/// }
///
/// impl SinkWriter for RowWriter {
///     type Item = u32;
///
///     fn write(&mut self, batch: &mut Batch<u32>) -> Result<(), SinkError> {
///         self.rows.extend(batch.drain());
///         Ok(())
///     }
///
///     fn prepare(&mut self, checkpoint: CheckpointId) -> Result<Vec<PendingCommit>, SinkError> {
///         if !self.rows.is_empty() {
///             let data = format!("{}, checkpoint {checkpoint}", self.name).into_bytes();
///             self.database.0.lock().unwrap().1.insert(data.clone(), std::mem::take(&mut self.rows));
///             self.pending.push(PendingCommit { checkpoint, data });
///         }
///         Ok(self.pending.clone())
///     }
///
///     fn commit(&mut self, up_to: CheckpointId) -> Result<(), SinkError> {
///         let committed = self.pending.extract_if(.., |pending| pending.checkpoint <= up_to);
///         committed.for_each(|pending| self.database.commit(&pending.data));
///         Ok(())
///     }
/// }
///
/// SinkHarness::new(Database::default, |database| Arc::new(Rows(database.clone())), |database| {
///     database.0.lock().unwrap().0.clone()
/// })
/// .check(0..20);
/// ```
pub struct SinkHarness<W, S: Sink> {
    pub(super) world: Box<dyn Fn() -> W>,
    pub(super) sink: Box<InWorld<W, Arc<S>>>,
    pub(super) visible: Box<InWorld<W, Vec<S::Item>>>,
}

type InWorld<W, T> = dyn Fn(&W) -> T;

impl<W, S: Sink> fmt::Debug for SinkHarness<W, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SinkHarness")
    }
}

impl<W, S> SinkHarness<W, S>
where
    S: Sink,
    S::Item: Clone + Debug + Ord,
{
    /// `world` makes a new world, in which nothing was written yet: a folder, a table, a broker in memory. `sink` makes a
    /// sink that writes to it, as each start of a job does. `visible` gives the records that its readers see, in any order.
    pub fn new(
        world: impl Fn() -> W + 'static,
        sink: impl Fn(&W) -> Arc<S> + 'static,
        visible: impl Fn(&W) -> Vec<S::Item> + 'static,
    ) -> Self {
        Self { world: Box::new(world), sink: Box::new(sink), visible: Box::new(visible) }
    }

    /// Writes the records, some twenty of them at best, by jobs that fail in every way, and compares what is visible with what
    /// was written.
    ///
    /// In each job checkpoints complete and are committed twice; are aborted when one writer or all have prepared; complete
    /// without the writers being told; and have nothing to commit. One to three writers run
    ///
    /// - to the end;
    /// - to each call, and then one to three others go on from the last completed checkpoint: those of the same start of the
    ///   job, or of another one; when the first ones are dropped, and while they still hang;
    /// - to each call, and others to each of their first calls, and then a third time;
    /// - to each call, and others go on from an older checkpoint than the last one, if the sink
    ///   [can withdraw](Sink::can_withdraw).
    ///
    /// Of a sink that promises [exactly once](crate::sink::SinkGuarantee::ExactlyOnce) nothing may be visible
    /// of a checkpoint that has not completed, and each record as often as it was written, once a checkpoint that has it is
    /// committed, or the next writers are open. Of others each record must be visible at least so often by then, and none that
    /// was not written.
    ///
    /// ```should_panic
    /// # use std::sync::Arc;
    /// # use millstream::sink::CollectSink;
    /// # use millstream::testing::SinkHarness;
    /// // A world that forgets: each start of the job has a sink of its own.
    /// SinkHarness::new(|| (), |()| Arc::new(CollectSink::new()), |()| vec![]).check(0..20);
    /// ```
    ///
    /// # Panics
    /// If a call fails, or what is visible is wrong: the message says after which calls, and which record.
    pub fn check(&self, records: impl IntoIterator<Item = S::Item>) {
        let records: Vec<S::Item> = records.into_iter().collect();
        for parallelism in 1..=3 {
            Lives::new(self, &records).live(parallelism, None);
        }
        for [before, after] in [[1, 1], [2, 2], [2, 3], [3, 1]] {
            for stop in 0..self.calls(&records, before) {
                for restart in [Restart::Attempt, Restart::Start] {
                    let mut lives = Lives::new(self, &records);
                    lives.live(before, Some(stop));
                    lives.restart(restart, stop % 2 == 0);
                    lives.live(after, None);
                }
            }
        }
        for stop in 0..self.calls(&records, 2) {
            for again in 0..8 {
                let mut lives = Lives::new(self, &records);
                lives.live(2, Some(stop));
                lives.restart(Restart::Start, true);
                lives.live(3, Some(again));
                lives.restart(Restart::Attempt, true);
                lives.live(1, None);
            }
        }
        if (self.sink)(&(self.world)()).can_withdraw() {
            self.check_withdrawal(&records);
        }
    }

    fn check_withdrawal(&self, records: &[S::Item]) {
        for stop in 0..self.calls(records, 2) {
            for abandoned in 1..=2 {
                let mut lives = Lives::new(self, records);
                lives.live(2, Some(stop));
                lives.restart(Restart::Start, true);
                lives.abandon(abandoned);
                lives.live(3, None);
            }
        }
    }

    /// The number of calls of a job that is not stopped.
    fn calls(&self, records: &[S::Item], parallelism: u32) -> usize {
        let mut lives = Lives::new(self, records);
        lives.live(parallelism, None);
        lives.calls()
    }
}

#[cfg(test)]
#[path = "sink_harness_tests.rs"]
mod tests;
