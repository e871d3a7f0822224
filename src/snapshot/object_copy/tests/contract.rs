//! A store that copies fulfils the contract of stores.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use millstream_actors::contract::store_suite::check_store;
use millstream_actors::contract::{Chunk, ChunkRef, Finalised, Manifest, SnapshotError, SnapshotStore, StoreOpening};
use millstream_actors::protocol::{CheckpointId, Incarnation};
use object_store::local::LocalFileSystem;

use super::{CopiedStore, FaultyObjects, LONG, copied_to, options};
use crate::snapshot::MemoryStore;

/// Waits for copies before each call: what is copied stays readable while it is, beyond what the contract asks for.
struct Waiting(CopiedStore<MemoryStore>);

impl Waiting {
    fn copied(&self) -> &CopiedStore<MemoryStore> {
        // The suite has manifests of incarnations that are none of its lives'.
        let progress = self.0.progress();
        assert!(self.0.flush(LONG) || progress.is_fenced(), "{progress:?} {:?}", progress.outage());
        &self.0
    }
}

impl SnapshotStore for Waiting {
    fn open_job(&self, job: &str, incarnation_floor: Incarnation) -> Result<StoreOpening, SnapshotError> {
        self.0.open_job(job, incarnation_floor)
    }

    fn reserve_ids(&self, up_to: CheckpointId) -> Result<(), SnapshotError> {
        self.copied().reserve_ids(up_to)
    }

    fn put_chunks(&self, chunks: &[Chunk]) -> Result<(), SnapshotError> {
        self.copied().put_chunks(chunks)
    }

    fn finalise(&self, manifest: &Manifest, retain: usize) -> Result<Finalised, SnapshotError> {
        self.copied().finalise(manifest, retain)
    }

    fn discard(&self, checkpoint: CheckpointId) -> Result<(), SnapshotError> {
        self.copied().discard(checkpoint)
    }

    fn abandon_above(&self, checkpoint: CheckpointId) -> Result<Vec<CheckpointId>, SnapshotError> {
        self.copied().abandon_above(checkpoint)
    }

    fn read_chunk(&self, reference: &ChunkRef) -> Result<Vec<u8>, SnapshotError> {
        self.copied().read_chunk(reference)
    }

    fn reopen(&self) -> Result<Vec<Arc<Manifest>>, SnapshotError> {
        self.copied().reopen()
    }

    fn close(&self) {
        self.0.close();
    }

    fn describe(&self) -> String {
        self.0.describe()
    }

    fn is_durable(&self) -> bool {
        self.0.is_durable()
    }
}

#[test]
fn fulfils_the_contract() {
    check_store(|| Arc::new(Waiting(copied_to(&FaultyObjects::new(), MemoryStore::new()))));
    let directory = tempfile::tempdir().unwrap();
    let count = AtomicU64::new(0);
    check_store(|| {
        let folder = directory.path().join(count.fetch_add(1, Ordering::SeqCst).to_string());
        std::fs::create_dir(&folder).unwrap();
        let objects = LocalFileSystem::new_with_prefix(folder).unwrap();
        Arc::new(Waiting(CopiedStore::new(MemoryStore::new(), Arc::new(objects), options())))
    });
}
