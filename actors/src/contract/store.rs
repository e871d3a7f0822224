//! The contract of a snapshot store: where checkpoints live between failures.
//!
//! A store holds **chunks** (immutable pieces of a subtask's snapshot) and **manifests** (one per completed checkpoint,
//! naming its chunks). A checkpoint exists from the moment its manifest is durable, and not before: a chunk that no
//! manifest names is garbage. `docs/snapshot-format.md` has the layout of the stores shipped here.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::protocol::{CheckpointId, Fault, Incarnation, OperatorId};

/// Largest chunk in bytes. A store that rounds values up to a power of two, headers included, would take 2^19 for 2^18.
pub const CHUNK_BYTES_MAX: usize = (1 << 18) - 64;

/// Which part of an operator's state a chunk holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum StateScope {
    /// State of one key group: restored by whoever owns the group.
    KeyGroup(u32),
    /// State of one subtask of the writing job: restored by all, each taking what it owns.
    Subtask(u32),
}

impl fmt::Display for StateScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeyGroup(group) => write!(f, "key group {group}"),
            Self::Subtask(index) => write!(f, "subtask {}", index + 1),
        }
    }
}

/// Where a chunk lives. Unique in the life of a store, because checkpoint ids are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ChunkAddress {
    /// The checkpoint for which it was written.
    pub checkpoint: CheckpointId,
    /// The operator.
    pub operator: OperatorId,
    /// The state's name.
    pub state: Arc<str>,
    /// Key group or subtask.
    pub scope: StateScope,
    /// Counts from 0; the bytes of a section are its chunks in this order.
    pub seq: u32,
}

/// A chunk as a manifest names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkRef {
    /// Where.
    pub address: ChunkAddress,
    /// Length in bytes.
    pub len: u32,
    /// xxh3-64 of the bytes.
    pub checksum: u64,
}

/// A chunk on its way to the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Address, length and checksum.
    pub reference: ChunkRef,
    /// The bytes, at most [`CHUNK_BYTES_MAX`].
    pub bytes: Vec<u8>,
}

impl Chunk {
    /// Seals `bytes` under `address`.
    ///
    /// # Panics
    /// If there are more than [`CHUNK_BYTES_MAX`] bytes.
    pub fn seal(address: ChunkAddress, bytes: Vec<u8>) -> Self {
        assert!(bytes.len() <= CHUNK_BYTES_MAX, "chunk of {} bytes", bytes.len());
        let reference = ChunkRef { address, len: bytes.len() as u32, checksum: checksum(&bytes) };
        Self { reference, bytes }
    }
}

/// The checksum of chunks and manifests: xxh3, 64 bits, seed 0.
pub fn checksum(bytes: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(bytes)
}

/// How long the parts of a checkpoint took, in milliseconds; 0 where it was not measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointDurations {
    /// From the trigger until all had acknowledged: all but the commit of the manifest, of which this is part.
    pub took_ms: u32,
    /// The longest time for which a subtask waited for barriers after its first.
    pub alignment_ms: u32,
    /// The longest time a subtask took to write its snapshot.
    pub capture_ms: u32,
}

/// What a completed checkpoint consists of. Its durable commit *is* the completion.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The checkpoint.
    pub checkpoint: CheckpointId,
    /// The job it belongs to.
    pub job: String,
    /// The life of the process that wrote it.
    pub incarnation: Incarnation,
    /// Wall clock at the trigger, Unix milliseconds.
    pub triggered_unix_ms: u64,
    /// Key groups of the job: fixed at its first checkpoint.
    pub max_parallelism: u32,
    /// Whether every source had ended: the job is complete but for its sinks' commits.
    pub is_final: bool,
    /// How long its parts took.
    pub durations: CheckpointDurations,
    /// Every chunk, sorted by address.
    pub chunks: Vec<ChunkRef>,
}

impl Manifest {
    /// Bytes of state in all.
    pub fn state_bytes(&self) -> u64 {
        self.chunks.iter().map(|chunk| u64::from(chunk.len)).sum()
    }

    /// Bytes that were written for this checkpoint; the others it shares with older ones.
    pub fn written_bytes(&self) -> u64 {
        self.own_chunks().iter().map(|chunk| u64::from(chunk.len)).sum()
    }

    /// The chunks that were written for this checkpoint.
    pub fn own_chunks(&self) -> &[ChunkRef] {
        self.chunks_of(self.checkpoint)
    }

    /// The chunks that were written for `checkpoint`.
    pub fn chunks_of(&self, checkpoint: CheckpointId) -> &[ChunkRef] {
        let start = self.chunks.partition_point(|chunk| chunk.address.checkpoint < checkpoint);
        let end = self.chunks.partition_point(|chunk| chunk.address.checkpoint <= checkpoint);
        &self.chunks[start..end]
    }

    /// The chunk at `address`, if it is named.
    pub fn chunk_at(&self, address: &ChunkAddress) -> Option<&ChunkRef> {
        let at = self.chunks.binary_search_by(|chunk| chunk.address.cmp(address)).ok()?;
        Some(&self.chunks[at])
    }
}

/// What a store knows when a job starts on it.
#[derive(Clone, Debug)]
pub struct StoreOpening {
    /// This life of the process: above every earlier one, durably.
    pub incarnation: Incarnation,
    /// No id up to this one may be used again.
    pub reserved_up_to: CheckpointId,
    /// The retained completed checkpoints, oldest first.
    pub retained: Vec<Arc<Manifest>>,
    /// Checkpoints that had completed and were later abandoned (ascending): sinks must withdraw what they published
    /// for them.
    pub abandoned: Vec<CheckpointId>,
}

/// What a finalisation did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Finalised {
    /// Checkpoints that are no longer retained.
    pub expired: Vec<CheckpointId>,
}

/// A place for snapshots. All calls block; the engine makes them on the snapshot writer's own thread, but for
/// [`read_chunk`](Self::read_chunk), which restoring tasks call on blocking threads, in parallel.
///
/// Every implementation passes [`store_suite`](crate::contract::store_suite).
pub trait SnapshotStore: Send + Sync + 'static {
    /// Opens the store for `job`: raises the incarnation durably to at least `incarnation_floor`, removes chunks that
    /// no manifest names, and reports what is retained. Called once per start, before any other call.
    ///
    /// # Errors
    /// [`SnapshotError::OtherJob`] if the store belongs to another job; [`SnapshotError::Locked`] if it is open
    /// elsewhere, or through this handle and not closed; [`SnapshotError::Damaged`], [`SnapshotError::NewerFormat`], [`SnapshotError::Foreign`] if it cannot
    /// be read; [`SnapshotError::Io`].
    fn open_job(&self, job: &str, incarnation_floor: Incarnation) -> Result<StoreOpening, SnapshotError>;

    /// Makes it durable that ids up to and including `up_to` are in use.
    ///
    /// # Errors
    /// [`SnapshotError::Io`]: nothing is reserved.
    fn reserve_ids(&self, up_to: CheckpointId) -> Result<(), SnapshotError>;

    /// Stores chunks. They need not be durable before [`finalise`](Self::finalise) returns. Storing a chunk again
    /// under its address replaces it, unless a retained checkpoint names it: then it stays as it is.
    ///
    /// # Errors
    /// [`SnapshotError::Io`]: any part of the chunks may be stored.
    fn put_chunks(&self, chunks: &[Chunk]) -> Result<(), SnapshotError>;

    /// Completes a checkpoint in one durable commit: verifies every chunk the manifest names, stores the manifest,
    /// drops all but the newest `retain` (at least one) manifests and every chunk of this and earlier checkpoints that
    /// no retained manifest names. Chunks of later checkpoints stay.
    ///
    /// A chunk of this checkpoint must be there, with its length and checksum. A chunk of an earlier one must be named,
    /// with the same length and checksum, by a checkpoint that was retained so far: it was verified when that completed.
    ///
    /// # Errors
    /// [`SnapshotError::ChunkMissing`], [`SnapshotError::Damaged`]: the checkpoint is not complete, and nothing changed.
    /// [`SnapshotError::Io`]: whether it is complete is unknown until [`reopen`](Self::reopen).
    ///
    /// # Panics
    /// If the manifest's chunks are not sorted by address or are of later checkpoints, or its checkpoint is not above
    /// all that completed before.
    fn finalise(&self, manifest: &Manifest, retain: usize) -> Result<Finalised, SnapshotError>;

    /// Keeps the chunks of these checkpoints, each retained or pinned before, although they expire, until the next call
    /// names others. For whoever copies a checkpoint while newer ones complete. Pins are not durable: after
    /// [`open_job`](Self::open_job) there are none. A store that does not implement it keeps nothing longer.
    fn pin(&self, checkpoints: &[CheckpointId]) {
        let _ = checkpoints;
    }

    /// Completes a checkpoint that was copied from elsewhere, in one durable commit, in a store that retains none. All
    /// chunks it names, of whatever checkpoint, have been stored with [`put_chunks`](Self::put_chunks) and are verified.
    /// Ids up to `lost_up_to` are reserved, and those above the checkpoint may have completed where it came from, so
    /// `lost_up_to` is reported as [`StoreOpening::abandoned`] until a checkpoint completes.
    ///
    /// # Errors
    /// [`SnapshotError::ChunkMissing`], [`SnapshotError::Damaged`], [`SnapshotError::Io`] (also where the store does not
    /// implement it): nothing is completed.
    ///
    /// # Panics
    /// If the store retains a checkpoint, or `lost_up_to` is below this one.
    fn import(&self, manifest: &Manifest, lost_up_to: CheckpointId) -> Result<(), SnapshotError> {
        let _ = (manifest, lost_up_to);
        let (store, action) = (self.describe(), "import a checkpoint");
        Err(SnapshotError::Io { store, action, source: "this store does not do that".into() })
    }

    /// Removes the chunks of a checkpoint that was not completed.
    ///
    /// # Errors
    /// [`SnapshotError::Io`]: they stay, as garbage.
    fn discard(&self, checkpoint: CheckpointId) -> Result<(), SnapshotError>;

    /// Marks every checkpoint above `checkpoint` abandoned, durably, and drops their manifests. Answers those that had
    /// been completed, ascending; they are reported as [`StoreOpening::abandoned`] from then on, until a checkpoint
    /// completes.
    ///
    /// # Errors
    /// [`SnapshotError::Io`]: nothing is abandoned.
    fn abandon_above(&self, checkpoint: CheckpointId) -> Result<Vec<CheckpointId>, SnapshotError>;

    /// Reads one chunk and verifies its length and checksum.
    ///
    /// # Errors
    /// [`SnapshotError::ChunkMissing`], [`SnapshotError::Damaged`], [`SnapshotError::Io`].
    fn read_chunk(&self, reference: &ChunkRef) -> Result<Vec<u8>, SnapshotError>;

    /// Gets back to work after a failed write: closes and opens what is below once readers have let go, and answers
    /// the retained checkpoints, oldest first, which settles whether a failed finalisation had been durable.
    ///
    /// # Errors
    /// As [`open_job`](Self::open_job).
    fn reopen(&self) -> Result<Vec<Arc<Manifest>>, SnapshotError>;

    /// Lets go of what is below, so that another job may open it. Later calls fail with [`SnapshotError::Closed`], but
    /// for [`open_job`](Self::open_job), which opens it again.
    fn close(&self);

    /// What the store is, for messages: a file's path, or `memory`.
    fn describe(&self) -> String;

    /// Whether what it holds outlives the process.
    fn is_durable(&self) -> bool;
}

/// Why a store could not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// Reading or writing failed.
    #[error("snapshot store {store}: cannot {action}: {source}")]
    Io {
        /// The store.
        store: String,
        /// What was tried, as a verb phrase.
        action: &'static str,
        /// Why.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The store is open elsewhere.
    #[error("snapshot store {store} is in use by another job or process; one job per store file: give each its own")]
    Locked {
        /// The store.
        store: String,
    },
    /// The store belongs to another job.
    #[error("snapshot store {store} belongs to job '{owner}', not '{job}'; give each job its own store file")]
    OtherJob {
        /// The store.
        store: String,
        /// Whose it is.
        owner: String,
        /// Who asked.
        job: String,
    },
    /// The file is not a snapshot store.
    #[error("{store} is not a Millstream snapshot store ({reason}); name another file, or move this one away")]
    Foreign {
        /// The file.
        store: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The store was written by a newer version.
    #[error("snapshot store {store} has format {found}; this version reads up to {supported}: use a newer Millstream")]
    NewerFormat {
        /// The store.
        store: String,
        /// Its format.
        found: u32,
        /// The newest format known here.
        supported: u32,
    },
    /// Something in the store fails its checksum or does not decode.
    #[error(
        "snapshot store {store} is damaged: {what}: {reason}; checkpoints that use it: {checkpoints:?}; restore the file from a copy, or start from an older checkpoint"
    )]
    Damaged {
        /// The store.
        store: String,
        /// What: the file, a manifest, a chunk.
        what: String,
        /// How it was noticed.
        reason: String,
        /// The retained checkpoints that need it.
        checkpoints: Vec<CheckpointId>,
    },
    /// The job has gone on elsewhere since this store was last used.
    #[error(
        "snapshot store {store} ends at checkpoint {newest}, but its copy in {copy} at checkpoint {found} of a later run on another store; move this store away to continue from the copy, or the copy to continue from here"
    )]
    Superseded {
        /// The store.
        store: String,
        /// Where the copy is.
        copy: String,
        /// The newest checkpoint here.
        newest: CheckpointId,
        /// The newest checkpoint there.
        found: CheckpointId,
    },
    /// A manifest names a chunk that is not there.
    #[error("snapshot store {store}: {address:?} is named by a manifest but missing")]
    ChunkMissing {
        /// The store.
        store: String,
        /// Which.
        address: Box<ChunkAddress>,
    },
    /// The store was closed.
    #[error("snapshot store {store} is closed")]
    Closed {
        /// The store.
        store: String,
    },
}

impl SnapshotError {
    /// Whether doing the same again may succeed.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Io { .. })
    }

    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::OtherJob { .. }
            | Self::NewerFormat { .. }
            | Self::Foreign { .. }
            | Self::Locked { .. }
            | Self::Superseded { .. } => Fault::User,
            Self::Io { .. } | Self::Damaged { .. } | Self::ChunkMissing { .. } => Fault::External,
            Self::Closed { .. } => Fault::Internal,
        }
    }

    /// Whether stored bytes are damaged, so that an older checkpoint may still be whole.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged { .. } | Self::ChunkMissing { .. })
    }
}
