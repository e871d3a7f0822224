//! Files that are not whole yet, beside the name that they get once they are, and what killed processes have left of them.
//!
//! Whoever makes one holds a lock on a file beside it, from before it exists until it has its name. The file itself would not
//! do: redb locks a database while it is open, and a store in the making is closed and opened in between. A file is removed
//! only by who has taken its lock; one without a file to lock stays.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::claim;
use crate::unique::{is_unique, unique};

/// What the name of the file that is locked ends in.
const LOCK: &str = ".lock";

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

    fn name(self, path: &Path, unique: &str) -> PathBuf {
        let mut name = path.as_os_str().to_owned();
        name.push(self.mark());
        name.push(unique);
        name.into()
    }

    /// Those of `path` that have a file to lock: in the making, or left by a process that was killed. None if the directory
    /// cannot be read.
    fn all(self, path: &Path) -> Vec<PathBuf> {
        let (Some(dir), Some(whole)) = (path.parent(), path.file_name()) else { return Vec::new() };
        let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
        let of_lock = |name: &OsStr| {
            let rest = name.as_encoded_bytes().strip_prefix(whole.as_encoded_bytes())?;
            let unique = str::from_utf8(rest).ok()?.strip_prefix(self.mark())?.strip_suffix(LOCK)?;
            is_unique(unique).then(|| self.name(path, unique))
        };
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        entries.filter_map(|entry| of_lock(&entry.file_name())).collect()
    }
}

fn lock_of(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(LOCK);
    name.into()
}

/// A name for a file in the making, which nobody else uses or removes while this value lives. What is under it then goes
/// with this value.
#[derive(Debug)]
pub(super) struct Unfinished {
    path: PathBuf,
    _lock: File,
}

impl Unfinished {
    /// A name beside `path`, under which there is nothing yet.
    pub(super) fn begin(making: Making, path: &Path) -> io::Result<Self> {
        let mut name = PathBuf::new();
        let (_, lock) = claim::create(|| {
            name = making.name(path, &unique());
            lock_of(&name)
        })?;
        Ok(Self { path: name, _lock: lock })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes what is under the name, if anything is, and then what was locked: a file that cannot be removed is found by
    /// the next who looks for left-overs.
    pub(super) fn remove(&self) -> io::Result<()> {
        remove_if_there(&self.path)?;
        remove_if_there(&lock_of(&self.path))?;
        Ok(())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            tell_that_it_stays(&self.path, &error);
        }
    }
}

/// Removes what was in the making for `path` and is not any more. What is in use stays.
pub(super) fn remove_left_overs(making: Making, path: &Path) {
    for file in making.all(path) {
        let removed = claim::remove_left_over_of(&lock_of(&file), || {
            remove_left_overs(Making::Creating, &file);
            if remove_if_there(&file)? {
                log::info!(target: "millstream::checkpoint", "removed unfinished file {}", file.display());
            }
            Ok(())
        });
        if let Err(error) = removed {
            tell_that_it_stays(&file, &error);
        }
    }
}

/// Whether it was there.
fn remove_if_there(path: &Path) -> io::Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn tell_that_it_stays(file: &Path, error: &io::Error) {
    log::warn!(target: "millstream::checkpoint", "unfinished file {} stays: {error}", file.display());
}

#[cfg(test)]
#[path = "unfinished_tests.rs"]
mod tests;
