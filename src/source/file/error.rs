//! What a file source knows of its failures.

use std::io;
use std::path::PathBuf;

use millstream_actors::contract::SourceError;

/// The [reason](SourceError::reason) for which a [`FileSource`](super::FileSource) failed at a file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileSourceError {
    /// Reading failed; worth a retry.
    #[error("cannot {action} it: {source}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was tried, as a verb.
        action: &'static str,
        /// Why.
        source: io::Error,
    },
    /// A record does not parse.
    #[error("malformed record: {reason}; mend the input, or set on_malformed(Skip | SideOutput)")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: u64,
        /// Column in bytes, from 1.
        column: u64,
        /// What is wrong.
        reason: String,
    },
}

impl From<FileSourceError> for SourceError {
    fn from(error: FileSourceError) -> Self {
        match &error {
            FileSourceError::Io { path, .. } => Self::unavailable(path.display().to_string(), error),
            FileSourceError::Malformed { path, line, column, .. } => {
                Self::malformed(format!("{}:{line}:{column}", path.display()), error)
            }
        }
    }
}
