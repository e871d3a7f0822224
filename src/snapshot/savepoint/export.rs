//! Writing a savepoint: under another name beside its own, which it gets once it is whole and durable.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use millstream_actors::contract::{
    ChunkSource, Manifest, Savepoint, SavepointExport, SavepointFileError, SavepointFormat, SnapshotError, checksum,
};

use super::layout::encode_tables;
use crate::snapshot::unfinished::{Making, Unfinished, remove_left_overs};

/// Savepoints as files.
#[derive(Debug)]
pub(crate) struct SavepointFiles;

impl SavepointFormat for SavepointFiles {
    fn begin(&self, path: &Path) -> Result<Box<dyn SavepointExport>, SavepointFileError> {
        let (unfinished, file) = create_beside(path)?;
        Ok(Box::new(FileExport { path: path.to_owned(), file: Box::new(file), unfinished }))
    }
}

/// A file that can be made durable: a seam, so that tests can have a disk that is full.
trait DurableFile: Write + Send {
    fn sync(&mut self) -> io::Result<()>;
}

impl DurableFile for File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }
}

/// Creates a file beside `path`, which must not exist.
fn create_beside(path: &Path) -> Result<(Unfinished, File), SavepointFileError> {
    match fs::symlink_metadata(path) {
        Ok(_) => return Err(SavepointFileError::Exists { path: path.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(io_error(path, "examine")(error)),
    }
    if path.file_name().is_none() {
        let error = io::Error::new(io::ErrorKind::InvalidInput, "it does not end in a file name");
        return Err(io_error(path, "create")(error));
    }
    remove_left_overs(Making::Creating, path);
    let unfinished = Unfinished::begin(Making::Creating, path).map_err(io_error(path, "create a file beside"))?;
    let file = File::create_new(unfinished.path()).map_err(io_error(path, "create a file beside"))?;
    Ok((unfinished, file))
}

struct FileExport {
    path: PathBuf,
    file: Box<dyn DurableFile>,
    unfinished: Unfinished,
}

impl FileExport {
    fn copy(
        &mut self,
        manifest: &Manifest,
        chunks: &dyn ChunkSource,
        progress: &mut dyn FnMut(u64) -> bool,
    ) -> Result<u64, SavepointFileError> {
        let written = |source| io_error(self.unfinished.path(), "write")(source);
        let too_long = || io::Error::new(io::ErrorKind::FileTooLarge, "its index has more than 4 GiB");
        let tables = encode_tables(manifest).ok_or_else(|| written(too_long()))?;
        self.file.write_all(&tables).map_err(written)?;
        let mut done = 0;
        for reference in &manifest.chunks {
            let bytes = chunks.read_chunk(reference).map_err(|error| SavepointFileError::Store(Arc::new(error)))?;
            if bytes.len() != reference.len as usize || checksum(&bytes) != reference.checksum {
                let damaged = SnapshotError::Damaged {
                    store: manifest.job.clone(),
                    what: format!("chunk {:?}", reference.address),
                    reason: "it changed between the store and the savepoint".to_owned(),
                    checkpoints: vec![manifest.checkpoint],
                };
                return Err(SavepointFileError::Store(Arc::new(damaged)));
            }
            self.file.write_all(&bytes).map_err(written)?;
            done += bytes.len() as u64;
            if !progress(done) {
                return Err(SavepointFileError::Stopped { path: self.path.clone() });
            }
        }
        self.file.flush().map_err(written)?;
        self.file.sync().map_err(io_error(self.unfinished.path(), "make durable"))?;
        if !progress(done) {
            return Err(SavepointFileError::Stopped { path: self.path.clone() });
        }
        Ok(tables.len() as u64 + done)
    }

    /// Gives the file its name.
    fn publish(&self) -> Result<(), SavepointFileError> {
        link_new(self.unfinished.path(), &self.path).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => SavepointFileError::Exists { path: self.path.clone() },
            _ => io_error(&self.path, "create")(error),
        })?;
        sync_directory(&self.path).map_err(|error| {
            // Whether the name outlives a power cut is unknown, so it must not be taken for a savepoint.
            let removed = fs::remove_file(&self.path);
            log::debug!(target: "millstream::checkpoint", "{} withdrawn: {removed:?}", self.path.display());
            io_error(&self.path, "make durable the directory of")(error)
        })
    }
}

impl SavepointExport for FileExport {
    fn write(
        mut self: Box<Self>,
        manifest: &Manifest,
        chunks: &dyn ChunkSource,
        progress: &mut dyn FnMut(u64) -> bool,
    ) -> Result<Savepoint, SavepointFileError> {
        let bytes = self.copy(manifest, chunks, progress)?;
        self.publish()?;
        Ok(Savepoint { path: self.path, checkpoint: manifest.checkpoint, bytes })
    }
}

/// A second name for a file; where there are none, the file is renamed if the name is free.
fn link_new(from: &Path, to: &Path) -> io::Result<()> {
    match fs::hard_link(from, to) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            if fs::symlink_metadata(to).is_ok() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            fs::rename(from, to)
        }
        linked => linked,
    }
}

fn sync_directory(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if cfg!(unix) { File::open(parent)?.sync_all() } else { Ok(()) }
}

fn io_error(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> SavepointFileError {
    let path = path.to_owned();
    move |source| SavepointFileError::Io { path, action, source: Arc::new(source) }
}

#[cfg(test)]
#[path = "export_tests.rs"]
mod tests;
