//! Why a sink failed.

use std::error::Error as StdError;

use super::{CheckpointId, Fault};

/// What may help after a sink has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Retry {
    /// The same call of the same writer: the checkpoint is declined, the commit tried again.
    Call,
    /// A new attempt, whose writer starts from the restored checkpoint. For what must not be called again: after a
    /// failed sync, what was written may be gone although the next one succeeds.
    Attempt,
    /// Nothing: the job fails at once.
    Never,
}

/// Why a sink failed: where, for what reason, whose fault that is, and what may help.
///
/// What else a connector knows of a failure it keeps in an error type of its own, as the [`reason`](Self::reason).
///
/// ```
/// use millstream::sink::{Retry, SinkError};
///
/// let refused = SinkError::external("table 'orders'", "the server is restarting", Retry::Call);
/// assert!(refused.is_retryable());
/// assert_eq!(refused.to_string(), "table 'orders': the server is restarting");
/// assert!(!SinkError::encode("a name of 300 bytes").is_retryable());
/// ```
#[derive(Debug, thiserror::Error)]
#[error("{location}: {reason}")]
pub struct SinkError {
    location: String,
    #[source]
    reason: Box<dyn StdError + Send + Sync>,
    fault: Fault,
    retry: Retry,
}

/// The reason of a sink that was shut out.
#[derive(Debug, thiserror::Error)]
#[error("this attempt was replaced by a newer one")]
struct Fenced;

impl SinkError {
    /// Something outside refuses what is asked of it.
    pub fn external(
        location: impl Into<String>,
        reason: impl Into<Box<dyn StdError + Send + Sync>>,
        retry: Retry,
    ) -> Self {
        Self { location: location.into(), reason: reason.into(), fault: Fault::External, retry }
    }

    /// A record cannot be encoded: the user's fault.
    pub fn encode(reason: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        let location = "encoding a record".to_owned();
        Self { location, reason: reason.into(), fault: Fault::User, retry: Retry::Never }
    }

    /// The sink is configured wrongly: the user's fault.
    pub fn configuration(reason: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        let location = "sink configuration".to_owned();
        Self { location, reason: reason.into(), fault: Fault::User, retry: Retry::Never }
    }

    /// A pending commit in the snapshot was not made by this sink, or does not match what the sink finds: a bug.
    pub fn pending(checkpoint: CheckpointId, reason: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        let location = format!("pending commit of checkpoint {checkpoint}");
        Self { location, reason: reason.into(), fault: Fault::Internal, retry: Retry::Never }
    }

    /// The fence (`SinkContext::fenced`) was raised while the call ran; nothing more was done.
    pub fn fenced() -> Self {
        let location = "output".to_owned();
        Self { location, reason: Box::new(Fenced), fault: Fault::Internal, retry: Retry::Never }
    }

    /// Where it failed: a file, a table, a topic.
    pub fn location(&self) -> &str {
        &self.location
    }

    /// What went wrong there. May be asked for the connector's own type of error with `downcast_ref`.
    pub fn reason(&self) -> &(dyn StdError + Send + Sync + 'static) {
        &*self.reason
    }

    /// Whether it is the attempt that was shut out, not the output that failed.
    pub fn is_fenced(&self) -> bool {
        self.reason.is::<Fenced>()
    }

    /// What may help.
    pub fn retry(&self) -> Retry {
        self.retry
    }

    /// Whether doing the same again may succeed, by this writer or that of a new attempt.
    pub fn is_retryable(&self) -> bool {
        self.retry != Retry::Never
    }

    /// Whether `SinkWriter::prepare` may be tried again for a later checkpoint by the same writer.
    pub fn declines_checkpoint(&self) -> bool {
        self.retry == Retry::Call
    }

    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        self.fault
    }
}
