//! The contract of a sink: two-phase commit with the checkpoint.
//!
//! Follows Flink's `TwoPhaseCommittingSink` (FLIP-143, FLIP-191) with one difference: committables never leave the
//! subtask, so there is no separate committer.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use serde::{Deserialize, Serialize};

use super::{Batch, Clock, Demand, Threading};
use crate::protocol::{CheckpointId, Execution, OperatorId, SinkError};

/// What a sink promises about its output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SinkGuarantee {
    /// Each result appears at least once: writes take effect at once.
    AtLeastOnce,
    /// Each result appears exactly once, after the checkpoint that covers it: writes take effect at commit.
    ExactlyOnce,
}

/// Something prepared and not known to be committed, part of the snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingCommit {
    /// The checkpoint for which it was prepared.
    pub checkpoint: CheckpointId,
    /// What to commit, in the sink's own encoding.
    pub data: Vec<u8>,
}

/// What a sink gets back at a start.
///
/// ```
/// use millstream::CheckpointId;
/// use millstream::sink::{PendingCommit, SinkRestore};
///
/// // What two subtasks get of three commits that were pending.
/// let pending = ["a", "b", "c"].map(|file| PendingCommit { checkpoint: CheckpointId(7), data: file.into() });
/// let second = SinkRestore::dealt(CheckpointId(7), pending, 1, 2);
/// assert_eq!(second.pending[0].data, b"b");                                  // to be settled by this subtask
/// assert_eq!(second.pending_elsewhere.len(), 2);                             // no left-overs
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SinkRestore {
    /// The checkpoint restored; `None` at a start from the beginning.
    pub checkpoint: Option<CheckpointId>,
    /// Pending commits that this subtask must settle in `open`, before the first record.
    pub pending: Vec<PendingCommit>,
    /// Pending commits that other subtasks settle at this moment: not to be taken for left-overs.
    pub pending_elsewhere: Vec<PendingCommit>,
    /// Completed checkpoints that were abandoned in favour of an older one: whatever was published for them must be
    /// withdrawn. Every subtask gets the list; withdrawing twice must be harmless.
    pub withdraw: Vec<CheckpointId>,
    /// Whether output that is repeated is accepted where `withdraw` is not empty
    /// (`Checkpointing::accept_repeats`). It is not known of these whether they were only abandoned for a damaged checkpoint: a start
    /// from copies of a lost store abandons what it does not know of, and asks nobody. A sink that must not repeat, and cannot
    /// withdraw, refuses the start if this is false.
    pub accepts_repeats: bool,
}

impl SinkRestore {
    /// What one subtask of so many gets of the pending commits of `checkpoint`, of whatever subtasks: as the engine deals them out, in
    /// turn.
    pub fn dealt(
        checkpoint: CheckpointId,
        pending: impl IntoIterator<Item = PendingCommit>,
        subtask: u32,
        parallelism: u32,
    ) -> Self {
        let mut restore = Self { checkpoint: Some(checkpoint), ..Self::default() };
        for (place, commit) in (0u32..).zip(pending) {
            let is_own = place % parallelism == subtask;
            if is_own { &mut restore.pending } else { &mut restore.pending_elsewhere }.push(commit);
        }
        restore
    }
}

/// What a sink sees of the job.
///
/// ```
/// use millstream::testing::sink_context;
///
/// // A name for what this writer prepares that no other subtask, attempt or life of the process uses.
/// let cx = sink_context(0, 4);
/// let name = format!("{}-{}-{}-{}", cx.operator, cx.subtask_index, cx.execution.incarnation.0, cx.execution.attempt.0);
/// assert_eq!(name, "sink-0-1-1");
/// ```
#[derive(Clone)]
pub struct SinkContext {
    /// The job.
    pub job: Arc<str>,
    /// The sink's id.
    pub operator: OperatorId,
    /// Ids that it had in older checkpoints, under which it may have left what is pending in these.
    pub former_operators: Vec<OperatorId>,
    /// Index of this subtask.
    pub subtask_index: u32,
    /// Number of subtasks.
    pub parallelism: u32,
    /// Incarnation, region and attempt: together unique for each opening of this subtask.
    pub execution: Execution,
    /// The job's clock.
    pub clock: Arc<dyn Clock>,
    /// By which a writer asks for a checkpoint, as when somebody waits for what it is to commit.
    pub checkpoints: CheckpointRequests,
    /// True once the engine has given this attempt up. Checked by the engine before every call; a sink that does
    /// several outside effects in one call checks it before each.
    pub fenced: Fence,
}

impl fmt::Debug for SinkContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (index, of) = (self.subtask_index, self.parallelism);
        write!(f, "SinkContext({}/{}, subtask {index} of {of}, {:?})", self.job, self.operator, self.execution)
    }
}

/// Asks for checkpoints between those of the interval, from any thread. Clones are one; the default asks nobody, as in tests
/// of a sink.
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU32, Ordering};
///
/// use millstream::sink::CheckpointRequests;
///
/// let asked = Arc::new(AtomicU32::new(0));
/// let counts = asked.clone();
/// let checkpoints = CheckpointRequests::new(move || {
///     counts.fetch_add(1, Ordering::Relaxed);
/// });
/// checkpoints.request();
/// assert_eq!(asked.load(Ordering::Relaxed), 1);
/// ```
#[derive(Clone, Default)]
pub struct CheckpointRequests(Option<Arc<dyn Fn() + Send + Sync>>);

impl CheckpointRequests {
    /// Calls `ask` for each request: the engine's is a message to the coordinator.
    pub fn new(ask: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(ask)))
    }

    /// Wants a checkpoint as soon as none is in flight, all regions run and
    /// [`min_pause`](crate::protocol::Checkpointing::min_pause) has passed. All requests until one is triggered share that
    /// one. If it fails it is not repeated: the next request or the interval takes the next.
    pub fn request(&self) {
        if let Some(ask) = &self.0 {
            ask();
        }
    }
}

impl fmt::Debug for CheckpointRequests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CheckpointRequests(asks somebody: {})", self.0.is_some())
    }
}

/// A flag that an attempt reads before any outside effect; raised when the attempt has been replaced.
#[derive(Clone, Default)]
pub struct Fence(Arc<FenceState>);

#[derive(Default)]
struct FenceState {
    raised: AtomicBool,
    on_raise: Mutex<Vec<Box<dyn FnOnce() + Send>>>,
}

impl Fence {
    /// Whether the attempt has been replaced.
    pub fn is_raised(&self) -> bool {
        self.0.raised.load(Ordering::Acquire)
    }

    /// Shuts the attempt out.
    pub fn raise(&self) {
        let mut on_raise = self.hooks();
        self.0.raised.store(true, Ordering::Release);
        let hooks = std::mem::take(&mut *on_raise);
        drop(on_raise);
        hooks.into_iter().for_each(|hook| hook());
    }

    /// Calls `hook` when the attempt is shut out, on the thread that does so; at once if it is already.
    pub(crate) fn on_raise(&self, hook: impl FnOnce() + Send + 'static) {
        let mut on_raise = self.hooks();
        if self.is_raised() {
            drop(on_raise);
            hook();
        } else {
            on_raise.push(Box::new(hook));
        }
    }

    fn hooks(&self) -> MutexGuard<'_, Vec<Box<dyn FnOnce() + Send>>> {
        self.0.on_raise.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fence(raised: {})", self.is_raised())
    }
}

/// An output: one description per job, from which each subtask of each attempt opens a writer.
///
/// A sink that writes at once, and so at least once; one that is exactly once is shown at [`SinkWriter`]:
///
/// ```
/// use std::sync::mpsc;
///
/// use millstream::CheckpointId;
/// use millstream::prelude::*;
/// use millstream::sink::*;
///
/// struct ChannelSink(mpsc::Sender<u64>);
///
/// impl Sink for ChannelSink {
///     type Item = u64;
///
///     fn open(&self, _: &SinkContext, _: SinkRestore) -> Result<Box<dyn SinkWriter<Item = u64>>, SinkError> {
///         Ok(Box::new(ChannelWriter(self.0.clone())))
///     }
/// }
///
/// struct ChannelWriter(mpsc::Sender<u64>);
///
/// impl SinkWriter for ChannelWriter {
///     type Item = u64;
///
///     fn write(&mut self, batch: &mut Batch<u64>) -> Result<(), SinkError> {
///         let send = |record| self.0.send(record).map_err(|error| SinkError::external("channel", error, Retry::Never));
///         batch.drain().try_for_each(send)
///     }
///
///     fn prepare(&mut self, _: CheckpointId) -> Result<Vec<PendingCommit>, SinkError> {
///         Ok(Vec::new())                                      // nothing is left to be committed
///     }
///
///     fn commit(&mut self, _: CheckpointId) -> Result<(), SinkError> {
///         Ok(())
///     }
/// }
///
/// let (sender, receiver) = mpsc::channel();
/// let env = StreamEnvironment::new("numbers");
/// env.source("numbers", SequenceSource::new(0..3)).sink("channel", ChannelSink(sender));
/// env.start()?.wait()?;
/// assert_eq!(receiver.try_iter().collect::<Vec<_>>(), [0, 1, 2]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a sink of these records",
    note = "a closure is for `for_each`; a `PrintSink` takes records that are `Display`, a `FileSink` those that are `Serialize`"
)]
pub trait Sink: Send + Sync + 'static {
    /// Its records.
    type Item: Send + 'static;

    /// What it promises.
    fn guarantee(&self) -> SinkGuarantee {
        SinkGuarantee::AtLeastOnce
    }

    /// Whether `open` honours [`SinkRestore::withdraw`], so that a job may fall back to an older checkpoint when the
    /// newest is damaged.
    fn can_withdraw(&self) -> bool {
        false
    }

    /// Where its writers' calls are made; [`open`](Self::open) included.
    fn threading(&self) -> Threading {
        Threading::Inline
    }

    /// Whether its writers may [take no records](SinkWriter::demand) for a while, as one does whose output is read slowly. Of a
    /// sink whose calls are [inline](Threading::Inline); a blocking one waits in its calls, and both together are a mistake that
    /// `start()` reports.
    fn may_hold_back(&self) -> bool {
        false
    }

    /// What is wrong with its settings, where that can be told before it is opened: the job does not start then, and says
    /// where in the program it was added. What is wrapped by another should be asked, too.
    fn mistake(&self) -> Option<String> {
        None
    }

    /// What no other sink of the job may write to as well, if there is such a thing, in words that tell it from others: the
    /// job does not start if two sinks answer the same.
    fn exclusive_output(&self) -> Option<String> {
        None
    }

    /// Opens the writer of one subtask: first withdraws, then settles `restored.pending`, then removes left-overs of
    /// earlier attempts, and only then returns.
    ///
    /// # Errors
    /// [`SinkError`]; fails the attempt, finally unless [`SinkError::is_retryable`].
    fn open(
        &self,
        cx: &SinkContext,
        restored: SinkRestore,
    ) -> Result<Box<dyn SinkWriter<Item = Self::Item>>, SinkError>;
}

/// Writes the records of one subtask.
///
/// Exactly once: rows wait in the writer, are part of the snapshot from `prepare` on, and go to the table in `commit`. A commit
/// that is done again puts the same rows in the same place:
///
/// ```
/// use std::collections::BTreeMap;
/// use std::sync::{Arc, Mutex};
///
/// use millstream::CheckpointId;
/// use millstream::prelude::*;
/// use millstream::sink::*;
///
/// /// Stands for a database: what each subtask has published with each checkpoint.
/// type Table = Arc<Mutex<BTreeMap<(CheckpointId, Vec<u8>), usize>>>;
///
/// struct TableSink(Table);
///
/// impl Sink for TableSink {
///     type Item = u8;
///
///     fn guarantee(&self) -> SinkGuarantee {
///         SinkGuarantee::ExactlyOnce
///     }
///
///     fn open(&self, cx: &SinkContext, restored: SinkRestore) -> Result<Box<dyn SinkWriter<Item = u8>>, SinkError> {
///         let subtask = cx.subtask_index as u8;
///         let mut writer = TableWriter { table: self.0.clone(), subtask, rows: vec![subtask], prepared: restored.pending };
///         writer.publish(|_| true);                           // its checkpoint is complete
///         Ok(Box::new(writer))
///     }
/// }
///
/// struct TableWriter {
///     table: Table,
///     subtask: u8,
///     /// After the subtask, so that those of two subtasks differ.
///     rows: Vec<u8>,
///     prepared: Vec<PendingCommit>,
/// }
///
/// impl TableWriter {
///     fn publish(&mut self, is_due: impl Fn(&PendingCommit) -> bool) {
///         let mut table = self.table.lock().unwrap();
///         for PendingCommit { checkpoint, data } in self.prepared.extract_if(.., |pending| is_due(pending)) {
///             let rows = data.len() - 1;
///             table.insert((checkpoint, data), rows);
///         }
///     }
/// }
///
/// impl SinkWriter for TableWriter {
///     type Item = u8;
///
///     fn write(&mut self, batch: &mut Batch<u8>) -> Result<(), SinkError> {
///         self.rows.extend(batch.drain());
///         Ok(())
///     }
///
///     fn prepare(&mut self, checkpoint: CheckpointId) -> Result<Vec<PendingCommit>, SinkError> {
///         let data = std::mem::replace(&mut self.rows, vec![self.subtask]);
///         self.prepared.push(PendingCommit { checkpoint, data });
///         Ok(self.prepared.clone())                           // those of earlier checkpoints, too
///     }
///
///     fn commit(&mut self, up_to: CheckpointId) -> Result<(), SinkError> {
///         self.publish(|pending| pending.checkpoint <= up_to);
///         Ok(())
///     }
/// }
///
/// let table = Table::default();
/// let env = StreamEnvironment::new("bytes");
/// env.source("bytes", VecSource::new(vec![7, 8, 9])).sink("table", TableSink(table.clone()));
/// env.start()?.wait()?;
/// assert_eq!(table.lock().unwrap().values().sum::<usize>(), 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait SinkWriter: Send + 'static {
    /// Its records.
    type Item;

    /// Called once, before everything else, of a sink that [may hold back](Sink::may_hold_back): `waker` has
    /// [`demand`](Self::demand) asked again, from any thread.
    fn attach(&mut self, waker: Waker) {
        let _ = waker;
    }

    /// What it takes now. Asked before each element, of a sink that [may hold back](Sink::may_hold_back), in a job that takes
    /// checkpoints. What it does not take waits in the channels before the task, and holds back who sends it: nothing waits in a call.
    fn demand(&self) -> Demand {
        Demand::Any
    }

    /// Takes all records, in order; leaves the batch empty.
    ///
    /// # Errors
    /// [`SinkError`]: fails the attempt.
    fn write(&mut self, batch: &mut Batch<Self::Item>) -> Result<(), SinkError>;

    /// No more input is at hand: a good moment to hand buffers on.
    ///
    /// # Errors
    /// [`SinkError`]: fails the attempt.
    fn flush(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    /// Everything written so far belongs to `checkpoint` or an earlier one. Makes durable all that committing it needs,
    /// and answers *everything* that is prepared and not committed, of this and of earlier checkpoints. What was
    /// prepared for a checkpoint that was aborted is thus carried by the next.
    ///
    /// # Errors
    /// [`SinkError`]: declines the checkpoint if it [may](SinkError::declines_checkpoint), else fails the attempt.
    fn prepare(&mut self, checkpoint: CheckpointId) -> Result<Vec<PendingCommit>, SinkError>;

    /// `up_to` is complete: publishes everything prepared for it and for earlier ones. Idempotent. Notifications may be
    /// lost or skip: each covers all before it.
    ///
    /// # Errors
    /// [`SinkError`]: retried, then fails the attempt; the pending list is kept.
    fn commit(&mut self, up_to: CheckpointId) -> Result<(), SinkError>;

    /// The attempt is over: the job has ended or was cancelled, or its region restarts since another task failed. The last
    /// call; lets go of connections and the like. What is not committed stays so: it is settled by the next attempt, if it
    /// belongs to a completed checkpoint, and removed otherwise. Not called after an error or a panic of the writer itself,
    /// nor of a writer whose task hangs, nor when the process dies, so nothing may depend on it.
    ///
    /// # Errors
    /// [`SinkError`]: a line in the log.
    fn close(&mut self) -> Result<(), SinkError> {
        Ok(())
    }
}
