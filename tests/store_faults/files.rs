//! Store files that are not what they should be: a typed error with file and remedy, and the file as it was.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use millstream::prelude::*;
use millstream::snapshot::{SnapshotError, checksum};
use millstream::{AbortReason, StartError};
use redb::{Database, ReadableDatabase as _, TableDefinition};

use crate::copying::copy_all;
use crate::crash_common::{job, published};
use crate::listener::events_of;
use crate::run::{ENDLESS, block_on, finish, refusal, run_and_cancel, start};

/// A directory with a store that holds three checkpoints.
fn used_store() -> (tempfile::TempDir, std::path::PathBuf, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let (path, out) = (dir.path().join("store.redb"), dir.path().join("out"));
    run_and_cancel(&path, job::files(&out), 3);
    (dir, path, out)
}

/// The refusal of a store file with these bytes, which must name the file and leave it alone.
fn refusal_of(path: &Path, out: &Path, bytes: &[u8]) -> SnapshotError {
    fs::write(path, bytes).unwrap();
    let error = refusal(path, out);
    let said = error.to_string();
    assert!(said.contains(path.to_str().unwrap()), "the file is not named: {said}");
    error
}

#[test]
fn truncated_file_is_refused_as_damaged_or_foreign() {
    let (_dir, path, out) = used_store();
    let whole = fs::read(&path).unwrap();
    for len in [1, 8, 9, 100, 512, 4096, 8192, whole.len() / 2, whole.len() - 4096, whole.len() - 1] {
        let error = refusal_of(&path, &out, &whole[..len]);
        let told = matches!(&error, SnapshotError::Damaged { .. } | SnapshotError::Foreign { .. });
        assert!(told, "{len} of {} bytes: {error}", whole.len());
        assert_eq!(fs::read(&path).unwrap().len(), len, "the file was changed");
    }
    fs::write(&path, &whole).unwrap();
    finish(RedbStore::open(&path).unwrap(), &out);
}

#[test]
fn zeroed_file_is_refused() {
    let (_dir, path, out) = used_store();
    let whole = fs::read(&path).unwrap();
    let error = refusal_of(&path, &out, &vec![0; whole.len()]);
    assert!(matches!(&error, SnapshotError::Foreign { .. }), "{error}");
}

/// Starts on a copy of the job's directory whose store file has these bytes: either it is refused, or fails as damaged,
/// or goes on as if nothing were wrong. Says which.
fn meet(what: &str, bytes: &[u8], out: &Path) -> &'static str {
    let dir = tempfile::tempdir().unwrap();
    let (path, copy) = (dir.path().join("store.redb"), dir.path().join("out"));
    copy_all(out, &copy);
    fs::write(&path, bytes).unwrap();
    let is_typed = |error: &SnapshotError| {
        matches!(
            error,
            SnapshotError::Damaged { .. } | SnapshotError::Foreign { .. } | SnapshotError::ChunkMissing { .. }
        )
    };
    let ended = block_on(what, async {
        let store = match RedbStore::open(&path) {
            Ok(store) => store,
            Err(error) if is_typed(&error) => return Ok("refused"),
            Err(error) => panic!("{what}: {error}"),
        };
        let job = match start(ENDLESS, store, job::files(&copy)) {
            Ok(job) => job,
            Err(StartError::Store(error)) if is_typed(&error) => return Ok("refused"),
            Err(error) => panic!("{what}: {error}"),
        };
        // If it fails, so does this, and the next line says why.
        let _ = job.checkpoint().await;
        job.finish().await.map(|_| "finished")
    });
    match ended {
        Ok("finished") => {
            published::assert_ended(&copy, ENDLESS);
            "finished"
        }
        Ok(refused) => refused,
        Err(JobError::Damaged { .. }) => "damaged",
        Err(error) => panic!("{what}: {error}"),
    }
}

#[test]
fn file_zeroed_from_anywhere_is_noticed_or_harmless() {
    let (_dir, path, out) = used_store();
    let whole = fs::read(&path).unwrap();
    let mut met = BTreeMap::new();
    for start in (0..whole.len()).step_by(whole.len() / 24) {
        let mut bytes = whole.clone();
        bytes[start..].fill(0);
        *met.entry(meet(&format!("zeroes from byte {start}"), &bytes, &out)).or_insert(0) += 1;
    }
    assert!(met.contains_key("refused") && met.contains_key("finished"), "{met:?}");
}

#[test]
fn foreign_empty_and_unreachable_files_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (path, out) = (dir.path().join("store.redb"), dir.path().join("out"));
    for text in [&b""[..], b"carrier,origin,flights\n", &[0xff; 20_000]] {
        let error = refusal_of(&path, &out, text);
        assert!(matches!(&error, SnapshotError::Foreign { .. }), "{error}");
        assert_eq!(fs::read(&path).unwrap(), text);
        assert!(error.to_string().contains("another file"), "{error}");
    }
    fs::remove_file(&path).unwrap();
    let table: TableDefinition<'_, u64, u64> = TableDefinition::new("somebody else's");
    let database = Database::create(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(table).unwrap().insert(1, 2).unwrap();
    transaction.commit().unwrap();
    drop(database);
    let error = refusal(&path, &out);
    assert!(matches!(&error, SnapshotError::Foreign { .. }), "{error}");

    for unreachable in [dir.path().to_owned(), dir.path().join("missing/store.redb"), path.join("store.redb")] {
        let error = refusal(&unreachable, &out);
        assert!(matches!(&error, SnapshotError::Io { .. } | SnapshotError::Foreign { .. }), "{error}");
        assert!(error.to_string().contains(unreachable.to_str().unwrap()), "{error}");
    }
}

#[test]
fn newer_format_is_refused_with_both_versions() {
    const LEDGER: TableDefinition<'_, (), &[u8]> = TableDefinition::new("millstream.ledger");
    let (_dir, path, out) = used_store();
    let database = Database::open(&path).unwrap();
    let ledger = database.begin_read().unwrap().open_table(LEDGER).unwrap().get(()).unwrap().unwrap().value().to_vec();
    let mut newer = ledger[..ledger.len() - 8].to_vec();
    newer[4..8].copy_from_slice(&77_u32.to_le_bytes());
    newer.extend(checksum(&newer).to_le_bytes());
    let transaction = database.begin_write().unwrap();
    transaction.open_table(LEDGER).unwrap().insert((), newer.as_slice()).unwrap();
    transaction.commit().unwrap();
    drop(database);
    let error = refusal(&path, &out);
    assert!(matches!(&error, SnapshotError::NewerFormat { found: 77, supported, .. } if *supported < 77), "{error}");
    assert!(error.to_string().contains(path.to_str().unwrap()) && error.to_string().contains("newer"), "{error}");
}

#[test]
fn store_in_use_is_refused_and_its_job_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let (path, out) = (dir.path().join("store.redb"), dir.path().join("out"));
    let (first, second) = block_on("a store opened twice", async {
        let job = start(ENDLESS, RedbStore::open(&path).unwrap(), job::files(&out)).unwrap();
        let second = RedbStore::open(&path).unwrap_err();
        job.checkpoint().await.unwrap();
        (job.cancel().await.unwrap(), second)
    });
    assert_eq!(first.kind, OutcomeKind::Cancelled);
    assert!(matches!(&second, SnapshotError::Locked { store } if *store == path.display().to_string()), "{second}");
    assert!(second.to_string().contains("its own"), "{second}");
    finish(RedbStore::open(&path).unwrap(), &out);
}

#[test]
fn store_of_another_job_is_refused_and_stays_its_owners() {
    let (_dir, path, out) = used_store();
    let error = block_on("another job", async {
        let env = StreamEnvironment::new("other").snapshot_store(RedbStore::open(&path).unwrap());
        job::write(&env, ENDLESS, |_| {}, job::files(&out));
        env.start().unwrap_err()
    });
    let StartError::Store(SnapshotError::OtherJob { store, owner, job }) = &error else { panic!("{error}") };
    assert_eq!((store.as_str(), owner.as_str(), job.as_str()), (path.to_str().unwrap(), "figures", "other"));
    finish(RedbStore::open(&path).unwrap(), &out);
}

/// Cause: a store file that is deleted stays open, so its commits went on and were reported as durable. Repair: after a commit
/// the path must lead to the open file. Guarantee G7.
#[cfg(unix)]
#[test]
fn store_file_that_is_removed_under_a_running_job_ends_it_before_a_checkpoint_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let (path, out) = (dir.path().join("store.redb"), dir.path().join("out"));
    let (error, completed_after) = block_on("a job whose store is removed", async {
        let job = start(ENDLESS, RedbStore::open(&path).unwrap(), job::files(&out)).unwrap();
        events_of(&job).checkpoints(2).await;
        fs::remove_file(&path).unwrap();
        // One may have been committed before.
        let asked = [job.checkpoint().await, job.checkpoint().await];
        (job.await.unwrap_err(), asked[1].is_ok())
    });
    let JobError::CheckpointFailures { last: AbortReason::Store(last), .. } = &error else { panic!("{error}") };
    assert!(last.is_gone() && !last.is_retryable(), "{error}");
    assert!(!completed_after && error.to_string().contains(path.to_str().unwrap()), "{error}");
    assert!(!path.exists(), "no empty store takes its place");
}
