//! Publishing: from a temporary name to the finished one, exactly once.
//!
//! ```text
//! step                           a crash after it, at the next start
//! 1 hard link to finished name   temporary name present: linked again, or found to have two names
//! 2 fsync of the directory       the same
//! 3 record, durable              temporary name present: removed, whatever became of the finished file
//! 4 temporary name removed       the record shows that it was published
//! ```
//! So a consumer may move a finished file away at any time: before 3 the second name shows in the temporary one, as long
//! as the file stays on its file system; after 3 the record shows it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use millstream_actors::contract::{Fence, SinkError};

use super::disk::{Disk, DiskFile};
use super::error::FileSinkError;
use super::names::{NEW, WriterId};
use super::record::{PendingFile, Record};
use crate::file_identity::FileIdentity;

/// The output directory and the sink's own folder in it, as one writer uses them.
pub(super) struct Folder {
    pub(super) disk: Arc<dyn Disk>,
    /// Finished files.
    pub(super) dir: PathBuf,
    /// The sink's own: temporary files and records.
    pub(super) own: PathBuf,
    pub(super) fence: Fence,
    pub(super) me: WriterId,
}

/// Which directories a writer found at the paths of its output directory and of the sink's own folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Places([FileIdentity; 2]);

/// The error of an action on a path.
pub(super) fn io_error(action: &'static str, path: &Path) -> impl Fn(io::Error) -> SinkError {
    let path = path.to_owned();
    move |source| FileSinkError::Io { path: path.clone(), action, source }.into()
}

/// The error of a sync of a path.
pub(super) fn sync_error(path: &Path) -> impl Fn(io::Error) -> SinkError {
    let path = path.to_owned();
    move |source| FileSinkError::Sync { path: path.clone(), source }.into()
}

fn unless_missing(outcome: io::Result<()>) -> io::Result<bool> {
    match outcome {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

impl Folder {
    /// Asked before every outside effect.
    ///
    /// # Errors
    /// [`SinkError::fenced`].
    pub(super) fn check_fence(&self) -> Result<(), SinkError> {
        if self.fence.is_raised() { Err(SinkError::fenced()) } else { Ok(()) }
    }

    /// The directories that are there now.
    ///
    /// # Errors
    /// [`FileSinkError::DirectoryLost`].
    pub(super) fn places(&self) -> Result<Places, SinkError> {
        let of = |path: &Path| match self.disk.identity(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(FileSinkError::DirectoryLost { path: path.to_owned() }.into())
            }
            outcome => outcome.map_err(io_error("examine", path)),
        };
        Ok(Places([of(&self.dir)?, of(&self.own)?]))
    }

    /// Asked before anything in them is reported as durable.
    ///
    /// # Errors
    /// [`FileSinkError::DirectoryLost`] if they are not those that were found.
    pub(super) fn check_places(&self, found: Places) -> Result<(), SinkError> {
        let Places([dir, own]) = self.places()?;
        if own == found.0[1] && dir == found.0[0] {
            return Ok(());
        }
        let path = if dir == found.0[0] { &self.own } else { &self.dir };
        Err(FileSinkError::DirectoryLost { path: path.clone() }.into())
    }

    /// Removes a name; false if it was missing.
    pub(super) fn remove(&self, path: &Path) -> Result<bool, SinkError> {
        self.check_fence()?;
        unless_missing(self.disk.remove(path)).map_err(io_error("remove", path))
    }

    pub(super) fn sync_dir(&self, dir: &Path) -> Result<(), SinkError> {
        self.disk.sync_dir(dir).map_err(sync_error(dir))
    }

    /// Creates a file with this content, durable but for its name, replacing what an earlier try left.
    pub(super) fn write_small(&self, path: &Path, content: &[u8]) -> Result<(), SinkError> {
        self.remove(path)?;
        let mut file: Box<dyn DiskFile> = self.disk.create_new(path).map_err(io_error("create", path))?;
        file.write_all(content).map_err(io_error("write", path))?;
        file.sync().map_err(sync_error(path))
    }

    /// Publishes `files`, of which `proven` tells whether a record shows that they are already, and notes them by
    /// `note` in this writer's record. Idempotent: may be called again after an error.
    ///
    /// # Errors
    /// [`FileSinkError`], or [`SinkError::fenced`].
    pub(super) fn publish(
        &self,
        files: &[PendingFile],
        record: &mut Record,
        proven: impl Fn(&Record, &PendingFile) -> bool,
        note: impl FnOnce(&mut Record, &[PendingFile]),
    ) -> Result<(), SinkError> {
        let mut unproven = false;
        for file in files {
            if !proven(record, file) {
                unproven = true;
                self.link(file)?;
            }
        }
        if unproven {
            self.check_fence()?;
            self.sync_dir(&self.dir)?;
            let mut noted = record.clone();
            note(&mut noted, files);
            self.write_record(&noted)?;
            *record = noted;
        }
        for file in files {
            self.remove(&self.own.join(file.temporary()))?;
        }
        Ok(())
    }

    /// Gives a file its finished name, unless it had it before.
    fn link(&self, file: &PendingFile) -> Result<(), SinkError> {
        self.check_fence()?;
        let temporary = self.own.join(file.temporary());
        let finished = self.dir.join(&file.finished);
        let Some(stat) = self.disk.stat(&temporary).map_err(io_error("examine", &temporary))? else {
            // Nothing of ours removes it before there is a record; but the file may be there all the same.
            return match self.holds(&finished, file)? {
                Some(true) => Ok(()),
                _ => Err(FileSinkError::PendingLost { path: temporary, checkpoint: file.checkpoint }.into()),
            };
        };
        // What this writer has written and synced is not read again: nothing but a restore brings files of others.
        if stat.len != file.len || file.writer != self.me && self.holds(&temporary, file)? != Some(true) {
            return Err(FileSinkError::PendingDamaged { path: temporary, checkpoint: file.checkpoint }.into());
        }
        if stat.names > 1 {
            return Ok(());
        }
        match self.disk.hard_link(&temporary, &finished) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match self.holds(&finished, file)? {
                Some(true) => Ok(()),
                _ => Err(FileSinkError::Occupied { path: finished }.into()),
            },
            outcome => outcome.map_err(io_error("create", &finished)),
        }
    }

    /// Whether the file at `path`, if there is one, has the content of `file`.
    fn holds(&self, path: &Path, file: &PendingFile) -> Result<Option<bool>, SinkError> {
        let Some(stat) = self.disk.stat(path).map_err(io_error("examine", path))? else { return Ok(None) };
        if stat.len != file.len {
            return Ok(Some(false));
        }
        self.disk.checksum(path).map(|sum| Some(sum == file.checksum)).map_err(io_error("read", path))
    }

    /// Writes this writer's record, durable.
    pub(super) fn write_record(&self, record: &Record) -> Result<(), SinkError> {
        let path = self.own.join(self.me.record());
        let new = self.own.join(self.me.record() + NEW);
        self.write_small(&new, &record.encode())?;
        self.check_fence()?;
        self.disk.rename(&new, &path).map_err(io_error("replace", &path))?;
        self.sync_dir(&self.own)
    }
}
