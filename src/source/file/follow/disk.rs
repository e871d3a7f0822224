//! What following asks of the file system.

use std::fs::{File, Metadata};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use millstream_actors::contract::checksum;

use crate::source::file::error::FileSourceError;

/// By which the system knows a file as long as it is there: device and inode.
pub(super) type Key = (u64, u64);

/// How a file looks from outside. Any change of its content changes this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) key: Key,
    pub(super) len: u64,
    /// Times of its last changes, of content and of name.
    changed: [i64; 4],
    /// It has a name.
    pub(super) is_linked: bool,
}

#[cfg(unix)]
fn look(metadata: &Metadata) -> Option<Look> {
    use std::os::unix::fs::MetadataExt;

    Some(Look {
        key: (metadata.dev(), metadata.ino()),
        len: metadata.len(),
        changed: [metadata.mtime(), metadata.mtime_nsec(), metadata.ctime(), metadata.ctime_nsec()],
        is_linked: metadata.nlink() > 0,
    })
}

/// Nothing is followed there.
#[cfg(not(unix))]
fn look(_: &Metadata) -> Option<Look> {
    None
}

/// What is at `path`, if it is a file; `None` if nothing is there.
pub(super) fn look_at(path: &Path) -> Result<Option<Look>, FileSourceError> {
    match std::fs::metadata(path) {
        Ok(found) => Ok(look(&found).filter(|_| found.is_file())),
        Err(error) => absent_or(error, "examine", path),
    }
}

/// How an open file looks.
pub(super) fn look_of(file: &File, path: &Path) -> Result<Look, FileSourceError> {
    let metadata = file.metadata().map_err(cannot("examine", path))?;
    look(&metadata).ok_or_else(|| cannot("number", path)(ErrorKind::Unsupported.into()))
}

/// The file at `path`; `None` if nothing is there, any more perhaps.
pub(super) fn open(path: &Path) -> Result<Option<Arc<File>>, FileSourceError> {
    match File::open(path) {
        Ok(file) => Ok(Some(Arc::new(file))),
        Err(error) => absent_or(error, "open", path),
    }
}

fn absent_or<R>(error: io::Error, action: &'static str, path: &Path) -> Result<Option<R>, FileSourceError> {
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => Ok(None),
        _ => Err(cannot(action, path)(error)),
    }
}

pub(super) fn cannot(action: &'static str, path: &Path) -> impl Fn(io::Error) -> FileSourceError {
    let path = path.to_owned();
    move |source| FileSourceError::Io { path: path.clone(), action, source }
}

/// Reads an open file from a place on, whoever else reads it.
pub(super) struct ReadFrom {
    pub(super) file: Arc<File>,
    pub(super) at: u64,
}

impl Read for ReadFrom {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut file = &*self.file;
        file.seek(SeekFrom::Start(self.at))?;
        let read = file.read(buffer)?;
        self.at += read as u64;
        Ok(read)
    }
}

/// The first bytes of a file, at most so many.
pub(super) fn first_bytes(file: &Arc<File>, max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    ReadFrom { file: file.clone(), at: 0 }.take(max).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Of how many bytes at most the first line is in the id of a split.
const NAMED_BYTES_MAX: u64 = 1024;

/// The id of a file as a split: its key, and the hash of its first line, or of 1 KiB of that. `None` as long as it has no whole
/// line and is shorter: then there is nothing to read, and another look could give another id.
pub(super) fn split_id(key: Key, file: &Arc<File>) -> io::Result<Option<String>> {
    let first = first_bytes(file, NAMED_BYTES_MAX)?;
    let line = first.iter().position(|byte| *byte == b'\n').map(|end| &first[..=end]);
    let line = line.or((first.len() as u64 == NAMED_BYTES_MAX).then_some(&first));
    Ok(line.map(|line| format!("{:x}:{:x}:{:016x}", key.0, key.1, checksum(line))))
}

/// The key in the id of a split.
pub(super) fn key_of(split: &str) -> Option<Key> {
    let mut parts = split.split(':').map(|part| u64::from_str_radix(part, 16).ok());
    let key = (parts.next()??, parts.next()??);
    (parts.next()?.is_some() && parts.next().is_none()).then_some(key)
}
