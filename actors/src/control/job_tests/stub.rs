//! Tasks that only speak the control protocol, a store in memory, and a clock that is moved by hand.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use actix::{Actor, ActorContext, Context, Handler, Message, Recipient};
use actix_rt::ArbiterHandle;
use tokio::sync::{mpsc as async_mpsc, oneshot};

use super::no_savepoints;
use crate::contract::{
    Chunk, ChunkAddress, ChunkRef, Clock, Contribution, Finalised, Manifest, Probe, Sleep, SnapshotError,
    SnapshotStore, StateScope, StoreOpening,
};
use crate::control::event::{JobEvent, JobEventKind};
use crate::control::job_handle::JobHandle;
use crate::control::launch::{JobConfig, launch};
use crate::control::outcome::{JobError, JobOutcome};
use crate::data::wiring::{ChannelTarget, EdgePattern, EdgeSpec, InputWiring, OutputWiring};
use crate::protocol::{
    AckFacts, Barrier, CheckpointId, Checkpointing, Incarnation, Limits, OperatorId, PortId, RegionId, RestartStrategy,
    SourceState, SubtaskId, TaskError, TaskId, TaskKind,
};
use crate::runtime::guard::{ExitSlot, TaskGuard, start_guarded};
use crate::runtime::time::monotonic;
use crate::task::{AcknowledgeCheckpoint, RestoreFigures, SinkCommitted, SourceHalted, StoreChunks, SubtaskReady, *};

pub(super) const SOURCE: TaskId = TaskId(0);
pub(super) const SINK: TaskId = TaskId(1);

/// When a stub does something bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    Made,
    Begin,
    Barrier,
    Complete,
}

/// What it does then.
pub(super) enum Bad {
    /// Passes over one occasion.
    Nothing,
    Panic,
    Fail(TaskError),
    /// Holds its thread until the sender is dropped.
    Hang(mpsc::Receiver<()>),
}

/// Who restored what, and was to withdraw what.
pub(super) type Restored = (SubtaskId, Option<CheckpointId>, Vec<CheckpointId>);

/// The channels of a subtask: those that enter, and number and window of those that leave.
#[derive(Clone)]
pub(super) struct Wired {
    pub(super) input: InputWiring,
    pub(super) outputs: Vec<Vec<(u32, u32)>>,
}

/// What the stubs of one job do, and what they saw.
#[derive(Default)]
pub(super) struct Script {
    pub(super) bad: Mutex<VecDeque<(TaskId, When, Bad)>>,
    /// Sources go on until told to stop.
    pub(super) unbounded: AtomicBool,
    pub(super) starts: AtomicU64,
    /// What each start restored and withdrew.
    pub(super) restored: Mutex<Vec<Restored>>,
    pub(super) wiring: Mutex<BTreeMap<SubtaskId, Wired>>,
}

#[derive(Clone, Copy, Message)]
#[rtype(result = "()")]
struct StubBarrier(Barrier);

struct StubTask {
    kind: TaskKind,
    cx: SubtaskContext,
    slot: ExitSlot,
    script: Arc<Script>,
    channels: usize,
    outputs: Vec<Recipient<StubBarrier>>,
    arrived: BTreeMap<CheckpointId, usize>,
    state: SourceState,
}

impl StubTask {
    fn at(&mut self, when: When, ctx: &mut Context<Self>) {
        let mut script = self.script.bad.lock().unwrap();
        let due = script.iter().position(|(task, on, _)| *task == self.cx.info.subtask.task && *on == when);
        let bad = due.and_then(|index| script.remove(index));
        drop(script);
        match bad {
            None | Some((_, _, Bad::Nothing)) => {}
            Some((_, _, Bad::Panic)) => panic!("injected at {when:?}"),
            Some((_, _, Bad::Fail(error))) => {
                self.slot.fail(error);
                ctx.stop();
            }
            Some((_, _, Bad::Hang(until))) => {
                // Ends with an error when the test lets go.
                let _ = until.recv();
            }
        }
    }

    fn barrier(&mut self, barrier: Barrier, ctx: &mut Context<Self>) {
        for output in &self.outputs {
            output.do_send(StubBarrier(barrier));
        }
        self.at(When::Barrier, ctx);
        let (execution, checkpoint) = (self.cx.info.execution, barrier.checkpoint);
        let operator = OperatorId::new(format!("{}", self.cx.info.subtask.task));
        let scope = StateScope::Subtask(self.cx.info.subtask.index);
        let address = ChunkAddress { checkpoint, operator, state: "stub".into(), scope, seq: 0 };
        let chunk = Chunk::seal(address, vec![1]);
        let written = Contribution { chunks: vec![chunk.reference.clone()], carried: Vec::new() };
        self.cx.reports.chunks.do_send(StoreChunks { execution, checkpoint, chunks: vec![chunk], stored: None });
        self.cx.reports.acknowledge.do_send(AcknowledgeCheckpoint {
            execution,
            subtask: self.cx.info.subtask,
            checkpoint,
            written,
            facts: AckFacts { source: (self.kind == TaskKind::Source).then_some(self.state), ..AckFacts::default() },
            snapshot: Duration::ZERO,
        });
    }

    fn halt(&mut self, state: SourceState) {
        self.state = state;
        let (execution, subtask) = (self.cx.info.execution, self.cx.info.subtask);
        self.cx.reports.halted.do_send(SourceHalted { execution, subtask, state });
    }
}

impl Actor for StubTask {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.at(When::Made, ctx);
        let (execution, subtask) = (self.cx.info.execution, self.cx.info.subtask);
        self.cx.reports.ready.do_send(SubtaskReady { execution, subtask, restored: RestoreFigures::default() });
    }
}

macro_rules! handlers {
    ($($message:ty => |$this:ident, $msg:ident, $ctx:ident| $body:block)*) => { $(
        impl Handler<$message> for StubTask {
            type Result = ();

            fn handle(&mut self, $msg: $message, $ctx: &mut Self::Context) {
                let $this = self;
                $body
            }
        }
    )* };
}

handlers! {
    StopSubtask => |this, _stop, ctx| { let _ = &this; ctx.stop(); }
    CheckpointAborted => |this, _aborted, _ctx| { let _ = &this; }
    StopReading => |this, _stop, _ctx| { if this.state == SourceState::Reading { this.halt(SourceState::Stopped) } }
    FinishInput => |this, _finish, _ctx| { this.halt(SourceState::Ended) }
    RequestBarrier => |this, request, ctx| { this.barrier(request.barrier, ctx) }
    BeginReading => |this, _begin, ctx| {
        this.at(When::Begin, ctx);
        if !this.script.unbounded.load(Ordering::Relaxed) {
            this.halt(SourceState::Ended);
        }
    }
    CheckpointComplete => |this, complete, ctx| {
        this.at(When::Complete, ctx);
        if this.kind == TaskKind::Sink {
            let (execution, subtask, checkpoint) = (this.cx.info.execution, this.cx.info.subtask, complete.checkpoint);
            this.cx.reports.committed.do_send(SinkCommitted { execution, subtask, checkpoint });
        }
    }
    StubBarrier => |this, message, ctx| {
        let arrived = this.arrived.entry(message.0.checkpoint).or_default();
        *arrived += 1;
        if *arrived == this.channels {
            this.barrier(message.0, ctx);
        }
    }
}

struct StubFactory {
    kind: TaskKind,
    script: Arc<Script>,
}

impl TaskFactory for StubFactory {
    fn start(
        &self,
        cx: SubtaskContext,
        arbiter: &ArbiterHandle,
        input: InputWiring,
        outputs: Vec<OutputWiring>,
    ) -> StartedSubtask {
        let (kind, script, subtask) = (self.kind, self.script.clone(), cx.info.subtask);
        script.starts.fetch_add(1, Ordering::Relaxed);
        let restored = cx.restore.as_ref().map(|plan| plan.manifest.checkpoint);
        script.restored.lock().unwrap().push((subtask, restored, cx.withdraw.clone()));
        let numbers = |edge: &OutputWiring| edge.iter().map(|target| (target.channel, target.window)).collect();
        let wired = Wired { input: input.clone(), outputs: outputs.iter().map(numbers).collect() };
        script.wiring.lock().unwrap().insert(subtask, wired);
        let port = |target: &ChannelTarget| target.port.downcast_ref::<Recipient<StubBarrier>>().unwrap().clone();
        let outputs = outputs.iter().flatten().map(port).collect();
        let guard = TaskGuard {
            execution: cx.info.execution,
            subtask,
            name: cx.info.name.clone(),
            exit: cx.reports.exit.clone(),
        };
        let address = start_guarded(arbiter, guard, move |_, slot| StubTask {
            kind,
            cx,
            slot,
            script,
            channels: input.windows.len(),
            outputs,
            arrived: BTreeMap::new(),
            state: SourceState::Reading,
        });
        let source = (kind == TaskKind::Source).then(|| SourceAddress {
            barrier: address.clone().recipient(),
            begin: address.clone().recipient(),
            stop_reading: address.clone().recipient(),
            finish: address.clone().recipient(),
        });
        let orders = SubtaskAddress {
            subtask,
            stop: address.clone().recipient(),
            complete: address.clone().recipient(),
            aborted: address.clone().recipient(),
            source,
            is_sink: kind == TaskKind::Sink,
        };
        let port: Recipient<StubBarrier> = address.recipient();
        StartedSubtask { address: orders, ports: vec![Arc::new(port)] }
    }
}

/// Two sources' subtasks, each connected to each of two sinks, in each of `regions` regions.
pub(super) fn spec(script: &Arc<Script>, regions: u32) -> JobSpec {
    let task = |id: u32, kind, outputs| TaskSpec {
        id: TaskId(id),
        name: format!("task-{id}").into(),
        kind,
        operators: Vec::new(),
        parallelism: 2,
        region: RegionId(id / 2),
        outputs,
        factory: Arc::new(StubFactory { kind, script: script.clone() }),
    };
    let edge = |to| EdgeSpec { to: TaskId(to), port: PortId::FIRST, pattern: EdgePattern::AllToAll };
    let tasks = (0..regions).flat_map(|region| {
        [task(2 * region, TaskKind::Source, vec![edge(2 * region + 1)]), task(2 * region + 1, TaskKind::Sink, vec![])]
    });
    JobSpec { name: "stub".into(), tasks: tasks.collect(), regions, max_parallelism: 8, sinks_can_withdraw: true }
}

/// A store in memory, which can be told to fail.
#[derive(Default)]
pub(super) struct FakeStore {
    pub(super) retained: Mutex<Vec<Arc<Manifest>>>,
    pub(super) reserved: AtomicU64,
    pub(super) abandoned: Mutex<BTreeSet<CheckpointId>>,
    /// Finalisations that fail, each before (false) or after (true) it took effect.
    pub(super) finalise_fails: Mutex<VecDeque<bool>>,
    pub(super) closed: AtomicBool,
    incarnation: AtomicU64,
    chunks: Mutex<BTreeSet<ChunkAddress>>,
}

impl FakeStore {
    pub(super) fn with(manifests: impl IntoIterator<Item = (u64, bool)>) -> Arc<Self> {
        let store = Self::default();
        *store.retained.lock().unwrap() = manifests.into_iter().map(|(id, is_final)| manifest(id, is_final)).collect();
        store.reserved.store(1000, Ordering::Relaxed);
        Arc::new(store)
    }

    pub(super) fn newest(&self) -> Option<CheckpointId> {
        self.retained.lock().unwrap().last().map(|manifest| manifest.checkpoint)
    }
}

pub(super) fn manifest(id: u64, is_final: bool) -> Arc<Manifest> {
    Arc::new(Manifest {
        checkpoint: CheckpointId(id),
        job: "stub".into(),
        incarnation: Incarnation(1),
        triggered_unix_ms: 0,
        max_parallelism: 8,
        is_final,
        durations: Default::default(),
        chunks: Vec::new(),
    })
}

impl SnapshotStore for FakeStore {
    fn open_job(&self, _: &str, _: Incarnation) -> Result<StoreOpening, SnapshotError> {
        Ok(StoreOpening {
            incarnation: Incarnation(self.incarnation.fetch_add(1, Ordering::Relaxed) + 1),
            reserved_up_to: CheckpointId(self.reserved.load(Ordering::Relaxed)),
            retained: self.retained.lock().unwrap().clone(),
            abandoned: self.abandoned.lock().unwrap().iter().copied().collect(),
        })
    }

    fn reserve_ids(&self, up_to: CheckpointId) -> Result<(), SnapshotError> {
        self.reserved.fetch_max(up_to.0, Ordering::Relaxed);
        Ok(())
    }

    fn put_chunks(&self, chunks: &[Chunk]) -> Result<(), SnapshotError> {
        self.chunks.lock().unwrap().extend(chunks.iter().map(|chunk| chunk.reference.address.clone()));
        Ok(())
    }

    fn finalise(&self, manifest: &Manifest, retain: usize) -> Result<Finalised, SnapshotError> {
        assert!(manifest.checkpoint.0 <= self.reserved.load(Ordering::Relaxed), "an id that was not reserved");
        let stored = self.chunks.lock().unwrap();
        assert_eq!(manifest.chunks.len() % 4, 0, "one of each subtask of each region");
        if let Some(missing) = manifest.chunks.iter().find(|chunk| !stored.contains(&chunk.address)) {
            let address = Box::new(missing.address.clone());
            return Err(SnapshotError::ChunkMissing { store: "fake".into(), address });
        }
        drop(stored);
        let fails = self.finalise_fails.lock().unwrap().pop_front();
        if fails != Some(false) {
            let mut retained = self.retained.lock().unwrap();
            assert!(retained.last().is_none_or(|last| last.checkpoint < manifest.checkpoint), "an id used again");
            retained.push(Arc::new(manifest.clone()));
            let excess = retained.len().saturating_sub(retain);
            retained.drain(..excess);
        }
        match fails {
            None => Ok(Finalised::default()),
            Some(_) => Err(SnapshotError::Io { store: "fake".into(), action: "commit", source: "disk full".into() }),
        }
    }

    fn discard(&self, _: CheckpointId) -> Result<(), SnapshotError> {
        Ok(())
    }

    fn abandon_above(&self, checkpoint: CheckpointId) -> Result<Vec<CheckpointId>, SnapshotError> {
        let mut retained = self.retained.lock().unwrap();
        let above: Vec<_> = retained.iter().map(|m| m.checkpoint).filter(|id| *id > checkpoint).collect();
        retained.retain(|manifest| manifest.checkpoint <= checkpoint);
        self.abandoned.lock().unwrap().extend(&above);
        Ok(above)
    }

    fn read_chunk(&self, reference: &ChunkRef) -> Result<Vec<u8>, SnapshotError> {
        Err(SnapshotError::ChunkMissing { store: "fake".into(), address: Box::new(reference.address.clone()) })
    }

    fn reopen(&self) -> Result<Vec<Arc<Manifest>>, SnapshotError> {
        Ok(self.retained.lock().unwrap().clone())
    }

    fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    fn describe(&self) -> String {
        "fake".into()
    }

    fn is_durable(&self) -> bool {
        false
    }
}

/// A clock that stands still unless it is moved.
#[derive(Default)]
pub(super) struct HandClock(Mutex<(Duration, Vec<Sleeper>)>);

type Sleeper = (Duration, oneshot::Sender<()>);

impl HandClock {
    pub(super) fn advance(&self, by: Duration) {
        let mut clock = self.0.lock().unwrap();
        clock.0 += by;
        let now = clock.0;
        let (due, later): (Vec<Sleeper>, _) = std::mem::take(&mut clock.1).into_iter().partition(|(at, _)| *at <= now);
        clock.1 = later;
        drop(clock);
        for (_, wake) in due {
            // Whoever slept may be gone.
            let _ = wake.send(());
        }
    }
}

impl Clock for HandClock {
    fn now(&self) -> Duration {
        self.0.lock().unwrap().0
    }

    fn unix_ms(&self) -> u64 {
        self.now().as_millis() as u64
    }

    fn sleep(&self, delay: Duration) -> Sleep {
        let (wake, woken) = oneshot::channel();
        let mut clock = self.0.lock().unwrap();
        let at = clock.0 + delay;
        clock.1.push((at, wake));
        Box::pin(async move { drop(woken.await) })
    }
}

struct Listener(async_mpsc::UnboundedSender<JobEvent>);

impl Actor for Listener {
    type Context = Context<Self>;
}

impl Handler<JobEvent> for Listener {
    type Result = ();

    fn handle(&mut self, event: JobEvent, _: &mut Self::Context) {
        // The test may have seen enough.
        let _ = self.0.send(event);
    }
}

/// A job of stubs that runs.
pub(super) struct Running {
    pub(super) handle: JobHandle,
    pub(super) clock: Arc<HandClock>,
    pub(super) events: async_mpsc::UnboundedReceiver<JobEvent>,
}

pub(super) struct Setup {
    pub(super) script: Arc<Script>,
    pub(super) store: Arc<FakeStore>,
    pub(super) checkpointing: Checkpointing,
    pub(super) restart: RestartStrategy,
    pub(super) limits: Limits,
    pub(super) probe: Option<Arc<dyn Probe>>,
    pub(super) regions: u32,
    pub(super) sinks_can_withdraw: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            script: Arc::default(),
            store: Arc::default(),
            checkpointing: Checkpointing::every(Duration::from_millis(100)),
            restart: RestartStrategy::exponential_delay(),
            limits: Limits::default(),
            probe: None,
            regions: 1,
            sinks_can_withdraw: true,
        }
    }
}

impl Setup {
    /// One whose sources read until they are told to stop.
    pub(super) fn unbounded() -> Self {
        let setup = Self::default();
        setup.script.unbounded.store(true, Ordering::Relaxed);
        setup
    }

    pub(super) fn bad(self, task: TaskId, when: When, bad: Bad) -> Self {
        self.script.bad.lock().unwrap().push_back((task, when, bad));
        self
    }

    pub(super) fn launch(self) -> Running {
        let clock = Arc::new(HandClock::default());
        let opening = self.store.open_job("stub", Incarnation(0)).unwrap();
        let spec = JobSpec { sinks_can_withdraw: self.sinks_can_withdraw, ..spec(&self.script, self.regions) };
        let config = JobConfig {
            store: self.store,
            opening,
            checkpointing: self.checkpointing,
            restart: self.restart,
            limits: self.limits,
            clock: clock.clone(),
            probe: self.probe,
            slice_clock: monotonic,
            seed: 1,
            savepoints: no_savepoints::config(),
        };
        let handle = launch(spec, config);
        let (sender, events) = async_mpsc::unbounded_channel();
        let listener = Listener(sender).start();
        handle.subscribe(listener.clone().recipient());
        // Whatever came before the subscription is in the history.
        for event in handle.history() {
            listener.do_send(event);
        }
        Running { handle, clock, events }
    }
}

impl Running {
    /// Waits for an event.
    pub(super) async fn until(&mut self, fits: impl Fn(&JobEventKind) -> bool) -> JobEventKind {
        loop {
            let event = self.events.recv().await.expect("events until the end");
            if fits(&event.kind) {
                return event.kind;
            }
            assert!(!matches!(event.kind, JobEventKind::Ended { .. }), "ended first: {:?}", self.handle.history());
        }
    }

    /// Waits for an event while the clock runs: a millisecond whenever there is none, slow enough for threads that work.
    pub(super) async fn until_with_time(&mut self, fits: impl Fn(&JobEventKind) -> bool) {
        loop {
            match self.events.try_recv() {
                Ok(event) if fits(&event.kind) => return,
                Ok(event) => {
                    let ended = matches!(event.kind, JobEventKind::Ended { .. });
                    assert!(!ended, "ended first: {:?}", self.handle.history());
                }
                Err(_) => {
                    self.clock.advance(Duration::from_millis(1));
                    tokio::task::yield_now().await;
                }
            }
        }
    }

    /// Waits for the end while the clock runs.
    pub(super) async fn outcome_with_time(mut self) -> Result<JobOutcome, JobError> {
        self.until_with_time(|kind| matches!(kind, JobEventKind::Ended { .. })).await;
        self.handle.await
    }
}
