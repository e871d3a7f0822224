//! What a file sink knows of its failures.

use std::io;
use std::path::PathBuf;

use millstream_actors::contract::{Retry, SinkError};
use millstream_actors::protocol::{CheckpointId, may_pass};

/// The [reason](SinkError::reason) for which a [`FileSink`](super::FileSink) failed at a file.
///
/// ```
/// use millstream::TaskError;
/// use millstream::prelude::*;
/// use millstream::sink::FileSinkError;
///
/// # let folder = tempfile::tempdir()?;
/// # let folder = folder.path();
/// let env = StreamEnvironment::new("quotients");
/// env.source("numbers", SequenceSource::new(0..10)).map(|n| (n, 0.0 / n as f64)).sink("out", FileSink::json_lines(folder));
/// let failure = env.start()?.wait().unwrap_err();
///
/// let Some(TaskError::Sink(error)) = failure.task_error() else { panic!("{failure}") };
/// match error.reason().downcast_ref() {
///     Some(FileSinkError::Lossy { field, .. }) => assert_eq!(field, "[1]"),   // JSON has no NaN
///     _ => panic!("{failure}"),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileSinkError {
    /// Writing failed. Tried again where the cause may pass by itself, as a full disk may: not if something stands in the
    /// way that somebody has to move.
    #[error("cannot {action} it: {source}")]
    #[non_exhaustive]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was tried, as a verb.
        action: &'static str,
        /// Why.
        source: io::Error,
    },
    /// Making output durable failed. It must not be tried again, since what was written may be gone: the attempt fails,
    /// and a new one writes it anew.
    #[error("cannot make it durable: {source}")]
    #[non_exhaustive]
    Sync {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The output directory, or the sink's folder in it, was removed or replaced by another one while the job was writing
    /// there.
    #[error(
        "it was removed, or replaced by another one, while the job was writing there; put it back before the job starts again, or what was prepared there is lost"
    )]
    #[non_exhaustive]
    DirectoryLost {
        /// The directory.
        path: PathBuf,
    },
    /// The format would lose a part of a record.
    #[error("{}{reason}", if field.is_empty() { String::new() } else { format!("field '{field}': ") })]
    #[non_exhaustive]
    Lossy {
        /// Where in the record, as it is written in Rust: `readings[3].value`. Empty if it is the record itself.
        field: String,
        /// What would be lost.
        reason: String,
    },
    /// A prepared file has disappeared and is not known to be committed.
    #[error(
        "it was prepared for checkpoint {checkpoint} and is gone, and nothing shows that it was committed: output is lost; restore the file, or start from an older checkpoint"
    )]
    #[non_exhaustive]
    PendingLost {
        /// The file.
        path: PathBuf,
        /// Its checkpoint.
        checkpoint: CheckpointId,
    },
    /// A prepared file has not the length and checksum with which it was prepared. It is not published, and stays.
    #[error(
        "it was prepared for checkpoint {checkpoint} and is damaged: its length or checksum has changed; restore the file from a copy, or start from an older checkpoint"
    )]
    #[non_exhaustive]
    PendingDamaged {
        /// The file.
        path: PathBuf,
        /// Its checkpoint.
        checkpoint: CheckpointId,
    },
    /// A file to be created exists with other content.
    #[error("it exists with other content and is not replaced; use an output directory of the job's own")]
    #[non_exhaustive]
    Occupied {
        /// The file.
        path: PathBuf,
    },
}

impl From<FileSinkError> for SinkError {
    fn from(error: FileSinkError) -> Self {
        let (path, retry) = match &error {
            FileSinkError::Lossy { .. } => return Self::encode(error),
            FileSinkError::Io { path, source, .. } if may_pass(source) => (path, Retry::Call),
            FileSinkError::Sync { path, .. } => (path, Retry::Attempt),
            FileSinkError::Io { path, .. }
            | FileSinkError::DirectoryLost { path }
            | FileSinkError::PendingLost { path, .. }
            | FileSinkError::PendingDamaged { path, .. }
            | FileSinkError::Occupied { path } => (path, Retry::Never),
        };
        Self::external(path.display().to_string(), error, retry)
    }
}
