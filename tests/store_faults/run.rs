//! Runs the job on a store.

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use millstream::StartError;
use millstream::prelude::*;
use millstream::sink::Sink;
use millstream::snapshot::{SnapshotError, SnapshotStore};
use tokio::sync::watch;

use crate::crash_common::job::{self, Figures, Shape};
use crate::crash_common::published;
use crate::crash_common::watchdog::Watchdog;
use crate::listener::events_of;

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

/// Panics once when told to, and counts the records that pass.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trap {
    is_set: Arc<AtomicBool>,
    passed: Arc<watch::Sender<u64>>,
}

impl Trap {
    /// Has the next record panic.
    pub(crate) fn set(&self) {
        self.is_set.store(true, Ordering::Relaxed);
    }

    pub(crate) fn pass(&self) {
        if self.is_set.swap(false, Ordering::Relaxed) {
            panic!("injected panic");
        }
        self.passed.send_modify(|records| *records += 1);
    }

    /// Resolves once so many records have passed: a job that is ended sooner may have read nothing.
    pub(crate) async fn passed(&self, records: u64) {
        self.passed.subscribe().wait_for(|passed| *passed >= records).await.expect("the sender is here");
    }
}

/// Runs the endless job on the store at `path`, into `out`, and cancels it after so many checkpoints.
pub(crate) fn run_and_cancel(path: &Path, sink: impl Sink<Item = Figures>, checkpoints: usize) {
    block_on("a job that is cancelled", async {
        let job = start(ENDLESS, RedbStore::open(path).unwrap(), sink).unwrap();
        events_of(&job).checkpoints(checkpoints).await;
        assert_eq!(job.cancel().await.unwrap().kind, OutcomeKind::Cancelled);
    });
}

/// Lets the endless job on `store` go on for a checkpoint and then end. What it has published must be exact.
pub(crate) fn finish(store: impl SnapshotStore, out: &Path) {
    let outcome = block_on("a job that is finished", async {
        let job = start(ENDLESS, store, job::files(out)).unwrap();
        events_of(&job).checkpoints(1).await;
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
