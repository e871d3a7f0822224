//! A store in memory, which can be told to fail.

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};

use crate::contract::{Chunk, ChunkAddress, ChunkRef, Finalised, Manifest, SnapshotError, SnapshotStore, StoreOpening};
use crate::protocol::{CheckpointId, Incarnation};

/// A store in memory, which can be told to fail.
#[derive(Default)]
pub(super) struct FakeStore {
    pub(super) retained: Mutex<Vec<Arc<Manifest>>>,
    pub(super) reserved: AtomicU64,
    pub(super) abandoned: Mutex<BTreeSet<CheckpointId>>,
    /// Finalisations that fail, each before (false) or after (true) it took effect.
    pub(super) finalise_fails: Mutex<VecDeque<bool>>,
    pub(super) closed: AtomicBool,
    /// The next finalisation waits until the sender is dropped.
    pub(super) finalise_waits: Mutex<Option<mpsc::Receiver<()>>>,
    incarnation: AtomicU64,
    chunks: Mutex<BTreeSet<ChunkAddress>>,
}

impl FakeStore {
    pub(super) fn with(manifests: impl IntoIterator<Item = (u64, bool)>) -> Arc<Self> {
        let store = Self::default();
        *store.retained.lock().unwrap() = manifests.into_iter().map(|(id, is_final)| manifest(id, is_final)).collect();
        store.reserved.store(1000, Ordering::Relaxed);
        Arc::new(store)
    }

    pub(super) fn newest(&self) -> Option<CheckpointId> {
        self.retained.lock().unwrap().last().map(|manifest| manifest.checkpoint)
    }
}

pub(super) fn manifest(id: u64, is_final: bool) -> Arc<Manifest> {
    Arc::new(Manifest { job: "stub".into(), is_final, ..Manifest::empty(id) })
}

impl SnapshotStore for FakeStore {
    fn open_job(&self, _: &str, _: Incarnation) -> Result<StoreOpening, SnapshotError> {
        Ok(StoreOpening {
            incarnation: Incarnation(self.incarnation.fetch_add(1, Ordering::Relaxed) + 1),
            reserved_up_to: CheckpointId(self.reserved.load(Ordering::Relaxed)),
            retained: self.retained.lock().unwrap().clone(),
            abandoned: self.abandoned.lock().unwrap().iter().copied().collect(),
        })
    }

    fn reserve_ids(&self, up_to: CheckpointId) -> Result<(), SnapshotError> {
        self.reserved.fetch_max(up_to.0, Ordering::Relaxed);
        Ok(())
    }

    fn put_chunks(&self, chunks: &[Chunk]) -> Result<(), SnapshotError> {
        self.chunks.lock().unwrap().extend(chunks.iter().map(|chunk| chunk.reference.address.clone()));
        Ok(())
    }

    fn finalise(&self, manifest: &Manifest, retain: usize) -> Result<Finalised, SnapshotError> {
        if let Some(until) = self.finalise_waits.lock().unwrap().take() {
            // Ends with an error when the test lets go.
            let _ = until.recv();
        }
        assert!(manifest.checkpoint.0 <= self.reserved.load(Ordering::Relaxed), "an id that was not reserved");
        let stored = self.chunks.lock().unwrap();
        assert_eq!(manifest.chunks.len() % 4, 0, "one of each subtask of each region");
        if let Some(missing) = manifest.chunks.iter().find(|chunk| !stored.contains(&chunk.address)) {
            let address = Box::new(missing.address.clone());
            return Err(SnapshotError::ChunkMissing { store: "fake".into(), address });
        }
        drop(stored);
        let fails = self.finalise_fails.lock().unwrap().pop_front();
        if fails != Some(false) {
            let mut retained = self.retained.lock().unwrap();
            assert!(retained.last().is_none_or(|last| last.checkpoint < manifest.checkpoint), "an id used again");
            retained.push(Arc::new(manifest.clone()));
            let excess = retained.len().saturating_sub(retain);
            retained.drain(..excess);
        }
        match fails {
            None => Ok(Finalised::default()),
            Some(_) => Err(SnapshotError::Io { store: "fake".into(), action: "commit", source: "disk full".into() }),
        }
    }

    fn discard(&self, _: CheckpointId) -> Result<(), SnapshotError> {
        Ok(())
    }

    fn abandon_above(&self, checkpoint: CheckpointId) -> Result<Vec<CheckpointId>, SnapshotError> {
        let mut retained = self.retained.lock().unwrap();
        let above: Vec<_> = retained.iter().map(|m| m.checkpoint).filter(|id| *id > checkpoint).collect();
        retained.retain(|manifest| manifest.checkpoint <= checkpoint);
        self.abandoned.lock().unwrap().extend(&above);
        Ok(above)
    }

    fn read_chunk(&self, reference: &ChunkRef) -> Result<Vec<u8>, SnapshotError> {
        Err(SnapshotError::ChunkMissing { store: "fake".into(), address: Box::new(reference.address.clone()) })
    }

    fn reopen(&self) -> Result<Vec<Arc<Manifest>>, SnapshotError> {
        Ok(self.retained.lock().unwrap().clone())
    }

    fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    fn describe(&self) -> String {
        "fake".into()
    }

    fn is_durable(&self) -> bool {
        false
    }
}
