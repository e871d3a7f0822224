//! Tasks that only speak the control protocol, and do what a script says.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Message, Recipient, WrapFuture};

use crate::contract::{Chunk, ChunkAddress, Contribution, StateScope};
use crate::data::wiring::{ChannelTarget, EdgePattern, EdgeSpec, InputWiring, OutputWiring};
use crate::protocol::{
    AckFacts, Barrier, CheckpointId, OperatorId, Partitioning, PortId, RegionId, SourceState, SubtaskId, TaskError,
    TaskId, TaskKind,
};
use crate::runtime::ArbiterHandle;
use crate::runtime::guard::{ExitSlot, TaskGuard, start_guarded};
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
    Stop,
}

/// What it does then.
pub(super) enum Bad {
    /// Passes over one occasion.
    Nothing,
    Panic,
    Fail(TaskError),
    /// Holds its thread until the sender is dropped.
    Hang(mpsc::Receiver<()>),
    /// Goes on, and holds its thread once others have had their turn there.
    HangLater(mpsc::Receiver<()>),
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
    /// Threads that were held.
    pub(super) hangs: AtomicU64,
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
    /// Whether it goes on.
    fn at(&mut self, when: When, ctx: &mut Context<Self>) -> bool {
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
                self.script.hangs.fetch_add(1, Ordering::Relaxed);
                // Ends with an error when the test lets go.
                let _ = until.recv();
            }
            Some((_, _, Bad::HangLater(until))) => {
                self.script.hangs.fetch_add(1, Ordering::Relaxed);
                let turns = async {
                    for _ in 0..100 {
                        tokio::task::yield_now().await
                    }
                };
                ctx.spawn(turns.into_actor(self).map(move |(), _, ctx| {
                    // Ends with an error when the test lets go.
                    let _ = until.recv();
                    ctx.stop();
                }));
                return true;
            }
        }
        false
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
    StopSubtask => |this, _stop, ctx| { if !this.at(When::Stop, ctx) { ctx.stop(); } }
    CheckpointAborted => |this, _aborted, _ctx| { let _ = &this; }
    StopReading => |this, _stop, _ctx| { if this.state == SourceState::Reading { this.halt(SourceState::Stopped) } }
    SetPaused => |this, _paused, _ctx| { let _ = &this; }
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
            tells_host: cx.tells_host,
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
            pause: address.clone().recipient(),
            stop_reading: address.clone().recipient(),
            finish: address.clone().recipient(),
        });
        let orders = SubtaskAddress {
            subtask,
            stop: address.clone().recipient(),
            complete: address.clone().recipient(),
            aborted: address.clone().recipient(),
            source,
            expects: None,
            is_sink: kind == TaskKind::Sink,
        };
        let port: Recipient<StubBarrier> = address.recipient();
        StartedSubtask { address: orders, ports: vec![Arc::new(port)] }
    }
}

/// So many subtasks of a source, each connected to each of as many of a sink, in each of `regions` regions.
pub(super) fn spec(script: &Arc<Script>, regions: u32, parallelism: u32) -> JobSpec {
    let task = |id: u32, kind, outputs| TaskSpec {
        id: TaskId(id),
        name: format!("task-{id}").into(),
        kind,
        holds_end: false,
        operators: Vec::new(),
        parallelism,
        own_arbiters: false,
        region: RegionId(id / 2),
        outputs,
        factory: Arc::new(StubFactory { kind, script: script.clone() }),
    };
    let edge = |to| EdgeSpec {
        to: TaskId(to),
        port: PortId::FIRST,
        pattern: EdgePattern::AllToAll,
        partitioning: Partitioning::Rebalance,
        side_output: None,
    };
    let tasks = (0..regions).flat_map(|region| {
        [task(2 * region, TaskKind::Source, vec![edge(2 * region + 1)]), task(2 * region + 1, TaskKind::Sink, vec![])]
    });
    let tasks = tasks.collect();
    JobSpec { name: "stub".into(), parallelism, tasks, regions, max_parallelism: 8, sinks_can_withdraw: true }
}
