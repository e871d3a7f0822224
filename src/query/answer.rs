//! Answers of queries.

use std::time::Duration;

use millstream_actors::protocol::{Attempt, CheckpointId};
use serde::{Deserialize, Serialize};

/// The answer of a query, and as of when it is.
///
/// ```
/// use millstream::query::{Answer, AsOf};
///
/// fn shown(answer: &Answer<Option<u64>>) -> String {
///     match answer.as_of {
///         AsOf::Checkpoint { age, .. } => format!("{:?}, {age:?} ago", answer.value),
///         _ => format!("{:?} now", answer.value),
///     }
/// }
/// # let _ = shown;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Answer<T> {
    /// What was asked for.
    pub value: T,
    /// As of when it is.
    pub as_of: AsOf,
}

/// As of when an answer is.
///
/// ```
/// use std::time::Duration;
///
/// use millstream::query::AsOf;
///
/// fn is_recent(as_of: &AsOf) -> bool {
///     as_of.age() < Duration::from_secs(10)
/// }
/// # let _ = is_recent;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AsOf {
    /// Of when the task took the query. Of several tasks: each of when it did.
    Live {
        /// The attempt of the operator's region.
        attempt: Attempt,
    },
    /// Of a completed checkpoint.
    Checkpoint {
        /// Which.
        checkpoint: CheckpointId,
        /// How long ago its barriers were sent out, by the job's clock.
        age: Duration,
        /// Bytes that were read for the answer.
        bytes_read: u64,
    },
}

impl AsOf {
    /// How old the answer is: nothing, if it is live.
    pub fn age(&self) -> Duration {
        match self {
            Self::Live { .. } => Duration::ZERO,
            Self::Checkpoint { age, .. } => *age,
        }
    }
}

/// Some keys and their values, and where the scan goes on.
///
/// ```
/// use millstream::query::Page;
///
/// fn is_last(page: &Page<u64, String>) -> bool {
///     page.next.is_none()
/// }
/// # let _ = is_last;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Page<K, V> {
    /// In the order of the keys' hashes.
    pub entries: Vec<(K, V)>,
    /// Where the next page begins; `None` if there is none. A page may have fewer entries than its limit, or none, and be followed
    /// by others.
    pub next: Option<ScanCursor>,
}

/// Where a page of a scan begins. It stays valid: after restarts, at another parallelism, and in another process.
///
/// ```
/// use millstream::query::ScanCursor;
///
/// let cursor: ScanCursor = serde_json::from_str("9223372036854775808")?;      // the second half of all keys
/// assert_eq!(serde_json::to_string(&cursor)?, "9223372036854775808");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ScanCursor(
    /// The hash from which on keys are shown.
    pub(super) u64,
);
