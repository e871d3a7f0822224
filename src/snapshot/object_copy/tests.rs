//! Copies under faults: every request fails once, answers are cut, slow, or lost; machines are lost and run twice.

mod contract;
mod faults;
mod machines;

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use millstream_actors::contract::{Chunk, ChunkRef, Manifest, SnapshotError, SnapshotStore, StateScope, StoreOpening};
use millstream_actors::protocol::{CheckpointId, Incarnation};
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt};

use super::faulty_objects::{Fault, FaultyObjects};
use super::layout::{Layout, Object};
use super::{CopiedStore, CopyOptions};
use crate::snapshot::MemoryStore;
use crate::snapshot::test_kit::{self, JOB};

const LONG: Duration = Duration::from_secs(20);

fn options() -> CopyOptions {
    CopyOptions::new("backup")
        .pack_bytes(5_000)
        .retry(Duration::from_millis(1), Duration::from_millis(4))
        .request_timeout(Duration::from_millis(300))
}

fn copied_to(objects: &Arc<FaultyObjects>, local: MemoryStore) -> CopiedStore<MemoryStore> {
    CopiedStore::new(local, objects.clone(), options())
}

fn open(store: &impl SnapshotStore) -> Result<StoreOpening, SnapshotError> {
    store.open_job(JOB, Incarnation(1))
}

fn chunk(checkpoint: u64, group: u32) -> Chunk {
    test_kit::chunk(checkpoint, StateScope::KeyGroup(group), 2_000)
}

/// A life of the job on a store.
struct Run {
    store: CopiedStore<MemoryStore>,
    opening: StoreOpening,
    /// The newest checkpoint.
    base: Option<Manifest>,
    next: u64,
}

impl Run {
    fn start(objects: &Arc<FaultyObjects>, local: MemoryStore) -> Self {
        let store = copied_to(objects, local);
        let opening = open(&store).unwrap();
        let base = opening.retained.last().map(|manifest| (**manifest).clone());
        Self { next: opening.reserved_up_to.0 + 1, store, opening, base }
    }

    /// Completes a checkpoint: each group's chain grows by a chunk, or starts anew every fourth time. Answers its id.
    fn complete(&mut self) -> u64 {
        let checkpoint = self.next;
        self.store.reserve_ids(CheckpointId(checkpoint)).unwrap();
        self.next += 1;
        let is_new = |group: u32| (checkpoint + u64::from(group)).is_multiple_of(4);
        let mut chunks: Vec<ChunkRef> = self.base.iter().flat_map(|base| base.chunks.clone()).collect();
        chunks.retain(|chunk| matches!(chunk.address.scope, StateScope::KeyGroup(group) if !is_new(group)));
        let own: Vec<Chunk> = (0..4).map(|group| chunk(checkpoint, group)).collect();
        chunks.extend(own.iter().map(|chunk| chunk.reference.clone()));
        let manifest = Manifest { incarnation: self.opening.incarnation, ..test_kit::manifest(checkpoint, chunks) };
        self.store.put_chunks(&own).unwrap();
        self.store.finalise(&manifest, 2).unwrap();
        self.base = Some(manifest);
        checkpoint
    }

    fn complete_all(&mut self, count: u32) {
        for _ in 0..count {
            self.complete();
        }
    }

    fn flush(&self) {
        assert!(self.store.flush(LONG), "{:?} {:?}", self.store.progress(), self.store.progress().outage());
    }

    fn complete_and_copy(&mut self) -> u64 {
        let checkpoint = self.complete();
        self.flush();
        checkpoint
    }

    fn copy_all(&mut self, count: u32) {
        for _ in 0..count {
            self.complete_and_copy();
        }
    }
}

/// What a new machine finds, every chunk as it was written.
fn found_by_a_new_machine(objects: &Arc<FaultyObjects>) -> Manifest {
    let Run { store, opening, base, .. } = Run::start(objects, MemoryStore::new());
    let newest = base.expect("a copy");
    assert_eq!(opening.retained.len(), 1);
    for reference in &newest.chunks {
        let StateScope::KeyGroup(group) = reference.address.scope else { unreachable!("only groups") };
        let written = chunk(reference.address.checkpoint.0, group);
        assert_eq!((reference, store.read_chunk(reference).unwrap()), (&written.reference, written.bytes));
    }
    assert!(opening.incarnation > newest.incarnation);
    assert!(opening.reserved_up_to > newest.checkpoint);
    assert_eq!(opening.abandoned, [opening.reserved_up_to], "what may have completed and was not copied");
    newest
}

async fn list_all(objects: &InMemory) -> Vec<Object> {
    let layout = Layout::new("backup", JOB);
    let found: Vec<_> = objects.list(Some(layout.root())).collect().await;
    found.into_iter().map(|meta| layout.parse(&meta.unwrap().location).expect("an object of ours")).collect()
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}
