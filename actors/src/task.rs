//! What the three kinds of task have in common: the messages each of them takes, what a subtask knows of its job, and
//! how one is started.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use actix::{Message, Recipient};
use actix_rt::ArbiterHandle;

use crate::checkpoint_coordinator::{AcknowledgeCheckpoint, DeclineCheckpoint, SinkCommitted, SourceHalted};
use crate::contract::{ChunkSource, Clock, Fence, Manifest, Probe, Step};
use crate::protocol::{
    ActorName, Barrier, CheckpointId, CheckpointMode, Execution, KeyGroupRange, Limits, OperatorId, RegionId,
    SubtaskId, TaskId, TaskKind,
};
use crate::region_supervisor::{ChildExit, RestoreProgress, SubtaskReady};
use crate::snapshot_writer::StoreChunks;

/// To a source: emit this barrier between two batches, now.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct RequestBarrier {
    /// The barrier.
    pub barrier: Barrier,
}

/// To every task: the checkpoint is complete. May be lost or skip; covers all before it.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct CheckpointComplete {
    /// The checkpoint.
    pub checkpoint: CheckpointId,
}

/// To every task: the checkpoint will not complete.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct CheckpointAborted {
    /// The checkpoint.
    pub checkpoint: CheckpointId,
}

/// To a source: all tasks of the region are ready, read.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct BeginReading;

/// To a source: read no more; no end of input follows (drain).
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct StopReading;

/// To a source: act as if the input had ended here (finish).
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct FinishInput {
    /// Records to be read first in this attempt: failed attempts had read them.
    pub after_records: u64,
}

/// To every task: end now, without a further effect.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct StopSubtask;

/// Where a running subtask takes its orders.
#[derive(Clone)]
pub struct SubtaskAddress {
    /// Which subtask.
    pub subtask: SubtaskId,
    /// Stops it.
    pub stop: Recipient<StopSubtask>,
    /// Told of completed checkpoints.
    pub complete: Recipient<CheckpointComplete>,
    /// Told of aborted checkpoints.
    pub aborted: Recipient<CheckpointAborted>,
    /// Only a source has these.
    pub source: Option<SourceAddress>,
    /// Whether it is a sink, which answers completed checkpoints with [`SinkCommitted`].
    pub is_sink: bool,
}

/// The orders that only sources take.
#[derive(Clone)]
pub struct SourceAddress {
    /// Asks for a barrier.
    pub barrier: Recipient<RequestBarrier>,
    /// Starts reading.
    pub begin: Recipient<BeginReading>,
    /// Stops reading.
    pub stop_reading: Recipient<StopReading>,
    /// Ends the input.
    pub finish: Recipient<FinishInput>,
}

/// Which checkpoint a subtask restores, and how to get at it.
#[derive(Clone)]
pub struct RestorePlan {
    /// The checkpoint.
    pub manifest: Arc<Manifest>,
    /// Where its chunks are.
    pub store: Arc<dyn ChunkSource>,
}

/// Where a task sends its facts.
#[derive(Clone)]
pub struct TaskReports {
    /// To the coordinator: a snapshot was taken.
    pub acknowledge: Recipient<AcknowledgeCheckpoint>,
    /// To the coordinator: a snapshot could not be taken.
    pub decline: Recipient<DeclineCheckpoint>,
    /// To the coordinator: a source has ended or stopped.
    pub halted: Recipient<SourceHalted>,
    /// To the coordinator: a sink has committed.
    pub committed: Recipient<SinkCommitted>,
    /// To the writer: chunks of a snapshot.
    pub chunks: Recipient<StoreChunks>,
    /// To the region supervisor: ready to run.
    pub ready: Recipient<SubtaskReady>,
    /// To the region supervisor: how far a long restore is.
    pub restoring: Recipient<RestoreProgress>,
    /// To the region supervisor: the end.
    pub exit: Recipient<ChildExit>,
}

/// What a subtask knows of its job.
#[derive(Clone)]
pub struct SubtaskContext {
    /// The job.
    pub job: Arc<str>,
    /// The subtask.
    pub subtask: SubtaskId,
    /// Its name for probes, events and logs.
    pub name: ActorName,
    /// Its task's parallelism.
    pub parallelism: u32,
    /// Key groups of the job.
    pub max_parallelism: u32,
    /// Those of this subtask.
    pub key_groups: KeyGroupRange,
    /// Incarnation, region, attempt.
    pub execution: Execution,
    /// How barriers align.
    pub mode: CheckpointMode,
    /// Bounds.
    pub limits: Arc<Limits>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// The test seam, if any.
    pub probe: Option<Arc<dyn Probe>>,
    /// Where facts go.
    pub reports: TaskReports,
    /// What to restore; `None` at a start from the beginning.
    pub restore: Option<RestorePlan>,
    /// Completed checkpoints that were abandoned: sinks withdraw what they published for them.
    pub withdraw: Vec<CheckpointId>,
    /// Raised when the attempt has been replaced.
    pub fence: Fence,
}

impl SubtaskContext {
    /// Tells the probe, if there is one.
    #[inline]
    pub fn reached(&self, step: Step) {
        if let Some(probe) = &self.probe {
            probe.reached(step, &self.name);
        }
    }
}

impl fmt::Debug for SubtaskContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SubtaskContext({} {} of {})", self.job, self.name, self.execution)
    }
}

/// How the subtasks of two tasks are connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EdgePattern {
    /// Subtask i to subtask i; both tasks have one parallelism.
    Forward,
    /// Every subtask to every subtask.
    AllToAll,
}

/// An edge, seen from its sender.
#[derive(Clone, Debug)]
pub struct EdgeSpec {
    /// The receiving task.
    pub to: TaskId,
    /// Which channels there are.
    pub pattern: EdgePattern,
}

/// An operator, as the engine knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorInfo {
    /// Its id.
    pub id: OperatorId,
    /// Its name.
    pub name: Arc<str>,
}

/// A task of the job: operators chained to run together, and the edges that leave it.
#[derive(Clone)]
pub struct TaskSpec {
    /// Its id: its index in [`JobSpec::tasks`], in topological order.
    pub id: TaskId,
    /// Its name: its operators' names joined.
    pub name: Arc<str>,
    /// What it is.
    pub kind: TaskKind,
    /// Its operators in chain order.
    pub operators: Vec<OperatorInfo>,
    /// Number of subtasks.
    pub parallelism: u32,
    /// The connected component it belongs to.
    pub region: RegionId,
    /// The edges that leave it, in the order in which its factory takes their ports.
    pub outputs: Vec<EdgeSpec>,
    /// Starts its subtasks.
    pub factory: Arc<dyn TaskFactory>,
}

/// One end of a channel, as handed to the sending subtask.
#[derive(Clone)]
pub struct ChannelTarget {
    /// A `Recipient<Deliver<T>>` of the edge's record type.
    pub port: Arc<dyn Any + Send + Sync>,
    /// The channel's number at the receiver.
    pub channel: u32,
    /// Batches the sender may have under way.
    pub window: u32,
}

/// The channels of one edge that leave one subtask, by receiving subtask.
pub type OutputWiring = Vec<ChannelTarget>;

/// A subtask that was started.
pub struct StartedSubtask {
    /// Where it takes orders.
    pub address: SubtaskAddress,
    /// Where it takes batches: a `Recipient<Deliver<In>>`. A source has none.
    pub port: Option<Arc<dyn Any + Send + Sync>>,
}

/// Starts the subtasks of one task. Called on the control arbiter for each subtask of each attempt; user code runs only
/// later, on the subtask's arbiter, under its guard.
pub trait TaskFactory: Send + Sync + 'static {
    /// Starts a subtask on `arbiter` with `input_channels` input channels, whose windows are `input_window` batches,
    /// and with these outputs.
    fn start(
        &self,
        cx: SubtaskContext,
        arbiter: &ArbiterHandle,
        input: InputWiring,
        outputs: Vec<OutputWiring>,
    ) -> StartedSubtask;
}

/// The channels that enter one subtask.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InputWiring {
    /// The window of each channel in batches.
    pub windows: Vec<u32>,
}

/// A job, ready to run.
#[derive(Clone)]
pub struct JobSpec {
    /// Its name: also its identity in the store.
    pub name: Arc<str>,
    /// Its tasks in topological order.
    pub tasks: Vec<TaskSpec>,
    /// Number of regions.
    pub regions: u32,
    /// Key groups.
    pub max_parallelism: u32,
    /// Whether every transactional sink can withdraw what it published.
    pub sinks_can_withdraw: bool,
}

/// How long a subtask took to restore, and how much.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RestoreFigures {
    /// Bytes of state read.
    pub bytes: u64,
    /// Keys loaded.
    pub entries: u64,
    /// Time from the start of loading to ready.
    pub took: Duration,
}
