//! Why state could not be written or read.

use std::error::Error as StdError;
use std::path::PathBuf;
use std::sync::Arc;

use super::{Fault, OperatorId, StateScope};

/// Why state could not be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// A value cannot be stored: its serializer gave up, or what it wrote does not read back as the value.
    #[error("operator '{operator}', state '{state}' (version {version}), {scope}: cannot be stored: {reason}")]
    Encode {
        /// The operator.
        operator: OperatorId,
        /// The state.
        state: Arc<str>,
        /// Key group or subtask.
        scope: StateScope,
        /// The version of the values' type.
        version: u32,
        /// What the serializer said, or what does not read back, and what can be done.
        reason: String,
    },
    /// Stored state is not what the program expects, though its bytes are undamaged: a type has changed since, or was never
    /// readable.
    #[error("operator '{operator}', state '{state}' (version {version}), {scope}: cannot be read: {reason}")]
    Decode {
        /// The operator.
        operator: OperatorId,
        /// The state.
        state: Arc<str>,
        /// Key group or subtask.
        scope: StateScope,
        /// The version of the values' type that was stored; 0 if that is not known.
        version: u32,
        /// What does not fit, and what can be done.
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
    /// What changes while a checkpoint is taken takes up more memory than it may before the store has written it, or what is stored
    /// of one key does, as a large map: that is written in one piece.
    #[error(
        "operator '{operator}': {bytes} bytes of a snapshot wait to be stored, {limit} may (Limits::capture_bytes_max); the store is slower than the state changes, or the state of one key is larger"
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
    /// A row that had left memory does not read back, though the working file has it as it was written: its type does not
    /// read what its serializer writes.
    #[error(
        "operator '{operator}': a row that was kept in {} cannot be read, though the file has it as it was written: {reason}; the type of its key or of a state does not read what its own serializer writes: change how it is serialized",
        file.display()
    )]
    Unreadable {
        /// The operator.
        operator: OperatorId,
        /// The file.
        file: PathBuf,
        /// What the deserializer said.
        reason: String,
    },
    /// Something else, from an operator outside this crate.
    #[error(transparent)]
    Other(Box<dyn StdError + Send + Sync>),
}

impl StateError {
    /// Whether doing the same again may succeed. A value that cannot be stored cannot be stored the next time either; a
    /// checkpoint succeeds again once it has been changed.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::CaptureFull { .. } | Self::WorkingFile { .. } | Self::Other(_))
    }

    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::CaptureFull { .. } | Self::WorkingFile { .. } => Fault::External,
            _ => Fault::User,
        }
    }
}
