//! Files that are not whole yet, beside the name that they get once they are, and what killed processes have left of them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::unique::unique;

/// How long the part of a name is that nobody else has.
const UNIQUE_LEN: usize = 16;

/// What a file is in the making as, which is said in its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Making {
    /// A new store, or a savepoint.
    Creating,
    /// A copy of another store, which is itself created before.
    Forking,
}

impl Making {
    fn mark(self) -> &'static str {
        match self {
            Self::Creating => ".creating-",
            Self::Forking => ".forking-",
        }
    }

    /// A name beside `path` that nobody else uses.
    pub(super) fn name(self, path: &Path) -> PathBuf {
        let mut name = path.as_os_str().to_owned();
        name.push(self.mark());
        name.push(unique());
        name.into()
    }

    /// Those of `path` that there are: in the making, or left by a process that was killed. None if the directory cannot be read.
    pub(super) fn all(self, path: &Path) -> Vec<PathBuf> {
        let (Some(dir), Some(whole)) = (path.parent(), path.file_name()) else { return Vec::new() };
        let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
        let is_one = |name: &[u8]| {
            let rest = name.strip_prefix(whole.as_encoded_bytes());
            let rest = rest.and_then(|rest| rest.strip_prefix(self.mark().as_bytes()));
            let parts = rest.and_then(|rest| rest.split_at_checked(UNIQUE_LEN));
            parts.is_some_and(|(unique, rest)| {
                let is_whole = rest.is_empty() || rest.starts_with(Self::Creating.mark().as_bytes());
                is_whole && unique.iter().all(u8::is_ascii_hexdigit)
            })
        };
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        entries.filter(|entry| is_one(entry.file_name().as_encoded_bytes())).map(|entry| entry.path()).collect()
    }
}

/// Removes what is in the making, or was left, beside a store that is whole and open: nobody can give it that name any more.
pub(super) fn remove_all_beside(store: &Path) {
    for path in [Making::Creating, Making::Forking].into_iter().flat_map(|making| making.all(store)) {
        told(&path, fs::remove_file(&path).map(|()| true));
    }
}

/// Says what has become of an unfinished file.
pub(super) fn told(path: &Path, removed: io::Result<bool>) {
    let name = path.display();
    match removed {
        Ok(true) => log::info!(target: "millstream::checkpoint", "removed {name}, which a killed process had left"),
        Ok(false) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => log::warn!(target: "millstream::checkpoint", "unfinished file {name} stays: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs::File;
    use std::thread;

    use millstream_actors::contract::SnapshotError;

    use super::*;
    use crate::snapshot::RedbStore;

    #[test]
    fn unfinished_files_of_a_path_are_told_from_all_others() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store.redb");
        let own = [Making::Creating.name(&path), Making::Forking.name(&path)];
        let of_fork = Making::Creating.name(&own[1]);
        let others = ["store.redb", "store.redb.creating-notes", "store.redb.creating-0123456789abcdef.txt"];
        let others = others.map(|name| dir.path().join(name));
        let of_other = Making::Creating.name(&dir.path().join("store.redb2"));
        for path in own.iter().chain(&others).chain([&of_fork, &of_other]) {
            File::create_new(path).unwrap();
        }
        assert_eq!(Making::Creating.all(&path), [own[0].clone()]);
        assert_eq!(BTreeSet::from_iter(Making::Forking.all(&path)), BTreeSet::from([own[1].clone(), of_fork]));
        remove_all_beside(&path);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), others.len() + 1, "theirs and what others make");
    }

    #[test]
    fn store_that_is_created_or_opened_leaves_nothing_of_killed_processes_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store.redb");
        for making in [Making::Creating, Making::Forking] {
            fs::write(making.name(&path), "half of").unwrap();
        }
        drop(RedbStore::open(&path).unwrap());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        // Killed after the file got its name, and before it lost the other one.
        fs::hard_link(&path, Making::Creating.name(&path)).unwrap();
        drop(RedbStore::open(&path).unwrap());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        drop(RedbStore::open(&path).unwrap());
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
        }
    }
}
