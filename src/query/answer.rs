//! Answers of queries.

use std::fmt;
use std::time::Duration;

use millstream_actors::protocol::{Attempt, CheckpointId};
use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

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
    #[non_exhaustive]
    Live {
        /// The attempt of the operator's region.
        attempt: Attempt,
    },
    /// Of a completed checkpoint.
    #[non_exhaustive]
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

/// Where a page of a scan begins. It stays valid: after restarts, at another parallelism, and in another process. In JSON and other formats
/// for people it is a text, since a client that reads numbers as JavaScript does would lose bits of it; a number is read, too.
///
/// ```
/// use millstream::query::ScanCursor;
///
/// let cursor: ScanCursor = serde_json::from_str("\"9223372036854775808\"")?;      // the second half of all keys
/// assert_eq!(serde_json::to_string(&cursor)?, "\"9223372036854775808\"");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScanCursor(
    /// The hash from which on keys are shown.
    pub(super) u64,
);

impl Serialize for ScanCursor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.collect_str(&self.0) } else { serializer.serialize_u64(self.0) }
    }
}

impl<'de> Deserialize<'de> for ScanCursor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            deserializer.deserialize_any(ReadsCursor)
        } else {
            deserializer.deserialize_u64(ReadsCursor)
        }
    }
}

struct ReadsCursor;

impl Visitor<'_> for ReadsCursor {
    type Value = ScanCursor;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the cursor of a scan")
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<ScanCursor, E> {
        Ok(ScanCursor(number))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<ScanCursor, E> {
        text.parse().map(ScanCursor).map_err(|_| E::invalid_value(Unexpected::Str(text), &self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursor_keeps_all_bits_in_json_and_in_message_pack() {
        for cursor in [0, 1 << 53, (1 << 53) + 1, u64::MAX].map(ScanCursor) {
            let json = serde_json::to_string(&cursor).unwrap();
            assert!(json.starts_with('"'), "{json}");
            assert_eq!(serde_json::from_str::<ScanCursor>(&json).unwrap(), cursor);
            assert_eq!(serde_json::from_str::<ScanCursor>(&cursor.0.to_string()).unwrap(), cursor);
            let mut packed = Vec::new();
            rmp_serde::encode::write_named(&mut packed, &cursor).unwrap();
            assert_eq!(rmp_serde::from_slice::<ScanCursor>(&packed).unwrap(), cursor);
        }
        for wrong in ["-1", "\"x\"", "\"\"", "null", "1.5", "\"18446744073709551616\""] {
            assert!(serde_json::from_str::<ScanCursor>(wrong).is_err(), "{wrong}");
        }
    }
}
