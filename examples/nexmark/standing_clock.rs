//! Queries of processing time, in time that stands still until all events are worked off: so that what they give can be compared.

use std::collections::BTreeSet;
use std::error::Error;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use millstream::prelude::*;
use millstream::source::SourceWaker;
use millstream::time::ManualClock;
use millstream::{CheckpointError, JobOutcome};

use crate::dashboard::Shown;

/// Holds the end of a source back. Clones are one.
#[derive(Clone, Default)]
pub(crate) struct HeldEnd(Arc<Mutex<Held>>);

#[derive(Default)]
struct Held {
    /// The splits that are read to their end.
    read: BTreeSet<u64>,
    is_let_go: bool,
    wakers: Vec<SourceWaker>,
}

impl HeldEnd {
    /// A split is read to its end, or is begun anew.
    pub(crate) fn is_read(&self, split: u64, to_its_end: bool) {
        if to_its_end {
            self.lock().read.insert(split)
        } else {
            self.lock().read.remove(&split)
        };
    }

    /// Whether the source may end. Whoever asks is woken when it may.
    pub(crate) fn is_let_go(&self, waker: &SourceWaker) -> bool {
        let mut held = self.lock();
        if !held.is_let_go {
            held.wakers.push(waker.clone());
        }
        held.is_let_go
    }

    fn let_go(&self) {
        let mut held = self.lock();
        held.is_let_go = true;
        held.wakers.drain(..).for_each(|waker| waker.wake());
    }

    fn splits_read(&self) -> usize {
        self.lock().read.len()
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs a job by a clock that stands still until a checkpoint has all events of so many splits in it, and then moves on by `by`.
pub(crate) async fn run(
    env: StreamEnvironment,
    (end, splits): (&HeldEnd, usize),
    by: Duration,
    shown: &Shown,
) -> Result<JobOutcome, Box<dyn Error>> {
    let clock = ManualClock::new();
    // Delays would be by that clock, too.
    let attempts = RestartStrategy::fixed_delay(u32::MAX, Duration::ZERO);
    let job = env.clock(clock.clone()).restart_strategy(attempts).start()?;
    shown.add(&job);
    loop {
        let (splits_read, restarts) = (end.splits_read(), job.status().restarts);
        match job.checkpoint().await {
            Ok(_) if splits_read == splits && job.status().restarts == restarts => break,
            Err(CheckpointError::JobFailed(error)) => return Err(error),
            _ => {}
        }
    }
    clock.advance(by);
    end.let_go();
    Ok(job.await?)
}
