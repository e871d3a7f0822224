//! A store in memory: survives the panics of a job, not the process.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use millstream_actors::contract::{
    Chunk, ChunkRef, Finalised, Manifest, SnapshotError, SnapshotStore, StoreOpening, checksum,
};
use millstream_actors::protocol::{CheckpointId, Incarnation};

use super::format::{ChunkKey, checkpoint_of, chunk_key, encode_manifest};
use super::ledger::{Ledger, named_chunks};

const NAME: &str = "memory";
const UNCLAIMED: u64 = 0;

/// Keeps snapshots in memory, for as long as one clone lives.
///
/// A clone is another handle on the same content, as another process would be: a job that starts on a clone takes the
/// store over, and later calls through the handle that had it fail with [`SnapshotError::Closed`]. So a second life of
/// a job can start where the first was left, even one that never closed its store.
#[derive(Debug)]
pub struct MemoryStore {
    content: Arc<Mutex<Content>>,
    /// The claim under which this handle works, or [`UNCLAIMED`].
    claim: AtomicU64,
}

#[derive(Debug, Default)]
struct Content {
    ledger: Ledger,
    manifests: BTreeMap<CheckpointId, Arc<Manifest>>,
    chunks: BTreeMap<ChunkKey, Vec<u8>>,
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
        let bytes = self.chunks.get(&chunk_key(&reference.address)).ok_or_else(|| SnapshotError::ChunkMissing {
            store: NAME.to_owned(),
            address: Box::new(reference.address.clone()),
        })?;
        if bytes.len() != reference.len as usize || checksum(bytes) != reference.checksum {
            return Err(SnapshotError::Damaged {
                store: NAME.to_owned(),
                what: format!("chunk {:?}", reference.address),
                reason: format!("{} bytes with another length or checksum than recorded", bytes.len()),
                checkpoints: self.users_of(reference),
            });
        }
        Ok(bytes)
    }

    fn users_of(&self, reference: &ChunkRef) -> Vec<CheckpointId> {
        let uses = |manifest: &&Arc<Manifest>| manifest.chunks.iter().any(|chunk| chunk.address == reference.address);
        self.manifests.values().filter(uses).map(|manifest| manifest.checkpoint).collect()
    }

    fn remove_garbage(&mut self, up_to: CheckpointId) {
        let named = named_chunks(self.manifests.values().map(Arc::as_ref));
        self.chunks.retain(|key, _| checkpoint_of(key) > up_to || named.contains(key));
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
        content.remove_garbage(CheckpointId(u64::MAX));
        Ok(content.ledger.opening(content.retained()))
    }

    fn reserve_ids(&self, up_to: CheckpointId) -> Result<(), SnapshotError> {
        let mut content = self.claimed()?;
        content.ledger.reserved_up_to = content.ledger.reserved_up_to.max(up_to);
        Ok(())
    }

    fn put_chunks(&self, chunks: &[Chunk]) -> Result<(), SnapshotError> {
        let mut content = self.claimed()?;
        for chunk in chunks {
            content.chunks.insert(chunk_key(&chunk.reference.address), chunk.bytes.clone());
        }
        Ok(())
    }

    fn finalise(&self, manifest: &Manifest, retain: usize) -> Result<Finalised, SnapshotError> {
        let mut content = self.claimed()?;
        let (_, sum) = encode_manifest(manifest);
        for reference in &manifest.chunks {
            content.read(reference)?;
        }
        let expired = content.ledger.complete(manifest.checkpoint, sum, retain);
        content.manifests.insert(manifest.checkpoint, Arc::new(manifest.clone()));
        for checkpoint in &expired {
            content.manifests.remove(checkpoint);
        }
        content.remove_garbage(manifest.checkpoint);
        Ok(Finalised { expired })
    }

    fn discard(&self, checkpoint: CheckpointId) -> Result<(), SnapshotError> {
        let mut content = self.claimed()?;
        let named = named_chunks(content.manifests.values().map(Arc::as_ref));
        content.chunks.retain(|key, _| checkpoint_of(key) != checkpoint || named.contains(key));
        Ok(())
    }

    fn abandon_above(&self, checkpoint: CheckpointId) -> Result<Vec<CheckpointId>, SnapshotError> {
        let mut content = self.claimed()?;
        let abandoned = content.ledger.abandon_above(checkpoint);
        for dropped in &abandoned {
            content.manifests.remove(dropped);
        }
        Ok(abandoned)
    }

    fn read_chunk(&self, reference: &ChunkRef) -> Result<Vec<u8>, SnapshotError> {
        self.claimed()?.read(reference).map(<[u8]>::to_vec)
    }

    fn reopen(&self) -> Result<Vec<Arc<Manifest>>, SnapshotError> {
        Ok(self.claimed()?.retained())
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

    fn is_durable(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use millstream_actors::contract::store_suite::check_store;

    use super::*;

    #[test]
    fn fulfils_the_contract() {
        check_store(|| Arc::new(MemoryStore::new()));
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
