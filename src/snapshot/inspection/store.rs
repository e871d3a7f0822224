//! A store or a savepoint, open for looking.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use millstream_actors::contract::{ChunkRef, ChunkSource, Manifest, SavepointFileError, SnapshotError};
use millstream_actors::protocol::{CheckpointId, Incarnation};
use redb::{Builder, Database, ReadTransaction, ReadableDatabase, ReadableTableMetadata};

use super::copy::TemporaryCopy;
use super::overlay::Overlay;
use crate::snapshot::SavepointFile;
use crate::snapshot::format::chunk_key;
use crate::snapshot::ledger::Ledger;
use crate::snapshot::redb_file::{CACHE_BYTES, CHUNKS, MANIFESTS, guarded, io_error, trouble_at_open};
use crate::snapshot::redb_load::{decode_retained, load_ledger, verify};

/// How often a file that changes is copied before that is given up.
const COPIES_MAX: u32 = 4;

/// A store as it is in its file. Nothing is written to the file, not even to claim it; writers are kept out of it while
/// this is open, unless it is a copy.
#[derive(Debug)]
pub(crate) struct Inspection {
    name: String,
    file_bytes: u64,
    /// Of a savepoint: one that says what is in it.
    ledger: Ledger,
    checkpoints: Vec<RetainedCheckpoint>,
    inspected: Inspected,
}

/// What is looked into.
#[derive(Debug)]
enum Inspected {
    Store {
        /// `None` only while it is being dropped.
        database: Option<Database>,
        /// Removed once the database is closed.
        copy: Option<TemporaryCopy>,
    },
    Savepoint(SavepointFile),
}

/// A checkpoint that the ledger names.
#[derive(Debug)]
pub(crate) struct RetainedCheckpoint {
    /// The checkpoint.
    pub(crate) id: CheckpointId,
    /// Its manifest, or how that is damaged.
    pub(crate) manifest: Result<Arc<Manifest>, String>,
}

impl Inspection {
    /// Opens the store or savepoint at `path`.
    ///
    /// # Errors
    /// As [`RedbStore::open`](crate::snapshot::RedbStore::open), but that a file that is missing is
    /// [`SnapshotError::Io`]. Damaged manifests are no error here, see [`checkpoints`](Self::checkpoints).
    pub(crate) fn open(path: &Path) -> Result<Self, SnapshotError> {
        match SavepointFile::open(path) {
            Ok(savepoint) => Self::of_savepoint(savepoint),
            Err(SavepointFileError::Foreign { .. }) => Self::open_file(path, path, None),
            Err(error) => Err(store_error(error, path)),
        }
    }

    fn of_savepoint(savepoint: SavepointFile) -> Result<Self, SnapshotError> {
        let name = savepoint.path().display().to_string();
        let file_bytes = fs::metadata(savepoint.path()).map_err(|error| io_error(&name, "open the file", error))?.len();
        let manifest = savepoint.manifest().clone();
        let ledger = Ledger {
            job: Some(manifest.job.clone()),
            incarnation: manifest.incarnation,
            reserved_up_to: manifest.checkpoint,
            ..Ledger::default()
        };
        Ok(Self {
            name,
            file_bytes,
            ledger,
            checkpoints: vec![RetainedCheckpoint { id: manifest.checkpoint, manifest: Ok(manifest) }],
            inspected: Inspected::Savepoint(savepoint),
        })
    }

    /// Copies the file at `path`, which a job may be writing to, and opens the copy. What is read is one commit of the
    /// job, whole: every checksum of redb's pages has been verified.
    ///
    /// # Errors
    /// As [`open`](Self::open); [`SnapshotError::Io`] if the job writes so much that every copy was torn.
    ///
    /// A savepoint never changes, and is read as it is.
    pub(crate) fn open_copy(path: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<Self, SnapshotError> {
        match SavepointFile::open(path) {
            Ok(savepoint) => return Self::of_savepoint(savepoint),
            Err(SavepointFileError::Foreign { .. }) => {}
            Err(error) => return Err(store_error(error, path)),
        }
        let name = path.display().to_string();
        for _ in 0..COPIES_MAX {
            let copy = TemporaryCopy::of(path, progress).map_err(|error| io_error(&name, "copy the file", error))?;
            let (from, was_changing) = (copy.path.clone(), copy.was_changing);
            match Self::open_file(&from, path, Some(copy)) {
                Err(error) if was_changing && error.is_damage() => {}
                opened => return opened,
            }
        }
        let reason = "the job wrote over what was being copied each time; stop it, or copy while it has less to do";
        Err(io_error(&name, "copy the file", reason))
    }

    /// Opens the file `path`, which is called `shown`.
    fn open_file(path: &Path, shown: &Path, copy: Option<TemporaryCopy>) -> Result<Self, SnapshotError> {
        let name = shown.display().to_string();
        let file_bytes = fs::metadata(path).map_err(|error| io_error(&name, "open the file", error))?.len();
        if file_bytes == 0 {
            return Err(SnapshotError::Foreign { store: name, reason: "it is empty".to_owned() });
        }
        let overlay = Overlay::open(path).map_err(|error| io_error(&name, "open the file", error))?;
        let mut builder = Builder::new();
        builder.set_cache_size(CACHE_BYTES);
        builder.set_check_integrity_on_open(copy.is_some());
        let opened = guarded(|| builder.create_with_backend(overlay).map_err(redb::Error::from));
        let database = opened.map_err(|trouble| trouble_at_open(trouble, path, &name))?;
        let mut this = Self {
            name,
            file_bytes,
            ledger: Ledger::default(),
            checkpoints: Vec::new(),
            inspected: Inspected::Store { database: Some(database), copy },
        };
        this.ledger = this.read("read the ledger", |transaction| load_ledger(&this.name, transaction))?;
        this.checkpoints = this.load_checkpoints()?;
        Ok(this)
    }

    /// Reads in one transaction. A savepoint has none: there is nothing to read by one.
    fn read<T>(
        &self,
        action: &'static str,
        read: impl FnOnce(&ReadTransaction) -> Result<Result<T, SnapshotError>, redb::Error>,
    ) -> Result<T, SnapshotError> {
        let Inspected::Store { database: Some(database), .. } = &self.inspected else {
            return Err(SnapshotError::Closed { store: self.name.clone() });
        };
        let checkpoints: Vec<CheckpointId> = self.ledger.retained_ids();
        guarded(|| read(&database.begin_read()?))
            .map_err(|trouble| trouble.into_error(&self.name, action, &checkpoints))?
    }

    fn load_checkpoints(&self) -> Result<Vec<RetainedCheckpoint>, SnapshotError> {
        self.read("read the manifests", |transaction| {
            let table = transaction.open_table(MANIFESTS)?;
            let mut checkpoints = Vec::new();
            for entry in &self.ledger.retained {
                let row = table.get(entry.checkpoint.0)?;
                let manifest = decode_retained(entry, row.as_ref().map(|row| row.value())).map(Arc::new);
                checkpoints.push(RetainedCheckpoint { id: entry.checkpoint, manifest });
            }
            Ok(Ok(checkpoints))
        })
    }

    /// Whether it is a savepoint.
    pub(crate) fn is_savepoint(&self) -> bool {
        matches!(self.inspected, Inspected::Savepoint(_))
    }

    /// The file.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The copy that is read in its place, if there is one.
    #[cfg(test)]
    pub(super) fn copy_path(&self) -> Option<&Path> {
        match &self.inspected {
            Inspected::Store { copy: Some(copy), .. } => Some(&copy.path),
            _ => None,
        }
    }

    /// Length of the file.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// Whose it is; `None` until a job first opens it.
    pub(crate) fn job(&self) -> Option<&str> {
        self.ledger.job.as_deref()
    }

    /// The newest life of that job.
    pub(crate) fn incarnation(&self) -> Incarnation {
        self.ledger.incarnation
    }

    /// No id up to this one is used again.
    pub(crate) fn reserved_up_to(&self) -> CheckpointId {
        self.ledger.reserved_up_to
    }

    /// Checkpoints that completed and were later abandoned, ascending.
    pub(crate) fn abandoned(&self) -> &[CheckpointId] {
        &self.ledger.abandoned
    }

    /// The retained checkpoints, oldest first.
    pub(crate) fn checkpoints(&self) -> &[RetainedCheckpoint] {
        &self.checkpoints
    }

    /// Reads one chunk and verifies its length and checksum.
    ///
    /// # Errors
    /// [`SnapshotError::ChunkMissing`], [`SnapshotError::Damaged`], [`SnapshotError::Io`].
    pub(crate) fn read_chunk(&self, reference: &ChunkRef) -> Result<Vec<u8>, SnapshotError> {
        if let Inspected::Savepoint(savepoint) = &self.inspected {
            return savepoint.read_chunk(reference);
        }
        let key = chunk_key(&reference.address);
        self.read("read a chunk", |transaction| {
            let table = transaction.open_table(CHUNKS)?;
            let found = table.get(&key)?;
            Ok(verify(&self.name, reference, found.as_ref().map(|value| value.value())).map(<[u8]>::to_vec))
        })
    }

    /// Number of rows in the tables of manifests and of chunks.
    pub(super) fn rows(&self) -> Result<(u64, u64), SnapshotError> {
        if let Inspected::Savepoint(savepoint) = &self.inspected {
            return Ok((1, savepoint.manifest().chunks.len() as u64));
        }
        self.read("count chunks", |transaction| {
            Ok(Ok((transaction.open_table(MANIFESTS)?.len()?, transaction.open_table(CHUNKS)?.len()?)))
        })
    }

    /// Has redb verify every page of the file. Answers whether all is well; if not, redb could mend it. A savepoint's
    /// head was verified when it was opened.
    ///
    /// # Errors
    /// [`SnapshotError::Damaged`], [`SnapshotError::Io`].
    pub(super) fn check_pages(&mut self) -> Result<bool, SnapshotError> {
        let checkpoints = self.ledger.retained_ids();
        let Inspected::Store { database: Some(database), .. } = &mut self.inspected else { return Ok(true) };
        guarded(|| database.check_integrity().map_err(redb::Error::from))
            .map_err(|trouble| trouble.into_error(&self.name, "check the file", &checkpoints))
    }
}

impl Drop for Inspected {
    /// redb panics where it finds a page damaged, also while it closes the file.
    fn drop(&mut self) {
        let Self::Store { database, copy } = self else { return };
        let database = database.take();
        let _ = guarded(|| {
            drop(database);
            Ok(())
        });
        *copy = None;
    }
}

/// What is wrong with a savepoint, in the words for stores.
fn store_error(error: SavepointFileError, path: &Path) -> SnapshotError {
    let store = path.display().to_string();
    match error {
        SavepointFileError::Damaged { what, reason, .. } => {
            SnapshotError::Damaged { store, what, reason, checkpoints: Vec::new() }
        }
        SavepointFileError::Foreign { reason, .. } => SnapshotError::Foreign { store, reason },
        SavepointFileError::NewerFormat { found, supported, .. } => {
            SnapshotError::NewerFormat { store, found, supported }
        }
        SavepointFileError::Io { action, source, .. } => io_error(&store, action, source),
        error => io_error(&store, "open the file", error),
    }
}
