//! The contract of a snapshot store: where checkpoints live between failures.
//!
//! A store holds **chunks** (immutable pieces of a subtask's snapshot) and **manifests** (one per completed checkpoint,
//! naming its chunks). A checkpoint exists from the moment its manifest is durable, and not before: a chunk that no
//! manifest names is garbage. `docs/snapshot-format.md` has the layout of the stores shipped here.

use std::sync::Arc;

use crate::protocol::{CheckpointId, ChunkAddress, ChunkRef, Incarnation, Manifest, SnapshotError};

/// Largest chunk in bytes. A store that rounds values up to a power of two, headers included, would take 2^19 for 2^18.
pub const CHUNK_BYTES_MAX: usize = (1 << 18) - 64;

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

/// A place for snapshots. All calls block; the engine makes them on threads for this, one at a time for each job, but for
/// [`read_chunk`](Self::read_chunk), which restoring tasks call on blocking threads, in parallel.
///
/// Every implementation passes [`store_suite`](crate::contract::store_suite).
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a store for snapshots",
    note = "a store is opened before it is given: `RedbStore::open(path)?`, or `MemoryStore::new()` for one that ends with the process"
)]
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

    /// Keeps durably since when the job is paused, Unix milliseconds, or that it is not.
    ///
    /// # Errors
    /// [`SnapshotError::Io`] (also where the store does not implement it, as by default): nothing is kept, or it is not known.
    fn keep_pause(&self, since_unix_ms: Option<u64>) -> Result<(), SnapshotError> {
        let _ = since_unix_ms;
        let (store, action) = (self.describe(), "keep that the job is paused");
        Err(SnapshotError::Io { store, action, source: "this store does not do that".into() })
    }

    /// Since when the job is paused, as it was kept last, by this life of it or an earlier one; `None` if it is not. Asked after
    /// [`open_job`](Self::open_job).
    fn paused_since(&self) -> Option<u64> {
        None
    }

    /// Lets go of what is below, so that another job may open it. Later calls fail with [`SnapshotError::Closed`], but
    /// for [`open_job`](Self::open_job), which opens it again.
    fn close(&self);

    /// What the store is, for messages: a file's path, or `memory`.
    fn describe(&self) -> String;

    /// How many bytes it takes at present, where it can tell without reading what it holds; of a file its length. Asked after the store
    /// was opened and after each checkpoint that is complete, on the threads of its other calls.
    fn stored_bytes(&self) -> Option<u64> {
        None
    }

    /// Whether what it holds outlives the process.
    fn is_durable(&self) -> bool;

    /// What is wrong with its settings, where that can be told before a job opens it: the job does not start then, and says
    /// where in the program it was given the store. A store that is wrapped by another should be asked, too.
    fn mistake(&self) -> Option<String> {
        None
    }
}
