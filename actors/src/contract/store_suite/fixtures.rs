//! Small checkpoints, and what a store must answer about them.

use std::fmt::Debug;

use super::{FLOOR, JOB, Store};
use crate::contract::{CheckpointDurations, Chunk, ChunkAddress, Manifest, SnapshotError, StateScope, StoreOpening};
use crate::protocol::CheckpointId;

pub(super) fn open(store: &Store) -> StoreOpening {
    ok("open_job", store.open_job(JOB, FLOOR))
}

pub(super) fn next_life(store: &Store) -> StoreOpening {
    store.close();
    open(store)
}

pub(super) fn complete(store: &Store, checkpoint: u64, states: &[&str], retain: usize) -> Vec<CheckpointId> {
    let chunks: Vec<Chunk> = states.iter().map(|state| chunk_of(checkpoint, state)).collect();
    ok("put_chunks", store.put_chunks(&chunks));
    ok("finalise", store.finalise(&manifest(checkpoint, &chunks), retain)).expired
}

pub(super) fn complete_one(store: &Store, checkpoint: u64) -> Chunk {
    complete(store, checkpoint, &["a"], 1);
    chunk_of(checkpoint, "a")
}

pub(super) fn chunk_of(checkpoint: u64, state: &str) -> Chunk {
    let seed = state.bytes().fold(checkpoint, |seed, byte| seed * 31 + u64::from(byte));
    chunk(checkpoint, state, 0, pattern(seed, 1_000))
}

pub(super) fn chunk(checkpoint: u64, state: &str, seq: u32, bytes: Vec<u8>) -> Chunk {
    let address = ChunkAddress {
        checkpoint: CheckpointId(checkpoint),
        operator: "operator".into(),
        state: state.into(),
        scope: StateScope::KeyGroup(5),
        seq,
    };
    Chunk::seal(address, bytes)
}

pub(super) fn manifest(checkpoint: u64, chunks: &[Chunk]) -> Manifest {
    let mut chunks: Vec<_> = chunks.iter().map(|chunk| chunk.reference.clone()).collect();
    chunks.sort_by(|a, b| a.address.cmp(&b.address));
    Manifest {
        checkpoint: CheckpointId(checkpoint),
        job: JOB.to_owned(),
        incarnation: FLOOR,
        triggered_unix_ms: checkpoint,
        max_parallelism: 128,
        is_final: false,
        durations: CheckpointDurations::default(),
        chunks,
    }
}

pub(super) fn pattern(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    (0..len).map(|_| next()).collect()
}

pub(super) fn ids(ids: &[u64]) -> Vec<CheckpointId> {
    ids.iter().copied().map(CheckpointId).collect()
}

pub(super) fn ok<T>(what: &str, result: Result<T, SnapshotError>) -> T {
    result.unwrap_or_else(|error| panic!("{what} failed: {error}"))
}

pub(super) fn assert_retained(opening: &StoreOpening, expected: &[u64]) {
    let found: Vec<CheckpointId> = opening.retained.iter().map(|manifest| manifest.checkpoint).collect();
    assert_eq!(found, ids(expected), "retained checkpoints");
}

pub(super) fn assert_reads(store: &Store, chunk: &Chunk) {
    let address = &chunk.reference.address;
    let bytes = store.read_chunk(&chunk.reference).unwrap_or_else(|error| panic!("cannot read {address:?}: {error}"));
    assert!(bytes == chunk.bytes, "{address:?} reads as other bytes than were stored");
}

pub(super) fn assert_missing(store: &Store, chunk: &Chunk) {
    fn found(result: &impl Debug) -> String {
        format!("{result:?}").chars().take(120).collect()
    }
    let result = store.read_chunk(&chunk.reference);
    let missing = matches!(result, Err(SnapshotError::ChunkMissing { .. }));
    assert!(missing, "{:?}: ChunkMissing expected, found {}", chunk.reference.address, found(&result));
}
