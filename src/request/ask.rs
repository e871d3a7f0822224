//! What is asked.

use std::hash::Hash;
use std::time::Duration;

use crate::source::IngestRecord;

/// A request with what decides where it goes, whether it is a retry, and how long its answer is waited for. A bare request is
/// one without, so [`Requests::ask`](super::Requests::ask) takes either.
///
/// ```
/// use std::time::Duration;
///
/// use millstream::request::Ask;
///
/// let order = Ask::new(("customer 7", 20))
///     .key("customer 7")
///     .idempotency_key("order 4711")
///     .timeout(Duration::from_secs(2));
/// # let _ = order;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask<Q> {
    pub(super) record: IngestRecord<Q>,
    pub(super) timeout: Option<Duration>,
}

impl<Q> Ask<Q> {
    /// A request without keys, which is waited for as long as the [options](super::RequestOptions::timeout) say.
    pub fn new(request: Q) -> Self {
        Self { record: IngestRecord::new(request), timeout: None }
    }

    /// Requests of one key are read in the order in which they were taken in, as
    /// [records](IngestRecord::key) are.
    pub fn key<K: Hash + ?Sized>(mut self, key: &K) -> Self {
        self.record = self.record.key(key);
        self
    }

    /// Requests with one idempotency key are one request, whatever else they hold: the first that is durable is processed, and
    /// all get its answer, for as long as the key is [known](IngestRecord::idempotency_key). At most 255 bytes.
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.record = self.record.idempotency_key(key);
        self
    }

    /// For how long the answer is waited for, also while there is no room for the request, by the clock of the
    /// [options](super::RequestOptions::log).
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }
}

impl<Q> From<Q> for Ask<Q> {
    fn from(request: Q) -> Self {
        Self::new(request)
    }
}
