//! The environment of a job: its settings, its sources, and its start.

mod supervising;

use std::cell::RefCell;
use std::fmt;
use std::panic::Location;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::Recipient;
use millstream_actors::contract::{Clock, Probe, SliceClock, SnapshotStore, Source};
use millstream_actors::protocol::{Checkpointing, Incarnation, Limits, RestartStrategy};
use millstream_actors::runtime::stage::Stage;
use millstream_actors::task::{JobSpec, SpecAt};
use millstream_actors::{EventSubscribers, JobConfig, JobEvent, JobEvents, JobHandle, launch, launch_on};

use crate::graph::{
    Explanation, GraphBuilder, GraphError, GraphErrors, GraphHandle, JobSettings, OtherRecords, Placed, StandIns,
    chain, check_checkpointing, check_limits, check_max_parallelism, check_restart, check_state_backend, check_store,
    compile, explain, name_mistake,
};
use crate::restore::{RestoreSettings, RestoreWish, pause_at_start};
use crate::snapshot::{MemoryStore, SavepointFile};
use crate::source::Timed;
use crate::start_error::StartError;
use crate::state::{StateBackend, prepare_dir};
use crate::stream::DataStream;
use crate::time::{SystemClock, WatermarkStrategy};
use supervising::Supervising;

/// Key groups of a job that does not say how many it has.
const MAX_PARALLELISM: u32 = 128;
/// Most arbiters that a job may have for itself.
const OWN_ARBITERS_MAX: u32 = 1_024;

/// Where a job is written and started from.
///
/// The name is the job's identity: a store belongs to the job of that name. Settings apply to the whole job wherever
/// they are made.
///
/// ```
/// use millstream::prelude::*;
///
/// # actix_rt::System::new().block_on(async {
/// let evens = CollectSink::new();
/// let collected = evens.handle();
///
/// let env = StreamEnvironment::new("evens");
/// env.source("numbers", SequenceSource::new(0..10)).filter(|n| n % 2 == 0).sink("evens", evens);
/// let outcome = env.start()?.await?;
///
/// assert_eq!(outcome.kind, OutcomeKind::Finished);
/// assert_eq!(collected.snapshot(), [0, 2, 4, 6, 8]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[must_use = "a job runs only once it is started"]
pub struct StreamEnvironment {
    name: String,
    at: &'static Location<'static>,
    graph: GraphHandle,
    parallelism: u32,
    max_parallelism: Option<Placed<u32>>,
    chaining: bool,
    checkpointing: Placed<Checkpointing>,
    restart: Placed<RestartStrategy>,
    supervising: Supervising,
    limits: Placed<Limits>,
    state_backend: Placed<StateBackend>,
    store: Option<Placed<Arc<dyn SnapshotStore>>>,
    subscribers: RefCell<EventSubscribers>,
    restore: RestoreWish,
    start_paused: Option<bool>,
    own_arbiters: Option<u32>,
    tells_host: bool,
    clock: Arc<dyn Clock>,
    probe: Option<Arc<dyn Probe>>,
    slice_clock: SliceClock,
}

impl StreamEnvironment {
    /// An environment for the job called `name`: parallelism 1, 128 key groups, a checkpoint each 10 s, exactly once,
    /// restarts with exponential delay.
    #[track_caller]
    pub fn new(name: &str) -> Self {
        let at = Location::caller();
        Self {
            name: name.to_owned(),
            at,
            graph: Rc::new(RefCell::new(GraphBuilder::default())),
            parallelism: 1,
            max_parallelism: None,
            chaining: true,
            checkpointing: Placed::new(Checkpointing::default(), at),
            restart: Placed::new(RestartStrategy::exponential_delay(), at),
            supervising: Supervising::new(at),
            limits: Placed::new(Limits::default(), at),
            state_backend: Placed::new(StateBackend::memory(), at),
            store: None,
            subscribers: RefCell::default(),
            restore: RestoreWish::default(),
            start_paused: None,
            own_arbiters: None,
            tells_host: true,
            clock: Arc::new(SystemClock::new()),
            probe: None,
            slice_clock: None,
        }
    }

    /// Number of subtasks of each operator that is not set otherwise; at least 1. [`JobHandle::rescale`] changes it while the job runs.
    pub fn parallelism(mut self, parallelism: u32) -> Self {
        self.parallelism = parallelism;
        self
    }

    /// Number of key groups: the highest parallelism the job can ever have, 1 to 32,768. Fixed at its first checkpoint;
    /// a job that starts from a savepoint has that of the savepoint, and need not say so.
    #[track_caller]
    pub fn max_parallelism(mut self, max_parallelism: u32) -> Self {
        self.max_parallelism = Some(Placed::new(max_parallelism, Location::caller()));
        self
    }

    /// With `false` each operator is a task, and so an actor, of its own.
    pub fn chaining(mut self, chaining: bool) -> Self {
        self.chaining = chaining;
        self
    }

    /// When checkpoints are taken.
    #[track_caller]
    pub fn checkpointing(mut self, checkpointing: Checkpointing) -> Self {
        self.checkpointing = Placed::new(checkpointing, Location::caller());
        self
    }

    /// What happens after a failure.
    #[track_caller]
    pub fn restart_strategy(mut self, strategy: RestartStrategy) -> Self {
        self.restart = Placed::new(strategy, Location::caller());
        self
    }

    /// Bounds on queues, windows, retries and delays. Those that cannot work ([`Limits::mistakes`]) are mistakes that
    /// [`start`](Self::start) reports.
    #[track_caller]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = Placed::new(limits, Location::caller());
        self
    }

    /// What keeps the state of keyed operators that do not set it otherwise; by default memory.
    #[track_caller]
    pub fn state_backend(mut self, backend: StateBackend) -> Self {
        self.state_backend = Placed::new(backend, Location::caller());
        self
    }

    /// Where checkpoints are kept. Without one they are kept in memory: the job survives panics, not the end of the
    /// process.
    #[track_caller]
    pub fn snapshot_store(mut self, store: impl SnapshotStore) -> Self {
        self.store = Some(Placed::new(Arc::new(store), Location::caller()));
        self
    }

    /// Starts the job with the state of the savepoint at `path`: positions of sources and state of operators, at any
    /// parallelism. The savepoint may be of another job, which is forked by this. The store must be empty, or one on which
    /// the job has run since it started from this savepoint: then the job goes on from the store, so that the same
    /// program can be started again after a crash. What sinks have published since the savepoint stays published: give the
    /// job another place for its output if it is to repeat the work.
    pub fn restore_from(mut self, path: impl AsRef<Path>) -> Self {
        self.restore.savepoint = Some(path.as_ref().to_owned());
        self
    }

    /// With `true`, state in the checkpoint or savepoint of operators that the job does not have is dropped, with a line in
    /// the log for each operator, where otherwise the job does not start. Of a sink that is gone, output that it has
    /// prepared and not yet published is dropped, too.
    pub fn allow_unmatched_state(mut self, allow: bool) -> Self {
        self.restore.allow_unmatched_state = allow;
        self
    }

    /// With `true` the job starts [paused](JobHandle::pause), with `false` it does not, whatever its store says; that is kept in the
    /// store before it starts. If nothing is said it is as it was when it ran last on its store: a pause outlives the process.
    ///
    /// ```
    /// use millstream::prelude::*;
    ///
    /// # actix_rt::System::new().block_on(async {
    /// let sink = CollectSink::new();
    /// let numbers = sink.handle();
    /// let env = StreamEnvironment::new("numbers").start_paused(true);
    /// env.source("numbers", SequenceSource::new(0..10)).sink("out", sink);
    /// let job = env.start()?;
    /// job.checkpoint().await?;
    /// assert!(numbers.is_empty() && job.status().paused_since_unix_ms.is_some());
    /// job.resume().await?;
    /// job.await?;
    /// assert_eq!(numbers.snapshot().len(), 10);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub fn start_paused(mut self, paused: bool) -> Self {
        self.start_paused = Some(paused);
        self
    }

    /// Gives the job so many arbiters, each with a thread, for itself: 1 to 1,024. By default all jobs of the process share
    /// those of the engine, one for each core, where a function that does not return soon holds up tasks of other jobs,
    /// too. For a single operator see [`DataStream::own_arbiters`].
    pub fn own_arbiters(mut self, arbiters: u32) -> Self {
        self.own_arbiters = Some(arbiters);
        self
    }

    /// With `false` the program's panic hook is not told of panics in functions and connectors of this job, and nothing is
    /// printed; events and log have them all the same. By default it hears of each once, where it panics, as of any other:
    /// so do reporters that install a hook.
    pub fn tell_panic_hook(mut self, tells: bool) -> Self {
        self.tells_host = tells;
        self
    }

    /// The clock by which every delay and time stamp of the job goes; by default the system's.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Has a probe told of each step of the protocol: a test seam.
    #[doc(hidden)]
    pub fn probe(mut self, probe: impl Probe) -> Self {
        self.probe = Some(Arc::new(probe));
        self
    }

    /// Has tasks measure by `now` how long they have worked before they let others run: a test seam. By default the
    /// machine's monotonic clock.
    #[doc(hidden)]
    pub fn slice_clock(mut self, now: fn() -> Duration) -> Self {
        self.slice_clock = Some(now);
        self
    }

    /// Adds a source. `id` is the stable id under which its positions are found again.
    #[track_caller]
    pub fn source<S: Source>(&self, id: &str, source: S) -> DataStream<S::Item> {
        DataStream::from_source(&self.graph, id, source)
    }

    /// Adds a source whose records have event times, by this strategy: as [`source`](Self::source) with
    /// [`Timed`](crate::source::Timed).
    #[track_caller]
    pub fn source_with_watermarks<S: Source>(
        &self,
        id: &str,
        source: S,
        strategy: WatermarkStrategy<S::Item>,
    ) -> DataStream<S::Item> {
        DataStream::from_source(&self.graph, id, Timed::new(source, strategy))
    }

    /// Sends every event of the job to `recipient`, in order and from its start on, as
    /// [`JobHandle::subscribe`] does from when it is called.
    pub fn subscribe(&self, recipient: Recipient<JobEvent>) {
        self.subscribers.borrow_mut().add(recipient.into());
    }

    /// Every event of the job from its start on, to be awaited on any runtime; ends with the job, or when it does not start.
    /// At most `capacity` wait, at least 1: beyond that the oldest are dropped, and counted.
    ///
    /// ```
    /// use millstream::JobEventKind;
    /// use millstream::prelude::*;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let env = StreamEnvironment::new("evens");
    /// env.source("numbers", SequenceSource::new(0..10)).filter(|n| n % 2 == 0).sink("evens", CollectSink::new());
    /// let mut events = env.events(1_000);
    /// env.start()?;
    ///
    /// let first = events.next().await.expect("an event");
    /// assert!(matches!(first.kind, JobEventKind::Started { .. }));
    /// let mut last = first;
    /// while let Some(event) = events.next().await {
    ///     last = event;
    /// }
    /// let line = serde_json::to_string(&last)?;
    /// assert!(line.contains(r#""job":"evens","event":"ended","outcome":{"kind":"finished","#), "{line}");
    /// # Ok(())
    /// # }
    /// ```
    pub fn events(&self, capacity: usize) -> JobEvents {
        let (sender, events) = JobEvents::channel(capacity);
        self.subscribers.borrow_mut().add(sender);
        events
    }

    /// The graph before and after chaining.
    ///
    /// # Errors
    /// All mistakes of the graph.
    pub fn explain(&self) -> Result<Explanation, GraphErrors> {
        let graph = self.graph.borrow();
        let settings = self.checked(&graph)?;
        Ok(explain(&graph, &chain(&graph, &settings, self.chaining), &settings))
    }

    /// Starts the job on threads of the engine's own, and returns once its newest checkpoint is validated; loading it goes
    /// on in the background. Starting on a store whose job has finished settles what was pending, reads nothing, and gives
    /// an outcome that is `already_complete`.
    ///
    /// Any thread may call this, with or without an actix `System` or another runtime; it blocks for as long as the store
    /// takes to open. The job does not depend on the runtime of its caller: it runs on when that ends, until the process
    /// does. Functions and connectors find the engine's `System` as their `System::current()`, so they reach an actor of
    /// the host by its address, not by the registry.
    ///
    /// # Errors
    /// [`StartError`]. Nothing has been started then.
    pub fn start(self) -> Result<JobHandle, StartError> {
        self.start_with(launch)
    }

    /// Starts the job on a stage, which has to be moved for anything to be done: with others in the place of its sources and
    /// sinks, with this time and this store, with no checkpoint but those that are asked for, and no restart.
    ///
    /// # Errors
    /// [`StageError`]. Nothing has been started then.
    pub(crate) fn start_on(mut self, stage: &Stage, staging: Staging<'_>) -> Result<JobHandle, StageError> {
        let Staging { stand_ins, clock, store, slice_clock } = staging;
        self.take_max_parallelism_of_savepoint()?;
        // All mistakes of the job as it is; what follows is not the program's.
        let settings = self.checked(&self.graph.borrow()).map_err(StartError::Graph)?;
        stand_ins.take_over(&mut self.graph.borrow_mut(), &settings)?;
        (self.clock, self.slice_clock) = (clock, slice_clock);
        self.store = Some(Placed::new(store, self.at));
        self.checkpointing.value = self.checkpointing.value.on_request();
        self.restart_never();
        Ok(self.start_with(|spec, config| launch_on(stage, spec, config))?)
    }

    /// Opens the savepoint from which the job begins, if there is one, whose max parallelism the job has unless it is said otherwise.
    fn take_max_parallelism_of_savepoint(&mut self) -> Result<Option<SavepointFile>, StartError> {
        let savepoint = self.restore.savepoint.as_ref().map(SavepointFile::open).transpose()?;
        if let Some(savepoint) = &savepoint {
            self.max_parallelism.get_or_insert(Placed::new(savepoint.manifest().max_parallelism, self.at));
        }
        Ok(savepoint)
    }

    fn start_with(mut self, launch: impl FnOnce(JobSpec, JobConfig) -> JobHandle) -> Result<JobHandle, StartError> {
        let savepoint = self.take_max_parallelism_of_savepoint()?;
        let graph = self.graph.take();
        let settings = self.checked(&graph)?;
        prepare_dirs(&graph, &settings)?;
        for node in graph.dead_ends() {
            log::warn!(
                target: "millstream::supervisor",
                "job={} drops what '{}' ({}) gives: its stream ends in no sink; end it in sink(..) or for_each(..)",
                self.name, node.id, node.at
            );
        }
        let regions = self.supervising.of_regions(&graph);
        let (declared, chaining) = (graph.declared_states(), self.chaining);
        let graph = Arc::new(graph);
        let spec = compile(&graph, &settings, chaining);
        let spec_at: SpecAt =
            Arc::new(move |parallelism| compile(&graph, &JobSettings { parallelism, ..settings.clone() }, chaining));
        let store = self.store.map(|store| store.value).unwrap_or_else(|| {
            log::warn!(
                target: "millstream::supervisor",
                "job={} keeps its checkpoints in memory: it survives panics, but not the end of the process",
                self.name
            );
            Arc::new(MemoryStore::new())
        });
        // Sinks name files by incarnation: those of the savepoint's job may be in the same folder.
        let taken_by = savepoint.as_ref().map_or(0, |savepoint| savepoint.manifest().incarnation.0);
        let floor = self.clock.unix_ms().max(taken_by.saturating_add(1));
        let mut opening = store.open_job(&self.name, Incarnation(floor))?;
        let allow_unmatched_state = self.restore.allow_unmatched_state;
        let savepoint = savepoint.map(Arc::new);
        let restore =
            RestoreSettings { spec: &spec, declared: &declared, store: &store, savepoint, allow_unmatched_state };
        let savepoints = restore.decide(&mut opening).inspect_err(|_| store.close())?;
        let is_complete = opening.retained.last().is_some_and(|newest| newest.is_final);
        // There is nothing to resume of a job that has finished.
        let start_paused = if is_complete { Some(false) } else { self.start_paused };
        let paused_since =
            pause_at_start(&*store, start_paused, self.clock.unix_ms()).inspect_err(|_| store.close())?;
        let config = JobConfig {
            store,
            opening,
            checkpointing: self.checkpointing.value,
            restart: self.restart.value,
            spec_at,
            regions,
            limits: self.limits.value,
            seed: self.clock.unix_ms(),
            clock: self.clock,
            probe: self.probe,
            slice_clock: self.slice_clock,
            savepoints,
            own_arbiters: self.own_arbiters,
            tells_host: self.tells_host,
            paused_since,
            subscribers: self.subscribers.into_inner(),
        };
        Ok(launch(spec, config))
    }

    fn checked(&self, graph: &GraphBuilder) -> Result<JobSettings, GraphErrors> {
        let default_max = Placed::new(MAX_PARALLELISM, self.at);
        let max_parallelism = self.max_parallelism.as_ref().unwrap_or(&default_max);
        let settings = JobSettings {
            job: self.name.clone(),
            parallelism: self.parallelism,
            max_parallelism: max_parallelism.value,
            takes_checkpoints: self.checkpointing.value.interval().is_some(),
            state_backend: self.state_backend.value.clone(),
            restarts: self.restart.value.restarts(),
        };
        let mut errors = Vec::new();
        if self.name.is_empty() {
            errors.push(GraphError::EmptyJobName { at: self.at });
        } else if let Some(reason) = name_mistake(&self.name) {
            let (what, name) = ("the job", self.name.clone());
            errors.push(GraphError::InvalidName { what, name, reason, at: self.at });
        }
        errors.extend(check_checkpointing(&self.checkpointing));
        errors.extend(check_restart(&self.restart));
        errors.extend(self.supervising.mistake());
        errors.extend(check_limits(&self.limits));
        errors.extend(check_max_parallelism(max_parallelism.value, max_parallelism.at));
        if let Some(arbiters) = self.own_arbiters.filter(|arbiters| !(1..=OWN_ARBITERS_MAX).contains(arbiters)) {
            errors.push(GraphError::OwnArbiters { arbiters, at: self.at });
        }
        errors.extend(check_state_backend(&self.state_backend));
        errors.extend(self.store.as_ref().and_then(check_store));
        errors.extend(graph.check(&settings));
        if errors.is_empty() { Ok(settings) } else { Err(GraphErrors(errors)) }
    }
}

/// What a job has on a stage instead of its own.
pub(crate) struct Staging<'a> {
    /// In the place of its sources and sinks.
    pub(crate) stand_ins: &'a mut StandIns,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) store: Arc<dyn SnapshotStore>,
    pub(crate) slice_clock: SliceClock,
}

/// Why a job does not start on a stage.
pub(crate) enum StageError {
    /// It would not start at all.
    Start(StartError),
    /// What stands in for a source or sink is for other records.
    Records(OtherRecords),
}

impl From<StartError> for StageError {
    fn from(error: StartError) -> Self {
        Self::Start(error)
    }
}

impl From<OtherRecords> for StageError {
    fn from(other: OtherRecords) -> Self {
        Self::Records(other)
    }
}

impl fmt::Debug for StreamEnvironment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StreamEnvironment({}, {} operators)", self.name, self.graph.borrow().nodes.len())
    }
}

/// Has the directories for state that is not in memory ready.
fn prepare_dirs(graph: &GraphBuilder, settings: &JobSettings) -> Result<(), StartError> {
    let keyed = graph.nodes.iter().filter(|node| node.is_keyed);
    let backends = keyed.map(|node| node.state_backend.as_ref().unwrap_or(&settings.state_backend));
    let mut dirs: Vec<&Path> = backends.filter_map(StateBackend::spills).map(|(dir, _)| dir).collect();
    dirs.sort_unstable();
    dirs.dedup();
    for dir in dirs {
        prepare_dir(dir, &settings.job)
            .map_err(|source| StartError::StateDirectory { dir: dir.to_owned(), source: Arc::new(source) })?;
    }
    Ok(())
}
