//! What a stream source knows of its failures.

use std::error::Error as StdError;

use millstream_actors::contract::SourceError;

/// The [reason](SourceError::reason) for which a [`StreamSource`](super::StreamSource) failed by itself. What a stream says is
/// wrong is not among them: that is the reason as it is.
///
/// [`FileSourceError`](crate::source::FileSourceError) shows how a program comes by the reason.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StreamSourceError {
    /// A record's position is not behind that of the record before it in its split, or not behind the position at which the
    /// stream was opened. The records behind it were not taken.
    #[error(
        "its stream gave position {position} behind {previous}: each must be greater than the one before it, and than the \
         position from which the stream was opened, which says where to go on behind a record that was read"
    )]
    #[non_exhaustive]
    NotAscending {
        /// The split.
        split: String,
        /// The position before.
        previous: String,
        /// The one that does not follow.
        position: String,
    },
    /// The stream of a split has ended, which those of a source that is not [`bounded`](super::StreamSource::bounded) do not by
    /// themselves: a connection was closed, for instance. Retried by restarts, which open the stream again.
    #[error(
        "its stream has ended, and is taken as broken off; if that is the end of the input, say StreamSource::bounded()"
    )]
    #[non_exhaustive]
    Ended {
        /// The split.
        split: String,
    },
    /// The restored checkpoint has a split that is not at its end, and that the source does not name any more.
    #[error(
        "the checkpoint has this split, which is not at its end: name it, or give the source another id to start anew"
    )]
    #[non_exhaustive]
    NotNamed {
        /// The split.
        split: String,
    },
}

impl From<StreamSourceError> for SourceError {
    fn from(error: StreamSourceError) -> Self {
        match &error {
            StreamSourceError::NotAscending { split, .. } => Self::malformed(at(split), error),
            StreamSourceError::Ended { split } => Self::unavailable(at(split), error),
            StreamSourceError::NotNamed { .. } => Self::configuration(error),
        }
    }
}

fn at(split: &str) -> String {
    format!("split '{split}'")
}

/// What the stream of a split says is wrong: a [`SourceError`] as it is, anything else as what may pass.
pub(super) fn of_item(split: &str, error: Box<dyn StdError + Send + Sync>) -> SourceError {
    match error.downcast::<SourceError>() {
        Ok(error) => *error,
        Err(error) => SourceError::unavailable(at(split), error),
    }
}
