//! Puts the control actors of a job together and starts them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::{Actor, Addr, Context, Recipient, Supervised};
use tokio::sync::watch;

use crate::contract::{
    ChunkSource, Clock, Manifest, Probe, SavepointFormat, SavepointId, SliceClock, SnapshotStore, StoreOpening,
    monotonic,
};
use crate::control::checkpoint_coordinator::{CheckpointCoordinator, CoordinatorSeed, RegionPorts};
use crate::control::event::JobEventKind;
use crate::control::event_log::EventLog;
use crate::control::event_subscribers::EventSubscribers;
use crate::control::figures::FigureBoard;
use crate::control::job_context::{CoordinatorMemory, Held, JobContext, Origin, RegionMemory};
use crate::control::job_handle::{HandlePorts, JobHandle};
use crate::control::job_supervisor::{ControlActorLost, JobSupervisor, Publisher, Subordinates};
use crate::control::layout::{Layout, LayoutPlanner};
use crate::control::lock::lock;
use crate::control::outcome::{FailureRecord, JobError};
use crate::control::places::JobPlace;
use crate::control::plan;
use crate::control::query_board::QueryBoard;
use crate::control::region_settings::RegionSettings;
use crate::control::region_supervisor::{RegionSeed, RegionSupervisor, TaskPorts, directives_of};
use crate::control::snapshot_writer::{SnapshotWriter, WriterSeed};
use crate::protocol::{
    ActorName, Attempt, Cause, CheckpointId, Checkpointing, Limits, PanicReport, ReadProgress, RegionId, RestartPolicy,
    RestartStrategy,
};
use crate::runtime::arbiters::ArbiterPool;
use crate::runtime::guard::{self, End, Place};
use crate::runtime::stage::Stage;
use crate::runtime::{ArbiterHandle, spawn_here};
use crate::task::{JobSpec, SpecAt};

/// How a job is run.
pub struct JobConfig {
    /// Where its checkpoints go.
    pub store: Arc<dyn SnapshotStore>,
    /// What [`SnapshotStore::open_job`] said.
    pub opening: StoreOpening,
    /// When checkpoints are taken.
    pub checkpointing: Checkpointing,
    /// What follows a failure.
    pub restart: RestartStrategy,
    /// The job at any other parallelism.
    pub spec_at: SpecAt,
    /// How its regions are supervised, beside that.
    pub regions: RegionSettings,
    /// Bounds.
    pub limits: Limits,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// The test seam, if any.
    pub probe: Option<Arc<dyn Probe>>,
    /// What tasks measure slices of work by.
    pub slice_clock: SliceClock,
    /// Whether the host's panic hook is told of panics in the job.
    pub tells_host: bool,
    /// Of the jitter of restart delays.
    pub seed: u64,
    /// Savepoints, those to be written and the one to begin with.
    pub savepoints: SavepointConfig,
    /// Arbiters that the job has for itself, at least 1; `None`: it shares those of the engine.
    pub own_arbiters: Option<u32>,
    /// Since when it is paused, Unix milliseconds, if it starts paused.
    pub paused_since: Option<u64>,
    /// Who is told of all events.
    pub subscribers: EventSubscribers,
}

/// What a job has to do with savepoints.
pub struct SavepointConfig {
    /// How they are written.
    pub format: Arc<dyn SavepointFormat>,
    /// The one that the job begins with: its checkpoint and where its chunks are. It counts as older than any checkpoint
    /// of the store, which has none but those of this job, above its id.
    pub origin: Option<(Arc<Manifest>, Arc<dyn ChunkSource>)>,
    /// The one that the store's checkpoints go back to, noted in each.
    pub descends_from: Option<SavepointId>,
}

/// Starts a job on the arbiters of the engine; any thread may call this. Returns at once; restoring happens on the tasks'
/// side. The job begins from the newest retained checkpoint, and settles at once if its input had ended there.
///
/// If the system refuses the threads, the handle resolves with [`JobError::Arbiter`].
pub fn launch(spec: JobSpec, config: JobConfig) -> JobHandle {
    let threads = threads(spec.clone(), &config);
    launch_with(threads, monotonic, spec, config)
}

/// Starts a job on a stage: it does nothing but when that is moved, and then as [`launch`] has it.
pub fn launch_on(stage: &Stage, spec: JobSpec, config: JobConfig) -> JobHandle {
    let pool = Arc::new(ArbiterPool::on(stage));
    // Tasks go by the time of the stage, which stands still while somebody looks.
    launch_with(planned(spec.clone(), &config, pool), || Duration::ZERO, spec, config)
}

fn launch_with(threads: io::Result<Threads>, now: fn() -> Duration, spec: JobSpec, mut config: JobConfig) -> JobHandle {
    let (clock, subscribers) = (config.clock.clone(), std::mem::take(&mut config.subscribers));
    let shape = (spec.regions, spec.parallelism);
    let events = EventLog::new(spec.name.clone(), clock, config.limits.history_len, shape, subscribers);
    let events = Arc::new(events);
    let (sender, outcome) = watch::channel(None);
    let tasks = spec.tasks.iter().map(|task| task.factory.clone()).collect();
    let publisher = Publisher { outcome: Arc::new(sender), events: events.clone(), tasks };
    let (name, plan) = (spec.name.clone(), plan::JobPlan::of(&spec));
    let (figures, queries) = (Arc::new(FigureBoard::new(plan, now)), Arc::new(QueryBoard::default()));
    let ports = match threads {
        Ok(threads) => {
            let opened_with = config.opening.retained.clone();
            let job = Arc::new(job_context(&spec, config, threads, events.clone(), (figures.clone(), queries.clone())));
            queries.set_job(&job);
            Some(start(job, opened_with, publisher))
        }
        Err(error) => {
            publisher.publish(Err(JobError::Arbiter(Arc::new(error))));
            None
        }
    };
    JobHandle { name, outcome, events, figures, queries, ports }
}

/// The engine's threads, what is known of where on them the job is, and where its tasks are.
type Threads = (Arc<ArbiterPool>, LayoutPlanner, Layout);

fn threads(spec: JobSpec, config: &JobConfig) -> io::Result<Threads> {
    let pool = ArbiterPool::of_this_process()?;
    pool.store_calls().allow(config.limits.store_threads)?;
    planned(spec, config, pool)
}

fn planned(spec: JobSpec, config: &JobConfig, pool: Arc<ArbiterPool>) -> io::Result<Threads> {
    let place = JobPlace::new(config.own_arbiters, &pool)?;
    let planner = LayoutPlanner { spec_at: config.spec_at.clone(), place, pool: pool.clone() };
    let plan = planner.plan(spec)?;
    Ok((pool, planner, plan))
}

fn job_context(
    spec: &JobSpec,
    config: JobConfig,
    (pool, planner, layout): Threads,
    events: Arc<EventLog>,
    (figures, queries): (Arc<FigureBoard>, Arc<QueryBoard>),
) -> JobContext {
    let JobConfig {
        store,
        opening,
        checkpointing,
        restart,
        regions: supervision,
        limits,
        clock,
        probe,
        slice_clock,
        tells_host,
        seed,
        savepoints: SavepointConfig { format, origin, descends_from },
        paused_since,
        ..
    } = config;
    let origin = origin.map(|(manifest, chunks)| Origin { manifest, chunks });
    let restores = opening.retained.last().or(origin.as_ref().map(|origin| &origin.manifest)).cloned();
    queries.set_newest(restores.clone());
    let memory = CoordinatorMemory {
        reserved_up_to: opening.reserved_up_to,
        announced: opening.retained.last().map_or(CheckpointId::NONE, |manifest| manifest.checkpoint),
        abandoned: BTreeSet::from_iter(opening.abandoned),
        ..CoordinatorMemory::default()
    };
    JobContext {
        regions: region_memories(spec, &supervision, &restart, seed),
        supervision,
        layout: Mutex::new(Arc::new(layout)),
        planner,
        store,
        incarnation: opening.incarnation,
        checkpointing,
        limits: Arc::new(limits),
        clock,
        probe,
        slice_clock,
        tells_host,
        events,
        figures,
        queries,
        pool,
        restores,
        savepoints: format,
        origin,
        descends_from,
        pins: Arc::default(),
        ending: Mutex::new(None),
        paused_since: Mutex::new(paused_since),
        held: Mutex::new(Held::Nobody),
        memory: Mutex::new(memory),
    }
}

/// What the supervisors of the regions know before the first attempt.
fn region_memories(
    spec: &JobSpec,
    supervision: &RegionSettings,
    restart: &RestartStrategy,
    seed: u64,
) -> Vec<Mutex<RegionMemory>> {
    let memories = (0..spec.regions).map(|region| {
        Mutex::new(RegionMemory {
            attempt: Attempt(0),
            children: BTreeMap::new(),
            policy: RestartPolicy::new(
                supervision.restart(RegionId(region), restart),
                seed.wrapping_add(u64::from(region)),
            ),
            progress: ReadProgress::default(),
            answered: ReadProgress::default(),
            failures: VecDeque::new(),
            directives: directives_of(spec, RegionId(region)),
            careful: Arc::default(),
            answered_in_part: 0,
            running_since: None,
            failed_at: None,
            parked: None,
            parked_from: None,
            carried: None,
            stopping_for_good: false,
            ended: false,
        })
    });
    memories.collect()
}

/// Where the control actors of a job will be: each is told the addresses of the others before any has started.
struct Places {
    writer: Place<SnapshotWriter>,
    coordinator: Place<CheckpointCoordinator>,
    root: Place<JobSupervisor>,
    regions: Vec<Place<RegionSupervisor>>,
}

impl Places {
    fn new(regions: u32) -> Self {
        Self {
            writer: Place::new(),
            coordinator: Place::new(),
            root: Place::new(),
            regions: (0..regions).map(|_| Place::new()).collect(),
        }
    }

    fn handle_ports(&self) -> HandlePorts {
        HandlePorts {
            end: to(&self.root.address),
            pause: to(&self.root.address),
            rescale: to(&self.root.address),
            checkpoint: to(&self.coordinator.address),
            savepoint: to(&self.coordinator.address),
            resume_regions: self.regions.iter().map(|region| to(&region.address)).collect(),
        }
    }

    fn below_root(&self) -> Subordinates {
        Subordinates {
            stop_regions: self.regions.iter().map(|region| to(&region.address)).collect(),
            end_input: self.regions.iter().map(|region| to(&region.address)).collect(),
            read_on: self.regions.iter().map(|region| to(&region.address)).collect(),
            pause_regions: self.regions.iter().map(|region| to(&region.address)).collect(),
            hold_regions: self.regions.iter().map(|region| to(&region.address)).collect(),
            start_anew: self.regions.iter().map(|region| to(&region.address)).collect(),
            take_last: to(&self.coordinator.address),
            rescale_over: to(&self.coordinator.address),
            restart_along: self.regions.iter().map(|region| to(&region.address)).collect(),
            drain: to(&self.coordinator.address),
            stop_coordinator: to(&self.coordinator.address),
            writer: to(&self.writer.address),
        }
    }

    fn writer_seed(&self, job: &Arc<JobContext>, opened_with: Vec<Arc<Manifest>>) -> WriterSeed {
        WriterSeed {
            job: job.clone(),
            coordinator: to(&self.coordinator.address),
            exported: to(&self.coordinator.address),
            lives: Arc::new(AtomicU64::new(0)),
            opened_with,
        }
    }

    fn coordinator_seed(&self, job: &Arc<JobContext>) -> CoordinatorSeed {
        let regions = self.regions.iter();
        CoordinatorSeed {
            job: job.clone(),
            writer: to(&self.writer.address),
            regions: regions
                .map(|region| RegionPorts {
                    chosen: to(&region.address),
                    completed: to(&region.address),
                    park_answered: to(&region.address),
                })
                .collect(),
            root: to(&self.root.address),
            stop: to(&self.root.address),
            resume: to(&self.root.address),
            export: to(&self.writer.address),
        }
    }

    fn region_seed(&self, job: &Arc<JobContext>, region: RegionId) -> RegionSeed {
        RegionSeed {
            job: job.clone(),
            region,
            task_ports: TaskPorts {
                acknowledge: to(&self.coordinator.address),
                decline: to(&self.coordinator.address),
                halted: to(&self.coordinator.address),
                committed: to(&self.coordinator.address),
                wanted: to(&self.coordinator.address),
                chunks: to(&self.writer.address),
            },
            running: to(&self.coordinator.address),
            down: to(&self.coordinator.address),
            choose: to(&self.coordinator.address),
            park: to(&self.coordinator.address),
            restarts: to(&self.root.address),
            root: to(&self.root.address),
            reports: to(&self.root.address),
        }
    }
}

fn start(job: Arc<JobContext>, opened_with: Vec<Arc<Manifest>>, publisher: Publisher) -> HandlePorts {
    let plan = job.layout();
    let spec = &plan.spec;
    let places = Places::new(spec.regions);
    let (ports, below) = (places.handle_ports(), places.below_root());
    let lost: Recipient<ControlActorLost> = to(&places.root.address);
    let writer_seed = places.writer_seed(&job, opened_with);
    let coordinator_seed = places.coordinator_seed(&job);
    let region_seeds: Vec<_> = (0..spec.regions).map(|region| places.region_seed(&job, RegionId(region))).collect();
    job.emit(JobEventKind::Started {
        tasks: spec.tasks.len(),
        subtasks: spec.tasks.iter().map(|task| u64::from(task.parallelism)).sum(),
        restores: job.restores.as_ref().map(|manifest| manifest.checkpoint),
    });
    if let Some(since_unix_ms) = *lock(&job.paused_since) {
        job.emit(JobEventKind::Paused { since_unix_ms, at_start: true });
    }

    let control = job.pool.control().clone();
    start_root(&job, places.root, below, publisher);
    let writer = (places.writer, ActorName::Writer);
    start_control(&job, &control, writer, &lost, move || SnapshotWriter::new(writer_seed));
    let coordinator = (places.coordinator, ActorName::Coordinator);
    start_control(&job, &control, coordinator, &lost, move || CheckpointCoordinator::new(coordinator_seed));
    for (place, seed) in places.regions.into_iter().zip(region_seeds) {
        let region = (place, ActorName::RegionSupervisor(seed.region));
        start_control(&job, &control, region, &lost, move || RegionSupervisor::new(seed));
    }
    ports
}

fn to<A, M>(address: &Addr<A>) -> Recipient<M>
where
    A: Actor<Context = Context<A>> + actix::Handler<M>,
    M: actix::Message + Send + 'static,
    M::Result: Send,
{
    address.clone().recipient()
}

/// Starts an actor that is restarted in place; the root hears of it only when that does not help.
fn start_control<A>(
    job: &Arc<JobContext>,
    arbiter: &ArbiterHandle,
    (place, actor): (Place<A>, ActorName),
    lost: &Recipient<ControlActorLost>,
    make: impl FnOnce() -> A + Send + 'static,
) where
    A: Actor<Context = Context<A>> + Supervised,
{
    let (of_job, name) = (job.clone(), actor.clone());
    let told = move |report: &PanicReport| restarted(&of_job, &name, report);
    let lost = lost.clone();
    let on_end = move |end| {
        if let End::Panicked(report) = end {
            lost.do_send(ControlActorLost { actor, report });
        }
    };
    guard::start_restarting((arbiter, job.tells_host), place, job.clock.clone(), make, told, on_end);
}

fn restarted(job: &JobContext, actor: &ActorName, report: &PanicReport) {
    if let ActorName::RegionSupervisor(region) = actor {
        let mut memory = lock(&job.regions[region.0 as usize]);
        let attempt = memory.attempt;
        let cause = Cause::Panicked(report.clone());
        memory.failures.push_back(FailureRecord { unix_ms: job.clock.unix_ms(), attempt, actor: actor.clone(), cause });
    }
    job.emit(JobEventKind::ActorRestarted { actor: actor.clone(), report: report.clone() });
}

fn start_root(job: &Arc<JobContext>, place: Place<JobSupervisor>, below: Subordinates, publisher: Publisher) {
    let (of_end, below_end, publisher_end) = (job.clone(), below.clone(), publisher.clone());
    let on_end = move |end| match end {
        End::Panicked(report) => root_lost(&of_end, &below_end, publisher_end, report),
        // Without effect if it has published the job's outcome before.
        End::Stopped | End::Abandoned => publisher_end.publish(Err(JobError::SystemStopped)),
    };
    let job = job.clone();
    let (control, tells_host) = (job.pool.control().clone(), job.tells_host);
    guard::start_once((&control, tells_host), place, move || JobSupervisor::new(job, below, publisher), on_end);
}

/// The root panicked: everything below it is fenced and stopped; the outcome waits for the store, but not for long.
fn root_lost(job: &JobContext, below: &Subordinates, publisher: Publisher, report: PanicReport) {
    for region in &job.regions {
        lock(region).children.values().for_each(|child| child.fence.raise());
    }
    let closed = below.abandon();
    let result = Err(JobError::Internal { actor: ActorName::JobSupervisor, report });
    let limit = job.clock.sleep(job.limits.stop_timeout);
    let (in_time, late) = ((publisher.clone(), result.clone()), (publisher, result));
    // The arbiter on which this waits ends with the pool, and others may let go of it before the outcome is known.
    let pool = job.pool.clone();
    spawn_here(async move {
        // A writer that is gone has let go as well.
        let _ = closed.await;
        in_time.0.publish(in_time.1);
        drop(pool);
    });
    spawn_here(async move {
        limit.await;
        late.0.publish(late.1);
    });
}
