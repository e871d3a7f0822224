//! Checkpoints that are copied from a store, and brought back to it.

use super::Store;
use super::fixtures::*;
use crate::contract::SnapshotError;
use crate::protocol::CheckpointId;

pub(super) fn check_pins(store: &Store) {
    open(store);
    complete(store, 1, &["a"], 1);
    store.pin(&[CheckpointId(1)]);
    for checkpoint in 2..5 {
        complete(store, checkpoint, &["a", "b"], 1);
        assert_reads(store, &chunk_of(1, "a"));
    }
    ok("discard", store.discard(CheckpointId(1)));
    ok("reopen", store.reopen());
    complete(store, 5, &["a"], 1);
    assert_reads(store, &chunk_of(1, "a"));
    assert_missing(store, &chunk_of(4, "a"));
    store.pin(&[CheckpointId(1), CheckpointId(5), CheckpointId(4)]);
    complete(store, 6, &["a"], 1);
    assert_reads(store, &chunk_of(1, "a"));
    assert_reads(store, &chunk_of(5, "a"));
    store.pin(&[CheckpointId(5)]);
    complete(store, 7, &["a"], 1);
    assert_missing(store, &chunk_of(1, "a"));
    assert_reads(store, &chunk_of(5, "a"));
    assert_retained(&next_life(store), &[7]);
    assert_missing(store, &chunk_of(5, "a"));
}

pub(super) fn check_import(store: &Store) {
    open(store);
    ok("put_chunks", store.put_chunks(&[chunk_of(3, "old"), chunk_of(9, "own"), chunk_of(9, "unnamed")]));
    let copied = manifest(9, &[chunk_of(3, "old"), chunk_of(9, "own")]);
    ok("import", store.import(&copied, CheckpointId(50)));
    for _ in 0..2 {
        let opening = next_life(store);
        assert_retained(&opening, &[9]);
        assert_eq!(*opening.retained[0], copied, "the imported manifest");
        assert_eq!(opening.abandoned, ids(&[50]), "what may have been lost");
        assert_eq!(opening.reserved_up_to, CheckpointId(50), "reserved ids");
        assert_reads(store, &chunk_of(3, "old"));
        assert_reads(store, &chunk_of(9, "own"));
        assert_missing(store, &chunk_of(9, "unnamed"));
    }
    complete(store, 51, &["a"], 1);
    assert_missing(store, &chunk_of(3, "old"));
    let opening = next_life(store);
    assert_retained(&opening, &[51]);
    assert_eq!(opening.abandoned, [], "abandoned checkpoints after a completed one");
}

pub(super) fn check_wrong_import(store: &Store) {
    open(store);
    let missing = manifest(9, &[chunk_of(3, "old"), chunk_of(9, "own")]);
    ok("put_chunks", store.put_chunks(&[chunk_of(9, "own")]));
    let refused = store.import(&missing, CheckpointId(9));
    assert!(matches!(refused, Err(SnapshotError::ChunkMissing { .. })), "import without a chunk: {refused:?}");
    let mut wrong = chunk_of(3, "old");
    wrong.bytes[0] ^= 1;
    ok("put_chunks", store.put_chunks(&[wrong]));
    let refused = store.import(&missing, CheckpointId(9));
    assert!(matches!(refused, Err(SnapshotError::Damaged { .. })), "import of a wrong chunk: {refused:?}");
    assert_retained(&next_life(store), &[]);
}
