//! A source task by itself: what it reports, heard by one actor.

mod finishing;
mod pausing;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::{Actor, Context, Handler};
use actix_rt::{Arbiter, System};
use tokio::sync::{mpsc, oneshot};

use super::*;
use crate::contract::{
    BatchOperator, Clock, EventTimes, Fence, Output, ReadingTime, RestoredSection, Sleep, SourceError, SourceReader,
    Stateful, SubtaskInfo,
};
use crate::data::pipeline::{Pipeline, PipelineBuilder};
use crate::data::wiring::InputWiring;
use crate::protocol::{
    ActorName, Attempt, CheckpointMode, Execution, Incarnation, KeyGroupRange, Limits, RegionId, SubtaskId, TaskId,
};
use crate::runtime::guard::ChildExit;
use crate::task::{
    AcknowledgeCheckpoint, BeginReading, CheckpointAborted, DeclineCheckpoint, FinishInput, RequestBarrier,
    RestoreProgress, SinkCommitted, SourceAddress, StopReading, StoreChunks, SubtaskAddress, SubtaskContext,
    SubtaskReady, TaskFactory, TaskReports, WantCheckpoint,
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
    /// After so many seconds.
    Woken(u64),
    Ended,
    /// The reader was told that nothing more is read.
    ToldStopped,
    /// The reader was told to come to an end.
    ToldFinish,
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
    WantCheckpoint => |_it| None;
    StoreChunks => |_it| None;
    SubtaskReady => |_it| Some(Heard::Ready);
    RestoreProgress => |_it| None;
    ChildExit => |_it| Some(Heard::Ended);
}

/// Slices that the snapshot of an operator takes.
const SLICES: u32 = 50;

/// Writes its snapshot in [`SLICES`] slices, and wants to be woken at certain times.
struct Sliced {
    heard: Ears,
    written: u32,
    clock: Arc<TestClock>,
    times: VecDeque<Duration>,
    /// Whether the last of them stays.
    insists: bool,
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

    fn due(&self) -> Option<Duration> {
        self.times.front().copied()
    }

    fn wake(&mut self, _: &mut Output<u64>, _: &mut RunBudget) -> Result<Progress, TaskError> {
        let now = self.clock.now();
        assert!(self.due() <= Some(now), "{:?} at {now:?}", self.due());
        // The test may have heard enough.
        let _ = self.heard.send(Heard::Woken(now.as_secs()));
        if self.times.len() > 1 || !self.insists {
            self.times.pop_front();
        }
        Ok(Progress::Done)
    }

    fn stateful(&mut self) -> Option<&mut dyn Stateful> {
        Some(self)
    }
}

impl Stateful for Sliced {
    fn snapshot(&mut self, writer: &mut SectionWriter) -> Result<Progress, StateError> {
        self.heard.send(Heard::Begun(writer.checkpoint())).unwrap();
        self.written = 0;
        Ok(Progress::Suspended)
    }

    fn continue_snapshot(&mut self, writer: &mut SectionWriter, _: &mut RunBudget) -> Result<Progress, StateError> {
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
    /// What it gives once it was told to finish; none if it is cut off.
    at_finish: Vec<ReadStatus>,
    waker: Arc<Mutex<Option<SourceWaker>>>,
}

struct Reader {
    heard: Ears,
    answers: std::vec::IntoIter<ReadStatus>,
    at_finish: Vec<ReadStatus>,
    waker: SourceWaker,
}

impl Source for Scripted {
    type Item = u64;

    fn open(
        &self,
        cx: &SourceContext,
        _: Option<Vec<SplitPosition>>,
    ) -> Result<Box<dyn SourceReader<Item = u64>>, SourceError> {
        *self.waker.lock().unwrap() = Some(cx.waker.clone());
        let (heard, answers) = (self.heard.clone(), self.answers.clone().into_iter());
        Ok(Box::new(Reader { heard, answers, at_finish: self.at_finish.clone(), waker: cx.waker.clone() }))
    }

    fn ends_on_finish(&self) -> bool {
        !self.at_finish.is_empty()
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

    fn reading_stopped(&mut self) {
        self.heard.send(Heard::ToldStopped).unwrap();
    }

    fn finish(&mut self) {
        self.heard.send(Heard::ToldFinish).unwrap();
        self.answers = std::mem::take(&mut self.at_finish).into_iter();
        self.waker.wake();
    }
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
        if delay.is_zero() {
            return Box::pin(std::future::ready(()));
        }
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
        Self::with_times(answers, &[], false).await
    }

    /// Has its operator want to be woken after so many seconds.
    async fn with_times(answers: Vec<ReadStatus>, seconds: &[u64], insists: bool) -> Self {
        Self::with((answers, Vec::new()), seconds, insists).await
    }

    /// Has its source give further answers once it was told to finish.
    async fn with(answers: (Vec<ReadStatus>, Vec<ReadStatus>), seconds: &[u64], insists: bool) -> Self {
        let rig = Self::ready(answers, seconds, insists).await;
        rig.orders().begin.do_send(BeginReading);
        rig
    }

    /// Is ready, and was not told to begin.
    async fn unbegun(answers: Vec<ReadStatus>) -> Self {
        Self::ready((answers, Vec::new()), &[], false).await
    }

    async fn ready((answers, at_finish): (Vec<ReadStatus>, Vec<ReadStatus>), seconds: &[u64], insists: bool) -> Self {
        let (ears, heard) = mpsc::unbounded_channel();
        let (clock, waker) = (Arc::<TestClock>::default(), Arc::default());
        let listener = Listener(ears.clone()).start();
        let source = Scripted { heard: ears.clone(), answers, at_finish, waker: Arc::clone(&waker) };
        let times: VecDeque<_> = seconds.iter().copied().map(Duration::from_secs).collect();
        let of_operator = Arc::clone(&clock);
        let pipeline = move |mut builder: PipelineBuilder<'_>| -> Pipeline<Box<Batch<u64>>> {
            let end = builder.terminal(Vec::new(), None);
            let (heard, clock, times) = (ears.clone(), of_operator.clone(), times.clone());
            let head = builder.link("sliced".into(), Sliced { heard, written: 0, clock, times, insists }, end);
            builder.finish_source(head)
        };
        let factory = SourceTaskFactory::new(Arc::new(source), vec!["source".into(), "sliced".into()], pipeline);
        let context = context(&listener, clock.clone());
        let started =
            factory.start(context, &Arbiter::current().into(), InputWiring { windows: Vec::new() }, Vec::new());
        let mut rig = Self { address: started.address, heard, clock, waker };
        assert_eq!(rig.next().await, Heard::Ready);
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
        counters: Arc::default(),
        event_times: EventTimes::default(),
        reading: ReadingTime::default(),
        careful: Arc::default(),
    };
    let reports = TaskReports {
        acknowledge: listener.clone().recipient(),
        decline: listener.clone().recipient(),
        halted: listener.clone().recipient(),
        committed: listener.clone().recipient(),
        wanted: listener.clone().recipient(),
        chunks: listener.clone().recipient(),
        ready: listener.clone().recipient(),
        restoring: listener.clone().recipient(),
        exit: listener.clone().recipient(),
    };
    SubtaskContext {
        info,
        mode: CheckpointMode::ExactlyOnce,
        takes_checkpoints: true,
        probe: None,
        reports,
        restore: None,
        withdraw: Vec::new(),
        accepts_repeats: false,
        fence: Fence::default(),
        queries: Default::default(),
        tells_host: true,
        behind: Arc::new([]),
        slice_clock: Some(|| Duration::ZERO),
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

#[test]
fn operators_are_woken_while_the_source_is_idle_and_once_it_is_stopped_and_by_one_timer() {
    System::new().block_on(async {
        let seconds = Duration::from_secs;
        let idle = ReadStatus::Idle { retry_after: Some(seconds(3)) };
        let mut rig = Rig::with_times(vec![idle], &[1, 2, 7, 8, 30], false).await;
        assert_eq!(rig.next().await, Heard::Read);
        for heard in [Heard::Woken(1), Heard::Woken(2), Heard::Read] {
            rig.clock.advance(seconds(1));
            assert_eq!(rig.next().await, heard);
        }
        rig.orders().stop_reading.do_send(StopReading);
        assert_eq!(rig.next().await, Heard::ToldStopped);
        assert_eq!(rig.next().await, Heard::Halted(SourceState::Stopped));
        assert_eq!(rig.clock.sleepers(), [seconds(7)]);
        // A clock that jumps: both times have come.
        rig.clock.advance(seconds(6));
        assert_eq!((rig.next().await, rig.next().await), (Heard::Woken(9), Heard::Woken(9)));
        rig.ask(1);
        assert_eq!(rig.next().await, Heard::Begun(CheckpointId(1)));
        assert_eq!(rig.next().await, Heard::Acknowledged(CheckpointId(1)));
        assert_eq!(rig.clock.sleepers(), [seconds(30)]);
    });
}

#[test]
fn operator_that_is_always_due_leaves_barriers_reads_and_other_actors_their_turn() {
    System::new().block_on(async {
        let reads = 20;
        let mut rig = Rig::with_times(vec![ReadStatus::More; reads], &[1], true).await;
        rig.clock.advance(Duration::from_secs(1));
        rig.ask(1);
        let (mut woken, mut read, mut acknowledged) = (0, 0, false);
        while woken < 100 || read < reads || !acknowledged {
            match rig.next().await {
                Heard::Woken(1) => woken += 1,
                Heard::Read => read += 1,
                Heard::Acknowledged(CheckpointId(1)) => acknowledged = true,
                heard => assert_eq!(heard, Heard::Begun(CheckpointId(1))),
            }
        }
        rig.orders().finish.do_send(FinishInput { after_records: 0 });
        while rig.next().await != Heard::Halted(SourceState::Ended) {}
        rig.ask(2);
        assert_eq!(rig.next().await, Heard::Begun(CheckpointId(2)), "it is woken after the end");
        assert_eq!(rig.next().await, Heard::Acknowledged(CheckpointId(2)));
        assert_eq!(rig.clock.sleepers(), []);
    });
}
