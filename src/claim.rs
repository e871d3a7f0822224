//! Files beside those of other processes, which a killed process leaves behind: whoever uses one holds a lock on it, so
//! that others can tell it from a left-over. Where files cannot be locked, left-overs stay.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

/// Creates a file that nobody takes for a left-over, under one of the names that `name` gives, each another. It is in use
/// until the file, and what shares its lock, is closed.
pub(crate) fn create(mut name: impl FnMut() -> PathBuf) -> io::Result<(PathBuf, File)> {
    loop {
        let path = name();
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
        if is_claimed(&path, &file)? {
            return Ok((path, file));
        }
    }
}

/// False if another has taken the new file for a left-over in the moment before it was locked, and has removed it or is
/// about to.
fn is_claimed(path: &Path, file: &File) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => fs::exists(path),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(_)) => Ok(true),
    }
}

/// Removes the file if nobody uses it, and tells if it did.
pub(crate) fn remove_left_over(path: &Path) -> io::Result<bool> {
    remove_left_over_of(path, || Ok(()))
}

/// The same of a file whose lock stands for others: `remove` removes those, while nobody else can. If that fails, it stays.
pub(crate) fn remove_left_over_of(path: &Path, remove: impl FnOnce() -> io::Result<()>) -> io::Result<bool> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        opened => opened?,
    };
    if file.try_lock().is_err() {
        return Ok(false);
    }
    remove()?;
    // The lock is held until it is gone: who has just created it then sees that it cannot be kept.
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use super::*;
    use crate::unique::unique;

    #[test]
    fn file_in_use_stays_and_a_left_over_goes() {
        let dir = tempfile::tempdir().unwrap();
        let (path, file) = create(|| dir.path().join(unique())).unwrap();
        assert!(!remove_left_over(&path).unwrap() && path.exists());
        drop(file);
        assert!(remove_left_over(&path).unwrap() && !path.exists());
        assert!(!remove_left_over(&path).unwrap());
    }

    #[test]
    fn others_are_removed_before_the_file_that_stands_for_them_and_only_if_nobody_uses_it() {
        let dir = tempfile::tempdir().unwrap();
        let (path, file) = create(|| dir.path().join(unique())).unwrap();
        assert!(!remove_left_over_of(&path, || panic!("it is in use")).unwrap());
        drop(file);
        assert!(remove_left_over_of(&path, || Err(io::ErrorKind::PermissionDenied.into())).is_err() && path.exists());
        let during = || {
            assert!(path.exists() && File::open(&path)?.try_lock().is_err());
            Ok(())
        };
        assert!(remove_left_over_of(&path, during).unwrap() && !path.exists());
    }

    #[test]
    fn new_file_that_was_taken_for_a_left_over_is_not_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new");
        let file = File::create_new(&path).unwrap();
        let remover = File::open(&path).unwrap();
        remover.try_lock().unwrap();
        assert!(!is_claimed(&path, &file).unwrap(), "its lock is another's");
        drop(remover);
        fs::remove_file(&path).unwrap();
        assert!(!is_claimed(&path, &file).unwrap(), "its name is gone");
    }

    #[test]
    fn what_is_created_while_others_remove_left_overs_is_never_lost() {
        let dir = tempfile::tempdir().unwrap();
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            let remover = scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    for entry in fs::read_dir(dir.path()).unwrap() {
                        remove_left_over(&entry.unwrap().path()).unwrap();
                    }
                }
            });
            for _ in 0..500 {
                let (path, _file) = create(|| dir.path().join(unique())).unwrap();
                assert!(path.exists());
                thread::yield_now();
                assert!(path.exists(), "a file in use was removed");
            }
            over.store(true, Ordering::Relaxed);
            remover.join().unwrap();
        });
    }
}
