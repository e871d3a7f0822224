//! A store in memory: survives the panics of a job, not the process.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use millstream_actors::contract::{Chunk, ChunkRef, Finalised, Manifest, SnapshotError, SnapshotStore, StoreOpening};
use millstream_actors::protocol::{CheckpointId, Incarnation};

use super::format::{ChunkKey, chunk_key, encode_manifest};
use super::ledger::Ledger;
use super::references::{
    Keys, Manifests, Taken, Unnamed, garbage, is_named, kept, missing, no_longer_named, pin, unverified, users_of,
    verify_put,
};

const NAME: &str = "memory";
const UNCLAIMED: u64 = 0;

/// Keeps snapshots in memory, for as long as one clone lives.
///
/// A clone is another handle on the same content, as another process would be: a job that starts on a clone takes the
/// store over, and later calls through the handle that had it fail with [`SnapshotError::Closed`]. So a second life of
/// a job can start where the first was left, even one that never closed its store.
///
/// ```
/// use millstream::prelude::*;
///
/// # actix_rt::System::new().block_on(async {
/// let store = MemoryStore::new();
/// let numbers = || SequenceSource::new(0..1_000_000).rate_per_second(100_000);
///
/// let env = StreamEnvironment::new("numbers").snapshot_store(store.clone());
/// env.source("numbers", numbers()).for_each("out", |_| {});
/// let job = env.start()?;
/// let checkpoint = job.checkpoint().await?;
/// job.cancel().await?;
///
/// let env = StreamEnvironment::new("numbers").snapshot_store(store);   // a second life on the same store
/// env.source("numbers", numbers()).for_each("out", |_| {});
/// let job = env.start()?;
/// assert!(job.status().newest_checkpoint >= Some(checkpoint), "it goes on from there");
/// job.cancel().await?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
pub struct MemoryStore {
    content: Arc<Mutex<Content>>,
    /// The claim under which this handle works, or [`UNCLAIMED`].
    claim: AtomicU64,
}

#[derive(Debug, Default)]
struct Content {
    ledger: Ledger,
    manifests: Manifests,
    pinned: Manifests,
    chunks: BTreeMap<ChunkKey, Vec<u8>>,
    /// With the named ones, these are all the chunks there are.
    unnamed: Unnamed,
    /// Who works on the store now; [`UNCLAIMED`] if nobody does.
    claimed_by: u64,
    /// The newest claim given out.
    claims: u64,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes of all chunks held, including those no manifest names yet.
    pub fn chunk_bytes(&self) -> u64 {
        self.lock().chunks.values().map(|bytes| bytes.len() as u64).sum()
    }

    /// Nothing panics under the lock but asserts made before anything changed, so a poisoned lock guards sound content.
    fn lock(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn claimed(&self) -> Result<MutexGuard<'_, Content>, SnapshotError> {
        let content = self.lock();
        let claim = self.claim.load(Ordering::Relaxed);
        if claim == UNCLAIMED || claim != content.claimed_by {
            return Err(SnapshotError::Closed { store: NAME.to_owned() });
        }
        Ok(content)
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self { content: Arc::default(), claim: AtomicU64::new(UNCLAIMED) }
    }
}

impl Clone for MemoryStore {
    fn clone(&self) -> Self {
        Self { content: self.content.clone(), claim: AtomicU64::new(UNCLAIMED) }
    }
}

impl Content {
    fn retained(&self) -> Vec<Arc<Manifest>> {
        self.manifests.values().cloned().collect()
    }

    fn read(&self, reference: &ChunkRef) -> Result<&[u8], SnapshotError> {
        let found = self.chunks.get(&chunk_key(&reference.address));
        let bytes = found.ok_or_else(|| missing(NAME, &reference.address))?;
        Taken::of(bytes).verify(NAME, reference).map_err(|mut error| {
            if let SnapshotError::Damaged { checkpoints, .. } = &mut error {
                *checkpoints = users_of(reference, &self.manifests);
            }
            error
        })?;
        Ok(bytes)
    }

    fn remove_chunks(&mut self, garbage: &Keys) {
        for key in garbage.values().flatten() {
            self.chunks.remove(key);
        }
    }
}

impl SnapshotStore for MemoryStore {
    fn open_job(&self, job: &str, incarnation_floor: Incarnation) -> Result<StoreOpening, SnapshotError> {
        let mut content = self.lock();
        if content.claimed_by != UNCLAIMED && content.claimed_by == self.claim.load(Ordering::Relaxed) {
            return Err(SnapshotError::Locked { store: NAME.to_owned() });
        }
        content.ledger.claim(job, incarnation_floor).map_err(|owner| SnapshotError::OtherJob {
            store: NAME.to_owned(),
            owner,
            job: job.to_owned(),
        })?;
        content.claims += 1;
        content.claimed_by = content.claims;
        self.claim.store(content.claims, Ordering::Relaxed);
        let Content { manifests, pinned, unnamed, .. } = &mut *content;
        pin(&[], manifests, pinned, unnamed);
        let garbage = garbage(CheckpointId(u64::MAX), unnamed, [], manifests);
        content.remove_chunks(&garbage);
        content.unnamed = Unnamed::default();
        Ok(content.ledger.opening(content.retained()))
    }

    fn reserve_ids(&self, up_to: CheckpointId) -> Result<(), SnapshotError> {
        let mut content = self.claimed()?;
        content.ledger.reserved_up_to = content.ledger.reserved_up_to.max(up_to);
        Ok(())
    }

    fn put_chunks(&self, chunks: &[Chunk]) -> Result<(), SnapshotError> {
        let mut content = self.claimed()?;
        let content = &mut *content;
        let kept = kept(&content.manifests, &content.pinned);
        for chunk in chunks.iter().filter(|chunk| !is_named(chunk, &kept)) {
            let key = chunk_key(&chunk.reference.address);
            content.unnamed.insert(key, Some(Taken::of(&chunk.bytes)));
            content.chunks.insert(key, chunk.bytes.clone());
        }
        Ok(())
    }

    fn finalise(&self, manifest: &Manifest, retain: usize) -> Result<Finalised, SnapshotError> {
        let mut content = self.claimed()?;
        let content = &mut *content;
        let (_, sum) = encode_manifest(manifest);
        for reference in unverified(NAME, manifest, &content.unnamed, &content.manifests)? {
            content.read(reference)?;
        }
        let expired = content.ledger.complete(manifest.checkpoint, sum, retain);
        content.manifests.insert(manifest.checkpoint, Arc::new(manifest.clone()));
        let dropped: Vec<Arc<Manifest>> = expired.iter().filter_map(|id| content.manifests.remove(id)).collect();
        let kept = kept(&content.manifests, &content.pinned);
        let garbage = garbage(manifest.checkpoint, &content.unnamed, &dropped, &kept);
        content.remove_chunks(&garbage);
        content.unnamed.remove_up_to(manifest.checkpoint);
        Ok(Finalised { expired })
    }

    fn pin(&self, checkpoints: &[CheckpointId]) {
        if let Ok(mut content) = self.claimed() {
            let Content { manifests, pinned, unnamed, .. } = &mut *content;
            pin(checkpoints, manifests, pinned, unnamed);
        }
    }

    fn import(&self, manifest: &Manifest, lost_up_to: CheckpointId) -> Result<(), SnapshotError> {
        let mut content = self.claimed()?;
        let content = &mut *content;
        let (_, sum) = encode_manifest(manifest);
        for reference in verify_put(NAME, &manifest.chunks, &content.unnamed)? {
            content.read(reference)?;
        }
        content.ledger.import(manifest.checkpoint, sum, lost_up_to);
        content.manifests.insert(manifest.checkpoint, Arc::new(manifest.clone()));
        let garbage = garbage(manifest.checkpoint, &content.unnamed, [], &content.manifests);
        content.remove_chunks(&garbage);
        content.unnamed.remove_up_to(manifest.checkpoint);
        Ok(())
    }

    fn discard(&self, checkpoint: CheckpointId) -> Result<(), SnapshotError> {
        let mut content = self.claimed()?;
        let garbage = content.unnamed.of(checkpoint);
        content.remove_chunks(&garbage);
        content.unnamed.remove(checkpoint);
        Ok(())
    }

    fn abandon_above(&self, checkpoint: CheckpointId) -> Result<Vec<CheckpointId>, SnapshotError> {
        let mut content = self.claimed()?;
        let content = &mut *content;
        let abandoned = content.ledger.abandon_above(checkpoint);
        let dropped: Vec<Arc<Manifest>> = abandoned.iter().filter_map(|id| content.manifests.remove(id)).collect();
        let kept = kept(&content.manifests, &content.pinned);
        for manifest in dropped.iter().filter(|manifest| !kept.contains_key(&manifest.checkpoint)) {
            content.unnamed.insert_all(no_longer_named(manifest, &kept));
        }
        Ok(abandoned)
    }

    fn read_chunk(&self, reference: &ChunkRef) -> Result<Vec<u8>, SnapshotError> {
        self.claimed()?.read(reference).map(<[u8]>::to_vec)
    }

    fn reopen(&self) -> Result<Vec<Arc<Manifest>>, SnapshotError> {
        Ok(self.claimed()?.retained())
    }

    fn keep_pause(&self, since_unix_ms: Option<u64>) -> Result<(), SnapshotError> {
        self.claimed()?.ledger.paused_since = since_unix_ms;
        Ok(())
    }

    fn paused_since(&self) -> Option<u64> {
        self.lock().ledger.paused_since
    }

    fn close(&self) {
        let mut content = self.lock();
        if content.claimed_by == self.claim.load(Ordering::Relaxed) {
            content.claimed_by = UNCLAIMED;
        }
        self.claim.store(UNCLAIMED, Ordering::Relaxed);
    }

    fn describe(&self) -> String {
        NAME.to_owned()
    }

    fn stored_bytes(&self) -> Option<u64> {
        Some(self.chunk_bytes())
    }

    fn is_durable(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use millstream_actors::contract::store_suite::{check_copyable_store, check_store};

    use super::*;

    #[test]
    fn fulfils_the_contract() {
        check_store(|| Arc::new(MemoryStore::new()));
        check_copyable_store(|| Arc::new(MemoryStore::new()));
    }

    #[test]
    fn job_on_a_clone_takes_over_what_another_left() {
        let first = MemoryStore::new();
        let incarnation = first.open_job("job", Incarnation(1)).unwrap().incarnation;
        first.reserve_ids(CheckpointId(16)).unwrap();

        let second = first.clone();
        assert!(matches!(second.reserve_ids(CheckpointId(32)), Err(SnapshotError::Closed { .. })));
        let opening = second.open_job("job", Incarnation(1)).unwrap();
        assert!(opening.incarnation > incarnation);
        assert_eq!(opening.reserved_up_to, CheckpointId(16));
        assert!(matches!(first.reserve_ids(CheckpointId(32)), Err(SnapshotError::Closed { .. })));
        first.close();
        second.reserve_ids(CheckpointId(32)).unwrap();
    }
}
