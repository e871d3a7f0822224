//! The snapshot writer: the one actor that writes to the store. Every call blocks, so it is made on a thread of the
//! `BlockingPool` that all jobs share, and nothing else is taken from the mailbox until it has returned.
//!
//! Takes chunks from tasks and `StoreRequest`s from the coordinator, in the order of its mailbox, and answers the
//! coordinator. A restart loses the message at work: the coordinator is told what the store holds, and everything that
//! it had asked for before counts as not done unless that list shows it.

mod export;
mod session;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use actix::{
    Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Message, Recipient, Supervised, WrapFuture,
};
use tokio::sync::oneshot;

use crate::contract::{Manifest, SnapshotError, Step, is_mark};
use crate::control::job_context::JobContext;
use crate::protocol::CheckpointId;
use crate::runtime::guard;
use crate::task::{ChunksStored, StoreChunks};
use export::Exports;
pub(crate) use export::{Export, ExportReply, ExportRequest};
use session::StoreSession;

/// What the coordinator wants of the store.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) enum StoreRequest {
    /// Say what is retained.
    Report,
    /// Make ids durable.
    ReserveIds { up_to: CheckpointId },
    /// Complete a checkpoint. Passed over if asked of an earlier life of the writer, which its report has settled.
    Finalise { life: u64, manifest: Arc<Manifest> },
    /// Remove the chunks of an aborted checkpoint.
    Discard { checkpoint: CheckpointId },
    /// Mark newer checkpoints abandoned.
    AbandonAbove { checkpoint: CheckpointId },
    /// Keep since when the job is paused, or that it is not; `done` is answered then.
    KeepPause { since: Option<u64>, done: oneshot::Sender<Result<(), Arc<SnapshotError>>> },
    /// Let go of the store and end; `done` is answered then.
    Close { done: oneshot::Sender<()> },
}

/// What became of it. `retained` is what the store holds after it was opened anew; `None` if that failed too.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub(crate) enum StoreReply {
    Report {
        life: u64,
        retained: Option<Vec<Arc<Manifest>>>,
    },
    IdsReserved {
        up_to: CheckpointId,
    },
    ReserveFailed {
        error: Arc<SnapshotError>,
        retained: Option<Vec<Arc<Manifest>>>,
    },
    /// `oldest`: the oldest that is retained now, if that is known.
    Finalised {
        checkpoint: CheckpointId,
        oldest: Option<CheckpointId>,
    },
    FinaliseFailed {
        checkpoint: CheckpointId,
        error: Arc<SnapshotError>,
        retained: Option<Vec<Arc<Manifest>>>,
    },
    ChunksFailed {
        checkpoint: CheckpointId,
        error: Arc<SnapshotError>,
        retained: Option<Vec<Arc<Manifest>>>,
    },
    Abandoned {
        above: CheckpointId,
        completed: Vec<CheckpointId>,
    },
    AbandonFailed {
        error: Arc<SnapshotError>,
    },
}

/// What a writer needs to be built, again and again.
#[derive(Clone)]
pub(crate) struct WriterSeed {
    pub(crate) job: Arc<JobContext>,
    pub(crate) coordinator: Recipient<StoreReply>,
    pub(crate) exported: Recipient<ExportReply>,
    pub(crate) lives: Arc<AtomicU64>,
    /// What was retained when the store was opened.
    pub(crate) opened_with: Vec<Arc<Manifest>>,
}

/// The actor.
pub(crate) struct SnapshotWriter {
    seed: WriterSeed,
    life: u64,
    /// With the thread that calls the store while there is one.
    session: Option<StoreSession>,
    exports: Exports,
}

impl SnapshotWriter {
    pub(crate) fn new(seed: WriterSeed) -> Self {
        let life = seed.lives.fetch_add(1, Ordering::Relaxed) + 1;
        let session = Some(StoreSession::new(&seed, life));
        Self { seed, life, session, exports: Exports::default() }
    }

    /// Has a thread make calls of the store, and does nothing else until they have returned.
    fn call(&mut self, work: impl FnOnce(&mut StoreSession) + Send + 'static, ctx: &mut Context<Self>) {
        self.call_then(work, |_, (), _| (), ctx);
    }

    /// As [`call`](Self::call); `then` gets the answer. A panic in `work` is one of this actor.
    fn call_then<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut StoreSession) -> T + Send + 'static,
        then: impl FnOnce(&mut Self, T, &mut Context<Self>) + 'static,
        ctx: &mut Context<Self>,
    ) {
        let mut session = self.session.take().expect("no message is taken while a call is under way");
        let job = &self.seed.job;
        let call = job.pool.store_calls().run(job.tells_host, move || {
            let answer = work(&mut session);
            (session, answer)
        });
        let outcome = call.outcome(job.clock.clone(), job.limits.store_wait_max);
        ctx.wait(outcome.into_actor(self).map(|outcome, this, ctx| match outcome {
            Ok((session, answer)) => {
                this.session = Some(session);
                then(this, answer, ctx);
            }
            Err(report) => guard::resume_panic(report),
        }));
    }
}

impl Actor for SnapshotWriter {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if self.life > 1 {
            self.call(StoreSession::report, ctx);
        }
    }
}

impl Supervised for SnapshotWriter {
    fn restarting(&mut self, _: &mut Self::Context) {
        let next = Self::new(self.seed.clone());
        guard::replace(self, next);
    }
}

impl Handler<StoreChunks> for SnapshotWriter {
    type Result = ();

    fn handle(&mut self, message: StoreChunks, ctx: &mut Self::Context) {
        let StoreChunks { checkpoint, chunks, stored, .. } = message;
        let work = move |session: &mut StoreSession| {
            session.store(checkpoint, &chunks);
            if let Some(stored) = stored {
                stored.do_send(ChunksStored::of(checkpoint, chunks));
            }
        };
        self.call(work, ctx);
    }
}

impl Handler<StoreRequest> for SnapshotWriter {
    type Result = ();

    fn handle(&mut self, request: StoreRequest, ctx: &mut Self::Context) {
        match request {
            StoreRequest::Report => self.call(StoreSession::report, ctx),
            StoreRequest::ReserveIds { up_to } => self.call(move |session| session.reserve_ids(up_to), ctx),
            StoreRequest::Finalise { life, manifest } => {
                if life == self.life {
                    self.call(move |session| session.finalise(manifest), ctx);
                }
            }
            StoreRequest::Discard { checkpoint } => self.call(move |session| session.discard(checkpoint), ctx),
            StoreRequest::AbandonAbove { checkpoint } => {
                self.call(move |session| session.abandon_above(checkpoint), ctx);
            }
            StoreRequest::KeepPause { since, done } => {
                // Whoever asked may have gone with the job's root.
                self.call(move |session| drop(done.send(session.keep_pause(since))), ctx);
            }
            StoreRequest::Close { done } => self.close(done, ctx),
        }
    }
}
