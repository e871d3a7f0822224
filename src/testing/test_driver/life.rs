//! One life of the job: from a start to a crash.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use millstream_actors::JobHandle;
use millstream_actors::runtime::stage::StageRunner;

use crate::{JobError, JobOutcome};

/// The end of a job.
pub(super) type Ended = Result<JobOutcome, JobError>;

/// A job on a stage. Dropping it is the end of its process.
pub(super) struct Life {
    runner: StageRunner,
    pub(super) job: JobHandle,
    ending: Pin<Box<dyn Future<Output = Ended> + Send>>,
    ended: Option<Ended>,
}

impl Life {
    pub(super) fn new(runner: StageRunner, job: JobHandle) -> Self {
        let ending = job.clone().into_future();
        Self { runner, job, ending, ended: None }
    }

    /// Takes the turn that `choose` says of those there are; false if there is none.
    pub(super) fn step(&mut self, choose: impl FnOnce(usize) -> usize) -> bool {
        self.runner.step(choose)
    }

    /// How the job has ended, if it has.
    pub(super) fn ended(&mut self) -> Option<&Ended> {
        if self.ended.is_none() {
            self.ended = now(&mut self.ending);
        }
        self.ended.as_ref()
    }
}

/// What a future gives now, if it gives something.
pub(super) fn now<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    // A host's tokio task has a budget, which counts what is received in it.
    let mut unbudgeted = tokio::task::unconstrained(future);
    match Pin::new(&mut unbudgeted).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}
