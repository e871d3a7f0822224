//! What is asked of a job while a region of it does not run: it acts at once, or says why it cannot.
//!
//! Cause of what was mended: a restart delay was waited for by every request, an hour of it if that was the strategy, and a
//! request that the end of the job answered hid why the job had ended.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use millstream::prelude::*;
use millstream::sink::{Batch, PendingCommit, Sink, SinkContext, SinkError, SinkRestore, SinkWriter, Threading};
use millstream::testing::{FaultyStore, Gate, StoreCall, StoreFault};
use millstream::time::ManualClock;
use millstream::{CheckpointError, CheckpointId, JobEventKind, RegionAwaited, RegionId, SavepointError};
use tokio::sync::Notify;

use crate::handed::{Hand, HandedSource};
use crate::listener::{Events, events_of};
use crate::rig::{Fault, in_system, limits};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);
/// Tasks that do not stop are given up after it. Longer than any test that moves the clock on and on by seconds.
const STOP_TIMEOUT: Duration = Duration::from_secs(364 * 86_400);

/// What a job is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    Drain,
    Finish,
    StopWithSavepoint,
    Checkpoint,
    Savepoint,
}

const ENDINGS: [(Call, &str); 3] =
    [(Call::Drain, "Drained"), (Call::Finish, "Finished"), (Call::StopWithSavepoint, "Drained")];
const OTHERS: [Call; 2] = [Call::Checkpoint, Call::Savepoint];

/// The answer, in short.
async fn ask(job: JobHandle, call: Call, path: PathBuf) -> String {
    let kind = |outcome: Result<JobOutcome, JobError>| match outcome {
        Ok(outcome) => format!("{:?}", outcome.kind),
        Err(error) => error.to_string(),
    };
    match call {
        Call::Drain => kind(job.drain().await),
        Call::Finish => kind(job.finish().await),
        Call::StopWithSavepoint => match job.stop_with_savepoint(path).await {
            Ok((outcome, _)) => kind(Ok(outcome)),
            Err(error) => error.to_string(),
        },
        Call::Checkpoint => match job.checkpoint().await {
            Ok(_) => "taken".into(),
            Err(CheckpointError::Restarting(_)) => "restarting".into(),
            Err(error) => error.to_string(),
        },
        Call::Savepoint => match job.savepoint(path).await {
            Ok(_) => "taken".into(),
            Err(SavepointError::Restarting(_)) => "restarting".into(),
            Err(error) => error.to_string(),
        },
    }
}

/// A sink whose first write, if it is to hang, does not return before the test ends.
#[derive(Clone)]
struct HangingSink {
    hangs: Arc<AtomicBool>,
    /// Told when it hangs.
    is_hanging: Arc<Notify>,
    until: Arc<Mutex<mpsc::Receiver<()>>>,
}

impl Sink for HangingSink {
    type Item = u64;

    fn threading(&self) -> Threading {
        Threading::Blocking
    }

    fn open(&self, _: &SinkContext, _: SinkRestore) -> Result<Box<dyn SinkWriter<Item = u64>>, SinkError> {
        Ok(Box::new(self.clone()))
    }
}

impl SinkWriter for HangingSink {
    type Item = u64;

    fn write(&mut self, batch: &mut Batch<u64>) -> Result<(), SinkError> {
        batch.clear();
        if self.hangs.swap(false, Ordering::SeqCst) {
            self.is_hanging.notify_one();
            // Ends with an error when the test is over.
            let _ = self.until.lock().expect("nobody panics with it").recv();
        }
        Ok(())
    }

    fn prepare(&mut self, _: CheckpointId) -> Result<Vec<PendingCommit>, SinkError> {
        Ok(Vec::new())
    }

    fn commit(&mut self, _: CheckpointId) -> Result<(), SinkError> {
        Ok(())
    }
}

/// A job whose operator fails when it is told to, and whose restarts wait.
struct Rig {
    job: JobHandle,
    events: Events,
    clock: ManualClock,
    hand: Hand,
    operator: Fault,
    store: FaultyStore,
    is_hanging: Arc<Notify>,
    _until: mpsc::Sender<()>,
    place: tempfile::TempDir,
}

impl Rig {
    fn start(restarts: RestartStrategy, hangs: bool) -> Self {
        let (clock, hand, operator, place) =
            (ManualClock::new(), Hand::default(), Fault::default(), tempfile::tempdir().expect("a folder"));
        let store = FaultyStore::new(Arc::new(MemoryStore::new()));
        let (until, received) = mpsc::channel();
        let is_hanging = Arc::<Notify>::default();
        let sink = HangingSink {
            hangs: Arc::new(AtomicBool::new(hangs)),
            is_hanging: is_hanging.clone(),
            until: Arc::new(Mutex::new(received)),
        };
        // The arbiters that other tests share stay free: a task that hangs has its own condemned.
        let env = StreamEnvironment::new("asked")
            .own_arbiters(2)
            .clock(clock.clone())
            .snapshot_store(store.clone())
            .checkpointing(Checkpointing::every(365 * DAY))
            .limits(limits(|limits| limits.stop_timeout = STOP_TIMEOUT))
            .restart_strategy(restarts);
        let of_operator = operator.clone();
        let numbers = env.source("numbers", HandedSource(hand.clone())).parallelism(1);
        numbers.inspect(move |_| of_operator.meet("operator")).sink("sink", sink).parallelism(1);
        let job = env.start().expect("the job starts");
        let events = events_of(&job);
        Self { job, events, clock, hand, operator, store, is_hanging, _until: until, place }
    }

    fn asked(&self, call: Call) -> actix_rt::task::JoinHandle<String> {
        actix_rt::spawn(ask(self.job.clone(), call, self.place.path().join("savepoint")))
    }

    /// Has the operator fail at its next record.
    async fn fail(&mut self, allowed: u64) {
        self.operator.arm(1);
        self.hand.allow(allowed);
        self.events.until(|kind| matches!(kind, JobEventKind::RegionRestarting { .. })).await;
    }

    /// Lets the time pass in which tasks are to stop.
    async fn until_the_hanging_task_is_given_up(&self) {
        let is_given_up = |kind: &JobEventKind| {
            matches!(kind, JobEventKind::ArbiterCondemned { .. } | JobEventKind::SubtaskLeftBehind { .. })
        };
        while !self.job.history().iter().any(|event| is_given_up(&event.kind)) {
            self.clock.advance(DAY);
            actix_rt::task::yield_now().await;
        }
    }

    async fn until_end_awaits(&mut self, awaited: RegionAwaited) {
        let is_it =
            |kind: &JobEventKind| matches!(kind, JobEventKind::EndAwaitsRegion { awaits, .. } if *awaits == awaited);
        self.events.until(is_it).await;
    }
}

/// Longer than a test goes on by days once the tasks have stopped.
fn for_ever() -> RestartStrategy {
    RestartStrategy::fixed_delay(5, 365 * DAY)
}

fn delay_of(kind: &JobEventKind) -> Option<Duration> {
    match kind {
        JobEventKind::RegionRestarting { delay, .. } => Some(*delay),
        _ => None,
    }
}

fn an_hour() -> RestartStrategy {
    RestartStrategy::fixed_delay(5, HOUR)
}

/// In its restart delay.
async fn in_delay() -> Rig {
    let mut rig = Rig::start(an_hour(), false);
    rig.hand.allow(100);
    rig.hand.read(100).await;
    rig.fail(200).await;
    let refused = rig.job.checkpoint().await.expect_err("it waits for its restart");
    let CheckpointError::Restarting(restarting) = &refused else { panic!("{refused}") };
    assert_eq!((restarting.region, restarting.next_attempt_in), (RegionId(0), HOUR));
    assert!(
        refused.to_string().contains("3600.0 s") && refused.to_string().contains("injected: operator"),
        "{refused}"
    );
    rig
}

// Guarantee G4.
#[test]
fn end_that_is_asked_for_in_a_restart_delay_cuts_it_short() {
    for (call, kind) in ENDINGS {
        in_system(async {
            let mut rig = in_delay().await;
            let asked = rig.asked(call);
            rig.until_end_awaits(RegionAwaited::Restarts).await;
            assert_eq!(asked.await.expect("it was not cancelled"), kind, "{call:?}");
        });
    }
}

#[test]
fn checkpoint_that_is_asked_for_in_a_restart_delay_is_refused_and_taken_after_it() {
    for call in OTHERS {
        in_system(async {
            let rig = in_delay().await;
            assert_eq!(rig.asked(call).await.expect("it was not cancelled"), "restarting", "{call:?}");
            rig.clock.advance(HOUR);
            while rig.asked(call).await.expect("it was not cancelled") == "restarting" {}
            rig.job.cancel().await.expect("it runs");
        });
    }
}

#[test]
fn request_that_waits_is_refused_when_a_restart_delay_begins() {
    in_system(async {
        let mut rig = Rig::start(for_ever(), true);
        rig.hand.allow(1);
        rig.is_hanging.notified().await;
        // The first one is in flight, behind a write that does not return.
        let (first, second) = (rig.asked(Call::Checkpoint), rig.asked(Call::Savepoint));
        rig.events.until(|kind| matches!(kind, JobEventKind::CheckpointTriggered { .. })).await;
        rig.fail(2).await;
        assert_eq!(first.await.expect("it was not cancelled"), "the checkpoint was aborted: region 0 failed");
        rig.until_the_hanging_task_is_given_up().await;
        assert_eq!(second.await.expect("it was not cancelled"), "restarting");
    });
}

#[test]
fn request_while_state_is_loaded_is_answered_once_it_is() {
    let others = OTHERS.map(|call| (call, "taken"));
    for (call, answer) in ENDINGS.into_iter().chain(others) {
        in_system(async {
            let mut rig = Rig::start(RestartStrategy::fixed_delay(5, Duration::ZERO), false);
            rig.hand.allow(100);
            rig.hand.read(100).await;
            rig.job.checkpoint().await.expect("nothing fails");
            let gate = Gate::new();
            rig.store.inject_next(StoreCall::ReadChunk, StoreFault::Hold(gate.clone()));
            rig.fail(200).await;
            let arrives = gate.clone();
            actix_rt::task::spawn_blocking(move || arrives.wait_for_arrival()).await.expect("it was not cancelled");
            let asked = rig.asked(call);
            if !OTHERS.contains(&call) {
                rig.until_end_awaits(RegionAwaited::Restores).await;
            }
            gate.open();
            assert_eq!(asked.await.expect("it was not cancelled"), answer, "{call:?}");
        });
    }
}

#[test]
fn request_while_a_task_does_not_stop_is_answered_once_its_arbiter_is_given_up() {
    let others = OTHERS.map(|call| (call, "restarting"));
    for (call, answer) in ENDINGS.into_iter().chain(others) {
        in_system(async {
            let mut rig = Rig::start(for_ever(), true);
            rig.hand.allow(1);
            rig.is_hanging.notified().await;
            rig.fail(2).await;
            let asked = rig.asked(call);
            if !OTHERS.contains(&call) {
                rig.until_end_awaits(RegionAwaited::Stops).await;
            }
            rig.until_the_hanging_task_is_given_up().await;
            assert_eq!(asked.await.expect("it was not cancelled"), answer, "{call:?}");
        });
    }
}

#[test]
fn job_that_is_to_end_and_fails_again_restarts_soon_and_gives_up_with_its_cause() {
    for (call, _) in ENDINGS {
        in_system(async {
            let mut rig = in_delay().await;
            rig.operator.arm(1_000);
            let asked = rig.asked(call);
            // Were time to pass before it is heard, the delay would be over by itself.
            rig.until_end_awaits(RegionAwaited::Restarts).await;
            while !asked.is_finished() {
                rig.clock.advance(HOUR);
                actix_rt::task::yield_now().await;
            }
            let delays: Vec<_> = rig.job.history().iter().filter_map(|event| delay_of(&event.kind)).collect();
            assert_eq!(delays, [HOUR, SECOND, SECOND, SECOND, SECOND], "{call:?}");
            let answer = asked.await.expect("it was not cancelled");
            assert!(answer.contains("gave up") && answer.contains("injected: operator"), "{call:?}: {answer}");
        });
    }
}

/// What a request was waiting for is lost with the job: the answer says why.
#[test]
fn savepoint_of_a_job_that_fails_carries_the_cause() {
    for call in [Call::StopWithSavepoint, Call::Savepoint] {
        in_system(async {
            let rig = Rig::start(RestartStrategy::none(), true);
            rig.hand.allow(1);
            rig.is_hanging.notified().await;
            let asked = rig.asked(call);
            rig.operator.arm(1);
            rig.hand.allow(2);
            // Time that passes before the region has heard of it would be up for checkpoints.
            let is_failure = |kind: &JobEventKind| matches!(kind, JobEventKind::SubtaskFailed { .. });
            while !rig.job.history().iter().any(|event| is_failure(&event.kind)) {
                actix_rt::task::yield_now().await;
            }
            while !asked.is_finished() {
                rig.clock.advance(DAY);
                actix_rt::task::yield_now().await;
            }
            let answer = asked.await.expect("it was not cancelled");
            assert!(answer.contains("the job failed before it was written"), "{call:?}: {answer}");
            assert!(answer.contains("injected: operator"), "{call:?}: {answer}");
        });
    }
}

#[test]
fn checkpoint_that_a_cancellation_cuts_off_is_not_said_to_be_of_a_failed_region() {
    in_system(async {
        let mut rig = Rig::start(an_hour(), true);
        rig.hand.allow(1);
        rig.is_hanging.notified().await;
        let asked = rig.asked(Call::Checkpoint);
        rig.events.until(|kind| matches!(kind, JobEventKind::CheckpointTriggered { .. })).await;
        let cancelled = rig.job.cancel();
        assert_eq!(asked.await.expect("it was not cancelled"), "the checkpoint was aborted: region 0 was stopped");
        rig.until_the_hanging_task_is_given_up().await;
        assert_eq!(cancelled.await.expect("it ends").kind, OutcomeKind::Cancelled);
        let lines = rig.job.history().into_iter().map(|event| event.kind.to_string());
        assert_eq!(lines.filter(|line| line.contains("failed")).count(), 0);
    });
}
