//! An input that is paused, blocked, waits for others in event time, or is being restarted, is not taken for idle: event time would
//! pass it, and its records would be late.

mod aligning;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use millstream::prelude::*;
use millstream::source::{
    Batch, Boundedness, ReadStatus, Source, SourceContext, SourceError, SourceReader, SourceWaker, SplitPosition,
};
use millstream::time::{ManualClock, WatermarkAlignment};
use millstream::{ChannelFigures, JobEventKind};

use crate::common::{QueueSource, Watched, events_of, run, watched};

const IDLE_AFTER: Duration = Duration::from_secs(5);
/// Of checkpoints that nobody asks for.
const NEVER: Duration = Duration::from_secs(10_000_000);

/// Where the strategy of a stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    AtTheSource,
    ChainedToIt,
    InATaskOfItsOwn,
}

const PLACES: [Place; 3] = [Place::AtTheSource, Place::ChainedToIt, Place::InATaskOfItsOwn];

fn strategy() -> WatermarkStrategy<u64> {
    WatermarkStrategy::monotonous(|n: &u64| *n as i64).with_idleness(IDLE_AFTER)
}

/// A stream of numbers, which are event times.
fn numbers(env: &StreamEnvironment, id: &str, source: impl Source<Item = u64>, place: Place) -> DataStream<u64> {
    let times = format!("times of {id}");
    match place {
        Place::AtTheSource => env.source_with_watermarks(id, source, strategy()),
        Place::ChainedToIt => env.source(id, source).assign_timestamps_and_watermarks(&times, strategy()),
        Place::InATaskOfItsOwn => {
            env.source(id, source).rebalance().assign_timestamps_and_watermarks(&times, strategy())
        }
    }
}

/// Numbers that came, and those that were late, in windows of 100.
#[derive(Clone, Default)]
struct Windows {
    in_windows: Arc<AtomicU64>,
    late: Arc<AtomicU64>,
}

impl Windows {
    fn of(&self, numbers: DataStream<u64>) {
        let late = OutputTag::new("late");
        let Self { in_windows, late: were_late } = self.clone();
        let windows = numbers
            .window_all(TumblingWindows::event_time(Duration::from_millis(100)))
            .late_output(&late)
            .apply("windows", |numbers: &[u64], _, out: &mut Emitter<'_, u64>| {
                numbers.iter().for_each(|n| out.emit(*n))
            });
        windows.side_output(&late).for_each("late", move |_| {
            were_late.fetch_add(1, Ordering::SeqCst);
        });
        windows.for_each("see", move |_| {
            in_windows.fetch_add(1, Ordering::SeqCst);
        });
    }

    fn fired(&self) -> u64 {
        self.in_windows.load(Ordering::SeqCst)
    }

    fn late(&self) -> u64 {
        self.late.load(Ordering::SeqCst)
    }
}

/// Lets so much time pass, in steps, each of which tasks notice.
async fn pass(clock: &ManualClock, time: Duration, job: &JobHandle) {
    for _ in 0..20 {
        clock.advance(time / 20);
        job.checkpoint().await.unwrap();
    }
}

/// Leaves time to the engine's threads, in which no checkpoint can be taken.
async fn others_run() {
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
}

/// A job in which a stream is ahead and another, the one in question, has more to come.
struct Two {
    job: JobHandle,
    clock: ManualClock,
    ahead: QueueSource,
    behind: QueueSource,
    windows: Windows,
}

impl Two {
    fn env(place: Place) -> (StreamEnvironment, ManualClock, [QueueSource; 2], Windows) {
        let (clock, sources) = (ManualClock::new(), [QueueSource::default(), QueueSource::default()]);
        let env = StreamEnvironment::new("two").clock(clock.clone());
        let env = env.checkpointing(Checkpointing::every(NEVER).timeout(NEVER));
        let windows = Windows::default();
        let [ahead, behind] = [0, 1].map(|of| numbers(&env, ["ahead", "behind"][of], sources[of].clone(), place));
        windows.of(ahead.union(behind));
        (env, clock, sources, windows)
    }

    fn start(handles: &Watched, place: Place) -> Self {
        let (env, clock, [ahead, behind], windows) = Self::env(place);
        let job = env.start().unwrap();
        watched(handles, &job);
        Self { job, clock, ahead, behind, windows }
    }

    /// The one that is ahead has said that event time is at 1,000, the other one at 50.
    async fn begin(&self) {
        self.ahead.push([10, 1_000]);
        self.behind.push([50]);
        self.job.checkpoint().await.unwrap();
        assert_eq!(self.windows.fired(), 0);
    }

    /// What was held back comes, and is not late; then it is silent, and event time passes it.
    async fn end(self) {
        self.behind.push([60]);
        self.ahead.push([1_001]);
        self.job.checkpoint().await.unwrap();
        assert_eq!((self.windows.fired(), self.windows.late()), (0, 0));
        while self.windows.fired() < 3 {
            self.clock.advance(Duration::from_millis(500));
            self.job.checkpoint().await.unwrap();
        }
        assert_eq!(self.windows.late(), 0);
        self.job.cancel().await.unwrap();
    }
}

/// T14: nothing is idle while the job is paused, however long that is and wherever the strategy is.
#[test]
fn paused_input_is_not_taken_for_idle() {
    for place in PLACES {
        run("a job that is paused for long", move |handles| async move {
            let two = Two::start(&handles, place);
            two.begin().await;
            // Almost idle.
            pass(&two.clock, IDLE_AFTER / 2, &two.job).await;
            two.job.pause().await.unwrap();
            pass(&two.clock, 100 * IDLE_AFTER, &two.job).await;
            assert_eq!(two.windows.fired(), 0, "{place:?}");
            two.job.resume().await.unwrap();
            two.end().await;
        });
    }
}

/// T14: nor before the first read of a job that starts paused, whose operators have restored how far event time had come.
#[test]
fn input_of_a_job_that_starts_paused_is_not_taken_for_idle() {
    for place in PLACES {
        run("a job that starts paused", move |handles| async move {
            let store = MemoryStore::new();
            let (env, _, [ahead, behind], windows) = Two::env(place);
            let job = env.snapshot_store(store.clone()).start().unwrap();
            watched(&handles, &job);
            ahead.push([10, 1_000]);
            behind.push([50]);
            job.checkpoint().await.unwrap();
            job.pause().await.unwrap();
            job.drain().await.unwrap();
            assert_eq!(windows.fired(), 0);

            let (env, clock, [ahead, behind], windows) = Two::env(place);
            let job = env.snapshot_store(store).start().unwrap();
            watched(&handles, &job);
            pass(&clock, 100 * IDLE_AFTER, &job).await;
            assert_eq!(windows.fired(), 0, "{place:?}");
            job.resume().await.unwrap();
            job.checkpoint().await.unwrap();
            Two { job, clock, ahead, behind, windows }.end().await;
        });
    }
}

/// T14: nor while a job is drained: what it says then is in the last checkpoint.
#[test]
fn input_of_a_job_that_is_being_drained_is_not_taken_for_idle() {
    use millstream::testing::{FaultyStore, Gate, StoreCall, StoreFault};
    for place in PLACES {
        run("a job that is drained slowly", move |handles| async move {
            let (env, clock, [ahead, behind], windows) = Two::env(place);
            let (store, gate) = (FaultyStore::new(Arc::new(MemoryStore::new())), Gate::new());
            let job = env.snapshot_store(store.clone()).start().unwrap();
            watched(&handles, &job);
            ahead.push([10, 1_000]);
            behind.push([50]);
            job.checkpoint().await.unwrap();
            store.inject_next(StoreCall::Finalise, StoreFault::Hold(gate.clone()));
            let drained = job.drain();
            // Its sources have stopped once the last checkpoint is being written.
            actix_rt::task::spawn_blocking({
                let gate = gate.clone();
                move || gate.wait_for_arrival()
            })
            .await
            .unwrap();
            for _ in 0..20 {
                clock.advance(IDLE_AFTER);
                others_run().await;
            }
            gate.open();
            drained.await.unwrap();
            assert_eq!((windows.fired(), windows.late()), (0, 0), "{place:?}");
        });
    }
}

/// Holds up whoever passes with a record, until the test opens it.
#[derive(Clone)]
struct Gated {
    arrives: mpsc::Sender<()>,
    opens: Arc<Mutex<mpsc::Receiver<()>>>,
    is_open: Arc<AtomicBool>,
}

impl Gated {
    fn new() -> (Self, mpsc::Receiver<()>, mpsc::Sender<()>) {
        let ((arrives, arrived), (open, opens)) = (mpsc::channel(), mpsc::channel());
        (Self { arrives, opens: Arc::new(Mutex::new(opens)), is_open: Arc::default() }, arrived, open)
    }

    fn pass(&self) {
        if !self.is_open.swap(true, Ordering::SeqCst) {
            self.arrives.send(()).unwrap();
            // Fails once the test has let go.
            let _ = self.opens.lock().unwrap().recv();
        }
    }
}

/// Waits until the source "behind" reads no more, though it has more.
async fn until_blocked_for_good(job: &JobHandle) {
    let source = || {
        let figures = job.figures();
        let of_slow = figures.iter().find(|subtask| subtask.task.starts_with("inspect")).unwrap().subtask;
        let source = figures.into_iter().find(|subtask| subtask.task.starts_with("behind")).unwrap();
        let to_slow = source.channels.iter().find(|channel| channel.to == of_slow).unwrap().of_run;
        (source.of_attempt, to_slow)
    };
    // The branch that is held up gives no more credit. The other may be late with it, too, but gives it.
    let is_stuck = |to_slow: ChannelFigures| to_slow.credits == 0 && to_slow.waiting_batches > 0;
    while !is_stuck(source().1) {
        tokio::task::yield_now().await;
    }
    // Between two looks it was blocked all the time.
    let mut known = source().0;
    loop {
        others_run().await;
        let now = source().0;
        if now.blocked_ns > known.blocked_ns && now.busy_ns == known.busy_ns {
            return;
        }
        known = now;
    }
}

/// T14: a source that is blocked by one branch of its stream has records for the other, though none comes there.
#[test]
fn input_that_is_blocked_by_another_branch_is_not_taken_for_idle() {
    for place in PLACES {
        run("a job of which one branch is blocked", move |handles| async move {
            let (clock, windows) = (ManualClock::new(), Windows::default());
            let [ahead, behind] = [QueueSource::default(), QueueSource::default()];
            let (gate, arrived, opens) = Gated::new();
            let env = StreamEnvironment::new("branches").clock(clock.clone());
            let env = env.checkpointing(Checkpointing::every(NEVER).timeout(NEVER));
            let of_behind = match place {
                Place::AtTheSource => env.source_with_watermarks("behind", behind.clone(), strategy()),
                _ => env.source("behind", behind.clone()),
            };
            of_behind.clone().rebalance().inspect(move |_| gate.pass()).own_arbiters().for_each("slow", |_| {});
            let of_behind = match place {
                Place::AtTheSource => of_behind,
                Place::ChainedToIt => of_behind.assign_timestamps_and_watermarks("times", strategy()),
                Place::InATaskOfItsOwn => of_behind.rebalance().assign_timestamps_and_watermarks("times", strategy()),
            };
            windows.of(numbers(&env, "ahead", ahead.clone(), Place::AtTheSource).union(of_behind));
            let job = env.start().unwrap();
            watched(&handles, &job);
            ahead.push([10, 1_000_000]);
            // More than there is credit for.
            const MANY: u64 = 100_000;
            behind.push((0..MANY).map(|n| n / 1_000));
            arrived.recv().unwrap();
            until_blocked_for_good(&job).await;
            for _ in 0..50 {
                clock.advance(IDLE_AFTER / 10);
                others_run().await;
            }
            assert_eq!(windows.late(), 0, "{place:?}");
            drop(opens);
            behind.push([100]);
            // All that was pushed is before the end.
            while windows.fired() + windows.late() < MANY {
                job.checkpoint().await.unwrap();
            }
            assert_eq!(windows.late(), 0, "{place:?}");
            job.cancel().await.unwrap();
        });
    }
}

/// T14: a source that waits for others, which are behind, is not idle, and neither is what is behind it.
#[test]
fn input_that_waits_for_others_in_event_time_is_not_taken_for_idle() {
    for place in PLACES {
        run("a job of which one source waits for another", move |handles| async move {
            let (clock, windows) = (ManualClock::new(), Windows::default());
            let [fast, slow, other] = [(); 3].map(|()| QueueSource::default());
            let env = StreamEnvironment::new("waits").clock(clock.clone());
            let env = env.checkpointing(Checkpointing::every(NEVER).timeout(NEVER));
            let together = WatermarkAlignment::within(Duration::from_millis(10));
            let aligned = || WatermarkStrategy::monotonous(|n: &u64| *n as i64).with_alignment(&together);
            let of_fast = match place {
                Place::AtTheSource => {
                    env.source_with_watermarks("fast", fast.clone(), aligned().with_idleness(IDLE_AFTER))
                }
                Place::ChainedToIt => env
                    .source_with_watermarks("fast", fast.clone(), aligned())
                    .assign_timestamps_and_watermarks("times", strategy()),
                Place::InATaskOfItsOwn => env
                    .source_with_watermarks("fast", fast.clone(), aligned())
                    .rebalance()
                    .assign_timestamps_and_watermarks("times", strategy()),
            };
            env.source_with_watermarks("slow", slow.clone(), aligned()).for_each("nothing", |_| {});
            windows.of(of_fast.union(numbers(&env, "ahead", other.clone(), Place::AtTheSource)));
            let job = env.start().unwrap();
            watched(&handles, &job);
            slow.push([10]);
            other.push([20, 1_000]);
            fast.push([50]);
            // It is ahead by more than the drift, and is not read.
            job.checkpoint().await.unwrap();
            fast.push([60]);
            pass(&clock, 100 * IDLE_AFTER, &job).await;
            assert_eq!((windows.fired(), windows.late()), (0, 0), "{place:?}");
            slow.push([5_000]);
            // Both that it was given are in their window, which event time passes only then.
            fast.push([2_000]);
            while windows.fired() < 3 {
                clock.advance(Duration::from_millis(10));
                job.checkpoint().await.unwrap();
            }
            assert_eq!(windows.late(), 0, "{place:?}");
            job.cancel().await.unwrap();
        });
    }
}

/// A queue whose readers open once the test lets them, but for the first.
#[derive(Clone, Default)]
struct SlowToOpen {
    queue: Arc<Mutex<(Vec<u64>, Option<SourceWaker>)>>,
    opened: Arc<AtomicU64>,
    may_open: Arc<AtomicBool>,
}

struct Opening {
    source: SlowToOpen,
    next: u64,
}

impl SlowToOpen {
    fn push(&self, records: impl IntoIterator<Item = u64>) {
        let mut queue = self.queue.lock().unwrap();
        queue.0.extend(records);
        if let Some(waker) = &queue.1 {
            waker.wake();
        }
    }
}

impl Source for SlowToOpen {
    type Item = u64;

    fn boundedness(&self) -> Boundedness {
        Boundedness::Unbounded
    }

    fn threading(&self) -> millstream::source::Threading {
        millstream::source::Threading::Blocking
    }

    fn open(
        &self,
        cx: &SourceContext,
        restored: Option<Vec<SplitPosition>>,
    ) -> Result<Box<dyn SourceReader<Item = u64>>, SourceError> {
        if self.opened.fetch_add(1, Ordering::SeqCst) > 0 {
            while !self.may_open.load(Ordering::SeqCst) {
                std::thread::yield_now();
            }
        }
        self.queue.lock().unwrap().1 = Some(cx.waker.clone());
        let at = restored.into_iter().flatten().next();
        let next = at.map_or(0, |at| u64::from_le_bytes(at.position.try_into().unwrap()));
        Ok(Box::new(Opening { source: self.clone(), next }))
    }
}

impl SourceReader for Opening {
    type Item = u64;

    fn read(&mut self, batch: &mut Batch<u64>) -> Result<ReadStatus, SourceError> {
        let queue = self.source.queue.lock().unwrap();
        while let Some(record) = if batch.is_full() { None } else { queue.0.get(self.next as usize) } {
            batch.push(*record, 8);
            self.next += 1;
        }
        let is_over = self.next as usize == queue.0.len();
        Ok(if is_over { ReadStatus::Idle { retry_after: None } } else { ReadStatus::More })
    }

    fn report_positions(&mut self, moved: &mut Vec<SplitPosition>) {
        moved.push(SplitPosition::new("queue", self.next.to_le_bytes()));
    }
}

/// T14: operators whose state is loaded wait for sources that take long to open, and do not take that for a silence.
#[test]
fn input_that_is_being_restarted_is_not_taken_for_idle() {
    for place in PLACES {
        run("a job whose source is slow to open", move |handles| async move {
            let (clock, windows) = (ManualClock::new(), Windows::default());
            let [ahead, behind] = [SlowToOpen::default(), SlowToOpen::default()];
            ahead.may_open.store(true, Ordering::SeqCst);
            let panics = Arc::new(AtomicBool::new(false));
            let panic_now = panics.clone();
            let env = StreamEnvironment::new("restarts").clock(clock.clone()).tell_panic_hook(false);
            let env = env.checkpointing(Checkpointing::every(NEVER).timeout(NEVER));
            let of_ahead = numbers(&env, "ahead", ahead.clone(), place);
            let of_behind = numbers(&env, "behind", behind.clone(), place).inspect(move |n| {
                if *n == 55 && !panic_now.swap(true, Ordering::SeqCst) {
                    panic!("injected");
                }
            });
            windows.of(of_ahead.union(of_behind));
            let job = env.start().unwrap();
            watched(&handles, &job);
            let mut events = events_of(&job);
            ahead.push([10, 1_000]);
            behind.push([50]);
            job.checkpoint().await.unwrap();
            behind.push([55]);
            events.until(|kind| matches!(kind, JobEventKind::RegionRestarting { .. })).await;
            while behind.opened.load(Ordering::SeqCst) < 2 {
                tokio::task::yield_now().await;
            }
            for _ in 0..50 {
                clock.advance(IDLE_AFTER);
                others_run().await;
            }
            assert_eq!(windows.fired(), 0, "{place:?}");
            behind.may_open.store(true, Ordering::SeqCst);
            events.until(|kind| matches!(kind, JobEventKind::RegionRunning { .. })).await;
            behind.push([60]);
            job.checkpoint().await.unwrap();
            assert_eq!((windows.fired(), windows.late()), (0, 0), "{place:?}");
            while windows.fired() < 4 {
                clock.advance(Duration::from_millis(500));
                job.checkpoint().await.unwrap();
            }
            assert_eq!(windows.late(), 0);
            job.cancel().await.unwrap();
        });
    }
}
