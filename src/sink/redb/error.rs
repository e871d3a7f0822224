//! What a redb sink knows of its failures.

use millstream_actors::contract::{Retry, SinkError};
use millstream_actors::protocol::CheckpointId;

/// The [reason](SinkError::reason) for which a [`RedbSink`](super::RedbSink) failed.
///
/// [`FileSinkError`](crate::sink::FileSinkError) shows how a program comes by the reason.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RedbSinkError {
    /// The database failed. Not tried again: after a failed read or write redb refuses all others, those of the service too, until
    /// the database is opened anew. Nothing is lost: the next start of the job on its store goes on, and whether a commit that
    /// was under way has taken effect is found out then.
    #[error(
        "cannot {action}: {source}; redb takes no more writes after a failure until its database is opened again: open it, and start the job again on its store"
    )]
    #[non_exhaustive]
    Database {
        /// What was tried, as a verb phrase.
        action: &'static str,
        /// Why it failed.
        source: redb::Error,
    },
    /// The table exists with other types, or as a multimap, or a row is larger than redb takes.
    #[error("{source}")]
    #[non_exhaustive]
    Misfit {
        /// What does not fit.
        source: redb::Error,
    },
    /// The job starts from before what the sink has written, and would write it once more.
    #[error(
        "the database has what the sink wrote with checkpoint {committed}, and the job starts {}, so it would be written again; start on the job's own store, or let RedbSink::accept_repeats(true) write it again",
        match restored { Some(checkpoint) => format!("from checkpoint {checkpoint}"), None => "from the beginning".to_owned() }
    )]
    #[non_exhaustive]
    WouldRepeat {
        /// The newest checkpoint whose rows are in the table.
        committed: CheckpointId,
        /// The checkpoint that the job starts from; `None` at a start from the beginning.
        restored: Option<CheckpointId>,
    },
    /// Rows that were prepared are not in the database, and are not known to have been written.
    #[error(
        "rows that were prepared for checkpoint {checkpoint} are gone, and nothing shows that they were written: the database is another one, or an older copy; put the right one in its place, or start from an older checkpoint"
    )]
    #[non_exhaustive]
    PendingLost {
        /// Their checkpoint.
        checkpoint: CheckpointId,
    },
    /// Rows that were prepared fail their checksum. None of their checkpoint is written, and they stay.
    #[error(
        "rows that were prepared for checkpoint {checkpoint} are damaged: {reason}; restore the database from a copy, or start from an older checkpoint"
    )]
    #[non_exhaustive]
    PendingDamaged {
        /// Their checkpoint.
        checkpoint: CheckpointId,
        /// How it was noticed.
        reason: String,
    },
}

impl RedbSinkError {
    /// The error of an action on the database.
    pub(super) fn of(action: &'static str, source: impl Into<redb::Error>) -> Self {
        let source = source.into();
        match source {
            redb::Error::TableTypeMismatch { .. }
            | redb::Error::TypeDefinitionChanged { .. }
            | redb::Error::TableIsMultimap(_)
            | redb::Error::ValueTooLarge(_) => Self::Misfit { source },
            source => Self::Database { action, source },
        }
    }

    /// The sink's error, at a table of this name.
    pub(super) fn at(self, table: &str) -> SinkError {
        match self {
            Self::Misfit { source: source @ redb::Error::ValueTooLarge(_) } => {
                SinkError::encode(Self::Misfit { source })
            }
            Self::Misfit { .. } => SinkError::configuration(self),
            _ => SinkError::external(format!("table '{table}'"), self, Retry::Never),
        }
    }
}
