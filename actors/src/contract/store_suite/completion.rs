//! What a checkpoint needs to complete, and that it reads back as it was written.

use super::Store;
use super::fixtures::*;
use crate::contract::{CHUNK_BYTES_MAX, Manifest, SnapshotError};
use crate::protocol::Incarnation;

pub(super) fn check_round_trip(store: &Store) {
    open(store);
    let chunks = vec![
        chunk(3, "empty", 0, Vec::new()),
        chunk(3, "large", 0, pattern(7, CHUNK_BYTES_MAX)),
        chunk(3, "large", 1, pattern(8, CHUNK_BYTES_MAX - 1)),
        chunk(3, "small", 0, vec![0]),
    ];
    ok("put_chunks", store.put_chunks(&chunks[..2]));
    ok("put_chunks", store.put_chunks(&[]));
    ok("put_chunks", store.put_chunks(&chunks[2..]));
    let manifest = Manifest {
        is_final: true,
        max_parallelism: 17,
        triggered_unix_ms: u64::MAX,
        incarnation: Incarnation(u64::MAX),
        ..manifest(3, &chunks)
    };
    let finalised = ok("finalise", store.finalise(&manifest, 2));
    assert_eq!(finalised.expired, [], "expired by the first checkpoint");
    let opening = next_life(store);
    assert_retained(&opening, &[3]);
    assert_eq!(*opening.retained[0], manifest, "the manifest in the next life");
    for chunk in &chunks {
        assert_reads(store, chunk);
    }
}

pub(super) fn check_missing_chunk(store: &Store) {
    open(store);
    complete(store, 1, &["a"], 3);
    let (there, missing) = (chunk_of(2, "a"), chunk_of(2, "b"));
    ok("put_chunks", store.put_chunks(std::slice::from_ref(&there)));
    match store.finalise(&manifest(2, &[there, missing.clone()]), 3) {
        Err(SnapshotError::ChunkMissing { address, .. }) => assert_eq!(*address, missing.reference.address),
        other => panic!("finalise without a chunk: ChunkMissing expected, found {other:?}"),
    }
    assert_retained(&next_life(store), &[1]);
    complete(store, 3, &["a"], 3);
}

pub(super) fn check_wrong_chunk(store: &Store) {
    open(store);
    let good = chunk_of(1, "a");
    let mut flipped = good.clone();
    flipped.bytes[0] ^= 1;
    let mut cut = good.clone();
    cut.bytes.pop();
    for wrong in [flipped, cut] {
        ok("put_chunks", store.put_chunks(std::slice::from_ref(&wrong)));
        let refused = store.finalise(&manifest(1, std::slice::from_ref(&good)), 3);
        assert!(matches!(refused, Err(SnapshotError::Damaged { .. })), "finalise: Damaged expected, found {refused:?}");
        let read = store.read_chunk(&good.reference);
        assert!(matches!(read, Err(SnapshotError::Damaged { .. })), "read_chunk: Damaged expected, found {read:?}");
    }
    assert_retained(&next_life(store), &[]);
}

pub(super) fn check_unnamed_older_chunk(store: &Store) {
    open(store);
    complete(store, 1, &["a", "kept"], 1);
    ok("put_chunks", store.put_chunks(&[chunk_of(2, "aborted")]));
    for unnamed in [chunk_of(1, "never"), chunk_of(2, "aborted")] {
        let own = chunk_of(3, "a");
        ok("put_chunks", store.put_chunks(std::slice::from_ref(&own)));
        match store.finalise(&manifest(3, &[chunk_of(1, "kept"), unnamed.clone(), own]), 2) {
            Err(SnapshotError::ChunkMissing { address, .. }) => assert_eq!(*address, unnamed.reference.address),
            other => panic!("finalise: ChunkMissing expected, found {other:?}"),
        }
        assert_reads(store, &chunk_of(1, "kept"));
        assert_reads(store, &chunk_of(1, "a"));
    }
    complete(store, 4, &["a"], 1);
    let gone = store.finalise(&manifest(5, &[chunk_of(1, "kept")]), 1);
    assert!(matches!(gone, Err(SnapshotError::ChunkMissing { .. })), "finalise with a dropped chunk: {gone:?}");
    assert_retained(&next_life(store), &[4]);
}

pub(super) fn check_wrong_older_chunk(store: &Store) {
    open(store);
    complete(store, 1, &["a"], 2);
    let other = chunk(1, "a", 0, pattern(99, 1_000));
    let shorter = chunk(1, "a", 0, pattern(99, 999));
    for wrong in [other, shorter] {
        let refused = store.finalise(&manifest(2, &[wrong]), 2);
        assert!(matches!(refused, Err(SnapshotError::Damaged { .. })), "finalise: Damaged expected, found {refused:?}");
    }
    assert_reads(store, &chunk_of(1, "a"));
    assert_retained(&next_life(store), &[1]);
}

pub(super) fn check_replaced_chunk(store: &Store) {
    open(store);
    let old = chunk(1, "a", 0, pattern(1, 3_000));
    let new = chunk(1, "a", 0, pattern(2, 10));
    ok("put_chunks", store.put_chunks(&[old, new.clone()]));
    ok("put_chunks", store.put_chunks(std::slice::from_ref(&new)));
    ok("finalise", store.finalise(&manifest(1, std::slice::from_ref(&new)), 1));
    assert_reads(store, &new);
}
