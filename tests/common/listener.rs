//! Subscriptions to a job's events, as streams that a test awaits.

use std::collections::VecDeque;

use actix::{Actor, Context, Handler};
use millstream::{JobEvent, JobEventKind, JobHandle};
use tokio::sync::mpsc;

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

/// The job's events from now on.
pub(crate) fn listen(job: &JobHandle) -> mpsc::UnboundedReceiver<JobEvent> {
    let (sender, received) = mpsc::unbounded_channel();
    job.subscribe(Listener(sender).start().recipient());
    received
}

/// The events of one job, to be waited for.
pub(crate) struct Events {
    received: mpsc::UnboundedReceiver<JobEvent>,
    /// What came before the subscription, to be given first.
    earlier: VecDeque<JobEvent>,
    /// The number of the newest that was given.
    newest: u64,
}

/// The job's events from now on, to be waited for.
pub(crate) fn events_of(job: &JobHandle) -> Events {
    Events { received: listen(job), earlier: VecDeque::new(), newest: 0 }
}

/// The job's events from its start on, to be waited for. A job runs from its start on: what comes once may come before a test
/// listens.
pub(crate) fn events_from_the_start(job: &JobHandle) -> Events {
    let received = listen(job);
    // What comes between the two is in both.
    Events { received, earlier: job.history().into(), newest: 0 }
}

impl Events {
    /// Waits for the next event.
    pub(crate) async fn next(&mut self) -> JobEventKind {
        loop {
            let event = match self.earlier.pop_front() {
                Some(event) => event,
                None => self.received.recv().await.expect("events until the end"),
            };
            if event.seq > self.newest {
                self.newest = event.seq;
                return event.kind;
            }
        }
    }

    /// Waits for the next event that fits.
    ///
    /// # Panics
    /// If the job ends before.
    pub(crate) async fn until(&mut self, fits: impl Fn(&JobEventKind) -> bool) -> JobEventKind {
        loop {
            let kind = self.next().await;
            if fits(&kind) {
                return kind;
            }
            assert!(!matches!(kind, JobEventKind::Ended { .. }), "ended first: {kind}");
        }
    }

    /// Waits until `count` checkpoints have completed.
    pub(crate) async fn checkpoints(&mut self, count: usize) {
        for _ in 0..count {
            self.until(|kind| matches!(kind, JobEventKind::CheckpointCompleted { .. })).await;
        }
    }
}
