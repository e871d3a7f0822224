//! A task in an endless loop: reported, and replaced where the user wants it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use millstream::prelude::*;
use millstream::time::ManualClock;
use millstream::{ActorName, Attempt, Clock, JobEventKind};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;

use crate::listener::listen;
use crate::rig::{in_system, limits};

/// Nothing else in a job waits for so long: who sleeps that is the watchdog.
const STUCK_AFTER: Duration = Duration::from_millis(10_007);

/// A manual clock that counts how often the watchdog has begun to wait for its next look.
#[derive(Clone)]
struct WatchedClock {
    clock: ManualClock,
    waits: watch::Sender<usize>,
}

impl Clock for WatchedClock {
    fn now(&self) -> Duration {
        self.clock.now()
    }

    fn unix_ms(&self) -> u64 {
        self.clock.unix_ms()
    }

    fn sleep(&self, delay: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        // It counts from here on, whenever it is polled.
        let sleep = self.clock.sleep(delay);
        if delay == STUCK_AFTER {
            self.waits.send_modify(|waits| *waits += 1);
        }
        sleep
    }
}

/// Held by the closure: tells when its last user is gone.
struct Held(#[expect(dead_code, reason = "held for its Drop")] UnboundedSender<()>);

/// A job whose operator spins at record 500, the first time, until it is released.
struct Spinning {
    job: JobHandle,
    clock: WatchedClock,
    events: UnboundedReceiver<JobEvent>,
    spins: watch::Receiver<bool>,
    release: Arc<AtomicBool>,
    closures: UnboundedReceiver<()>,
    collected: millstream::sink::Collected<u64>,
}

fn start(replace: bool) -> Spinning {
    let clock = WatchedClock { clock: ManualClock::new(), waits: watch::Sender::new(0) };
    let sink = CollectSink::new();
    let collected = sink.handle();
    let (spinning, spins) = watch::channel(false);
    let (held, closures) = unbounded_channel();
    let held = Arc::new(Held(held));
    let release = Arc::new(AtomicBool::new(false));
    let released = release.clone();
    let limits = limits(|limits| {
        limits.stuck_after = STUCK_AFTER;
        limits.replace_stuck = replace;
    });
    // The arbiters that other tests share stay free.
    let env = StreamEnvironment::new("stuck")
        .own_arbiters(1)
        .clock(clock.clone())
        .limits(limits)
        .checkpointing(Checkpointing::disabled())
        .restart_strategy(RestartStrategy::fixed_delay(1, Duration::ZERO));
    env.source("numbers", SequenceSource::new(0..1_000))
        .map(move |x| {
            let _held = &held;
            if x == 500 && !spinning.send_replace(true) {
                while !released.load(Ordering::SeqCst) {
                    std::hint::spin_loop();
                    std::thread::yield_now();
                }
            }
            x
        })
        .name("spins")
        .sink("all", sink);
    let job = env.start().expect("the job starts");
    let events = listen(&job);
    Spinning { job, clock, events, spins, release, closures, collected }
}

impl Spinning {
    /// Lets the watchdog look, and look again, each time once it waits for that.
    async fn until_reported(&mut self) {
        self.spins.wait_for(|spins| *spins).await.expect("the operator spins");
        let WatchedClock { clock, waits } = self.clock.clone();
        let mut waits = waits.subscribe();
        for look in 1..=2 {
            waits.wait_for(|waits| *waits >= look).await.expect("the clock is here");
            clock.advance(STUCK_AFTER);
        }
        loop {
            let event = self.events.recv().await.expect("the job runs");
            let JobEventKind::SubtaskStuck { actor, held_for, .. } = event.kind else { continue };
            assert_eq!(held_for, STUCK_AFTER);
            assert!(matches!(&actor, ActorName::Subtask { task, .. } if task.contains("spins")), "{actor}");
            return;
        }
    }

    /// Waits until no instance of the closure is left, wherever it ran.
    async fn until_closures_are_gone(&mut self) {
        assert!(self.closures.recv().await.is_none());
    }
}

#[test]
fn task_in_an_endless_loop_is_reported_and_goes_on_when_it_returns() {
    in_system(async {
        let mut spinning = start(false);
        spinning.until_reported().await;
        assert!(spinning.collected.is_empty());
        spinning.release.store(true, Ordering::SeqCst);
        let outcome = spinning.job.clone().await.expect("finished");
        assert_eq!((outcome.kind, outcome.restarts), (OutcomeKind::Finished, 0));
        assert!(spinning.collected.snapshot().into_iter().eq(0..1_000));
    });
}

#[test]
fn stuck_task_is_replaced_on_a_fresh_arbiter_and_cannot_add_to_the_output_afterwards() {
    in_system(async {
        let mut spinning = start(true);
        spinning.until_reported().await;
        let outcome = spinning.job.clone().await.expect("finished while the old closure still spins");
        assert_eq!((outcome.kind, outcome.restarts), (OutcomeKind::Finished, 1));
        assert_eq!(spinning.job.status().attempts.into_values().collect::<Vec<_>>(), [Attempt(2)]);
        assert!(spinning.collected.snapshot().into_iter().eq(0..1_000));
        let history = spinning.job.history();
        let condemned = history.iter().filter(|event| matches!(event.kind, JobEventKind::ArbiterCondemned { .. }));
        assert_eq!(condemned.count(), 1);
        spinning.release.store(true, Ordering::SeqCst);
        spinning.until_closures_are_gone().await;
        assert!(spinning.collected.snapshot().into_iter().eq(0..1_000));
    });
}
