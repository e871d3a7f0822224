//! Functions that do not return: whom they hold up, who is restarted for them, and what becomes of their threads.

use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use millstream::prelude::*;
use millstream::sink::Collected;
use millstream::source::{
    Batch, Boundedness, ReadStatus, Source, SourceContext, SourceError, SourceReader, SplitPosition, Threading,
};
use millstream::time::ManualClock;
use millstream::{GraphError, JobEventKind, Limits};
use tokio::sync::watch;

/// Threads, and the arbiters that jobs share, are those of the whole process: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

const STUCK_AFTER: Duration = Duration::from_secs(10);
/// Longer than a test lets its clock run.
const NEVER: Duration = Duration::from_secs(365 * 86_400);

/// Holds the threads that call it until it is opened. Clones are one.
#[derive(Clone)]
struct Hold {
    held: watch::Sender<u32>,
    left: Arc<AtomicU64>,
    is_open: Arc<(Mutex<bool>, Condvar)>,
}

impl Hold {
    /// Holds so many calls.
    fn new(calls: u64) -> Self {
        Self { held: watch::Sender::new(0), left: Arc::new(AtomicU64::new(calls)), is_open: Arc::default() }
    }

    fn call(&self) {
        if self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_err() {
            return;
        }
        self.held.send_modify(|held| *held += 1);
        let (is_open, changed) = &*self.is_open;
        let mut open = is_open.lock().expect("no panic under it");
        while !*open {
            open = changed.wait(open).expect("no panic under it");
        }
    }

    async fn until_held(&self, calls: u32) {
        self.held.subscribe().wait_for(|held| *held >= calls).await.expect("the sender is here");
    }

    fn open(&self) {
        *self.is_open.0.lock().expect("no panic under it") = true;
        self.is_open.1.notify_all();
    }
}

impl Drop for Hold {
    /// A test that fails must not keep the threads.
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.open();
        }
    }
}

fn cores() -> u32 {
    std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32)
}

fn alone<T>(test: impl Future<Output = T>) -> T {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(test)
}

/// A job with a subtask on each of the shared arbiters; `visit` is called with each number.
fn job_everywhere(name: &str, visit: impl Fn(u64) + Clone + Send + 'static) -> (StreamEnvironment, Collected<u64>) {
    let sink = CollectSink::new();
    let collected = sink.handle();
    let env = StreamEnvironment::new(name)
        .parallelism(cores())
        .snapshot_store(MemoryStore::new())
        .checkpointing(Checkpointing::disabled());
    env.source("numbers", SequenceSource::new(0..10_000)).inspect(move |n| visit(*n)).sink("all", sink);
    (env, collected)
}

fn assert_whole(collected: &Collected<u64>) {
    let mut numbers = collected.snapshot();
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(0..10_000));
}

fn stuck_limits(replace_stuck: bool) -> Limits {
    let mut limits = Limits::default();
    (limits.stuck_after, limits.stop_timeout, limits.replace_stuck) = (STUCK_AFTER, NEVER, replace_stuck);
    limits
}

// Guarantee G5.
#[test]
fn job_with_arbiters_of_its_own_is_not_held_up_by_another_that_holds_the_shared_ones() {
    alone(async {
        let hold = Hold::new(cores().into());
        let (env, held) = job_everywhere("holds", {
            let hold = hold.clone();
            move |_| hold.call()
        });
        let holding = env.start().expect("the job starts");
        hold.until_held(cores()).await;
        let (env, collected) = job_everywhere("alone", |_| {});
        let outcome = env.own_arbiters(1).start().expect("the job starts").await.expect("it ends meanwhile");
        assert_eq!((outcome.kind, outcome.restarts), (OutcomeKind::Finished, 0));
        assert_whole(&collected);
        hold.open();
        holding.await.expect("it ends, too");
        assert_whole(&held);
    });
}

#[test]
fn operator_with_arbiters_of_its_own_holds_up_no_other_job() {
    alone(async {
        let (hold, sink) = (Hold::new(cores().into()), CollectSink::new());
        let (held, holds) = (sink.handle(), hold.clone());
        let env = StreamEnvironment::new("holds").parallelism(cores()).checkpointing(Checkpointing::disabled());
        env.source("numbers", SequenceSource::new(0..10_000))
            .inspect(move |_| holds.call())
            .own_arbiters()
            .map(|n| n)
            .sink("all", sink);
        let holding = env.start().expect("the job starts");
        hold.until_held(cores()).await;
        let (env, collected) = job_everywhere("shares", |_| {});
        env.start().expect("the job starts").await.expect("it ends meanwhile");
        assert_whole(&collected);
        hold.open();
        holding.await.expect("it ends, too");
        assert_whole(&held);
    });
}

#[test]
fn number_of_own_arbiters_that_cannot_be_is_a_mistake() {
    for arbiters in [0, 1_025] {
        let errors = job_everywhere("none", |_| {}).0.own_arbiters(arbiters).explain().expect_err("a mistake").0;
        assert!(matches!(errors[..], [GraphError::OwnArbiters { arbiters: found, .. }] if found == arbiters));
    }
}

/// Lets the job's watchdog look until it has found somebody stuck.
async fn until_stuck(clock: &ManualClock, events: &mut JobEvents) {
    loop {
        clock.advance(STUCK_AFTER);
        let look = tokio::time::timeout(Duration::from_millis(200), async {
            while !matches!(events.next().await.expect("the job runs").kind, JobEventKind::SubtaskStuck { .. }) {}
        });
        if look.await.is_ok() {
            return;
        }
    }
}

// Guarantee G5. A job without one restart to spend gave up when the arbiter was condemned on which it happened to be.
#[test]
fn job_on_an_arbiter_that_is_condemned_for_another_moves_without_a_failure_and_the_rest_does_not_notice() {
    alone(async {
        let (hold, clock) = (Hold::new(1), ManualClock::new());
        let holds = hold.clone();
        let (env, stuck) = job_everywhere("stuck", move |n| {
            if n == 0 {
                holds.call()
            }
        });
        let env = env.clock(clock.clone()).limits(stuck_limits(true));
        let env = env.restart_strategy(RestartStrategy::fixed_delay(1, Duration::ZERO));
        let mut events = env.events(1_000);
        let stuck_job = env.start().expect("the job starts");
        hold.until_held(1).await;

        let unbounded = || SequenceSource::unbounded().rate_per_second(1_000);
        let start = |name: &str| {
            let env = StreamEnvironment::new(name).parallelism(cores()).restart_strategy(RestartStrategy::none());
            env.source("numbers", unbounded()).sink("all", CollectSink::new());
            env
        };
        let beside = start("beside").start().expect("the job starts");
        let apart = start("apart").own_arbiters(cores()).start().expect("the job starts");
        apart.checkpoint().await.expect("it runs");

        until_stuck(&clock, &mut events).await;
        let outcome = stuck_job.await.expect("it ends while the old call still holds its thread");
        assert_eq!((outcome.kind, outcome.restarts), (OutcomeKind::Finished, 1));
        assert_whole(&stuck);
        beside.checkpoint().await.expect("it runs again");
        let moved = |event: &JobEvent| matches!(event.kind, JobEventKind::RegionMoving { subtasks: 1.., .. });
        assert_eq!(beside.history().iter().filter(|event| moved(event)).count(), 1);
        assert_eq!(beside.cancel().await.expect("it has not failed").restarts, 1);
        assert_eq!(apart.cancel().await.expect("nor has this one").restarts, 0);
        hold.open();
    });
}

/// Reads on a thread of its own, and does not come back from its first read.
struct HeldSource(Hold);

impl Source for HeldSource {
    type Item = u64;

    fn threading(&self) -> Threading {
        Threading::Blocking
    }

    fn boundedness(&self) -> Boundedness {
        Boundedness::Unbounded
    }

    fn open(
        &self,
        _: &SourceContext,
        _: Option<Vec<SplitPosition>>,
    ) -> Result<Box<dyn SourceReader<Item = u64>>, SourceError> {
        Ok(Box::new(HeldReader(self.0.clone())))
    }
}

struct HeldReader(Hold);

impl SourceReader for HeldReader {
    type Item = u64;

    fn read(&mut self, _: &mut Batch<u64>) -> Result<ReadStatus, SourceError> {
        self.0.call();
        Ok(ReadStatus::Idle { retry_after: None })
    }

    fn report_positions(&mut self, _: &mut Vec<SplitPosition>) {}
}

// Guarantee G5. The arbiter was condemned, with the tasks of other jobs on it, although it ran: the call has a thread of its own.
#[test]
fn connector_that_does_not_return_is_left_behind_and_no_arbiter_is_condemned_for_it() {
    alone(async {
        let (hold, clock) = (Hold::new(1), ManualClock::new());
        let env = StreamEnvironment::new("beside").parallelism(cores()).restart_strategy(RestartStrategy::none());
        env.source("numbers", SequenceSource::unbounded().rate_per_second(1_000)).sink("all", CollectSink::new());
        let beside = env.start().expect("the job starts");
        let mut limits = stuck_limits(false);
        limits.stop_timeout = STUCK_AFTER;
        let env = StreamEnvironment::new("held").clock(clock.clone()).limits(limits);
        env.source("nothing", HeldSource(hold.clone())).sink("none", CollectSink::new());
        let job = env.start().expect("the job starts");
        hold.until_held(1).await;
        let ended = job.cancel();
        // The watchdog, the coordinator's interval, and the time to stop.
        while clock.sleepers() < 2 {
            tokio::task::yield_now().await;
        }
        for _ in 0..2 {
            beside.checkpoint().await.expect("every arbiter has run since");
        }
        let ended = async {
            let ended = tokio::spawn(ended);
            while !ended.is_finished() {
                clock.advance(STUCK_AFTER);
                tokio::task::yield_now().await;
            }
            ended.await
        };
        assert_eq!(ended.await.expect("no panic").expect("cancelled").kind, OutcomeKind::Cancelled);
        let told: Vec<JobEventKind> = job.history().into_iter().map(|event| event.kind).collect();
        assert!(told.iter().any(|kind| matches!(kind, JobEventKind::SubtaskLeftBehind { .. })), "{told:?}");
        assert!(!told.iter().any(|kind| matches!(kind, JobEventKind::ArbiterCondemned { .. })), "{told:?}");
        assert_eq!(beside.cancel().await.expect("it has not noticed").restarts, 0);
        hold.open();
    });
}

/// Beginnings of the names of threads that come and go whatever a job does: those for calls of stores, and those that run the tests
/// of this file.
#[cfg(target_os = "linux")]
const NOT_COUNTED: [&str; 7] =
    ["store-", "job_with_", "operator_with_", "number_of_", "job_on_an_", "connector_that_", "each_lost_"];

/// Names of the process's threads, cut to 15 bytes, without those that are not counted.
#[cfg(target_os = "linux")]
fn threads() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").expect("the list of threads");
    // A thread may end between the two looks.
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|name| !NOT_COUNTED.iter().any(|prefix| name.starts_with(prefix))).collect()
}

/// Waits until there are no more threads than that: what ends takes a moment.
#[cfg(target_os = "linux")]
async fn until_threads_are_at_most(limit: usize) {
    let falls = async {
        while threads().len() > limit {
            tokio::time::timeout(Duration::from_millis(10), std::future::pending::<()>()).await.expect_err("a moment");
        }
    };
    if tokio::time::timeout(Duration::from_secs(20), falls).await.is_err() {
        panic!("{} threads, not {limit}: {:?}", threads().len(), threads());
    }
}

// Guarantee G5. With each condemned arbiter the threads of all its connectors stayed, too, and waited for a task that did not run.
#[cfg(target_os = "linux")]
#[test]
fn each_lost_call_costs_one_thread_until_it_returns() {
    const LOST: u32 = 8;
    alone(async {
        let before = threads().len();
        let dir = tempfile::tempdir().expect("a directory");
        let mut input = std::fs::File::create(dir.path().join("in.txt")).expect("a file");
        (0..1_000).for_each(|n| writeln!(input, "{n}").expect("written"));
        let (hold, clock) = (Hold::new(LOST.into()), ManualClock::new());
        let holds = hold.clone();
        let env = StreamEnvironment::new("lost")
            .clock(clock.clone())
            .limits(stuck_limits(true))
            .checkpointing(Checkpointing::disabled())
            .restart_strategy(RestartStrategy::fixed_delay(LOST, Duration::ZERO));
        let numbers = env.source("numbers", FileSource::lines(dir.path().join("in.txt").display().to_string()));
        let held = numbers.inspect(move |line: &String| {
            if line == "500" {
                holds.call()
            }
        });
        held.sink("out", FileSink::json_lines(dir.path().join("out")));
        let mut events = env.events(10_000);
        let job = env.start().expect("the job starts");

        hold.until_held(1).await;
        let running = threads().len();
        for lost in 1..=LOST {
            hold.until_held(lost).await;
            until_threads_are_at_most(running + lost as usize - 1).await;
            until_stuck(&clock, &mut events).await;
        }
        assert_eq!(job.await.expect("it ends").restarts, u64::from(LOST));
        // What the job itself had has gone with it.
        until_threads_are_at_most(before + LOST as usize + 1).await;
        hold.open();
        until_threads_are_at_most(before + 1).await;
    });
}
