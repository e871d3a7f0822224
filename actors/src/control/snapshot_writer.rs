//! The snapshot writer: the one actor that writes to the store, on an arbiter of its own, since every call blocks.
//!
//! Takes chunks from tasks and `StoreRequest`s from the coordinator, in the order of its mailbox, and answers the
//! coordinator. A restart loses the message at work: the coordinator is told what the store holds, and everything that
//! it had asked for before counts as not done unless that list shows it.

mod export;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use actix::{Actor, ActorContext, Context, Handler, Message, Recipient, Supervised};
use tokio::sync::oneshot;

use crate::contract::{Chunk, Manifest, SnapshotError, Step, is_mark};
use crate::control::job_context::JobContext;
use crate::protocol::{ActorName, CheckpointId};
use crate::runtime::guard;
use crate::task::{ChunksStored, StoreChunks};
use export::Exports;
pub(crate) use export::{ExportReply, ExportRequest};

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
    /// Let go of the store and end; `done` is answered then.
    Close { done: oneshot::Sender<()> },
}

/// What became of it. `retained` is what the store holds after it was opened anew; `None` if that failed too.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub(crate) enum StoreReply {
    Report { life: u64, retained: Option<Vec<Arc<Manifest>>> },
    IdsReserved { up_to: CheckpointId },
    ReserveFailed { error: Arc<SnapshotError>, retained: Option<Vec<Arc<Manifest>>> },
    Finalised { checkpoint: CheckpointId },
    FinaliseFailed { checkpoint: CheckpointId, error: Arc<SnapshotError>, retained: Option<Vec<Arc<Manifest>>> },
    ChunksFailed { checkpoint: CheckpointId, error: Arc<SnapshotError>, retained: Option<Vec<Arc<Manifest>>> },
    Abandoned { above: CheckpointId, completed: Vec<CheckpointId> },
    AbandonFailed { error: Arc<SnapshotError> },
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
    /// What the store retains; `None` when a failed call has left that unknown.
    retained: Option<Vec<Arc<Manifest>>>,
    /// The checkpoint whose chunks are not all stored, and why.
    failed: Option<(CheckpointId, Arc<SnapshotError>)>,
    /// Chunks up to this checkpoint come too late.
    settled: CheckpointId,
    exports: Exports,
}

impl SnapshotWriter {
    pub(crate) fn new(seed: WriterSeed) -> Self {
        let life = seed.lives.fetch_add(1, Ordering::Relaxed) + 1;
        let retained = (life == 1).then(|| seed.opened_with.clone());
        Self { seed, life, retained, failed: None, settled: CheckpointId::NONE, exports: Exports::default() }
    }

    fn reached(&self, step: Step) {
        self.seed.job.reached(step, &ActorName::Writer);
    }

    fn answer(&self, reply: StoreReply) {
        self.seed.coordinator.do_send(reply);
    }

    /// A call failed: opens the store anew. Answers what it holds.
    fn reopen(&mut self) -> Option<Vec<Arc<Manifest>>> {
        self.retained = self.seed.job.store.reopen().ok();
        self.retained.clone()
    }

    fn report(&mut self) {
        if self.retained.is_none() {
            self.reopen();
        }
        self.answer(StoreReply::Report { life: self.life, retained: self.retained.clone() });
    }

    fn finalise(&mut self, manifest: Arc<Manifest>) {
        let checkpoint = manifest.checkpoint;
        self.reached(Step::CommittingManifest);
        if let Some((failed, error)) = &self.failed
            && *failed == checkpoint
        {
            let (error, retained) = (error.clone(), self.retained.clone());
            return self.answer(StoreReply::FinaliseFailed { checkpoint, error, retained });
        }
        let retain = self.seed.job.pins.retain(self.seed.job.checkpointing.retained, self.retained.as_deref());
        let marked = self.marked(manifest);
        match marked.and_then(|manifest| self.seed.job.store.finalise(&manifest, retain).map(|_| manifest)) {
            Ok(manifest) => {
                self.reached(Step::ManifestCommitted);
                self.settled = checkpoint.max(self.settled);
                if let Some(retained) = &mut self.retained {
                    retained.push(manifest);
                    let excess = retained.len().saturating_sub(retain);
                    retained.drain(..excess);
                }
                self.answer(StoreReply::Finalised { checkpoint });
            }
            Err(error) => {
                let (error, retained) = (Arc::new(error), self.reopen());
                self.answer(StoreReply::FinaliseFailed { checkpoint, error, retained });
            }
        }
    }

    /// The manifest with a note of the savepoint that the job began with, if it did; the note is stored.
    fn marked(&self, manifest: Arc<Manifest>) -> Result<Arc<Manifest>, SnapshotError> {
        let Some(origin) = &self.seed.job.descends_from else { return Ok(manifest) };
        let mark = origin.mark(manifest.checkpoint);
        let mut marked = Manifest::clone(&manifest);
        marked.chunks.retain(|chunk| !is_mark(&chunk.address));
        let place = marked.chunks.partition_point(|chunk| chunk.address < mark.reference.address);
        marked.chunks.insert(place, mark.reference.clone());
        self.seed.job.store.put_chunks(&[mark])?;
        Ok(Arc::new(marked))
    }

    fn abandon_above(&mut self, above: CheckpointId) {
        match self.seed.job.store.abandon_above(above) {
            Ok(completed) => {
                if let Some(retained) = &mut self.retained {
                    retained.retain(|manifest| manifest.checkpoint <= above);
                }
                self.answer(StoreReply::Abandoned { above, completed });
            }
            Err(error) => {
                self.reopen();
                self.answer(StoreReply::AbandonFailed { error: Arc::new(error) });
            }
        }
    }

    fn store(&mut self, checkpoint: CheckpointId, chunks: &[Chunk]) {
        let failed_before = self.failed.as_ref().is_some_and(|(failed, _)| *failed == checkpoint);
        if chunks.is_empty() || failed_before || checkpoint <= self.settled {
            return;
        }
        self.reached(Step::StoringChunks);
        if let Err(error) = self.put(chunks) {
            let (error, retained) = (Arc::new(error), self.reopen());
            self.failed = Some((checkpoint, error.clone()));
            self.answer(StoreReply::ChunksFailed { checkpoint, error, retained });
        }
    }

    fn put(&self, chunks: &[Chunk]) -> Result<(), SnapshotError> {
        let most = self.seed.job.limits.store_transaction_bytes;
        let (mut start, mut bytes) = (0, 0);
        for (end, chunk) in chunks.iter().enumerate() {
            if end > start && bytes + chunk.bytes.len() > most {
                self.seed.job.store.put_chunks(&chunks[start..end])?;
                (start, bytes) = (end, 0);
            }
            bytes += chunk.bytes.len();
        }
        self.seed.job.store.put_chunks(&chunks[start..])
    }
}

impl Actor for SnapshotWriter {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Self::Context) {
        if self.life > 1 {
            self.report();
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

    fn handle(&mut self, message: StoreChunks, _: &mut Self::Context) {
        let StoreChunks { checkpoint, chunks, stored, .. } = message;
        self.store(checkpoint, &chunks);
        if let Some(stored) = stored {
            stored.do_send(ChunksStored::of(checkpoint, chunks));
        }
    }
}

impl Handler<StoreRequest> for SnapshotWriter {
    type Result = ();

    fn handle(&mut self, request: StoreRequest, ctx: &mut Self::Context) {
        let store = &self.seed.job.store;
        match request {
            StoreRequest::Report => self.report(),
            StoreRequest::ReserveIds { up_to } => match store.reserve_ids(up_to) {
                Ok(()) => self.answer(StoreReply::IdsReserved { up_to }),
                Err(error) => {
                    let (error, retained) = (Arc::new(error), self.reopen());
                    self.answer(StoreReply::ReserveFailed { error, retained });
                }
            },
            StoreRequest::Finalise { life, manifest } => {
                if life == self.life {
                    self.finalise(manifest);
                }
            }
            StoreRequest::Discard { checkpoint } => {
                self.settled = checkpoint.max(self.settled);
                // What stays is garbage that the next finalisation removes.
                if store.discard(checkpoint).is_err() {
                    self.reopen();
                }
            }
            StoreRequest::AbandonAbove { checkpoint } => self.abandon_above(checkpoint),
            StoreRequest::Close { done } => self.close(done, ctx),
        }
    }
}
