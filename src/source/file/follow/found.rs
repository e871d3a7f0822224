//! Whether a file is the one that was met.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use super::disk::{Key, Look, NAMED_BYTES_MAX, cannot, first_bytes, is_refused, look_of, open, split_id};
use super::files::Followed;
use crate::source::file::error::FileSourceError;

/// What is found where a file is expected.
pub(super) enum Found {
    /// It.
    Same(Arc<File>, Look),
    /// Another, or what has been made of it.
    Other(Look),
    /// Something that this program may not read.
    Refused(FileSourceError),
    /// Nothing, or something else meanwhile: the next look will tell.
    Gone,
}

/// What an open file turns out to be. It is the one that was met if it begins with the line that is in its id, has at least the bytes that
/// were read, and begins with those of them that are known: however far it was read, and also if nothing was.
///
/// # Errors
/// [`FileSourceError::Io`].
pub(super) fn examine(file: &Followed, open: Arc<File>, path: &Path) -> Result<Found, FileSourceError> {
    let look = look_of(&open, path)?;
    let bytes = file.position.head_bytes.max(NAMED_BYTES_MAX as u64);
    let first = first_bytes(&open, bytes).map_err(cannot("read", path))?;
    let is_named = split_id(look.key, &first).is_some_and(|id| id == file.id);
    let is_same = is_named && file.position.is_of(&first, look.len);
    Ok(if is_same { Found::Same(open, look) } else { Found::Other(look) })
}

/// What is at the path of a file that is not held open.
///
/// # Errors
/// [`FileSourceError::Io`], but not if it may not be read.
pub(super) fn find(file: &Followed, path: &Path, key: Key) -> Result<Found, FileSourceError> {
    match open(path) {
        Ok(Some(open)) if look_of(&open, path)?.key == key => examine(file, open, path),
        Ok(_) => Ok(Found::Gone),
        Err(error) if is_refused(&error) => Ok(Found::Refused(error)),
        Err(error) => Err(error),
    }
}
