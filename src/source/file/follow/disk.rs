//! What following asks of the file system.

use std::fs::{File, Metadata};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

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

/// So coarse may be the times that a file system keeps.
const TICK: Duration = Duration::from_secs(2);

impl Look {
    /// A change after it cannot look the same, since the last one was long before this time, in Unix milliseconds, at which the look was
    /// taken (as git's index asks of files that it knows).
    pub(super) fn tells_changes(&self, now: u64) -> bool {
        let [.., seconds, nanos] = self.changed.map(i128::from);
        let changed = seconds * 1_000 + nanos / 1_000_000;
        i128::from(now) - changed > TICK.as_millis() as i128
    }
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

/// It may not be read by this program, at the moment perhaps.
pub(super) fn is_refused(error: &FileSourceError) -> bool {
    matches!(error, FileSourceError::Io { source, .. } if source.kind() == ErrorKind::PermissionDenied)
}

/// The folder in which a file is, if that is not the one of its path since links lead to it.
pub(super) fn real_folder(path: &Path) -> Option<String> {
    let folder = std::fs::canonicalize(path).ok()?.parent()?.to_owned();
    let named = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let is_other = std::fs::canonicalize(named).ok().is_none_or(|named| named != folder);
    is_other.then(|| folder.to_str().map(str::to_owned)).flatten()
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
pub(super) const NAMED_BYTES_MAX: usize = 1024;

/// The id as a split of a file that begins so: its key, and the hash of its first line, or of 1 KiB of that. `None` as long as it has
/// no whole line and is shorter: then there is nothing to read, and another look could give another id.
pub(super) fn split_id(key: Key, first: &[u8]) -> Option<String> {
    let first = &first[..first.len().min(NAMED_BYTES_MAX)];
    let line = first.iter().position(|byte| *byte == b'\n').map(|end| &first[..=end]);
    let line = line.or((first.len() == NAMED_BYTES_MAX).then_some(first));
    line.map(|line| format!("{:x}:{:x}:{:016x}", key.0, key.1, checksum(line)))
}

/// The key in the id of a split.
pub(super) fn key_of(split: &str) -> Option<Key> {
    let mut parts = split.split(':').map(|part| u64::from_str_radix(part, 16).ok());
    let key = (parts.next()??, parts.next()??);
    (parts.next()?.is_some() && parts.next().is_none()).then_some(key)
}
