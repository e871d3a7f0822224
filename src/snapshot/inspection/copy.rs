//! A copy of a store that a job may be writing to at the same time.
//!
//! redb writes new pages only to places that its last durable commit does not use, and then changes its header to the
//! new commit. So a copy of all pages belongs to the header that was copied with it, as if the power had been cut at
//! that moment, unless a later commit freed pages of it and the next one wrote over them while they were copied. Such
//! a copy is torn. It does not pass for whole: each page is named by its parent with a 128-bit checksum, up to the
//! header, and these are all verified before anything is read.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::unique::unique;

/// Where redb says which of its commits is the newest.
const HEADER_BYTES: usize = 320;
/// Copied between two looks at the progress.
const STEP_BYTES: usize = 1 << 20;

/// A file that is removed when this is dropped.
#[derive(Debug)]
pub(super) struct TemporaryCopy {
    pub(super) path: PathBuf,
    /// Whether a commit became durable, or the file's length changed, while it was copied.
    pub(super) was_changing: bool,
}

impl TemporaryCopy {
    /// Copies the file at `path` into the system's directory for temporary files. `progress` is told how many bytes of
    /// how many are copied.
    pub(super) fn of(path: &Path, progress: &mut dyn FnMut(u64, u64)) -> io::Result<Self> {
        let name = format!("millstream-{}.redb", unique());
        let mut from = File::open(path)?;
        let mut this = Self { path: std::env::temp_dir().join(name), was_changing: false };
        let mut to = match File::create_new(&this.path) {
            Ok(file) => file,
            Err(error) => {
                // Not ours to remove.
                std::mem::forget(this);
                return Err(error);
            }
        };
        let len = from.metadata()?.len();
        let header = read_header(&mut from)?;
        copy_all(&mut from, &mut to, len, progress)?;
        this.was_changing = read_header(&mut from)? != header || from.metadata()?.len() != len;
        Ok(this)
    }
}

impl Drop for TemporaryCopy {
    fn drop(&mut self) {
        // It is in the directory for what may be removed at any time.
        let _ = fs::remove_file(&self.path);
    }
}

fn read_header(file: &mut File) -> io::Result<Vec<u8>> {
    let mut header = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.take(HEADER_BYTES as u64).read_to_end(&mut header)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(header)
}

fn copy_all(from: &mut File, to: &mut File, len: u64, progress: &mut dyn FnMut(u64, u64)) -> io::Result<()> {
    let mut buffer = vec![0; STEP_BYTES];
    let mut done = 0;
    while done < len {
        let step = buffer.len().min((len - done) as usize);
        let read = from.read(&mut buffer[..step])?;
        if read == 0 {
            break;
        }
        to.write_all(&buffer[..read])?;
        done += read as u64;
        progress(done, len);
    }
    Ok(())
}
