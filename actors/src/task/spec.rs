//! A job as the engine runs it: its tasks, and what each of their subtasks is started with.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::{QueryPort, SubtaskAddress, TaskReports};
use crate::contract::{ChunkSource, Fence, Located, Manifest, Probe, ReadingTime, SliceClock, Step, SubtaskInfo};
use crate::data::wiring::{AnyInputPort, EdgeSpec, InputWiring, OutputWiring};
use crate::protocol::{
    CheckpointId, CheckpointMode, OperatorId, PanicRule, PortId, RegionId, Succession, TaskId, TaskKind,
};
use crate::runtime::ArbiterHandle;
use crate::runtime::guard::TaskGuard;

/// An operator, as the engine knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorInfo {
    /// Its name.
    pub name: Arc<str>,
    /// Its id, and the names under which its state may be stored.
    pub succession: Succession,
    /// Its record directives, by input.
    pub on_panic: BTreeMap<PortId, PanicRule>,
}

impl OperatorInfo {
    /// Its id.
    pub fn id(&self) -> &OperatorId {
        &self.succession.id
    }
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
    /// Whether its first operator may hold the end back: then the job's final checkpoint waits until it has passed on.
    pub holds_end: bool,
    /// Its operators in chain order.
    pub operators: Vec<OperatorInfo>,
    /// Number of subtasks.
    pub parallelism: u32,
    /// Whether each of its subtasks has an arbiter of its own.
    pub own_arbiters: bool,
    /// The connected component it belongs to.
    pub region: RegionId,
    /// The edges that leave it, in the order in which its factory takes their ports.
    pub outputs: Vec<EdgeSpec>,
    /// Starts its subtasks.
    pub factory: Arc<dyn TaskFactory>,
}

/// A subtask that was started.
pub struct StartedSubtask {
    /// Where it takes orders.
    pub address: SubtaskAddress,
    /// Where it takes batches, by the number of the port. A source has none.
    pub ports: Vec<AnyInputPort>,
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

    /// Where a place that the program was told of lies in what its source reads: [`Source::locate`](crate::contract::Source::locate).
    fn locate(&self, place: &dyn Any) -> Located {
        let _ = place;
        Located::Elsewhere
    }

    /// The job has finished: the input had ended. Called once, before [`job_ended`](Self::job_ended), and as that is.
    fn job_finished(&self) {}

    /// The job has ended, and starts no subtask any more. Called once, before its outcome is told, on the control arbiter
    /// or the thread that starts the job; must not block.
    fn job_ended(&self) {}
}

/// A job, ready to run.
#[derive(Clone)]
pub struct JobSpec {
    /// Its name: also its identity in the store.
    pub name: Arc<str>,
    /// Number of subtasks of each operator that sets none of its own.
    pub parallelism: u32,
    /// Its tasks in topological order.
    pub tasks: Vec<TaskSpec>,
    /// Number of regions.
    pub regions: u32,
    /// Key groups.
    pub max_parallelism: u32,
    /// Whether every transactional sink can withdraw what it published.
    pub sinks_can_withdraw: bool,
}

impl JobSpec {
    /// All operators, and under which names their state may be stored.
    pub fn successions(&self) -> impl Iterator<Item = &Succession> {
        self.tasks.iter().flat_map(|task| &task.operators).map(|operator| &operator.succession)
    }
}

/// Writes the same job down for another parallelism, 1 to its max parallelism: with the same regions, operators and connectors, of
/// which other ones may be chained.
pub type SpecAt = Arc<dyn Fn(u32) -> JobSpec + Send + Sync>;

/// Which checkpoint a subtask restores, and how to get at it.
#[derive(Clone)]
pub struct RestorePlan {
    /// The checkpoint.
    pub manifest: Arc<Manifest>,
    /// Where its chunks are.
    pub store: Arc<dyn ChunkSource>,
    /// All operators of the job, and under which names their state may be stored.
    pub successions: Arc<[Succession]>,
}

/// What a subtask is started with.
#[derive(Clone)]
pub struct SubtaskContext {
    /// Itself.
    pub info: SubtaskInfo,
    /// How barriers align.
    pub mode: CheckpointMode,
    /// Whether checkpoints are taken by themselves.
    pub takes_checkpoints: bool,
    /// The test seam, if any.
    pub probe: Option<Arc<dyn Probe>>,
    /// Where facts go.
    pub reports: TaskReports,
    /// What to restore; `None` at a start from the beginning.
    pub restore: Option<RestorePlan>,
    /// Completed checkpoints that were abandoned: sinks withdraw what they published for them.
    pub withdraw: Vec<CheckpointId>,
    /// Whether sinks that cannot withdraw may repeat instead.
    pub accepts_repeats: bool,
    /// Raised when the attempt has been replaced.
    pub fence: Fence,
    /// Where it tells that it takes queries of its state.
    pub queries: QueryPort,
    /// What slices of work are measured by.
    pub slice_clock: SliceClock,
    /// Whether the host's panic hook is told of its panics.
    pub tells_host: bool,
    /// The times of the tasks behind its own, which stand still while it cannot go on.
    pub behind: Arc<[ReadingTime]>,
}

impl SubtaskContext {
    /// Tells the probe, if there is one.
    #[inline]
    pub fn reached(&self, step: Step) {
        if let Some(probe) = &self.probe {
            probe.reached(step, &self.info.name);
        }
    }

    /// What watches the subtask's actor, and reports its end.
    pub(crate) fn guard(&self) -> TaskGuard {
        let SubtaskInfo { execution, subtask, name, .. } = &self.info;
        let (exit, tells_host) = (self.reports.exit.clone(), self.tells_host);
        TaskGuard { execution: *execution, subtask: *subtask, name: name.clone(), exit, tells_host }
    }
}

impl fmt::Debug for SubtaskContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SubtaskContext({:?})", self.info)
    }
}
