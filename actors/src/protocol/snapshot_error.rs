//! Why a snapshot store failed.

use std::error::Error as StdError;

use super::{CheckpointId, ChunkAddress, Fault, may_pass};

/// Why a store could not do what was asked.
///
/// ```
/// use millstream::snapshot::SnapshotError;
///
/// let error = SnapshotError::Locked { store: "orders".to_owned() };
/// let remedy = match &error {
///     SnapshotError::Locked { .. } => "the service runs already",
///     SnapshotError::OtherJob { .. } | SnapshotError::Foreign { .. } => "the path in the settings is wrong",
///     _ => "ask who runs the machine",
/// };
/// assert_eq!(remedy, "the service runs already");
/// ```
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
    /// The store's file was removed, or another took its place, while the store was in use.
    #[error(
        "the file of snapshot store {store} was removed, or replaced by another one, while the job was using it, so no start would find what is written to it; put the file back or name another one, and start the job again"
    )]
    Gone {
        /// The store.
        store: String,
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
        match self {
            Self::Io { source, .. } => source.downcast_ref().is_none_or(may_pass),
            _ => false,
        }
    }

    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::OtherJob { .. }
            | Self::NewerFormat { .. }
            | Self::Foreign { .. }
            | Self::Locked { .. }
            | Self::Superseded { .. } => Fault::User,
            Self::Io { .. } | Self::Damaged { .. } | Self::ChunkMissing { .. } | Self::Gone { .. } => Fault::External,
            Self::Closed { .. } => Fault::Internal,
        }
    }

    /// Whether the store is not where it was, so that no further call of it is of use.
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Gone { .. })
    }

    /// Whether stored bytes are damaged, so that an older checkpoint may still be whole.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged { .. } | Self::ChunkMissing { .. })
    }
}
