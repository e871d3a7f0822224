//! What the control actors of one job share, and what outlives the restart of any of them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::Recipient;

use crate::contract::{
    CarefulWork, ChunkSource, Clock, Fence, Manifest, Probe, SavepointFormat, SavepointId, SliceClock, SnapshotStore,
    Step,
};
use crate::control::event::JobEventKind;
use crate::control::event_log::EventLog;
use crate::control::figures::FigureBoard;
use crate::control::layout::{Layout, LayoutPlanner};
use crate::control::lock::lock;
use crate::control::outcome::{FailureRecord, JobError};
use crate::control::pins::Pins;
use crate::control::query_board::QueryBoard;
use crate::control::region_settings::RegionSettings;
use crate::protocol::{
    ActorName, Attempt, CarriedOver, CheckpointId, Checkpointing, DirectiveLog, Execution, Incarnation,
    IntervalAdvisor, Limits, ReadProgress, RegionId, RestartPolicy, SourceState, SubtaskId,
};
use crate::runtime::arbiters::{ArbiterPool, Berth};
use crate::task::{StopSubtask, SubtaskAddress};

/// How a running job was asked to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Read no more; the next start continues.
    Drain,
    /// As `Drain`, unless the savepoint for which it is done cannot be written.
    DrainForSavepoint,
    /// As if the input had ended.
    Finish,
}

/// A region that runs, as the coordinator knows it.
#[derive(Clone)]
pub(crate) struct RunningRegion {
    pub(crate) execution: Execution,
    pub(crate) restored: CheckpointId,
    pub(crate) subtasks: Arc<[SubtaskAddress]>,
}

/// What a coordinator has to know again after a restart: facts that nobody tells twice.
#[derive(Default)]
pub(crate) struct CoordinatorMemory {
    pub(crate) reserved_up_to: CheckpointId,
    pub(crate) announced: CheckpointId,
    pub(crate) in_flight: Option<CheckpointId>,
    /// A checkpoint was triggered in this process.
    pub(crate) has_triggered: bool,
    /// Sinks of the job want checkpoints, and perhaps one that they have asked for is outstanding.
    pub(crate) sinks_want: bool,
    pub(crate) running: BTreeMap<RegionId, RunningRegion>,
    pub(crate) restores: BTreeMap<RegionId, (Execution, Option<CheckpointId>)>,
    /// Regions that want to be parked.
    pub(crate) parks: BTreeMap<RegionId, Execution>,
    /// Regions that are, with the newest checkpoint at that time.
    pub(crate) parked: BTreeMap<RegionId, Option<CheckpointId>>,
    /// Of regions that wait for their restart: the execution that ended, and when the next one begins.
    pub(crate) restarts_at: BTreeMap<RegionId, (Execution, Duration)>,
    pub(crate) halted: BTreeMap<SubtaskId, (Execution, SourceState)>,
    pub(crate) committed: BTreeMap<SubtaskId, CheckpointId>,
    pub(crate) abandoned: BTreeSet<CheckpointId>,
    /// Fed by the coordinator and by region supervisors.
    pub(crate) advisor: IntervalAdvisor,
}

/// Who waits while the job is rescaled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Held {
    #[default]
    Nobody,
    /// Sources read nothing, as in a pause.
    Sources,
    /// Regions are stopped, and do not start again.
    Regions,
}

/// A subtask that was started and has not reported its end.
pub(crate) struct Child {
    pub(crate) attempt: Attempt,
    pub(crate) name: ActorName,
    pub(crate) berth: Berth,
    pub(crate) fence: Fence,
    /// Not known while its factory runs.
    pub(crate) stop: Option<Recipient<StopSubtask>>,
}

/// A region that is parked, or is being.
pub(crate) struct ParkedMemory {
    pub(crate) cause: JobError,
    pub(crate) since_unix_ms: u64,
    /// Once checkpoints go on without it: the newest before, if there was one.
    pub(crate) from: Option<Option<CheckpointId>>,
}

/// What the supervisor of a region has to know again after a restart.
pub(crate) struct RegionMemory {
    pub(crate) attempt: Attempt,
    pub(crate) children: BTreeMap<(Attempt, SubtaskId), Child>,
    pub(crate) policy: RestartPolicy,
    /// How far its sources have read.
    pub(crate) progress: ReadProgress,
    /// How far tasks that may hold records back have none left, of those that they were given.
    pub(crate) answered: ReadProgress,
    pub(crate) failures: VecDeque<FailureRecord>,
    /// What is known of panics in operators with record directives.
    pub(crate) directives: DirectiveLog,
    /// What the newest attempt does carefully.
    pub(crate) careful: Arc<CarefulWork>,
    /// Failures in a row that were on the way to a record that is withheld, and count for no restart strategy.
    pub(crate) answered_in_part: u32,
    /// Since when the newest attempt has run, by the job's clock; `None` before.
    pub(crate) running_since: Option<Duration>,
    pub(crate) failed_at: Option<Duration>,
    pub(crate) parked: Option<ParkedMemory>,
    /// It was parked at this checkpoint, and has not restored one since.
    pub(crate) parked_from: Option<Option<CheckpointId>>,
    /// The checkpoints in which it took no part when it was parked last.
    pub(crate) carried: Option<CarriedOver>,
    pub(crate) stopping_for_good: bool,
    pub(crate) ended: bool,
}

impl RegionMemory {
    /// The checkpoint by which progress is known of what the newest one has of the region, that may be parked.
    pub(crate) fn newest_known(&self, newest: Option<CheckpointId>) -> Option<CheckpointId> {
        let parked_from = self.parked.as_ref().and_then(|parked| parked.from).or(self.parked_from);
        // It may have been parked again before it took part in a checkpoint.
        CarriedOver::known_by(self.carried, parked_from.unwrap_or(newest))
    }
}

/// A savepoint from which a job begins.
#[derive(Clone)]
pub(crate) struct Origin {
    pub(crate) manifest: Arc<Manifest>,
    pub(crate) chunks: Arc<dyn ChunkSource>,
}

/// One job, as its control actors see it.
pub(crate) struct JobContext {
    /// What runs, or is to run next.
    pub(crate) layout: Mutex<Arc<Layout>>,
    pub(crate) planner: LayoutPlanner,
    pub(crate) store: Arc<dyn SnapshotStore>,
    pub(crate) incarnation: Incarnation,
    pub(crate) checkpointing: Checkpointing,
    pub(crate) supervision: RegionSettings,
    pub(crate) limits: Arc<Limits>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) probe: Option<Arc<dyn Probe>>,
    pub(crate) slice_clock: SliceClock,
    /// Whether the host's panic hook is told of panics in the job.
    pub(crate) tells_host: bool,
    pub(crate) events: Arc<EventLog>,
    pub(crate) figures: Arc<FigureBoard>,
    /// Where its state can be asked for.
    pub(crate) queries: Arc<QueryBoard>,
    pub(crate) pool: Arc<ArbiterPool>,
    /// How savepoints are written.
    pub(crate) savepoints: Arc<dyn SavepointFormat>,
    /// The savepoint that the job begins with while it has no checkpoint of its own.
    pub(crate) origin: Option<Origin>,
    /// The savepoint that the store's checkpoints go back to.
    pub(crate) descends_from: Option<SavepointId>,
    /// Checkpoints that must not expire.
    pub(crate) pins: Arc<Pins>,
    /// The newest checkpoint when the job started, or the savepoint it began with.
    pub(crate) restores: Option<Arc<Manifest>>,
    pub(crate) ending: Mutex<Option<Ending>>,
    /// Since when it is paused, Unix milliseconds, if it is.
    pub(crate) paused_since: Mutex<Option<u64>>,
    pub(crate) held: Mutex<Held>,
    pub(crate) memory: Mutex<CoordinatorMemory>,
    pub(crate) regions: Vec<Mutex<RegionMemory>>,
}

impl JobContext {
    pub(crate) fn reached(&self, step: Step, actor: &ActorName) {
        if let Some(probe) = &self.probe {
            probe.reached(step, actor);
        }
    }

    pub(crate) fn emit(&self, kind: JobEventKind) {
        self.events.emit(kind);
    }

    /// Where the chunks of a checkpoint are.
    pub(crate) fn chunks_of(&self, manifest: &Manifest) -> Arc<dyn ChunkSource> {
        match &self.origin {
            Some(origin) if origin.manifest.checkpoint == manifest.checkpoint => origin.chunks.clone(),
            _ => Arc::new(self.store.clone()),
        }
    }

    /// The checkpoint with which the job ended in an earlier run. If it cannot be restored, the job goes on from an older.
    pub(crate) fn had_ended_with(&self) -> Option<CheckpointId> {
        self.restores.as_ref().filter(|manifest| manifest.is_final).map(|manifest| manifest.checkpoint)
    }

    /// Whether only the sinks are to be started from `restored`, to settle what is pending: the job ended with that in an earlier run.
    pub(crate) fn only_settles(&self, restored: Option<CheckpointId>) -> bool {
        restored.is_some() && restored == self.had_ended_with()
    }

    /// The tasks that run, or are to run next.
    pub(crate) fn layout(&self) -> Arc<Layout> {
        lock(&self.layout).clone()
    }

    pub(crate) fn name_of(&self, subtask: SubtaskId) -> ActorName {
        self.layout().name_of(subtask)
    }

    /// Whether no source is to read: the job is paused, or about to be rescaled.
    pub(crate) fn sources_wait(&self) -> bool {
        lock(&self.paused_since).is_some() || *lock(&self.held) == Held::Sources
    }

    /// Whether no region is to start: the job is being rescaled.
    pub(crate) fn regions_wait(&self) -> bool {
        *lock(&self.held) == Held::Regions
    }
}
