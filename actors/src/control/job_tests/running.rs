//! A job of stubs: how it is set up, and waiting for its events.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use actix::{Actor, Context, Handler};
use tokio::sync::mpsc;

use super::fake_store::FakeStore;
use super::hand_clock::HandClock;
use super::no_savepoints;
use super::stub::{Bad, Script, When, spec};
use crate::contract::{Probe, SnapshotStore};
use crate::control::event::{JobEvent, JobEventKind};
use crate::control::event_subscribers::EventSubscribers;
use crate::control::job_handle::JobHandle;
use crate::control::launch::{JobConfig, launch};
use crate::control::outcome::{JobError, JobOutcome};
use crate::control::region_settings::RegionSettings;
use crate::protocol::{Checkpointing, Incarnation, Limits, RestartStrategy, TaskId};
use crate::task::{JobSpec, SpecAt};

struct Listener(mpsc::UnboundedSender<JobEvent>);

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
    pub(super) events: mpsc::UnboundedReceiver<JobEvent>,
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
        let Self { script, regions, sinks_can_withdraw, .. } = self;
        let spec_at: SpecAt =
            Arc::new(move |parallelism| JobSpec { sinks_can_withdraw, ..spec(&script, regions, parallelism) });
        let spec = spec_at(2);
        let config = JobConfig {
            store: self.store,
            opening,
            checkpointing: self.checkpointing,
            restart: self.restart,
            spec_at,
            regions: RegionSettings::default(),
            limits: self.limits,
            clock: clock.clone(),
            probe: self.probe,
            slice_clock: None,
            tells_host: true,
            seed: 1,
            // Some of the jobs hold them.
            own_arbiters: Some(2),
            subscribers: EventSubscribers::default(),
            paused_since: None,
            savepoints: no_savepoints::config(),
        };
        let handle = launch(spec, config);
        let (sender, events) = mpsc::unbounded_channel();
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
