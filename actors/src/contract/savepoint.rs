//! The contract of savepoints: where an exported checkpoint is written, and what the engine asks of the one it starts
//! from.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::store::{Chunk, SnapshotStore};
use crate::protocol::{
    CheckpointId, ChunkAddress, ChunkRef, Fault, Incarnation, Manifest, OperatorId, SnapshotError, StateScope, may_pass,
};

/// The state under which a checkpoint notes the savepoint that its job began with. Its operator id is empty, which no
/// operator's is.
const ORIGIN: &str = "restored from";

/// Gives the chunks of a manifest. Blocks; called by many threads at a time.
pub trait ChunkSource: Send + Sync + 'static {
    /// Reads one chunk and verifies its length and checksum.
    ///
    /// # Errors
    /// As [`SnapshotStore::read_chunk`].
    fn read_chunk(&self, reference: &ChunkRef) -> Result<Vec<u8>, SnapshotError>;
}

impl ChunkSource for Arc<dyn SnapshotStore> {
    fn read_chunk(&self, reference: &ChunkRef) -> Result<Vec<u8>, SnapshotError> {
        SnapshotStore::read_chunk(&**self, reference)
    }
}

/// Which checkpoint a savepoint holds, whatever its file is called: job and incarnation tell stores apart, in which ids
/// are never reused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavepointId {
    /// The job that took it.
    pub job: String,
    /// The life of its process.
    pub incarnation: Incarnation,
    /// The checkpoint.
    pub checkpoint: CheckpointId,
}

impl SavepointId {
    /// The id of a savepoint of this checkpoint.
    pub fn of(manifest: &Manifest) -> Self {
        let Manifest { job, incarnation, checkpoint, .. } = manifest;
        Self { job: job.clone(), incarnation: *incarnation, checkpoint: *checkpoint }
    }

    /// The chunk by which `checkpoint` says that its job began with this savepoint.
    pub(crate) fn mark(&self, checkpoint: CheckpointId) -> Chunk {
        let address = ChunkAddress {
            checkpoint,
            operator: OperatorId::new(""),
            state: ORIGIN.into(),
            scope: StateScope::Subtask(0),
            seq: 0,
        };
        let fields = (1_u8, &self.job, self.incarnation.0, self.checkpoint.0);
        let mut bytes = Vec::new();
        rmp_serde::encode::write(&mut bytes, &fields).expect("numbers and strings always encode into memory");
        Chunk::seal(address, bytes)
    }

    /// The savepoint that the job of this checkpoint began with.
    ///
    /// # Errors
    /// Those of reading the note, in `chunks`; [`SnapshotError::Damaged`] if it does not decode.
    pub fn origin_of(manifest: &Manifest, chunks: &dyn ChunkSource) -> Result<Option<Self>, SnapshotError> {
        let Some(reference) = manifest.chunks.iter().find(|chunk| is_mark(&chunk.address)) else { return Ok(None) };
        let bytes = chunks.read_chunk(reference)?;
        let decoded: Result<(u8, String, u64, u64), _> = rmp_serde::from_slice(&bytes);
        match decoded {
            Ok((1, job, incarnation, checkpoint)) => {
                let (incarnation, checkpoint) = (Incarnation(incarnation), CheckpointId(checkpoint));
                Ok(Some(Self { job, incarnation, checkpoint }))
            }
            other => Err(SnapshotError::Damaged {
                store: manifest.job.clone(),
                what: format!("chunk {:?}", reference.address),
                reason: other.map_or_else(|error| error.to_string(), |(version, ..)| format!("version {version}")),
                checkpoints: vec![manifest.checkpoint],
            }),
        }
    }
}

/// Whether the chunk is the engine's note of a job's origin, and no operator's state.
pub fn is_mark(address: &ChunkAddress) -> bool {
    address.operator.as_str().is_empty()
}

/// A savepoint that was written, durably.
///
/// ```
/// use millstream::prelude::*;
///
/// # actix_rt::System::new().block_on(async {
/// # let path = std::env::temp_dir().join(format!("numbers-{}.savepoint", std::process::id()));
/// let env = StreamEnvironment::new("numbers");
/// env.source("numbers", SequenceSource::unbounded().rate_per_second(1_000)).for_each("out", |_| {});
/// let job = env.start()?;
/// let savepoint = job.savepoint(&path).await?;
/// assert_eq!(std::fs::metadata(&savepoint.path)?.len(), savepoint.bytes);
/// job.cancel().await?;
/// # std::fs::remove_file(&path)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Savepoint {
    /// Its file.
    pub path: PathBuf,
    /// The checkpoint it holds.
    pub checkpoint: CheckpointId,
    /// Length of the file.
    pub bytes: u64,
}

/// Where savepoints are written.
pub trait SavepointFormat: Send + Sync + 'static {
    /// Claims room for a savepoint that will be called `path`; nothing has that name before it is whole. Dropping the
    /// export gives the room back.
    ///
    /// # Errors
    /// [`SavepointFileError::Exists`], [`SavepointFileError::Io`].
    fn begin(&self, path: &Path) -> Result<Box<dyn SavepointExport>, SavepointFileError>;
}

/// A savepoint about to be written.
pub trait SavepointExport: Send {
    /// Writes the checkpoint, chunk by chunk, verifies each, makes all durable and gives it its name, never replacing
    /// what has that name. After each chunk, and once before the name is
    /// given, `progress` is told the bytes of state written; it stops the export by answering false.
    ///
    /// # Errors
    /// [`SavepointFileError`]. Nothing is left under the name.
    fn write(
        self: Box<Self>,
        manifest: &Manifest,
        chunks: &dyn ChunkSource,
        progress: &mut dyn FnMut(u64) -> bool,
    ) -> Result<Savepoint, SavepointFileError>;
}

/// Why a savepoint's file cannot be written or read.
///
/// ```
/// use millstream::snapshot::{SavepointFile, SavepointFileError};
///
/// # let path = std::env::temp_dir().join(format!("notes-{}.txt", std::process::id()));
/// std::fs::write(&path, "not a savepoint at all, but long enough to be one")?;
/// match SavepointFile::open(&path).unwrap_err() {
///     SavepointFileError::Foreign { path: found, .. } => assert_eq!(found, path),
///     other => panic!("{other}"),
/// }
/// # std::fs::remove_file(&path)?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SavepointFileError {
    /// The name is taken.
    #[error("{path} exists and is not replaced; name another file", path = path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The file system refused.
    #[error("cannot {action} {path}: {source}; nothing is lost: free space or name another place, and try again", path = path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was tried, as a verb phrase.
        action: &'static str,
        /// Why.
        source: Arc<std::io::Error>,
    },
    /// A chunk of the checkpoint cannot be read from its store.
    #[error("the checkpoint cannot be read: {0}")]
    Store(#[source] Arc<SnapshotError>),
    /// The job ended, or its snapshot writer was restarted, meanwhile.
    #[error("the job ended, or its snapshot writer was restarted, before {path} was written", path = path.display())]
    Stopped {
        /// The file.
        path: PathBuf,
    },
    /// The file is no savepoint.
    #[error("{path} is not a Millstream savepoint ({reason})", path = path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The file was written by a newer version.
    #[error("savepoint {path} has format {found}; this version reads up to {supported}: use a newer Millstream", path = path.display())]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest format known here.
        supported: u32,
    },
    /// The file is not as it was written.
    #[error("savepoint {path} is damaged: {what}: {reason}; use another copy of it", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Which part.
        what: String,
        /// How it was noticed.
        reason: String,
    },
}

impl SavepointFileError {
    /// Whether doing the same again may succeed.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Io { source, .. } => may_pass(source),
            Self::Stopped { .. } => true,
            Self::Store(error) => error.is_retryable(),
            _ => false,
        }
    }

    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Exists { .. } | Self::Foreign { .. } | Self::NewerFormat { .. } => Fault::User,
            Self::Store(error) => error.fault(),
            Self::Io { .. } | Self::Stopped { .. } | Self::Damaged { .. } => Fault::External,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct One(Chunk);

    impl ChunkSource for One {
        fn read_chunk(&self, reference: &ChunkRef) -> Result<Vec<u8>, SnapshotError> {
            assert_eq!(*reference, self.0.reference);
            Ok(self.0.bytes.clone())
        }
    }

    fn manifest(chunks: Vec<ChunkRef>) -> Manifest {
        Manifest { incarnation: Incarnation(3), chunks, ..Manifest::empty(9) }
    }

    #[test]
    fn origin_is_found_again() {
        let id = SavepointId { job: "fork".to_owned(), incarnation: Incarnation(2), checkpoint: CheckpointId(7) };
        let chunk = id.mark(CheckpointId(9));
        let marked = manifest(vec![chunk.reference.clone()]);
        assert_eq!(SavepointId::origin_of(&marked, &One(chunk.clone())).unwrap(), Some(id));
        assert_eq!(SavepointId::origin_of(&manifest(Vec::new()), &One(chunk.clone())).unwrap(), None);
        let other = Chunk::seal(chunk.reference.address, vec![0xC0]);
        let damaged = manifest(vec![other.reference.clone()]);
        assert!(SavepointId::origin_of(&damaged, &One(other)).unwrap_err().is_damage());
    }
}
