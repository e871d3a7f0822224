//! Reading a savepoint.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use millstream_actors::contract::{ChunkRef, ChunkSource, Manifest, SavepointFileError, SnapshotError, checksum};

use super::layout::{FORMAT, LayoutError, PREFIX_BYTES, Prefix, SavepointHeader};

/// A savepoint, open for reading. Header and index are verified; each chunk is when it is read.
///
/// ```
/// use millstream::prelude::*;
/// use millstream::snapshot::SavepointFile;
///
/// # actix_rt::System::new().block_on(async {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("before-upgrade.savepoint");
/// let env = StreamEnvironment::new("parity");
/// env.source("numbers", SequenceSource::unbounded().rate_per_second(1_000))
///     .key_by(|n| n % 2)
///     .fold("count", 0u64, |count, _| *count += 1)
///     .for_each("out", |_| {});
/// env.start()?.stop_with_savepoint(&path).await?;
///
/// let savepoint = SavepointFile::open(&path)?;
/// assert_eq!(savepoint.header().job, "parity");
/// savepoint.verify()?;                                        // reads all of it
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
pub struct SavepointFile {
    path: PathBuf,
    header: SavepointHeader,
    manifest: Arc<Manifest>,
    /// Where each chunk of the manifest begins.
    offsets: Vec<u64>,
    file: Mutex<File>,
}

impl SavepointFile {
    /// Opens the savepoint at `path` and verifies all but its chunks.
    ///
    /// # Errors
    /// [`SavepointFileError::Foreign`], [`SavepointFileError::NewerFormat`], [`SavepointFileError::Damaged`], which a file
    /// is that was cut short; [`SavepointFileError::Io`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, SavepointFileError> {
        let path = path.as_ref().to_owned();
        let io_error = |action: &'static str| {
            let path = path.clone();
            move |source: io::Error| SavepointFileError::Io { path, action, source: Arc::new(source) }
        };
        let file = File::open(&path).map_err(io_error("open"))?;
        let len = file.metadata().map_err(io_error("examine"))?.len();
        let mut first = Vec::new();
        (&file).take(PREFIX_BYTES as u64).read_to_end(&mut first).map_err(io_error("read"))?;
        let prefix = Prefix::decode(&first).map_err(|error| error.at(&path))?;
        let begin = PREFIX_BYTES as u64 + prefix.table_bytes();
        if begin > len {
            let reason = format!("it has {len} bytes, and its index alone needs {begin}");
            return Err(LayoutError::Damaged("file", reason).at(&path));
        }
        let mut tables = Vec::new();
        (&file).take(prefix.table_bytes()).read_to_end(&mut tables).map_err(io_error("read"))?;
        if tables.len() as u64 != prefix.table_bytes() {
            return Err(LayoutError::Damaged("file", "it became shorter while it was read".to_owned()).at(&path));
        }
        let (header, manifest) = prefix.decode_tables(&tables).map_err(|error| error.at(&path))?;
        let mut end = begin;
        let mut offsets = Vec::with_capacity(manifest.chunks.len());
        for chunk in &manifest.chunks {
            offsets.push(end);
            end += u64::from(chunk.len);
        }
        if end != len {
            return Err(LayoutError::Damaged("file", format!("it has {len} bytes, not {end}")).at(&path));
        }
        Ok(Self { path, header, manifest: Arc::new(manifest), offsets, file: Mutex::new(file) })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it says of itself.
    pub fn header(&self) -> &SavepointHeader {
        &self.header
    }

    /// The checkpoint it holds.
    pub fn manifest(&self) -> &Arc<Manifest> {
        &self.manifest
    }

    /// Reads every chunk once, one at a time. Answers the bytes of state.
    ///
    /// # Errors
    /// [`SavepointFileError::Store`], naming the first chunk that is not as it was written.
    pub fn verify(&self) -> Result<u64, SavepointFileError> {
        for chunk in &self.manifest.chunks {
            self.read_chunk(chunk).map_err(|error| SavepointFileError::Store(Arc::new(error)))?;
        }
        Ok(self.manifest.state_bytes())
    }

    fn read_at(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(offset))?;
        file.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}

impl ChunkSource for SavepointFile {
    fn read_chunk(&self, reference: &ChunkRef) -> Result<Vec<u8>, SnapshotError> {
        let store = || self.path.display().to_string();
        let chunks = &self.manifest.chunks;
        let place = chunks.binary_search_by(|chunk| chunk.address.cmp(&reference.address)).ok();
        let Some(place) = place.filter(|place| chunks[*place] == *reference) else {
            return Err(SnapshotError::ChunkMissing { store: store(), address: Box::new(reference.address.clone()) });
        };
        let damaged = |reason: String| SnapshotError::Damaged {
            store: store(),
            what: format!("chunk {:?}", reference.address),
            reason,
            checkpoints: vec![self.manifest.checkpoint],
        };
        let bytes = match self.read_at(self.offsets[place], reference.len as usize) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(damaged("the file was cut short since it was opened".to_owned()));
            }
            Err(error) => {
                return Err(SnapshotError::Io { store: store(), action: "read a chunk", source: Box::new(error) });
            }
        };
        let computed = checksum(&bytes);
        if computed != reference.checksum {
            let recorded = reference.checksum;
            return Err(damaged(format!("checksum {recorded:016x} recorded, {computed:016x} computed")));
        }
        Ok(bytes)
    }
}

impl LayoutError {
    fn at(self, path: &Path) -> SavepointFileError {
        let path = path.to_owned();
        match self {
            Self::Foreign(reason) => SavepointFileError::Foreign { path, reason },
            Self::Newer(found) => SavepointFileError::NewerFormat { path, found, supported: FORMAT },
            Self::Damaged(what, reason) => SavepointFileError::Damaged { path, what: format!("its {what}"), reason },
        }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
