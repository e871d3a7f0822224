//! A source task by itself: what it reports, heard by one actor.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::{Actor, Context, Handler};
use actix_rt::{Arbiter, System};
use tokio::sync::{mpsc, oneshot};

use super::*;
use crate::contract::{
    BatchOperator, Clock, Fence, Output, RestoredSection, Sleep, SourceError, SourceReader, Stateful, SubtaskInfo,
};
use crate::data::pipeline::{Pipeline, PipelineBuilder};
use crate::data::wiring::InputWiring;
use crate::protocol::{
    ActorName, Attempt, CheckpointMode, Execution, Incarnation, KeyGroupRange, Limits, RegionId, SubtaskId, TaskId,
};
use crate::runtime::guard::ChildExit;
use crate::task::{
    AcknowledgeCheckpoint, CheckpointAborted, Counters, DeclineCheckpoint, RestoreProgress, SinkCommitted,
    SourceAddress, StoreChunks, SubtaskAddress, SubtaskContext, SubtaskReady, TaskFactory, TaskReports,
};

/// What the task has reported, and what its operator and reader were asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    Ready,
    Acknowledged(CheckpointId),
    Declined(CheckpointId),
    Halted(SourceState),
    Begun(CheckpointId),
    GivenUp,
    Read,
    Ended,
}

type Ears = mpsc::UnboundedSender<Heard>;

struct Listener(Ears);

impl Actor for Listener {
    type Context = Context<Self>;
}

macro_rules! hears {
    ($($message:ty => |$it:ident| $heard:expr;)+) => { $(
        impl Handler<$message> for Listener {
            type Result = ();

            fn handle(&mut self, $it: $message, _: &mut Context<Self>) {
                let heard: Option<Heard> = $heard;
                // The test may have heard enough.
                heard.map(|heard| self.0.send(heard));
            }
        }
    )+ };
}

hears! {
    AcknowledgeCheckpoint => |it| Some(Heard::Acknowledged(it.checkpoint));
    DeclineCheckpoint => |it| Some(Heard::Declined(it.checkpoint));
    SourceHalted => |it| Some(Heard::Halted(it.state));
    SinkCommitted => |_it| None;
    StoreChunks => |_it| None;
    SubtaskReady => |_it| Some(Heard::Ready);
    RestoreProgress => |_it| None;
    ChildExit => |_it| Some(Heard::Ended);
}

/// Slices that the snapshot of an operator takes.
const SLICES: u32 = 50;

/// Writes its snapshot in [`SLICES`] slices.
struct Sliced {
    heard: Ears,
    written: u32,
}

impl BatchOperator for Sliced {
    type In = u64;
    type Out = u64;

    fn process(
        &mut self,
        input: &mut Batch<u64>,
        _: &mut Output<u64>,
        _: &mut RunBudget,
    ) -> Result<Progress, TaskError> {
        input.clear();
        Ok(Progress::Done)
    }

    fn stateful(&mut self) -> Option<&mut dyn Stateful> {
        Some(self)
    }
}

impl Stateful for Sliced {
    fn snapshot(&mut self, writer: &mut SnapshotWriter) -> Result<Progress, StateError> {
        self.heard.send(Heard::Begun(writer.checkpoint())).unwrap();
        self.written = 0;
        Ok(Progress::Suspended)
    }

    fn continue_snapshot(&mut self, writer: &mut SnapshotWriter, _: &mut RunBudget) -> Result<Progress, StateError> {
        writer.append(&"state".into(), self.written, vec![7; 100]);
        self.written += 1;
        Ok(if self.written == SLICES { Progress::Done } else { Progress::Suspended })
    }

    fn abandon_snapshot(&mut self) {
        self.heard.send(Heard::GivenUp).unwrap();
    }

    fn restore(&mut self, _: Vec<RestoredSection>) -> Result<(), StateError> {
        Ok(())
    }
}

/// Gives what it is told to, one answer after the other, then has nothing until it is woken.
struct Scripted {
    heard: Ears,
    answers: Vec<ReadStatus>,
    waker: Arc<Mutex<Option<SourceWaker>>>,
}

struct Reader {
    heard: Ears,
    answers: std::vec::IntoIter<ReadStatus>,
}

impl Source for Scripted {
    type Item = u64;

    fn open(
        &self,
        cx: &SourceContext,
        _: Option<Vec<SplitPosition>>,
    ) -> Result<Box<dyn SourceReader<Item = u64>>, SourceError> {
        *self.waker.lock().unwrap() = Some(cx.waker.clone());
        Ok(Box::new(Reader { heard: self.heard.clone(), answers: self.answers.clone().into_iter() }))
    }
}

impl SourceReader for Reader {
    type Item = u64;

    fn read(&mut self, _: &mut Batch<u64>) -> Result<ReadStatus, SourceError> {
        // The test may have heard enough.
        let _ = self.heard.send(Heard::Read);
        Ok(self.answers.next().unwrap_or(ReadStatus::Idle { retry_after: None }))
    }

    fn report_positions(&mut self, _: &mut Vec<SplitPosition>) {}
}

/// A clock that stands still but for [`advance`](Self::advance).
#[derive(Default)]
struct TestClock(Mutex<(Duration, Vec<Sleeper>)>);

/// When it wakes, and how.
type Sleeper = (Duration, oneshot::Sender<()>);

impl TestClock {
    fn advance(&self, by: Duration) {
        let mut clock = self.0.lock().unwrap();
        clock.0 += by;
        let now = clock.0;
        let (due, later) = std::mem::take(&mut clock.1).into_iter().partition(|(at, _)| *at <= now);
        clock.1 = later;
        for (_, wake) in due {
            // Whoever slept may be gone.
            let _ = wake.send(());
        }
    }

    /// When those wake that still sleep.
    fn sleepers(&self) -> Vec<Duration> {
        self.0.lock().unwrap().1.iter().filter(|(_, wake)| !wake.is_closed()).map(|(at, _)| *at).collect()
    }
}

impl Clock for TestClock {
    fn now(&self) -> Duration {
        self.0.lock().unwrap().0
    }

    fn unix_ms(&self) -> u64 {
        0
    }

    fn sleep(&self, delay: Duration) -> Sleep {
        let (wake, woken) = oneshot::channel();
        let mut clock = self.0.lock().unwrap();
        let at = clock.0 + delay;
        clock.1.push((at, wake));
        Box::pin(async move { drop(woken.await) })
    }
}

/// A source task that runs.
struct Rig {
    address: SubtaskAddress,
    heard: mpsc::UnboundedReceiver<Heard>,
    clock: Arc<TestClock>,
    waker: Arc<Mutex<Option<SourceWaker>>>,
}

impl Rig {
    async fn start(answers: Vec<ReadStatus>) -> Self {
        let (ears, heard) = mpsc::unbounded_channel();
        let (clock, waker) = (Arc::<TestClock>::default(), Arc::default());
        let listener = Listener(ears.clone()).start();
        let source = Scripted { heard: ears.clone(), answers, waker: Arc::clone(&waker) };
        let pipeline = move |mut builder: PipelineBuilder<'_>| -> Pipeline<Box<Batch<u64>>> {
            let end = builder.terminal(Vec::new(), None);
            let head = builder.link("sliced".into(), Sliced { heard: ears.clone(), written: 0 }, end);
            builder.finish_source(head)
        };
        let factory = SourceTaskFactory::new(Arc::new(source), vec!["source".into(), "sliced".into()], pipeline);
        let context = context(&listener, clock.clone());
        let started = factory.start(context, &Arbiter::current(), InputWiring { windows: Vec::new() }, Vec::new());
        let mut rig = Self { address: started.address, heard, clock, waker };
        assert_eq!(rig.next().await, Heard::Ready);
        rig.orders().begin.do_send(BeginReading);
        rig
    }

    async fn next(&mut self) -> Heard {
        self.heard.recv().await.expect("the task reports")
    }

    fn orders(&self) -> &SourceAddress {
        self.address.source.as_ref().expect("it is a source")
    }

    fn ask(&self, checkpoint: u64) {
        let barrier = Barrier { checkpoint: CheckpointId(checkpoint), base: CheckpointId::NONE };
        self.orders().barrier.do_send(RequestBarrier { barrier });
    }
}

fn context(listener: &actix::Addr<Listener>, clock: Arc<dyn Clock>) -> SubtaskContext {
    let subtask = SubtaskId { task: TaskId(0), index: 0 };
    let info = SubtaskInfo {
        job: "test".into(),
        subtask,
        name: ActorName::Subtask { subtask, task: "source".into(), parallelism: 1 },
        parallelism: 1,
        max_parallelism: 1,
        key_groups: KeyGroupRange { start: 0, end: 1 },
        execution: Execution { incarnation: Incarnation(1), region: RegionId(0), attempt: Attempt(1) },
        limits: Arc::new(Limits::default()),
        clock,
    };
    let reports = TaskReports {
        acknowledge: listener.clone().recipient(),
        decline: listener.clone().recipient(),
        halted: listener.clone().recipient(),
        committed: listener.clone().recipient(),
        chunks: listener.clone().recipient(),
        ready: listener.clone().recipient(),
        restoring: listener.clone().recipient(),
        exit: listener.clone().recipient(),
    };
    SubtaskContext {
        info,
        mode: CheckpointMode::ExactlyOnce,
        probe: None,
        reports,
        restore: None,
        withdraw: Vec::new(),
        fence: Fence::default(),
        counters: Arc::new(Counters::default()),
        tells_host: true,
        slice_clock: || Duration::ZERO,
    }
}

#[test]
fn newer_barrier_in_the_middle_of_a_snapshot_gives_it_up() {
    System::new().block_on(async {
        let mut rig = Rig::start(Vec::new()).await;
        assert_eq!(rig.next().await, Heard::Read);
        rig.ask(1);
        rig.ask(2);
        // The barrier was answered at once: the second request finds the snapshot of the first open.
        let story = [
            Heard::Begun(CheckpointId(1)),
            Heard::GivenUp,
            Heard::Begun(CheckpointId(2)),
            Heard::Acknowledged(CheckpointId(2)),
        ];
        for heard in story {
            assert_eq!(rig.next().await, heard);
        }
    });
}

#[test]
fn abort_in_the_middle_of_a_snapshot_gives_it_up_and_older_requests_with_it() {
    System::new().block_on(async {
        let mut rig = Rig::start(Vec::new()).await;
        assert_eq!(rig.next().await, Heard::Read);
        rig.ask(3);
        rig.address.aborted.do_send(CheckpointAborted { checkpoint: CheckpointId(4) });
        rig.ask(4);
        rig.ask(5);
        for heard in [
            Heard::Begun(CheckpointId(3)),
            Heard::GivenUp,
            Heard::Begun(CheckpointId(5)),
            Heard::Acknowledged(CheckpointId(5)),
        ] {
            assert_eq!(rig.next().await, heard);
        }
    });
}

#[test]
fn one_timer_follows_the_newest_delay_and_a_wake_up_ends_it() {
    System::new().block_on(async {
        let seconds = Duration::from_secs;
        let idle = |after| ReadStatus::Idle { retry_after: Some(seconds(after)) };
        let mut rig = Rig::start(vec![idle(3), idle(7), ReadStatus::End]).await;
        assert_eq!(rig.next().await, Heard::Read);
        rig.clock.advance(seconds(1));
        let waker = rig.waker.lock().unwrap().clone().expect("the reader is open");
        waker.wake();
        assert_eq!(rig.next().await, Heard::Read);
        // An answer to a message shows that the task has come to rest.
        rig.ask(1);
        assert_eq!(rig.next().await, Heard::Begun(CheckpointId(1)));
        assert_eq!(rig.next().await, Heard::Acknowledged(CheckpointId(1)));
        assert_eq!(rig.clock.sleepers(), [seconds(8)]);
        rig.clock.advance(seconds(7));
        assert_eq!(rig.next().await, Heard::Read);
        assert_eq!(rig.next().await, Heard::Halted(SourceState::Ended));
        assert_eq!(rig.clock.sleepers(), []);
    });
}
