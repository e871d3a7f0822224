//! Why an asynchronous function has no answer.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

/// Why an asynchronous function has no answer for a record, and whether it may have one when it is asked again.
///
/// ```
/// use millstream::async_io::AsyncError;
///
/// let busy = AsyncError::retryable("the server is restarting");
/// assert!(busy.is_retryable());
/// let unknown = AsyncError::permanent("no such customer");
/// assert!(!unknown.is_retryable() && !unknown.is_timed_out());
/// assert_eq!(unknown.to_string(), "no such customer");
/// ```
#[derive(Clone, Debug, thiserror::Error)]
#[error("{reason}")]
pub struct AsyncError {
    #[source]
    reason: Arc<dyn StdError + Send + Sync>,
    is_retryable: bool,
}

/// The reason of a record whose time is over.
#[derive(Debug, thiserror::Error)]
#[error("no answer within {within:?}")]
struct TimedOut {
    within: Duration,
}

impl AsyncError {
    /// Asking again may help: the [`AsyncRetry`](super::AsyncRetry) of the stream says how often and when. If it has none, or all of its
    /// attempts are used up, the task fails, and the record is asked for again once it is restored.
    pub fn retryable(reason: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self { reason: Arc::from(reason.into()), is_retryable: true }
    }

    /// Asking again would give the same: the job fails at once, unless the stream has an answer
    /// [of its own](super::AsyncWait::or_else).
    pub fn permanent(reason: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self { reason: Arc::from(reason.into()), is_retryable: false }
    }

    /// The time for an answer is over.
    pub(super) fn timed_out(within: Duration) -> Self {
        Self::retryable(TimedOut { within })
    }

    /// What went wrong. May be asked for the error that it was made of with `downcast_ref`.
    pub fn reason(&self) -> &(dyn StdError + Send + Sync + 'static) {
        &*self.reason
    }

    /// The same, shared.
    pub(super) fn into_reason(self) -> Arc<dyn StdError + Send + Sync> {
        self.reason
    }

    /// Whether it may help to ask again.
    pub fn is_retryable(&self) -> bool {
        self.is_retryable
    }

    /// Whether there was no answer in time. Asking anew may help, but only a restored job does that.
    pub fn is_timed_out(&self) -> bool {
        self.reason.is::<TimedOut>()
    }
}
