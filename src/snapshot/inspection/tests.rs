//! Tests of looking into files that change, and that are damaged.

use std::fs;
use std::path::Path;

use millstream_actors::contract::{CHUNK_BYTES_MAX, Chunk, SnapshotError, SnapshotStore, StateScope};
use millstream_actors::protocol::{CheckpointId, Incarnation};

use super::{Inspection, verify};
use crate::snapshot::RedbStore;
use crate::snapshot::test_kit::{JOB, chunk, each_flipped, manifest, references};

const GROUPS: u32 = 16;

/// Completes a checkpoint in which the chunks of all groups have `len` bytes, and forgets the one before.
fn complete(store: &RedbStore, checkpoint: u64, len: usize) {
    let chunks: Vec<Chunk> = (0..GROUPS).map(|number| chunk(checkpoint, StateScope::Subtask(number), len)).collect();
    store.put_chunks(&chunks).unwrap();
    store.finalise(&manifest(checkpoint, references(&chunks)), 1).unwrap();
}

fn new_store(path: &Path, len: usize) -> RedbStore {
    let store = RedbStore::open(path).unwrap();
    store.open_job(JOB, Incarnation(1)).unwrap();
    complete(&store, 1, len);
    complete(&store, 2, len);
    store
}

/// Copies the store while it takes checkpoints, until `last` is taken. Gives what became of it, and how many were
/// taken.
fn copy_while_writing(last: u64) -> (Result<Inspection, SnapshotError>, u64) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    let store = new_store(&path, CHUNK_BYTES_MAX);
    let mut newest = 2;
    let copied = Inspection::open_copy(&path, &mut |_, _| {
        if newest < last {
            newest += 1;
            complete(&store, newest, CHUNK_BYTES_MAX);
        }
    });
    (copied, newest)
}

#[test]
fn torn_copies_are_noticed_and_made_again() {
    let (copied, newest) = copy_while_writing(2 + 8);
    let mut copied = copied.unwrap();
    assert_eq!(newest, 10);
    let ids: Vec<CheckpointId> = copied.checkpoints().iter().map(|checkpoint| checkpoint.id).collect();
    assert_eq!(ids.len(), 1);
    let found = verify(&mut copied, &mut |_, _| {});
    assert_eq!((found.findings, found.chunks), (Vec::new(), u64::from(GROUPS)), "of checkpoint {ids:?}");
}

#[test]
fn copying_is_given_up_if_each_copy_is_torn() {
    let (copied, newest) = copy_while_writing(u64::MAX);
    let error = copied.unwrap_err();
    assert!(newest > 10, "only {newest}");
    assert!(matches!(error, SnapshotError::Io { .. }), "{error}");
    assert!(error.to_string().contains("wrote over"), "{error}");
}

#[test]
fn a_copy_is_removed_with_its_inspection() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    let store = new_store(&path, 100);
    assert!(matches!(Inspection::open(&path), Err(SnapshotError::Locked { .. })), "a writer has it");
    let copied = Inspection::open_copy(&path, &mut |_, _| {}).unwrap();
    let copy = copied.copy_path().unwrap().to_owned();
    assert!(copy.exists());
    drop(copied);
    assert!(!copy.exists());
    drop(store);
    let (first, second) = (Inspection::open(&path).unwrap(), Inspection::open(&path).unwrap());
    let writer = RedbStore::open(&path);
    assert!(matches!(writer, Err(SnapshotError::Locked { .. })), "readers keep writers out, not each other");
    drop((first, second));
    RedbStore::open(&path).unwrap();
}

/// Whether the damage is noticed. Otherwise all that was in the store must be there.
fn is_noticed(path: &Path, what: &str) -> bool {
    let mut inspection = match Inspection::open(path) {
        Ok(inspection) => inspection,
        Err(SnapshotError::Damaged { .. } | SnapshotError::Foreign { .. }) => return true,
        Err(other) => panic!("{what}: {other}"),
    };
    let found = verify(&mut inspection, &mut |_, _| {});
    if found.findings.is_empty() {
        assert_eq!((found.manifests, found.chunks), (1, u64::from(GROUPS)), "{what}");
    }
    !found.findings.is_empty()
}

#[test]
fn flipped_bits_are_found_or_are_where_nothing_is() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    drop(new_store(&path, 3_000));
    let bytes = fs::read(&path).unwrap();
    assert!(!is_noticed(&path, "undamaged"));
    let mut noticed = 0;
    each_flipped(&bytes, 0x1257, 120, |damaged, what| {
        fs::write(&path, damaged).unwrap();
        noticed += u32::from(is_noticed(&path, what));
        assert!(fs::read(&path).unwrap() == damaged, "looking changed the file");
    });
    assert!(noticed > 10, "only {noticed} of 120 flips were noticed");
}
