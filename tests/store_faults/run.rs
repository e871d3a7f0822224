//! Runs the job on a store.

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use millstream::prelude::*;
use millstream::sink::Sink;
use millstream::snapshot::{SnapshotError, SnapshotStore};
use millstream::{JobEventKind, StartError};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::crash_common::job::{self, Figures, Shape};
use crate::crash_common::published;
use crate::crash_common::watchdog::Watchdog;

/// A job that goes on until it is ended.
pub(crate) const ENDLESS: Shape = Shape { records: 900_000, per_second: 5_000, parallelism: 2, checkpoint_ms: 4 };

/// Runs `future` inside an actix `System`, for a minute at most.
pub(crate) fn block_on<T>(what: &str, future: impl Future<Output = T>) -> T {
    let _watchdog = Watchdog::watch(what, Duration::from_secs(60));
    actix_rt::System::new().block_on(future)
}

/// Starts the job on `store`.
pub(crate) fn start(
    shape: Shape,
    store: impl SnapshotStore,
    sink: impl Sink<Item = Figures>,
) -> Result<JobHandle, StartError> {
    start_with(shape.environment(), shape, store, &Trap::default(), sink)
}

/// Starts the job on `store` with these settings and this trap.
pub(crate) fn start_with(
    env: StreamEnvironment,
    shape: Shape,
    store: impl SnapshotStore,
    trap: &Trap,
    sink: impl Sink<Item = Figures>,
) -> Result<JobHandle, StartError> {
    let env = env.snapshot_store(store);
    let trap = trap.clone();
    job::write(&env, shape, move |_| trap.pass(), sink);
    env.start()
}

/// Panics once when told to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trap(Arc<AtomicBool>);

impl Trap {
    /// Has the next record panic.
    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(crate) fn pass(&self) {
        if self.0.swap(false, Ordering::Relaxed) {
            panic!("injected panic");
        }
    }
}

struct Forward(UnboundedSender<JobEvent>);

impl actix::Actor for Forward {
    type Context = actix::Context<Self>;
}

impl actix::Handler<JobEvent> for Forward {
    type Result = ();

    fn handle(&mut self, event: JobEvent, _: &mut Self::Context) {
        // The test may have seen enough.
        let _ = self.0.send(event);
    }
}

/// The later events of a job.
pub(crate) struct Events(UnboundedReceiver<JobEvent>);

impl Events {
    pub(crate) fn of(job: &JobHandle) -> Self {
        let (sender, receiver) = unbounded_channel();
        job.subscribe(actix::Actor::start(Forward(sender)).recipient());
        Self(receiver)
    }

    /// Waits for an event.
    ///
    /// # Panics
    /// If the job ends before.
    pub(crate) async fn until(&mut self, wanted: impl Fn(&JobEventKind) -> bool) -> JobEvent {
        loop {
            let event = self.0.recv().await.unwrap();
            if wanted(&event.kind) {
                return event;
            }
            if let JobEventKind::Ended { result } = &event.kind {
                panic!("the job has ended: {result:?}");
            }
        }
    }

    /// Waits for so many completed checkpoints.
    pub(crate) async fn checkpoints(&mut self, count: usize) {
        for _ in 0..count {
            self.until(|kind| matches!(kind, JobEventKind::CheckpointCompleted { .. })).await;
        }
    }
}

/// Runs the endless job on the store at `path`, into `out`, and cancels it after so many checkpoints.
pub(crate) fn run_and_cancel(path: &Path, sink: impl Sink<Item = Figures>, checkpoints: usize) {
    block_on("a job that is cancelled", async {
        let job = start(ENDLESS, RedbStore::open(path).unwrap(), sink).unwrap();
        Events::of(&job).checkpoints(checkpoints).await;
        assert_eq!(job.cancel().await.unwrap().kind, OutcomeKind::Cancelled);
    });
}

/// Lets the endless job on `store` go on for a checkpoint and then end. What it has published must be exact.
pub(crate) fn finish(store: impl SnapshotStore, out: &Path) {
    let outcome = block_on("a job that is finished", async {
        let job = start(ENDLESS, store, job::files(out)).unwrap();
        Events::of(&job).checkpoints(1).await;
        job.finish().await.unwrap()
    });
    assert_eq!(outcome.kind, OutcomeKind::Finished);
    published::assert_ended(out, ENDLESS);
}

/// The error of a store that does not open, or on which the job does not start.
pub(crate) fn refusal(path: &Path, out: &Path) -> SnapshotError {
    let store = match RedbStore::open(path) {
        Ok(store) => store,
        Err(error) => return error,
    };
    match block_on("a refused start", async { start(ENDLESS, store, job::files(out)) }) {
        Err(StartError::Store(error)) => error,
        other => panic!("{other:?}"),
    }
}
