//! What the sinks share that keep records in memory until their checkpoint is complete: blocks of records, which become pending
//! and are then shown, and what of them this process has shown. A start finds out here about the sink of an earlier start, which
//! it has taken the place of.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use millstream_actors::contract::{Batch, PendingCommit, Retry, SinkContext, SinkError, SinkRestore};
use millstream_actors::protocol::CheckpointId;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::packed::packed;
use crate::unique::unique;

/// One opening of one subtask: incarnation, region, attempt, subtask.
pub(super) type WriterId = (u64, u32, u32, u32);

/// The writer that is opened in `cx`.
pub(super) fn writer_id(cx: &SinkContext) -> WriterId {
    let execution = cx.execution;
    (execution.incarnation.0, execution.region.0, execution.attempt.0, cx.subtask_index)
}

/// Whether both are of one attempt of one region.
pub(super) fn is_same_execution(one: WriterId, other: WriterId) -> bool {
    (one.0, one.1, one.2) == (other.0, other.1, other.2)
}

/// What `prepare` has packed into a pending commit.
///
/// # Errors
/// [`SinkError::pending`] for anything else.
pub(super) fn unpacked<D: DeserializeOwned>(pending: &PendingCommit) -> Result<D, SinkError> {
    rmp_serde::from_slice(&pending.data).map_err(|error| SinkError::pending(pending.checkpoint, error))
}

/// Writers that are remembered, in all. A writer that has committed is one entry, also after its job has ended.
const WRITERS_MAX: usize = 1 << 16;

static PROCESS: LazyLock<String> = LazyLock::new(unique);
static SINKS: AtomicU64 = AtomicU64::new(0);
/// Up to which checkpoint the blocks of each writer are committed, by the sink's number.
static COMMITTED: Mutex<BTreeMap<(u64, WriterId), u64>> = Mutex::new(BTreeMap::new());

/// Numbers of sinks whose records nobody wants any more.
static UNWANTED: Mutex<BTreeSet<u64>> = Mutex::new(BTreeSet::new());
/// Of these, so many are remembered.
const UNWANTED_MAX: usize = 1 << 16;

fn committed() -> MutexGuard<'static, BTreeMap<(u64, WriterId), u64>> {
    COMMITTED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A sink among all of all processes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct SinkName {
    process: String,
    number: u64,
}

impl SinkName {
    /// Another one at each call.
    fn new() -> Self {
        Self { process: PROCESS.clone(), number: SINKS.fetch_add(1, Ordering::Relaxed) }
    }

    /// Whether it is a sink of this process.
    fn is_of_this_process(&self) -> bool {
        self.process == *PROCESS
    }

    /// Whether this sink of this process has committed what `writer` prepared for `checkpoint`.
    fn has_committed(&self, writer: WriterId, checkpoint: u64) -> bool {
        committed().get(&(self.number, writer)).is_some_and(|up_to| *up_to >= checkpoint)
    }

    /// Whether nobody wants what this sink of this process has not shown.
    fn is_unwanted(&self) -> bool {
        lock(&UNWANTED).contains(&self.number)
    }

    /// Notes that it has.
    fn commits(&self, writer: WriterId, checkpoint: u64) {
        let mut committed = committed();
        let up_to = committed.entry((self.number, writer)).or_default();
        *up_to = checkpoint.max(*up_to);
        if committed.len() > WRITERS_MAX {
            committed.pop_first();
        }
    }
}

/// What one writer prepared for one checkpoint.
type BlockId = (WriterId, u64);

/// Shows records whose checkpoint is complete.
pub(super) trait Show<T> {
    fn show(&mut self, checkpoint: CheckpointId, records: Vec<T>);
}

/// What a sink in memory holds, whichever of its writers brought it.
pub(super) struct Blocks<T, S> {
    name: SinkName,
    prepared: BTreeMap<BlockId, Vec<T>>,
    pub(super) shown: S,
}

/// Who has shown the records of a pending commit.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Settled {
    Here,
    ByAnotherProcess,
}

impl<T, S: Show<T>> Blocks<T, S> {
    pub(super) fn shared(shown: S) -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self { name: SinkName::new(), prepared: BTreeMap::new(), shown }))
    }

    /// Commits the blocks of a writer up to this one, in their order; false if there are none, which may be because they are committed.
    fn commit(&mut self, (writer, checkpoint): BlockId) -> bool {
        let due = self.prepared.extract_if((writer, 0)..=(writer, checkpoint), |_, _| true).collect::<Vec<_>>();
        if due.is_empty() {
            return false;
        }
        self.name.commits(writer, checkpoint);
        for ((_, checkpoint), records) in due {
            self.shown.show(CheckpointId(checkpoint), records);
        }
        true
    }

    /// Settles what is pending, and drops what other executions than that of `cx` have left.
    ///
    /// # Errors
    /// If records of an earlier start in this process were never shown: they are gone.
    pub(super) fn restore(&mut self, cx: &SinkContext, restored: &SinkRestore) -> Result<(), SinkError> {
        let mut has_other_process = false;
        for pending in &restored.pending {
            has_other_process |= self.settle(pending, cx)? == Settled::ByAnotherProcess;
        }
        if has_other_process {
            log::info!(
                target: "millstream::sink",
                "job={} sink={} subtask={} shows records from here on: what was shown before went with another process",
                cx.job, cx.operator, cx.subtask_index + 1
            );
        }
        let elsewhere = restored.pending_elsewhere.iter().map(block_of).collect::<Result<Vec<_>, _>>()?;
        let me = writer_id(cx);
        self.prepared.retain(|(writer, checkpoint), _| {
            let is_pending = |(_, (other, up_to)): &(_, BlockId)| other == writer && checkpoint <= up_to;
            is_same_execution(*writer, me) || elsewhere.iter().any(is_pending)
        });
        Ok(())
    }

    /// Settles what a sink had prepared: this one, one of an earlier start in this process, or one of an earlier process,
    /// with which all that it had shown has gone.
    fn settle(&mut self, pending: &PendingCommit, cx: &SinkContext) -> Result<Settled, SinkError> {
        let (sink, (writer, checkpoint)) = block_of(pending)?;
        if self.commit((writer, checkpoint)) {
            return Ok(Settled::Here);
        }
        if !sink.is_of_this_process() {
            return Ok(Settled::ByAnotherProcess);
        }
        if sink.has_committed(writer, checkpoint) || sink.is_unwanted() {
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

    /// Notes for later starts in this process that nobody wants what is not shown by now: they go on without it.
    pub(super) fn nobody_wants_more(&self) {
        let mut unwanted = lock(&UNWANTED);
        unwanted.insert(self.name.number);
        if unwanted.len() > UNWANTED_MAX {
            unwanted.pop_first();
        }
    }

    /// Records that are prepared, and not committed.
    pub(super) fn prepared_records(&self) -> usize {
        self.prepared.values().map(Vec::len).sum()
    }
}

fn block_of(pending: &PendingCommit) -> Result<(SinkName, BlockId), SinkError> {
    unpacked(pending)
}

/// Locks what writers share.
pub(super) fn lock<B>(shared: &Mutex<B>) -> MutexGuard<'_, B> {
    // Every change is whole before anything can panic.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The blocks of one writer.
pub(super) struct BlockWriter<T, S> {
    shared: Arc<Mutex<Blocks<T, S>>>,
    writer: WriterId,
    records: Vec<T>,
    /// Checkpoints with blocks that are not committed, oldest first.
    prepared: Vec<u64>,
}

impl<T, S: Show<T>> BlockWriter<T, S> {
    pub(super) fn new(shared: Arc<Mutex<Blocks<T, S>>>, cx: &SinkContext) -> Self {
        Self { shared, writer: writer_id(cx), records: Vec::new(), prepared: Vec::new() }
    }

    pub(super) fn write(&mut self, batch: &mut Batch<T>) {
        self.records.extend(batch.drain());
        batch.clear();
    }

    /// See [`SinkWriter::prepare`](millstream_actors::contract::SinkWriter::prepare).
    pub(super) fn prepare(&mut self, checkpoint: CheckpointId) -> Vec<PendingCommit> {
        let mut shared = lock(&self.shared);
        if !self.records.is_empty() {
            let records = mem::take(&mut self.records);
            shared.prepared.insert((self.writer, checkpoint.0), records);
            self.prepared.push(checkpoint.0);
        }
        // The newest stands for all before it: two commits could be settled by two subtasks, in any order.
        let newest = self.prepared.last().map(|checkpoint| PendingCommit {
            checkpoint: CheckpointId(*checkpoint),
            data: packed(&(&shared.name, (self.writer, *checkpoint))),
        });
        newest.into_iter().collect()
    }

    /// See [`SinkWriter::commit`](millstream_actors::contract::SinkWriter::commit).
    pub(super) fn commit(&mut self, up_to: CheckpointId) {
        let mut shared = lock(&self.shared);
        let count = self.prepared.partition_point(|checkpoint| *checkpoint <= up_to.0);
        if let Some(newest) = self.prepared.drain(..count).next_back() {
            shared.commit((self.writer, newest));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::driver::context;

    impl Show<u32> for Vec<u32> {
        fn show(&mut self, _: CheckpointId, records: Vec<u32>) {
            self.extend(records);
        }
    }

    fn opened(
        blocks: &Arc<Mutex<Blocks<u32, Vec<u32>>>>,
        cx: &SinkContext,
        pending: &[PendingCommit],
    ) -> Result<BlockWriter<u32, Vec<u32>>, SinkError> {
        let checkpoint = Some(CheckpointId(1)).filter(|_| !pending.is_empty());
        let restored = SinkRestore { checkpoint, pending: pending.to_vec(), ..SinkRestore::default() };
        lock(blocks).restore(cx, &restored)?;
        Ok(BlockWriter::new(blocks.clone(), cx))
    }

    #[test]
    fn pending_records_are_settled_by_whoever_gets_them_and_others_are_dropped() {
        let blocks = Blocks::shared(Vec::new());
        let mut pending = Vec::new();
        for subtask in 0..2 {
            let mut writer = opened(&blocks, &context(1, 1, subtask, 2), &[]).unwrap();
            writer.write(&mut Batch::counted(vec![subtask], 0));
            pending.extend(writer.prepare(CheckpointId(1)));
            writer.write(&mut Batch::counted(vec![99], 0));
            writer.prepare(CheckpointId(2));
        }
        for attempt in 2..4 {
            opened(&blocks, &context(1, attempt, 0, 1), &pending).unwrap();
            assert_eq!(lock(&blocks).shown, [0, 1]);
        }
        assert_eq!(lock(&blocks).prepared_records(), 0);
    }

    // Cause: after a checkpoint that was aborted a writer had two pending commits, which went to two subtasks, and each showed its
    // own when it was opened. Repair: one commit, of the newest block, stands for all of its writer.
    #[test]
    fn records_of_an_aborted_checkpoint_come_before_those_of_the_next_whoever_settles_them() {
        for parallelism in 1..4 {
            let blocks = Blocks::shared(Vec::new());
            let mut pending = Vec::new();
            for subtask in 0..2 {
                let mut writer = opened(&blocks, &context(1, 1, subtask, 2), &[]).unwrap();
                writer.write(&mut Batch::from_iter([10 * subtask]));
                writer.prepare(CheckpointId(1));
                writer.write(&mut Batch::from_iter([10 * subtask + 1]));
                pending.extend(writer.prepare(CheckpointId(2)));
            }
            for subtask in (0..parallelism).rev() {
                let restored = SinkRestore::dealt(CheckpointId(2), pending.clone(), subtask, parallelism);
                lock(&blocks).restore(&context(1, 2, subtask, parallelism), &restored).unwrap();
            }
            for subtask in 0..2 {
                let of_subtask = lock(&blocks).shown.iter().copied().filter(|n| n / 10 == subtask).collect::<Vec<_>>();
                assert_eq!(of_subtask, [10 * subtask, 10 * subtask + 1], "parallelism {parallelism}");
            }
        }
    }

    // Cause: a sink knew of nothing but itself, so what was pending in the last checkpoint of an earlier start counted as lost
    // although it had been shown. Repair: the process remembers what its sinks have committed, and nothing of other processes.
    #[test]
    fn later_start_goes_on_unless_records_of_this_process_were_never_shown() {
        let first = Blocks::shared(Vec::new());
        let mut writer = opened(&first, &context(1, 1, 0, 1), &[]).unwrap();
        writer.write(&mut Batch::counted(vec![1], 0));
        let pending = writer.prepare(CheckpointId(1));
        let start = |pending: &[PendingCommit]| {
            let blocks = Blocks::shared(Vec::new());
            opened(&blocks, &context(2, 1, 0, 1), pending).map(|_| lock(&blocks).shown.len())
        };
        let lost = start(&pending).unwrap_err();
        assert!(lost.to_string().contains("checkpoint 1 is gone") && !lost.is_retryable(), "{lost}");
        writer.commit(CheckpointId(1));
        assert_eq!(start(&pending).unwrap(), 0, "the first sink shows it");

        let (_, block) = block_of(&pending[0]).unwrap();
        let elsewhere = PendingCommit { data: packed(&(("another process", 0_u64), block)), ..pending[0].clone() };
        assert_eq!(start(&[elsewhere]).unwrap(), 0);
    }
}
