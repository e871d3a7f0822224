//! Why a source failed.

use std::error::Error as StdError;
use std::fmt::Display;

use super::Fault;

/// Why a source failed: where, for what reason, whose fault that is, and whether doing the same again may succeed.
///
/// What else a connector knows of a failure it keeps in an error type of its own, as the [`reason`](Self::reason).
///
/// ```
/// use millstream::source::SourceError;
///
/// let gone = SourceError::unavailable("partition 3", "the broker does not answer");
/// assert!(gone.is_retryable());
/// let malformed = SourceError::malformed("orders.txt:17", "no number: 'x'");
/// assert!(!malformed.is_retryable());
/// assert_eq!(malformed.to_string(), "orders.txt:17: no number: 'x'");
/// ```
#[derive(Debug, thiserror::Error)]
#[error("{location}: {reason}")]
pub struct SourceError {
    location: String,
    #[source]
    reason: Box<dyn StdError + Send + Sync>,
    fault: Fault,
    retryable: bool,
}

impl SourceError {
    /// What is to be read cannot be reached at the moment: external, and worth a retry.
    pub fn unavailable(location: impl Into<String>, reason: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self { location: location.into(), reason: reason.into(), fault: Fault::External, retryable: true }
    }

    /// What was read is not as it must be: external, and the same at every retry.
    pub fn malformed(location: impl Into<String>, reason: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self { location: location.into(), reason: reason.into(), fault: Fault::External, retryable: false }
    }

    /// The source is configured wrongly: the user's fault.
    pub fn configuration(reason: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        let location = "source configuration".to_owned();
        Self { location, reason: reason.into(), fault: Fault::User, retryable: false }
    }

    /// A restored position does not fit the input: external, and the same at every retry.
    pub fn position(split: &str, reason: impl Display) -> Self {
        Self::malformed(format!("split '{split}'"), format!("cannot read on from the restored position: {reason}"))
    }

    /// Where it failed: a file and a line, a table, a partition, a split.
    pub fn location(&self) -> &str {
        &self.location
    }

    /// What went wrong there. May be asked for the connector's own type of error with `downcast_ref`.
    pub fn reason(&self) -> &(dyn StdError + Send + Sync + 'static) {
        &*self.reason
    }

    /// Whether doing the same again may succeed. If not, the job fails at once.
    pub fn is_retryable(&self) -> bool {
        self.retryable
    }

    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        self.fault
    }
}
