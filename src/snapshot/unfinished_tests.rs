use std::collections::BTreeSet;
use std::thread;

use millstream_actors::contract::SnapshotError;

use super::*;
use crate::snapshot::RedbStore;

/// What a process leaves that is killed.
fn leave(making: Making, path: &Path) -> PathBuf {
    let file = making.name(path, &unique());
    fs::write(&file, "half of").unwrap();
    fs::write(lock_of(&file), "").unwrap();
    file
}

fn names(dir: &Path) -> BTreeSet<PathBuf> {
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect()
}

fn remove_all(path: &Path) {
    for making in [Making::Creating, Making::Forking] {
        remove_left_overs(making, path);
    }
}

#[test]
fn left_overs_of_a_path_go_and_all_that_looks_alike_stays() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.redb");
    let alike = [
        "store.redb",
        "store.redb.lock",
        "store.redb.creating-notes.lock",
        "store.redb.creating-0123456789abcdef.txt",
        "store.redb.creating-0123456789abcdef.txt.lock",
        "store.redb.creating-0123456789ABCDEF",
        "store.redb.creating-0123456789ABCDEF.lock",
        "store.redb.creating-0123456789abcde.lock",
        "store.redb.creating-0123456789abcdef0.lock",
        "store.redb.creating-0123456789abcdef.lock.txt",
        "store.redb.forking-0123456789abcdef.creating-notes.txt",
        "store.redb.forking-0123456789abcdef.creating-notes.txt.lock",
        "store.redb.forking-0123456789ABCDEF",
        "store.redb.forking-0123456789ABCDEF.lock",
        "store.redb2.creating-0123456789abcdef",
        "store.redb2.creating-0123456789abcdef.lock",
        "other-store.redb.creating-0123456789abcdef.lock",
        // Nothing tells whether these are in use.
        "store.redb.creating-fedcba9876543210",
        "store.redb.forking-fedcba9876543210",
    ];
    for name in alike {
        fs::write(dir.path().join(name), "precious").unwrap();
    }
    let before = names(dir.path());
    leave(Making::Creating, &path);
    let fork = leave(Making::Forking, &path);
    leave(Making::Creating, &fork);
    remove_left_overs(Making::Creating, &path);
    assert!(fork.exists(), "another kind");
    remove_all(&path);
    assert_eq!(names(dir.path()), before);
}

#[test]
fn file_in_the_making_stays_whatever_is_done_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.redb");
    for making in [Making::Creating, Making::Forking] {
        let unfinished = Unfinished::begin(making, &path).unwrap();
        remove_all(&path);
        assert!(lock_of(unfinished.path()).exists(), "it is not created yet");
        let store = RedbStore::open(unfinished.path()).unwrap();
        remove_all(&path);
        assert!(unfinished.path().exists(), "it is open");
        drop(store);
        remove_all(&path);
        assert!(unfinished.path().exists(), "redb has no lock on it");
        drop(RedbStore::open(&path).unwrap());
        assert!(unfinished.path().exists(), "another creates or opens a store of that name");
        drop(unfinished);
        assert_eq!(names(dir.path()), BTreeSet::from([path.clone()]));
    }
}

#[test]
fn what_a_dead_fork_was_creating_goes_with_it_unless_it_is_in_use() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.redb");
    let fork = leave(Making::Forking, &path);
    let used = Unfinished::begin(Making::Creating, &fork).unwrap();
    fs::write(used.path(), "half of").unwrap();
    leave(Making::Creating, &fork);
    remove_all(&path);
    assert_eq!(names(dir.path()), BTreeSet::from([used.path().to_owned(), lock_of(used.path())]));
}

#[test]
fn store_that_is_created_or_opened_leaves_nothing_of_killed_processes_beside_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.redb");
    leave(Making::Creating, &path);
    leave(Making::Forking, &path);
    let only = BTreeSet::from([path.clone()]);
    drop(RedbStore::open(&path).unwrap());
    assert_eq!(names(dir.path()), only);
    // Killed after the file got its name, and before it lost the other one.
    let second = leave(Making::Creating, &path);
    fs::remove_file(&second).unwrap();
    fs::hard_link(&path, &second).unwrap();
    drop(RedbStore::open(&path).unwrap());
    assert_eq!(names(dir.path()), only);
    drop(RedbStore::open(&path).unwrap());
    // Killed before there was a file, or after it was removed.
    fs::remove_file(leave(Making::Creating, &path)).unwrap();
    drop(RedbStore::open(&path).unwrap());
    assert_eq!(names(dir.path()), only);
}

#[test]
fn of_those_who_create_a_store_at_once_one_has_it_and_others_find_it_locked() {
    for _ in 0..20 {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store.redb");
        let opened: Vec<_> = thread::scope(|scope| {
            let all: Vec<_> = (0..4).map(|_| scope.spawn(|| RedbStore::open(&path))).collect();
            all.into_iter().map(|one| one.join().unwrap()).collect()
        });
        assert_eq!(opened.iter().filter(|opened| opened.is_ok()).count(), 1, "{opened:?}");
        let mut errors = opened.iter().filter_map(|opened| opened.as_ref().err());
        assert!(errors.all(|error| matches!(error, SnapshotError::Locked { .. })), "{opened:?}");
        assert_eq!(names(dir.path()), BTreeSet::from([path]));
    }
}
