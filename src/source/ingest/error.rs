//! What goes wrong with an ingest log: when records are sent, and when it is opened or read.

use std::error::Error as StdError;
use std::io;
use std::sync::Arc;

use millstream_actors::contract::{SnapshotError, SourceError};
use millstream_actors::protocol::{Fault, may_pass};

use super::IngestRecord;

/// Why a record was not taken in. It does not count then.
///
/// After [`IngestError::Log`] that holds as long as the process lives, and the file is not gone, nor its writer: if the process dies
/// before the log can be written again, a record that was refused so may be there. A sender that sends it again gives it an
/// [idempotency key](IngestRecord::idempotency_key).
///
/// What a service answers:
///
/// ```
/// use millstream::source::IngestError;
///
/// fn status(error: &IngestError) -> u16 {
///     match error {
///         IngestError::Full { .. } => 429,                                // later
///         IngestError::TooLarge { .. } | IngestError::Encode { .. } => 400,  // never
///         _ => 503,                                                       // by another process, or its next start
///     }
/// }
///
/// let large = IngestError::TooLarge { records: 1, bytes: 9, records_max: 1, bytes_max: 8 };
/// assert_eq!(status(&large), 400);
/// ```
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IngestError {
    /// Nobody reads the log any more: the job has ended, in whatever way, or its source was dropped.
    #[error("the job that reads ingest log {log} has ended; open the log again with the job's next start")]
    Ended {
        /// The log.
        log: Arc<str>,
    },
    /// The job is about to end, by `drain`, `stop_with_savepoint` or `finish`.
    #[error("the job that reads ingest log {log} is about to end, and takes no more records")]
    Draining {
        /// The log.
        log: Arc<str>,
    },
    /// There is no room now: only of [`try_send`](super::IngestHandle::try_send), which does not wait for it.
    #[error(
        "{records} records of {bytes} bytes wait to be written to ingest log {log}; send again later, or wait with send()"
    )]
    Full {
        /// The log.
        log: Arc<str>,
        /// Records that wait.
        records: usize,
        /// Their bytes.
        bytes: usize,
    },
    /// A record is larger than [`record_bytes_max`](super::IngestOptions::record_bytes_max), or those of one call are more than
    /// the [buffer](super::IngestOptions::buffer) ever takes.
    #[error("{records} records of {bytes} bytes at once: at most {records_max} of {bytes_max} bytes can be taken in")]
    TooLarge {
        /// How many records: 1 if it is one that is too large, or up to the first that is one too many.
        records: usize,
        /// Their bytes.
        bytes: usize,
        /// How many there may be.
        records_max: usize,
        /// How many bytes there may be.
        bytes_max: usize,
    },
    /// The record does not serialize, or would not read back.
    #[error("the record cannot be stored: {reason}")]
    Encode {
        /// Why.
        reason: String,
    },
    /// An idempotency key is too long.
    #[error("an idempotency key of {bytes} bytes: at most {bytes_max} are stored")]
    KeyTooLong {
        /// Its length.
        bytes: usize,
        /// The longest that is taken.
        bytes_max: usize,
    },
    /// As many idempotency keys are known as there may be, and none is old enough to be forgotten.
    #[error(
        "{keys_max} idempotency keys are known, the most there may be; raise idempotency_keys_max, or shorten idempotency_retention"
    )]
    KeysFull {
        /// How many there may be.
        keys_max: usize,
    },
    /// The log could not be written. Worth a retry if [it says so](Self::is_retryable): a full disk, say.
    #[error(transparent)]
    Log(Arc<IngestLogError>),
}

impl IngestError {
    /// Whether sending the same again by the same handle may succeed. After [`Draining`](Self::Draining) and
    /// [`Ended`](Self::Ended) that is for the handle of the job's next start.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Full { .. } | Self::KeysFull { .. } => true,
            Self::Log(error) => error.is_retryable(),
            _ => false,
        }
    }

    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::TooLarge { .. } | Self::Encode { .. } | Self::KeyTooLong { .. } => Fault::User,
            Self::Log(error) => error.fault(),
            _ => Fault::External,
        }
    }
}

/// A record that was not taken in at once, and why.
///
/// ```
/// use millstream::prelude::*;
/// use millstream::source::{IngestError, IngestOptions};
///
/// # actix_rt::System::new().block_on(async {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("log");
/// let options = IngestOptions::new().buffer(4_096, 1 << 20);
/// let (_source, handle) = IngestSource::<String>::open(path, options)?;
/// match handle.try_send("now or not at all".to_owned()) {
///     Ok(taken) => drop(taken.await?),                                  // durable
///     Err(refused) if matches!(refused.error, IngestError::Full { .. }) => { /* `refused.record` may be sent later: 429 */ }
///     Err(refused) => return Err(refused.error.into()),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct TrySendError<T> {
    /// The record.
    pub record: IngestRecord<T>,
    /// Why.
    #[source]
    pub error: IngestError,
}

/// Why an ingest log cannot be opened, written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IngestLogError {
    /// The options cannot work.
    #[error("the options of ingest log {log} cannot work: {reason}")]
    #[non_exhaustive]
    Options {
        /// The log.
        log: Arc<str>,
        /// Why.
        reason: String,
    },
    /// The log is open elsewhere.
    #[error("ingest log {log} is in use by another source, of this process or another; one source per log")]
    #[non_exhaustive]
    Locked {
        /// The log.
        log: Arc<str>,
    },
    /// The file is no ingest log.
    #[error("{log} is no Millstream ingest log ({reason}); name another file, or move this one away")]
    #[non_exhaustive]
    Foreign {
        /// The file.
        log: Arc<str>,
        /// What is wrong with it.
        reason: String,
    },
    /// The log was written by a newer version.
    #[error("ingest log {log} has format {found}; this version reads up to {supported}: use a newer Millstream")]
    #[non_exhaustive]
    NewerFormat {
        /// The log.
        log: Arc<str>,
        /// Its format.
        found: u32,
        /// The newest format known here.
        supported: u32,
    },
    /// Something in the log fails its checksum, is missing or does not decode; or the thread that writes it has panicked, and it
    /// takes nothing more until it is opened again.
    #[error(
        "ingest log {log} is damaged: {what}: {reason}; restore it from a copy, or move it away to begin a new one"
    )]
    #[non_exhaustive]
    Damaged {
        /// The log.
        log: Arc<str>,
        /// What: the file, a split and offset.
        what: String,
        /// How it was noticed.
        reason: String,
    },
    /// Reading or writing failed.
    #[error("ingest log {log}: cannot {action}: {source}")]
    #[non_exhaustive]
    Io {
        /// The log.
        log: Arc<str>,
        /// What was tried, as a verb phrase.
        action: &'static str,
        /// Why.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The file is not at its path any more: removed, renamed or replaced.
    #[error("ingest log {log} is not at its path any more: it was removed, renamed or replaced while it was open")]
    #[non_exhaustive]
    Gone {
        /// The log.
        log: Arc<str>,
    },
    /// The job stands at records that were trimmed: it was started from a savepoint or a store that is older than what the log
    /// was trimmed for, or on an empty store.
    #[error(
        "ingest log {log}, split '{split}': the job would read on at offset {position}, and the log begins at {start}: records \
         {position}..{start} were trimmed; restore an older copy of the log, start from a newer checkpoint, or accept the gap \
         with OffsetReset::Earliest"
    )]
    #[non_exhaustive]
    Trimmed {
        /// The log.
        log: Arc<str>,
        /// The split.
        split: String,
        /// Where the job stands: the beginning of the gap.
        position: u64,
        /// What the log begins with: the end of the gap.
        start: u64,
    },
    /// The job has read what the log does not hold: its newest part is lost, as when an older copy was put in its place. It may
    /// have taken other records at the same offsets since.
    #[error(
        "ingest log {log}, split '{split}': the job has read up to offset {position}, and what it read from offset {end} on is not \
         there: records were lost with the log; put its newest copy in place, or go on with what there is by OffsetReset::Earliest"
    )]
    #[non_exhaustive]
    Lost {
        /// The log.
        log: Arc<str>,
        /// The split.
        split: String,
        /// Where the job stands.
        position: u64,
        /// Up to where it holds what the job has read, at most.
        end: u64,
    },
    /// The job has read another log under this name: that one was lost or replaced.
    #[error(
        "ingest log {log} is not the one that the job has read: its id is {found:016x}, and that one's is {expected:016x}; put \
         that one in its place, or go on with this one by OffsetReset::Earliest"
    )]
    #[non_exhaustive]
    OtherLog {
        /// The log.
        log: Arc<str>,
        /// The id of the log that the job has read.
        expected: u64,
        /// The id of this one.
        found: u64,
    },
    /// A stored record is none of the source's type, as when that has changed. What it holds is not told: split and offset say
    /// which it is.
    #[error(
        "ingest log {log}, split '{split}', offset {offset}: the record does not decode: {reason}; records are stored with named \
         fields: give new fields a serde default, or read the log to its end with the old type first"
    )]
    #[non_exhaustive]
    Undecodable {
        /// The log.
        log: Arc<str>,
        /// The split.
        split: String,
        /// Its offset.
        offset: u64,
        /// What does not fit.
        reason: String,
    },
}

impl IngestLogError {
    /// Whether doing the same again may succeed.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Io { source, .. } => source.downcast_ref::<io::Error>().is_none_or(may_pass),
            Self::Locked { .. } => true,
            _ => false,
        }
    }

    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Options { .. } | Self::Locked { .. } | Self::Foreign { .. } | Self::NewerFormat { .. } => Fault::User,
            _ => Fault::External,
        }
    }

    /// What a database in a file of its own says of itself.
    pub(super) fn of(log: &Arc<str>, error: SnapshotError) -> Self {
        let log = log.clone();
        match error {
            SnapshotError::Locked { .. } => Self::Locked { log },
            SnapshotError::Foreign { reason, .. } => Self::Foreign { log, reason },
            SnapshotError::NewerFormat { found, supported, .. } => Self::NewerFormat { log, found, supported },
            SnapshotError::Damaged { what, reason, .. } => Self::Damaged { log, what, reason },
            SnapshotError::Io { action, source, .. } => Self::Io { log, action, source },
            SnapshotError::Gone { .. } => Self::Gone { log },
            other => Self::Io { log, action: "use the file", source: Box::new(other) },
        }
    }
}

impl From<IngestLogError> for SourceError {
    fn from(error: IngestLogError) -> Self {
        let location = match &error {
            IngestLogError::Trimmed { split, .. } | IngestLogError::Lost { split, .. } => format!("split '{split}'"),
            IngestLogError::Undecodable { split, offset, .. } => format!("split '{split}', offset {offset}"),
            _ => "ingest log".to_owned(),
        };
        if error.is_retryable() { Self::unavailable(location, error) } else { Self::malformed(location, error) }
    }
}
