//! Timers of the runtime that panic when they are polled.

use std::time::Duration;

use millstream::prelude::*;
use millstream::time::SystemClock;
use millstream::{ActorName, Clock, RegionId};

use crate::gated::PAUSE;
use crate::rig::{Ended, Fault, Rig, environment, in_system, limits};

const COMMIT_RETRY: Duration = Duration::from_nanos(1_000_011);
const RESTART: Duration = Duration::from_nanos(1_000_013);
const WATCHDOG: Duration = Duration::from_nanos(1_000_017);
const STOP: Duration = Duration::from_secs(77);

/// The system's clock, but one kind of its timers panics when it is polled.
struct FaultyClock {
    inner: SystemClock,
    fault: Fault,
    of: fn(Duration) -> bool,
}

impl Clock for FaultyClock {
    fn now(&self) -> Duration {
        self.inner.now()
    }

    fn unix_ms(&self) -> u64 {
        self.inner.unix_ms()
    }

    fn sleep(&self, delay: Duration) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
        let sleep = self.inner.sleep(delay);
        if !(self.of)(delay) {
            return sleep;
        }
        let fault = self.fault.clone();
        Box::pin(async move {
            fault.meet("timer");
            sleep.await;
        })
    }
}

/// Runs the job while timers of one kind panic `times` times.
fn run(of: fn(Duration) -> bool, times: u32, prepare: impl FnOnce(&Rig)) -> Ended {
    in_system(async {
        let fault = Fault::default();
        fault.arm(times);
        let clock = FaultyClock { inner: SystemClock::new(), fault: fault.clone(), of };
        let rig = Rig { pauses: true, ..Rig::default() };
        prepare(&rig);
        let limits = limits(|limits| {
            limits.commit_retry_delay = COMMIT_RETRY;
            limits.stuck_after = WATCHDOG;
            limits.stop_timeout = STOP;
            // All of it is looked at, however many checkpoints there are.
            limits.history_len = 100_000;
        });
        let env = environment("timers")
            .clock(clock)
            .limits(limits)
            .checkpointing(Checkpointing::every(Duration::from_millis(2)))
            .restart_strategy(RestartStrategy::fixed_delay(5, RESTART));
        let running = rig.start(env);
        running.checkpoint_at_gate().await;
        let ended = running.finish_exactly().await;
        assert!(fault.is_spent());
        ended
    })
}

#[test]
fn panic_of_an_idle_source_s_timer_is_survived() {
    let ended = run(|delay| delay == PAUSE, 1, |_| {});
    assert_eq!(ended.panics(), ["injected: timer"]);
    assert_eq!(ended.outcome.restarts, 1);
}

#[test]
fn panic_of_a_commit_s_retry_timer_is_survived() {
    let ended = run(|delay| delay == COMMIT_RETRY, 1, |rig| rig.faults.sink_commit_fails.arm(1));
    assert_eq!(ended.panics(), ["injected: timer"]);
    assert_eq!(ended.outcome.restarts, 1);
}

#[test]
fn panic_of_the_checkpoint_timer_restarts_the_coordinator_alone() {
    let interval = |delay| ![PAUSE, COMMIT_RETRY, RESTART, WATCHDOG, STOP].contains(&delay);
    let ended = run(interval, 2, |_| {});
    assert_eq!(ended.restarted_actors(), [&ActorName::Coordinator; 2]);
    assert_eq!(ended.outcome.restarts, 0);
}

#[test]
fn panic_of_the_restart_timer_restarts_the_region_s_supervisor_too() {
    let ended = run(|delay| delay == RESTART, 1, |rig| rig.faults.operator.arm(1));
    assert_eq!(ended.panics(), ["injected: operator"]);
    assert_eq!(ended.restarted_actors(), [&ActorName::RegionSupervisor(RegionId(0))]);
}

#[test]
fn panic_of_the_watchdog_s_timer_is_survived() {
    let ended = run(|delay| delay == WATCHDOG, 1, |_| {});
    assert_eq!(ended.restarted_actors(), [&ActorName::RegionSupervisor(RegionId(0))]);
}
