//! Why state could not be written or read.

use std::error::Error as StdError;
use std::path::PathBuf;
use std::sync::Arc;

use super::{Fault, OperatorId, StateScope};

/// Why state could not be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// A value's serializer gave up.
    #[error("operator '{operator}', state '{state}', {scope}: cannot encode: {reason}")]
    Encode {
        /// The operator.
        operator: OperatorId,
        /// The state.
        state: Arc<str>,
        /// Key group or subtask.
        scope: StateScope,
        /// What the serializer said.
        reason: String,
    },
    /// Stored bytes are not what the type expects: it has changed shape since, or its deserializer is wrong.
    #[error(
        "operator '{operator}', state '{state}' (version {version}), {scope}: cannot decode: {reason}; the stored bytes are undamaged, so the type or its deserializer has changed: give new fields a serde default and other changes a version with a migration, or start without this checkpoint"
    )]
    Decode {
        /// The operator.
        operator: OperatorId,
        /// The state.
        state: Arc<str>,
        /// Key group or subtask.
        scope: StateScope,
        /// The version of the state's encoding.
        version: u32,
        /// What the deserializer said.
        reason: String,
    },
    /// The stored state was declared otherwise.
    #[error("operator '{operator}': {reason}")]
    Mismatch {
        /// The operator.
        operator: OperatorId,
        /// What does not match.
        reason: String,
    },
    /// A keyed operator met a key outside its key groups: the key selector is not pure.
    #[error(
        "operator '{operator}': a key of group {group} reached the subtask that owns groups {start}..{end}; the key selector must give the same key for the same record every time"
    )]
    ForeignKey {
        /// The operator.
        operator: OperatorId,
        /// The key's group.
        group: u32,
        /// First group of the subtask.
        start: u32,
        /// One past its last.
        end: u32,
    },
    /// An operator started one section twice in a snapshot: a bug of the operator.
    #[error("operator '{operator}', state '{state}', {scope}: the section is written twice in one snapshot")]
    SectionTwice {
        /// The operator.
        operator: OperatorId,
        /// The state.
        state: Arc<str>,
        /// Key group or subtask.
        scope: StateScope,
    },
    /// What changes while a checkpoint is taken takes up more memory than it may before the store has written it.
    #[error(
        "operator '{operator}': {bytes} bytes of a snapshot wait to be stored, {limit} may (Limits::capture_bytes_max); the store is slower than the state changes"
    )]
    CaptureFull {
        /// The operator.
        operator: OperatorId,
        /// How many wait.
        bytes: usize,
        /// How many may.
        limit: usize,
    },
    /// The file with the part of an operator's state that is not in memory could not be used.
    #[error(
        "operator '{operator}': cannot {action} {}, which holds state that is not in memory: {source}; look after the disk: a restart continues from the last checkpoint with a new file",
        file.display()
    )]
    WorkingFile {
        /// The operator.
        operator: OperatorId,
        /// The file.
        file: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What went wrong.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// Something else, from an operator outside this crate.
    #[error(transparent)]
    Other(Box<dyn StdError + Send + Sync>),
}

impl StateError {
    /// Whether doing the same again may succeed.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Encode { .. } | Self::CaptureFull { .. } | Self::WorkingFile { .. } | Self::Other(_))
    }

    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::CaptureFull { .. } | Self::WorkingFile { .. } => Fault::External,
            _ => Fault::User,
        }
    }
}
