//! Jobs with poison, and what comes of them.

use std::time::Duration;

use millstream::prelude::*;
use millstream::{JobEventKind, JobHandle, JobOutcome};

use crate::common::{InputEnd, SteppedSource, checkpointed, run_to_end, sorted};

/// What the sources give.
pub(crate) type Record = (&'static str, u64);

/// How many records there are.
pub(crate) const RECORDS: u64 = 400;

/// A source of [`RECORDS`] records, with many checkpoints on the way.
pub(crate) fn numbers(name: &'static str) -> SteppedSource {
    SteppedSource::new(name, RECORDS, 24, &InputEnd::default())
}

/// What has come of a job.
pub(crate) struct Ran<T, R> {
    /// Sorted.
    pub(crate) output: Vec<T>,
    pub(crate) letters: Vec<DeadLetter<R>>,
    pub(crate) outcome: JobOutcome,
    pub(crate) job: JobHandle,
}

impl<T, R: Clone + Ord> Ran<T, R> {
    /// The records in the dead letters, sorted.
    pub(crate) fn dead(&self) -> Vec<R> {
        sorted(self.letters.iter().map(|letter| letter.record.clone()).collect())
    }
}

impl<T, R> Ran<T, R> {
    /// How many of the events that the job keeps fit.
    pub(crate) fn events(&self, fits: impl Fn(&JobEventKind) -> bool) -> usize {
        self.job.history().iter().filter(|event| fits(&event.kind)).count()
    }
}

/// Runs a job with checkpoints all the time to its end. `build` writes it, with a sink for its output and one for dead letters.
pub(crate) fn ran<T, R>(
    name: &'static str,
    parallelism: u32,
    build: impl FnOnce(&StreamEnvironment, CollectSink<T>, CollectSink<DeadLetter<R>>) + Send + 'static,
) -> Ran<T, R>
where
    T: Ord + Clone + Send + 'static,
    R: Clone + Send + 'static,
{
    ran_with(RestartStrategy::fixed_delay(6, Duration::from_millis(1)), name, parallelism, build)
}

/// The same with another restart strategy.
pub(crate) fn ran_with<T, R>(
    restarts: RestartStrategy,
    name: &'static str,
    parallelism: u32,
    build: impl FnOnce(&StreamEnvironment, CollectSink<T>, CollectSink<DeadLetter<R>>) + Send + 'static,
) -> Ran<T, R>
where
    T: Ord + Clone + Send + 'static,
    R: Clone + Send + 'static,
{
    let (sink, dead) = (CollectSink::new(), CollectSink::new());
    let (output, letters) = (sink.handle(), dead.handle());
    let (outcome, job) = run_to_end(name, move || {
        let env = checkpointed(name, parallelism, None)
            .snapshot_store(MemoryStore::new())
            .restart_strategy(restarts)
            .tell_panic_hook(false);
        build(&env, sink, dead);
        env
    });
    let outcome = outcome.unwrap();
    Ran { output: sorted(output.snapshot()), letters: letters.snapshot(), outcome, job }
}

/// Whether this is the event of a record that is withheld.
pub(crate) fn withheld(kind: &JobEventKind) -> bool {
    matches!(kind, JobEventKind::RecordWithheld { .. })
}
