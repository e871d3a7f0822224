//! The interval that measurements advise, and the one that follows a recovery objective. What a checkpoint costs is
//! measured, so the tests compare with what the job's status gives as the cost.

use std::time::Duration;

use millstream::prelude::*;
use millstream::time::ManualClock;
use millstream::{
    ActorName, Attempt, CheckpointId, Clock, JobEventKind, JobState, RecoveryPart, RegionId, Step, TriggerReason,
};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::control::PanicAt;
use crate::handed::{Hand, HandedSource};
use crate::listener::listen;
use crate::rig::{Fault, Rig, Running, environment, in_system, limits};

/// Unlike any other delay: of a checkpoint in flight.
const TIMEOUT: Duration = Duration::from_secs(7 * 86_400 + 1);
/// Nothing else waits for so long.
const TELLS_EVERY: Duration = Duration::from_millis(10_007);
const HOUR: Duration = Duration::from_secs(3_600);

/// A manual clock that tells of each delay for which it is asked.
struct ToldClock {
    inner: ManualClock,
    delays: UnboundedSender<Duration>,
}

impl Clock for ToldClock {
    fn now(&self) -> Duration {
        self.inner.now()
    }

    fn unix_ms(&self) -> u64 {
        self.inner.unix_ms()
    }

    fn sleep(&self, delay: Duration) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
        let sleep = self.inner.sleep(delay);
        // A test that has seen enough has hung up.
        let _ = self.delays.send(delay);
        sleep
    }
}

/// A job that has taken one checkpoint, and whose source is at its gate.
struct AtGate {
    running: Running,
    clock: ManualClock,
    delays: UnboundedReceiver<Duration>,
    operator: Fault,
}

impl AtGate {
    async fn start(
        name: &str,
        checkpointing: Checkpointing,
        env: impl FnOnce(StreamEnvironment) -> StreamEnvironment,
    ) -> Self {
        let clock = ManualClock::new();
        let (sender, delays) = unbounded_channel();
        let told = ToldClock { inner: clock.clone(), delays: sender };
        let rig = Rig::default();
        let operator = rig.faults.operator.clone();
        let limits = limits(|limits| limits.checkpoint_progress_every = TELLS_EVERY);
        let environment = environment(name).clock(told).limits(limits).checkpointing(checkpointing.timeout(TIMEOUT));
        let running = rig.start(env(environment));
        running.checkpoint_at_gate().await;
        Self { running, clock, delays, operator }
    }

    /// Resolves once the coordinator waits this long for its next checkpoint, after the one that was taken.
    async fn waits_for(&mut self, delay: Duration) {
        // While a checkpoint is under way the coordinator wakes first to say how far it is.
        for expected in [TELLS_EVERY, delay] {
            while self.delays.recv().await.expect("the job's clock is here") != expected {}
        }
    }

    /// Lets this much time pass, and waits for a periodic checkpoint.
    async fn triggers_after(&mut self, delay: Duration) {
        let mut events = listen(&self.running.job);
        self.waits_for(delay).await;
        self.clock.advance(delay);
        let is_periodic =
            |kind| matches!(kind, JobEventKind::CheckpointTriggered { reason: TriggerReason::Periodic, .. });
        while !is_periodic(events.recv().await.expect("the job runs").kind) {}
    }

    fn count(&self, is: impl Fn(&JobEventKind) -> bool) -> usize {
        self.running.job.history().iter().filter(|event| is(&event.kind)).count()
    }
}

#[test]
fn status_tells_of_checkpoint_interval_advice_and_restore_and_nothing_else_changes() {
    in_system(async {
        let mut at_gate = AtGate::start("told", Checkpointing::every(HOUR), |env| env).await;
        let status = at_gate.running.job.status();
        let newest = status.checkpoint.expect("one is complete");
        assert_eq!((newest.checkpoint, newest.took, newest.age), (CheckpointId(1), Duration::ZERO, Duration::ZERO));
        assert!(newest.state_bytes > 0 && newest.written_bytes == newest.state_bytes, "{newest:?}");
        let advice = status.advice.expect("its cost is known");
        assert!(!advice.cost.is_zero(), "{advice:?}");
        assert_eq!((advice.failures, advice.failure_spacing), (0, 24 * HOUR));
        assert!(advice.interval < HOUR, "{advice:?}");
        assert_eq!((status.interval, status.restore), (Some(HOUR), None));
        assert!(status.recovery.expect("its interval is known").reprocessing >= HOUR);

        at_gate.triggers_after(HOUR).await;
        let advised = |kind: &JobEventKind| matches!(kind, JobEventKind::IntervalAdvised { interval: Some(HOUR), .. });
        assert!(at_gate.count(advised) > 0);

        let job = at_gate.running.job.clone();
        job.checkpoint().await.expect("after the periodic one");
        at_gate.clock.advance(Duration::from_secs(5));
        assert_eq!(job.status().checkpoint.expect("is kept").age, Duration::from_secs(5));
        at_gate.operator.arm(1);
        at_gate.running.finish_exactly().await;

        let after = job.status();
        assert_eq!((after.state, after.interval), (JobState::Ended, Some(HOUR)));
        let restore = after.restore.expect("there was a restart");
        assert_eq!((restore.region, restore.attempt, restore.checkpoint), (RegionId(0), Attempt(2), CheckpointId(3)));
        assert_eq!(restore.downtime, Some(Duration::ZERO), "the clock stood still");
        assert!(restore.bytes > 0 && restore.rewinds > Some(0), "{restore:?}");
        let advice = after.advice.expect("is kept");
        assert_eq!((advice.failures, advice.failure_spacing), (1, HOUR + Duration::from_secs(5)));
        assert_eq!(after.checkpoint.map(|newest| newest.checkpoint), after.newest_checkpoint);
    });
}

#[test]
fn interval_follows_the_advice_within_its_bounds() {
    let start = Checkpointing::every(Duration::from_secs(10)).recover_within(300 * 24 * HOUR);
    let widest = start.clone().interval_min(Duration::from_nanos(1)).interval_max(365 * 24 * HOUR);
    let longer = start.clone().interval_min(100 * HOUR).interval_max(200 * HOUR);
    let shorter = start.interval_min(Duration::from_nanos(1)).interval_max(Duration::from_micros(10));
    for (name, checkpointing, bound) in [
        ("advised", widest, None),
        ("longer", longer, Some(100 * HOUR)),
        ("shorter", shorter, Some(Duration::from_micros(10))),
    ] {
        in_system(async {
            let mut at_gate = AtGate::start(name, checkpointing, |env| env).await;
            let status = at_gate.running.job.status();
            let advised = status.advice.expect("a checkpoint is complete").interval;
            assert_eq!(status.interval, Some(bound.unwrap_or(advised)), "{name}: {advised:?}");
            at_gate.triggers_after(bound.unwrap_or(advised)).await;
            let missed = |kind: &JobEventKind| matches!(kind, JobEventKind::RecoveryObjectiveMissed { .. });
            assert_eq!(at_gate.count(missed), 0, "{name}");
            at_gate.running.finish_exactly().await;
        });
    }
}

#[test]
fn objective_makes_the_interval_shorter_than_advised() {
    let objective = Duration::from_millis(150);
    let checkpointing = Checkpointing::every(HOUR).recover_within(objective).interval_min(Duration::from_millis(1));
    in_system(async {
        let mut at_gate = AtGate::start("objective", checkpointing, |env| env).await;
        let status = at_gate.running.job.status();
        let (advice, recovery) = (status.advice.expect("is known"), status.recovery.expect("is known"));
        let interval = status.interval.expect("checkpoints are periodic");
        // 100 ms are assumed for the restart; some kilobytes of state take no millisecond.
        assert!(interval > Duration::from_millis(49) && interval < Duration::from_millis(50), "{interval:?}");
        assert!(interval < advice.interval, "{advice:?}");
        assert_eq!(recovery.total(), objective);
        at_gate.triggers_after(interval).await;
        at_gate.running.finish_exactly().await;
    });
}

#[test]
fn objective_out_of_reach_is_told_once_also_by_a_coordinator_that_was_restarted() {
    let (objective, shortest) = (Duration::from_millis(150), Duration::from_secs(1));
    let checkpointing = Checkpointing::every(HOUR).recover_within(objective).interval_min(shortest);
    in_system(async {
        let fault = Fault::default();
        let probe = PanicAt { step: Step::CompletionSent, fault: fault.clone() };
        let at_gate = AtGate::start("missed", checkpointing, |env| env.probe(probe)).await;
        let job = at_gate.running.job.clone();
        assert_eq!(job.status().interval, Some(shortest));
        let told = |kind: &JobEventKind| match kind {
            JobEventKind::RecoveryObjectiveMissed { objective: told, expected, interval, .. } => {
                assert_eq!((*told, *interval), (objective, Some(shortest)));
                assert_eq!(expected.longest(), RecoveryPart::Reprocessing);
                assert!(kind.to_string().contains("most of it for reprocessing"), "{kind}");
                true
            }
            _ => false,
        };
        assert_eq!(at_gate.count(told), 1);
        fault.arm(1);
        while !fault.is_spent() {
            // One that is interrupted is asked for again.
            let _ = job.checkpoint().await;
        }
        job.checkpoint().await.expect("the coordinator is back");
        let restarted =
            |kind: &JobEventKind| matches!(kind, JobEventKind::ActorRestarted { actor: ActorName::Coordinator, .. });
        assert_eq!((at_gate.count(restarted), at_gate.count(told)), (1, 1));
        let status = job.status();
        assert_eq!((status.interval, status.advice.map(|advice| advice.failures)), (Some(shortest), Some(0)));
        at_gate.running.finish_exactly().await;
    });
}

/// 1,000 records of 10 s are lost, and read again in 2 s.
#[test]
fn speed_at_which_lost_work_is_done_again_is_measured() {
    in_system(async {
        let (clock, hand, fault) = (ManualClock::new(), Hand::default(), Fault::default());
        let env = environment("again").parallelism(1).clock(clock.clone());
        // The interval that is advised has passed when the task fails: without the pause a checkpoint might save its work.
        let pause = Duration::from_secs(20);
        let checkpointing = Checkpointing::every(HOUR).recover_within(Duration::from_secs(60)).min_pause(pause);
        let env = env.checkpointing(checkpointing);
        let of_map = fault.clone();
        let numbers = env.source("numbers", HandedSource(hand.clone()));
        numbers.inspect(move |_| of_map.meet("inspect")).sink("sink", CollectSink::new());
        let job = env.start().expect("the job starts");
        hand.allow(100);
        hand.read(100).await;
        job.checkpoint().await.expect("nothing fails");
        let interval = job.status().interval.expect("checkpoints are periodic");

        hand.allow(1_099);
        hand.read(1_099).await;
        clock.advance(Duration::from_secs(10));
        let mut events = listen(&job);
        fault.arm(1);
        hand.allow(1_100);
        let is_back = |kind| matches!(kind, JobEventKind::RegionRunning { attempt: Attempt(2), .. });
        while !is_back(events.recv().await.expect("the job runs").kind) {}
        assert_eq!(job.status().recovery.expect("is known").catch_up_percent, 100, "not measured yet");
        hand.read(1_100).await;
        clock.advance(Duration::from_secs(2));
        job.checkpoint().await.expect("nothing fails");

        let status = job.status();
        // The source may fall before it has counted the record that was the undoing of another task.
        let rewinds = status.restore.expect("there was a restart").rewinds;
        assert!((Some(999)..=Some(1_000)).contains(&rewinds), "{rewinds:?}");
        assert_eq!(status.recovery.expect("is known").catch_up_percent, 500);
        let advised = status.advice.expect("is known").interval;
        assert_eq!(status.interval, Some(advised.max(Duration::from_millis(100))), "a minute is plenty");
        assert_ne!(status.interval, Some(interval), "a failure after 10 s instead of none in a day");
        job.cancel().await.expect("it ends");
    });
}
