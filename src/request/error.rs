//! Why somebody who asked has no answer.

use std::sync::Arc;
use std::time::Duration;

use millstream_actors::protocol::Fault;

use crate::source::{IngestError, IngestLogError};

/// Why somebody who asked has no answer.
///
/// | | the request | a retry with its idempotency key |
/// |---|---|---|
/// | [`NotTaken`](Self::NotTaken) | does not count | is a new request |
/// | [`TimedOut`](Self::TimedOut), [`Ended`](Self::Ended) | stays | waits for its answer, or gets it |
/// | [`Unreadable`](Self::Unreadable) | is processed | may get its answer |
/// | all others | is processed | gets the same |
///
/// ```
/// use millstream::prelude::*;
/// use millstream::source::IngestError;
///
/// /// The status of an HTTP response.
/// fn status(error: &AskError) -> u16 {
///     match error {
///         AskError::TimedOut { .. } => 504,
///         AskError::NotTaken(IngestError::TooLarge { .. }) => 413,
///         AskError::Rejected { .. } => 422,
///         error if error.is_retryable() => 503,
///         _ => 500,
///     }
/// }
///
/// assert_eq!(status(&AskError::Rejected { reason: "no such account".to_owned() }), 422);
/// assert_eq!(status(&AskError::Unanswered), 500);
/// ```
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// The request was not taken in, and does not count: the job is about to end or has ended, or it can never be stored.
    #[error(transparent)]
    NotTaken(#[from] IngestError),
    /// There was no answer in time. The request stays where it is, and is answered: ask again with its idempotency key.
    #[error("no answer within {after:?}; {}", if *.is_durable { "the request is processed all the same" } else { "the request was not durable yet" })]
    TimedOut {
        /// The time that was given.
        after: Duration,
        /// Whether the request was durable by then. If not, it is in the log once or not at all.
        is_durable: bool,
    },
    /// The job ended before it had answered: by `drain`, `stop_with_savepoint` or `cancel`, or since it failed. The request is
    /// there for the next start. Or it had finished before this start, and reads no more from this store: the request is in the
    /// log, and not processed.
    #[error(
        "the job that answers the requests of log {log} has ended; ask again with the idempotency key after its next start"
    )]
    Ended {
        /// The log.
        log: Arc<str>,
    },
    /// The job says why there is no answer: [`Request::reject`](super::Request::reject).
    #[error("the request was rejected: {reason}")]
    Rejected {
        /// What the job says.
        reason: String,
    },
    /// The job has processed the request and gave no answer: it has finished, or its options say that
    /// [answers come at once](super::RequestOptions::answers_at_once).
    #[error("the job gave no answer to the request")]
    Unanswered,
    /// The job gave several answers at once, of which none is chosen: a mistake of its functions.
    #[error("the job gave {answers} answers to the request")]
    Several {
        /// How many, by one subtask of the sink between two barriers.
        answers: u64,
    },
    /// The answer does not serialize, or would not read back.
    #[error("the answer cannot be stored: {reason}")]
    Unencodable {
        /// Why.
        reason: String,
    },
    /// The answer is larger than [`answer_bytes_max`](super::RequestOptions::answer_bytes_max).
    #[error("the answer has {bytes} bytes, which is more than answer_bytes_max allows")]
    AnswerTooLarge {
        /// Its size, as it would be stored.
        bytes: u64,
    },
    /// The stored answer is none of today's type. What it holds is not told.
    #[error(
        "the stored answer does not decode: {reason}; answers are stored with named fields: give new fields a serde default"
    )]
    Undecodable {
        /// What does not fit.
        reason: String,
    },
    /// The answer is there and cannot be read.
    #[error(transparent)]
    Unreadable(Arc<IngestLogError>),
}

impl AskError {
    /// Whether asking the same again may succeed, by this handle or that of the job's next start. Ask with the idempotency key of
    /// the first time, or it is another request.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::NotTaken(error) => {
                error.is_retryable() || matches!(error, IngestError::Draining { .. } | IngestError::Ended { .. })
            }
            Self::TimedOut { .. } | Self::Ended { .. } => true,
            Self::Unreadable(error) => error.is_retryable(),
            _ => false,
        }
    }

    /// Whose fault it is. An answer that the job gave, or did not give, is the user's.
    pub fn fault(&self) -> Fault {
        match self {
            Self::NotTaken(error) => error.fault(),
            Self::TimedOut { .. } | Self::Ended { .. } => Fault::External,
            Self::Unreadable(error) => error.fault(),
            _ => Fault::User,
        }
    }
}
