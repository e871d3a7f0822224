//! Tests of the redb store: the contract, damage, locks, failing disks and power cuts.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use millstream_actors::contract::store_suite::{check_copyable_store, check_store};
use millstream_actors::contract::{CHUNK_BYTES_MAX, StateScope};
use redb::{Builder, ReadableDatabase, ReadableTableMetadata, TableDefinition};
use tempfile::TempDir;

use super::super::format::encode_newer_ledger;
use super::super::redb_file::LEDGER;
use super::*;
use crate::snapshot::test_kit::{self, JOB, each_flipped, references};
use crate::testing::{DiskFault, FaultyDisk};

fn chunk(checkpoint: u64, group: u32, len: usize) -> Chunk {
    test_kit::chunk(checkpoint, StateScope::KeyGroup(group), len)
}

fn chunks(checkpoint: u64) -> Vec<Chunk> {
    (0..4).map(|group| chunk(checkpoint, group, 3_000)).collect()
}

fn manifest(checkpoint: u64, chunks: &[Chunk]) -> Manifest {
    test_kit::manifest(checkpoint, references(chunks))
}

fn complete(store: &RedbStore, checkpoint: u64) -> Result<Finalised, SnapshotError> {
    let chunks = chunks(checkpoint);
    store.put_chunks(&chunks)?;
    store.finalise(&manifest(checkpoint, &chunks), 2)
}

fn open(store: &RedbStore) -> Result<StoreOpening, SnapshotError> {
    store.open_job(JOB, Incarnation(1))
}

fn retained(opening: &StoreOpening) -> Vec<u64> {
    opening.retained.iter().map(|manifest| manifest.checkpoint.0).collect()
}

/// Reads back everything that is retained and asserts that it is what was written.
fn read_all(store: &RedbStore, opening: &StoreOpening) -> Result<(), SnapshotError> {
    for retained in &opening.retained {
        let expected = chunks(retained.checkpoint.0);
        assert_eq!(**retained, manifest(retained.checkpoint.0, &expected));
        for chunk in expected {
            assert_eq!(store.read_chunk(&chunk.reference)?, chunk.bytes, "{:?}", chunk.reference.address);
        }
    }
    Ok(())
}

fn on_disk(disk: &FaultyDisk) -> Result<RedbStore, SnapshotError> {
    let disk = disk.clone();
    RedbStore::open_on("disk", move || Ok(disk.handle()))
}

fn new_path() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("job.redb");
    (directory, path)
}

/// A closed store file with checkpoints 2 and 3.
fn sound_file() -> (TempDir, PathBuf) {
    let (directory, path) = new_path();
    let store = RedbStore::open(&path).unwrap();
    open(&store).unwrap();
    for checkpoint in 1..=3 {
        complete(&store, checkpoint).unwrap();
    }
    drop(store);
    (directory, path)
}

#[test]
fn fulfils_the_contract() {
    let directory = tempfile::tempdir().unwrap();
    let count = AtomicU64::new(0);
    check_store(|| {
        let name = format!("{}.redb", count.fetch_add(1, Ordering::Relaxed));
        Arc::new(RedbStore::open(directory.path().join(name)).unwrap())
    });
    let names = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(names.into_iter().all(|name| name.ends_with(".redb")), "left-overs of the creation");
}

#[test]
fn fulfils_the_contract_on_a_disk_in_memory() {
    check_store(|| Arc::new(on_disk(&FaultyDisk::new()).unwrap()));
    check_copyable_store(|| Arc::new(on_disk(&FaultyDisk::new()).unwrap()));
}

#[test]
fn second_opening_is_locked_until_the_first_lets_go() {
    let (_directory, path) = new_path();
    let first = RedbStore::open(&path).unwrap();
    open(&first).unwrap();
    complete(&first, 1).unwrap();
    match RedbStore::open(&path) {
        Err(SnapshotError::Locked { store }) => assert_eq!(store, path.display().to_string()),
        other => panic!("{other:?}"),
    }
    first.close();
    let second = RedbStore::open(&path).unwrap();
    assert_eq!(retained(&open(&second).unwrap()), [1]);
    assert!(matches!(open(&first), Err(SnapshotError::Locked { .. })));
    drop(second);
    assert_eq!(retained(&open(&first).unwrap()), [1]);
}

#[test]
fn of_several_threads_that_create_one_file_one_gets_it() {
    for _ in 0..8 {
        let (directory, path) = new_path();
        let stores: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| RedbStore::open(&path))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(stores.iter().filter(|store| store.is_ok()).count(), 1, "{stores:?}");
        let errors: Vec<_> = stores.iter().filter_map(|store| store.as_ref().err()).collect();
        assert!(errors.iter().all(|error| matches!(error, SnapshotError::Locked { .. })), "{errors:?}");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "left-overs of the creation");
    }
}

#[test]
fn missing_directory_is_an_io_error() {
    let (_directory, path) = new_path();
    let missing = path.join("deeper.redb");
    let error = RedbStore::open(&missing).unwrap_err();
    assert!(matches!(error, SnapshotError::Io { .. }), "{error:?}");
    assert!(error.to_string().contains("deeper.redb"), "{error}");
}

#[test]
fn files_of_others_are_foreign_and_stay_as_they_are() {
    let (directory, _) = new_path();
    for (name, bytes) in
        [("empty", &b""[..]), ("text", b"key,value\n1,2\n"), ("zeros", &[0; 100_000]), ("short", b"red")]
    {
        let path = directory.path().join(name);
        fs::write(&path, bytes).unwrap();
        let error = RedbStore::open(&path).unwrap_err();
        assert!(matches!(error, SnapshotError::Foreign { .. }), "{name}: {error:?}");
        assert!(error.to_string().contains(name), "{error}");
        assert_eq!(fs::read(&path).unwrap(), bytes);
    }
}

#[test]
fn redb_file_of_another_program_is_foreign() {
    let (_directory, path) = new_path();
    let database = Builder::new().create(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(TableDefinition::<u64, u64>::new("theirs")).unwrap().insert(1, 2).unwrap();
    transaction.commit().unwrap();
    drop(database);
    let error = RedbStore::open(&path).unwrap_err();
    assert!(matches!(error, SnapshotError::Foreign { .. }), "{error:?}");
    assert!(error.to_string().contains("theirs"), "{error}");
}

#[test]
fn file_of_a_newer_format_is_told_so() {
    let (_directory, path) = sound_file();
    with_table_row(&path, |transaction| {
        transaction.open_table(LEDGER).unwrap().insert((), encode_newer_ledger().as_slice()).unwrap();
    });
    let error = RedbStore::open(&path).unwrap_err();
    assert!(matches!(error, SnapshotError::NewerFormat { found: 2, supported: 1, .. }), "{error:?}");
}

fn with_table_row(path: &Path, change: impl FnOnce(&WriteTransaction)) {
    let database = Builder::new().open(path).unwrap();
    let transaction = database.begin_write().unwrap();
    change(&transaction);
    transaction.commit().unwrap();
}

#[test]
fn damaged_or_missing_manifest_fails_the_opening_and_names_the_checkpoint() {
    for missing in [true, false] {
        let (_directory, path) = sound_file();
        with_table_row(&path, |transaction| {
            let mut table = transaction.open_table(MANIFESTS).unwrap();
            let mut bytes = table.remove(3).unwrap().unwrap().value().to_vec();
            if !missing {
                bytes[20] ^= 1;
                table.insert(3, bytes.as_slice()).unwrap();
            }
        });
        let store = RedbStore::open(&path).unwrap();
        match open(&store) {
            Err(SnapshotError::Damaged { what, checkpoints, .. }) => {
                assert_eq!(checkpoints, [CheckpointId(3)]);
                assert!(what.contains("manifest"), "{what}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn damaged_chunk_names_the_checkpoints_that_need_it() {
    let (_directory, path) = sound_file();
    let damaged = chunk(3, 2, 3_000);
    with_table_row(&path, |transaction| {
        let mut bytes = damaged.bytes.clone();
        bytes[1_234] ^= 1;
        transaction
            .open_table(CHUNKS)
            .unwrap()
            .insert(&chunk_key(&damaged.reference.address), bytes.as_slice())
            .unwrap();
    });
    let store = RedbStore::open(&path).unwrap();
    open(&store).unwrap();
    match store.read_chunk(&damaged.reference) {
        Err(error @ SnapshotError::Damaged { .. }) => {
            assert!(error.is_damage());
            let SnapshotError::Damaged { checkpoints, .. } = error else { unreachable!() };
            assert_eq!(checkpoints, [CheckpointId(3)]);
        }
        other => panic!("{other:?}"),
    }
    let whole = chunk(2, 2, 3_000);
    assert_eq!(store.read_chunk(&whole.reference).unwrap(), whole.bytes);
}

/// Opens a store that may be damaged: a typed error, or exactly what was there.
fn open_damaged(path: &Path, what: &str) -> bool {
    match read_damaged(RedbStore::open(path), what) {
        Some(found) => {
            assert_eq!(found, [2, 3], "{what}: other checkpoints than were retained");
            true
        }
        None => false,
    }
}

/// The checkpoints found, each read back whole; `None` for a typed error.
fn read_damaged(store: Result<RedbStore, SnapshotError>, what: &str) -> Option<Vec<u64>> {
    let read = || -> Result<Vec<u64>, SnapshotError> {
        let store = store?;
        let opening = open(&store)?;
        read_all(&store, &opening)?;
        Ok(retained(&opening))
    };
    match read() {
        Ok(found) => Some(found),
        Err(SnapshotError::Damaged { .. } | SnapshotError::Foreign { .. } | SnapshotError::ChunkMissing { .. }) => None,

        Err(other) => panic!("{what}: {other:?}"),
    }
}

#[test]
fn truncated_file_is_a_typed_error() {
    let (_directory, path) = sound_file();
    let bytes = fs::read(&path).unwrap();
    for len in [1, 8, 9, 64, 319, 320, 511, 4095, 4096, 8192, bytes.len() / 2, bytes.len() - 4096, bytes.len() - 1] {
        fs::write(&path, &bytes[..len]).unwrap();
        assert!(!open_damaged(&path, &format!("cut to {len} of {}", bytes.len())), "cut to {len} went unnoticed");
    }
}

#[test]
fn zeroed_pages_are_typed_errors_or_harmless() {
    let (_directory, path) = sound_file();
    let bytes = fs::read(&path).unwrap();
    for page in 0..bytes.len() / 4096 {
        let mut damaged = bytes.clone();
        damaged[page * 4096..(page + 1) * 4096].fill(0);
        fs::write(&path, &damaged).unwrap();
        open_damaged(&path, &format!("page {page} zeroed"));
    }
}

#[test]
fn flipped_bits_are_typed_errors_or_harmless() {
    let (_directory, path) = sound_file();
    let bytes = fs::read(&path).unwrap();
    let mut noticed = 0;
    each_flipped(&bytes, 0x5EED, 200, |damaged, what| {
        fs::write(&path, damaged).unwrap();
        noticed += u32::from(!open_damaged(&path, what));
    });
    assert!(noticed > 10, "only {noticed} of 200 flips were noticed");
}

/// Where redb keeps the bit that chooses between its two commit slots.
const SLOT_BIT: usize = 9 * 8;

/// After a clean close both slots of redb hold the same content. After a crash the other slot holds the commit before:
/// the one bit that chooses between them is not guarded by redb (`docs/snapshot-format.md`, "Limits").
#[test]
fn flipped_bits_of_the_header_are_typed_errors_or_harmless() {
    let disk = FaultyDisk::new();
    let store = on_disk(&disk).unwrap();
    open(&store).unwrap();
    for checkpoint in 1..=3 {
        complete(&store, checkpoint).unwrap();
    }
    let crashed = disk.after_power_cut(disk.operations(), None);
    drop(store);
    let closed = disk.after_power_cut(disk.operations(), None);

    for (state, bytes) in [("closed", closed), ("crashed", crashed)] {
        let mut noticed = 0;
        // Every bit of magic and flags, one of each other byte.
        for bit in (0..10 * 8).chain((10..320).map(|byte| byte * 8 + byte % 8)) {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let what = format!("{state}, bit {} of byte {} flipped", bit % 8, bit / 8);
            match read_damaged(on_disk(&FaultyDisk::with_bytes(damaged)), &what) {
                Some(found) if state == "crashed" && bit == SLOT_BIT => assert_eq!(found, [1, 2], "{what}"),
                Some(found) => assert_eq!(found, [2, 3], "{what}"),
                None => noticed += 1,
            }
        }
        assert!(noticed > 50, "{state}: only {noticed} flips were noticed");
    }
}

#[test]
fn failed_write_leaves_the_last_commit_and_reopening_cures() {
    let probe = FaultyDisk::new();
    let store = on_disk(&probe).unwrap();
    open(&store).unwrap();
    complete(&store, 1).unwrap();
    let (from, start) = (probe.operations(), probe.after_power_cut(probe.operations(), None));
    complete(&store, 2).unwrap();
    let operations = probe.operations() - from;
    drop(store);
    assert!(operations >= 4, "{operations}");

    for nth in 1..=operations {
        for fault in [DiskFault::Fail, DiskFault::Torn(700)] {
            let disk = FaultyDisk::with_bytes(start.clone());
            let store = on_disk(&disk).unwrap();
            open(&store).unwrap();
            disk.inject(disk.operations() + nth, fault);
            let outcome = complete(&store, 2);
            if let Err(error) = &outcome {
                assert!(error.is_retryable(), "{fault:?} at {nth}: {error:?}");
                let latched = complete(&store, 3);
                assert!(matches!(latched, Err(SnapshotError::Io { .. })), "{fault:?} at {nth}: {latched:?}");
            }
            let after: Vec<u64> = store.reopen().unwrap().iter().map(|manifest| manifest.checkpoint.0).collect();
            if outcome.is_ok() {
                assert_eq!(after, [1, 2], "{fault:?} at {nth}: durable, then gone");
            } else {
                assert!(after == [1] || after == [1, 2], "{fault:?} at {nth}: {after:?}");
            }
            complete(&store, 4).unwrap();
            store.close();
            let opening = open(&store).unwrap();
            assert_eq!(retained(&opening).last(), Some(&4));
            read_all(&store, &opening).unwrap();
        }
    }
}

#[test]
fn full_disk_is_an_io_error_and_reopening_cures() {
    let disk = FaultyDisk::new();
    let store = on_disk(&disk).unwrap();
    open(&store).unwrap();
    complete(&store, 1).unwrap();
    disk.limit(Some(0));
    let large: Vec<Chunk> = (0..16).map(|group| chunk(2, group, CHUNK_BYTES_MAX)).collect();
    let failed = store.put_chunks(&large).and_then(|()| store.finalise(&manifest(2, &large), 2).map(drop));
    assert!(matches!(failed, Err(SnapshotError::Io { .. })), "{failed:?}");
    let still: Vec<u64> = store.reopen().unwrap().iter().map(|manifest| manifest.checkpoint.0).collect();
    assert_eq!(still, [1]);
    disk.limit(None);
    store.reopen().unwrap();
    store.put_chunks(&large).unwrap();
    store.finalise(&manifest(2, &large), 2).unwrap();
    assert_eq!(store.read_chunk(&large[7].reference).unwrap(), large[7].bytes);
}

#[test]
fn power_cut_at_any_operation_leaves_the_last_durable_state() {
    let disk = FaultyDisk::new();
    let store = on_disk(&disk).unwrap();
    open(&store).unwrap();
    // (operations when it was durable, what is then retained)
    let mut states: Vec<(u64, Vec<u64>)> = vec![(disk.operations(), Vec::new())];
    for checkpoint in 1..=5u64 {
        store.reserve_ids(CheckpointId(checkpoint)).unwrap();
        complete(&store, checkpoint).unwrap();
        states.push((disk.operations(), (checkpoint.saturating_sub(1).max(1)..=checkpoint).collect()));
    }
    store.abandon_above(CheckpointId(4)).unwrap();
    states.push((disk.operations(), vec![4]));
    let end = disk.operations();

    for cut in states[0].0..=end {
        let durable = states.partition_point(|(operations, _)| *operations <= cut) - 1;
        for seed in [None, Some(cut), Some(cut + 1_000), Some(cut + 2_000)] {
            let image = FaultyDisk::with_bytes(disk.after_power_cut(cut, seed));
            let store = on_disk(&image).unwrap();
            let opening = open(&store).unwrap();
            let found = retained(&opening);
            let may_be_next = states.get(durable + 1).is_some_and(|(_, next)| found == *next);
            assert!(found == states[durable].1 || may_be_next, "cut at {cut}, seed {seed:?}: {found:?}");
            assert!(opening.incarnation >= Incarnation(2), "cut at {cut}: the life that was cut off is forgotten");
            let newest = found.last().copied().unwrap_or(0);
            assert!(opening.reserved_up_to >= CheckpointId(newest), "cut at {cut}: {:?}", opening.reserved_up_to);
            read_all(&store, &opening).unwrap();
            complete(&store, 9).unwrap();
        }
    }
}

#[test]
fn largest_chunk_fits_a_page_of_its_own_size() {
    let (_directory, path) = new_path();
    let store = RedbStore::open(&path).unwrap();
    open(&store).unwrap();
    let chunks: Vec<Chunk> = (0..8).map(|group| chunk(1, group, CHUNK_BYTES_MAX)).collect();
    store.put_chunks(&chunks).unwrap();
    store.finalise(&manifest(1, &chunks), 1).unwrap();
    drop(store);
    let database = Builder::new().open(&path).unwrap();
    let stats = database.begin_read().unwrap().open_table(CHUNKS).unwrap().stats().unwrap();
    assert!(stats.fragmented_bytes() < 8 * 4096 + 8 * 1024, "{} bytes lost", stats.fragmented_bytes());
}

#[test]
fn file_does_not_grow_once_garbage_is_reused() {
    let (_directory, path) = new_path();
    let store = RedbStore::open(&path).unwrap();
    open(&store).unwrap();
    let mut sizes = Vec::new();
    for checkpoint in 1..=24 {
        let chunks: Vec<Chunk> = (0..8).map(|group| chunk(checkpoint, group, 60_000)).collect();
        store.put_chunks(&chunks).unwrap();
        if checkpoint % 3 == 0 {
            store.discard(CheckpointId(checkpoint)).unwrap();
        } else {
            store.finalise(&manifest(checkpoint, &chunks), 2).unwrap();
        }
        sizes.push(fs::metadata(&path).unwrap().len());
    }
    assert_eq!(sizes[11], sizes[23], "{sizes:?}");
}

// Cause: redb writes on to a file that was removed, and nobody looked whether a start would find it. Repair: after each commit
// the path must still lead to the file that is open.
#[cfg(unix)]
#[test]
fn store_whose_file_is_removed_or_replaced_reports_no_checkpoint_as_durable() {
    type Do = fn(&std::path::Path);
    let faults: [Do; 4] = [
        |path| fs::remove_file(path).unwrap(),
        |path| fs::rename(path, path.with_extension("away")).unwrap(),
        |path| {
            // What a copy that is put back does, whether it is as new or not.
            fs::copy(path, path.with_extension("copy")).unwrap();
            fs::rename(path.with_extension("copy"), path).unwrap();
        },
        |path| {
            let parent = path.parent().unwrap();
            fs::rename(parent, parent.with_extension("away")).unwrap();
        },
    ];
    for fault in faults {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("stores/job.redb");
        fs::create_dir(path.parent().unwrap()).unwrap();
        let store = RedbStore::open(&path).unwrap();
        open(&store).unwrap();
        complete(&store, 1).unwrap();
        fault(&path);
        let found = fs::read(&path).ok();
        for error in [complete(&store, 2).unwrap_err(), store.reserve_ids(CheckpointId(9_000)).unwrap_err()] {
            assert!(error.is_gone() && !error.is_retryable(), "{error}");
            assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
        }
        assert!(store.reopen().unwrap_err().is_gone());
        assert_eq!(fs::read(&path).ok(), found, "nothing is created there, nor changed");
        // Once it is closed, what is there is another store.
        store.close();
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        open(&store).unwrap();
    }
}
