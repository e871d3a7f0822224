use millstream_actors::contract::{CHUNK_BYTES_MAX, StateScope};
use millstream_actors::protocol::Incarnation;
use tempfile::TempDir;

use super::*;
use crate::snapshot::test_kit::{JOB, chunk, manifest, references};

/// A store with a checkpoint that is written in two batches, and the name of a fork of it in a directory of its own.
fn forkable() -> (TempDir, TempDir, Inspection, PathBuf) {
    let (original, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = original.path().join("store.redb");
    let store = RedbStore::open(&path).unwrap();
    store.open_job(JOB, Incarnation(1)).unwrap();
    let groups = BATCH_BYTES.div_ceil(CHUNK_BYTES_MAX) + 1;
    let chunks: Vec<_> =
        (0..groups).map(|group| chunk(1, StateScope::Subtask(group as u32), CHUNK_BYTES_MAX)).collect();
    store.put_chunks(&chunks).unwrap();
    store.finalise(&manifest(1, references(&chunks)), 1).unwrap();
    drop(store);
    let (from, to) = (Inspection::open(&path).unwrap(), dir.path().join("fork.redb"));
    (original, dir, from, to)
}

fn names(dir: &TempDir) -> Vec<PathBuf> {
    fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// Forks the checkpoint, and calls `meet` once: when a part is written, or when all is.
fn fork_while(from: &Inspection, to: &Path, is_all: bool, meet: impl FnOnce()) -> Result<(), ForkError> {
    let manifest = &from.checkpoints()[0].manifest.as_ref().unwrap();
    let mut meet = Some(meet);
    let result = fork(from, &ForkPlan { manifest, to, job: JOB }, &mut |done, of| {
        if (done == of) == is_all {
            meet.take().expect("both are told once")();
        }
    });
    assert!(meet.is_none());
    result
}

#[test]
fn file_of_a_running_fork_stays_when_others_fork_to_or_open_its_name() {
    for (is_forked, is_all) in [(false, false), (false, true), (true, false), (true, true)] {
        let (_original, dir, from, to) = forkable();
        let forked = fork_while(&from, &to, is_all, || {
            let of_fork = names(&dir);
            let locked = of_fork.iter().filter(|path| File::open(path).unwrap().try_lock().is_err());
            assert!(locked.clone().any(|path| path.extension().is_some_and(|end| end == "lock")), "{of_fork:?}");
            if is_forked {
                fork_while(&from, &to, false, || {}).unwrap();
            }
            drop(RedbStore::open(&to).unwrap());
            assert!(of_fork.iter().all(|path| path.exists()), "{of_fork:?}, then {:?}", names(&dir));
        });
        assert!(matches!(&forked, Err(ForkError::Exists(path)) if *path == to), "{forked:?}");
        assert_eq!(names(&dir), [&*to]);
        assert_eq!(Inspection::open(&to).unwrap().checkpoints().len(), usize::from(is_forked), "the other's");
    }
}

#[test]
fn fork_whose_file_is_removed_says_that_the_name_is_taken_if_it_is() {
    for (is_taken, is_all) in [(false, false), (true, false), (true, true)] {
        let (_original, dir, from, to) = forkable();
        let forked = fork_while(&from, &to, is_all, || {
            names(&dir).iter().for_each(|path| fs::remove_file(path).unwrap());
            if is_taken {
                fs::write(&to, "theirs").unwrap();
            }
        });
        match &forked {
            Err(ForkError::Exists(path)) => assert!(is_taken && *path == to),
            Err(ForkError::Store(SnapshotError::Gone { .. })) => assert!(!is_taken),
            other => panic!("{other:?}"),
        }
        assert_eq!(names(&dir).len(), usize::from(is_taken));
    }
}
