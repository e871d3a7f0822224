//! Which file or directory a path leads to, so that one that was removed or replaced meanwhile is noticed.

use std::io;
use std::path::Path;

/// Two that are equal are of one file, as long as somebody has it open. Nothing is known where the system has no such
/// numbers: all are equal there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FileIdentity(Option<(u64, u64)>);

impl FileIdentity {
    /// That of what is at `path` now.
    ///
    /// # Errors
    /// Those of looking at it: it may be gone.
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        let metadata = std::fs::metadata(path)?;
        Ok(Self(numbers(&metadata)))
    }

    /// Whether it is what is at `path` now. What cannot be told counts as so.
    pub(crate) fn is_at(self, path: &Path) -> bool {
        match Self::of(path) {
            Ok(found) => found == self,
            Err(error) => !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory),
        }
    }
}

#[cfg(unix)]
fn numbers(metadata: &std::fs::Metadata) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;

    Some((metadata.dev(), metadata.ino()))
}

#[cfg(not(unix))]
fn numbers(_: &std::fs::Metadata) -> Option<(u64, u64)> {
    None
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn removed_and_replaced_files_are_told_and_a_renamed_one_is_at_its_new_name() {
        let dir = tempfile::tempdir().unwrap();
        let (path, other) = (dir.path().join("file"), dir.path().join("other"));
        fs::write(&path, "one").unwrap();
        let _open = fs::File::open(&path).unwrap();
        let first = FileIdentity::of(&path).unwrap();
        assert!(first.is_at(&path));
        fs::rename(&path, &other).unwrap();
        assert!(!first.is_at(&path) && first.is_at(&other));
        fs::write(&path, "two").unwrap();
        assert!(!first.is_at(&path) && !first.is_at(&path.join("below")));
    }
}
