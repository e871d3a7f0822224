//! One life of a writer with its store: the calls, and what is known of the store between them. Runs on the threads of
//! the `BlockingPool`.

use super::*;
use crate::contract::Chunk;
use crate::protocol::ActorName;

/// What a writer knows of the store in one of its lives.
pub(super) struct StoreSession {
    job: Arc<JobContext>,
    coordinator: Recipient<StoreReply>,
    life: u64,
    /// What the store retains; `None` when a failed call has left that unknown.
    retained: Option<Vec<Arc<Manifest>>>,
    /// The checkpoint whose chunks are not all stored, and why.
    failed: Option<(CheckpointId, Arc<SnapshotError>)>,
    /// Chunks up to this checkpoint come too late.
    settled: CheckpointId,
}

impl StoreSession {
    pub(super) fn new(seed: &WriterSeed, life: u64) -> Self {
        let (job, coordinator) = (seed.job.clone(), seed.coordinator.clone());
        let retained = (life == 1).then(|| seed.opened_with.clone());
        Self { job, coordinator, life, retained, failed: None, settled: CheckpointId::NONE }
    }

    pub(super) fn reached(&self, step: Step) {
        self.job.reached(step, &ActorName::Writer);
    }

    fn answer(&self, reply: StoreReply) {
        self.coordinator.do_send(reply);
    }

    /// A call failed: opens the store anew. Answers what it holds.
    fn reopen(&mut self) -> Option<Vec<Arc<Manifest>>> {
        self.retained = self.job.store.reopen().ok();
        self.retained.clone()
    }

    pub(super) fn report(&mut self) {
        if self.retained.is_none() {
            self.reopen();
        }
        self.answer(StoreReply::Report { life: self.life, retained: self.retained.clone() });
    }

    pub(super) fn reserve_ids(&mut self, up_to: CheckpointId) {
        match self.job.store.reserve_ids(up_to) {
            Ok(()) => {
                self.job.figures.store_has(self.job.store.stored_bytes());
                self.answer(StoreReply::IdsReserved { up_to });
            }
            Err(error) => {
                let (error, retained) = (Arc::new(error), self.reopen());
                self.answer(StoreReply::ReserveFailed { error, retained });
            }
        }
    }

    pub(super) fn keep_pause(&mut self, since: Option<u64>) -> Result<(), Arc<SnapshotError>> {
        let kept = self.job.store.keep_pause(since);
        if kept.is_err() {
            self.reopen();
        }
        kept.map_err(Arc::new)
    }

    pub(super) fn discard(&mut self, checkpoint: CheckpointId) {
        self.settled = checkpoint.max(self.settled);
        // What stays is garbage that the next finalisation removes.
        if self.job.store.discard(checkpoint).is_err() {
            self.reopen();
        }
    }

    /// The retained checkpoint of this id, if there is one.
    pub(super) fn retained(&mut self, checkpoint: CheckpointId) -> Option<Arc<Manifest>> {
        if self.retained.is_none() {
            self.reopen();
        }
        self.retained.iter().flatten().find(|manifest| manifest.checkpoint == checkpoint).cloned()
    }

    pub(super) fn close(&self) {
        self.job.store.close();
    }

    pub(super) fn finalise(&mut self, manifest: Arc<Manifest>) {
        let checkpoint = manifest.checkpoint;
        self.reached(Step::CommittingManifest);
        if let Some((failed, error)) = &self.failed
            && *failed == checkpoint
        {
            let (error, retained) = (error.clone(), self.retained.clone());
            return self.answer(StoreReply::FinaliseFailed { checkpoint, error, retained });
        }
        let retain = self.job.pins.retain(self.job.checkpointing.retained, self.retained.as_deref());
        let marked = self.marked(manifest);
        match marked.and_then(|manifest| self.job.store.finalise(&manifest, retain).map(|_| manifest)) {
            Ok(manifest) => {
                self.reached(Step::ManifestCommitted);
                self.job.figures.store_has(self.job.store.stored_bytes());
                self.settled = checkpoint.max(self.settled);
                if let Some(retained) = &mut self.retained {
                    retained.push(manifest);
                    let excess = retained.len().saturating_sub(retain);
                    retained.drain(..excess);
                }
                let oldest = self.retained.iter().flatten().map(|manifest| manifest.checkpoint).next();
                self.answer(StoreReply::Finalised { checkpoint, oldest });
            }
            Err(error) => {
                let (error, retained) = (Arc::new(error), self.reopen());
                self.answer(StoreReply::FinaliseFailed { checkpoint, error, retained });
            }
        }
    }

    /// The manifest with a note of the savepoint that the job began with, if it did; the note is stored.
    fn marked(&self, manifest: Arc<Manifest>) -> Result<Arc<Manifest>, SnapshotError> {
        let Some(origin) = &self.job.descends_from else { return Ok(manifest) };
        let mark = origin.mark(manifest.checkpoint);
        let mut marked = Manifest::clone(&manifest);
        marked.chunks.retain(|chunk| !is_mark(&chunk.address));
        let place = marked.chunks.partition_point(|chunk| chunk.address < mark.reference.address);
        marked.chunks.insert(place, mark.reference.clone());
        self.job.store.put_chunks(&[mark])?;
        Ok(Arc::new(marked))
    }

    pub(super) fn abandon_above(&mut self, above: CheckpointId) {
        match self.job.store.abandon_above(above) {
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

    pub(super) fn store(&mut self, checkpoint: CheckpointId, chunks: &[Chunk]) {
        let failed_before = self.failed.as_ref().is_some_and(|(failed, _)| *failed == checkpoint);
        if chunks.is_empty() || failed_before || checkpoint <= self.settled {
            return;
        }
        self.reached(Step::StoringChunks);
        if let Err(error) = self.put(checkpoint, chunks) {
            let (error, retained) = (Arc::new(error), self.reopen());
            self.failed = Some((checkpoint, error.clone()));
            self.answer(StoreReply::ChunksFailed { checkpoint, error, retained });
        }
    }

    fn put(&self, checkpoint: CheckpointId, chunks: &[Chunk]) -> Result<(), SnapshotError> {
        let most = self.job.limits.store_transaction_bytes;
        let (mut start, mut bytes) = (0, 0);
        for (end, chunk) in chunks.iter().enumerate() {
            if end > start && bytes + chunk.bytes.len() > most {
                self.put_at_once(checkpoint, &chunks[start..end])?;
                (start, bytes) = (end, 0);
            }
            bytes += chunk.bytes.len();
        }
        self.put_at_once(checkpoint, &chunks[start..])
    }

    fn put_at_once(&self, checkpoint: CheckpointId, chunks: &[Chunk]) -> Result<(), SnapshotError> {
        self.job.store.put_chunks(chunks)?;
        self.job.events.stored(checkpoint, chunks.iter().map(|chunk| chunk.bytes.len() as u64).sum());
        Ok(())
    }
}
