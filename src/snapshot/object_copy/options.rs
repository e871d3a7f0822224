//! How a store is copied.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};
use millstream_actors::contract::Clock;

use crate::time::SystemClock;

/// Longer waits are a slip of the unit, and near the end of what a clock can count.
const WAIT_MAX: Duration = Duration::from_secs(365 * 86_400);

/// Where copies go and how hard it is tried. Values that cannot work are mistakes that `start()` of the job reports.
///
/// [`CopiedStore`](super::CopiedStore) has an example.
#[derive(Clone)]
pub struct CopyOptions {
    pub(super) prefix: String,
    pub(super) pack_bytes: usize,
    pub(super) request_timeout: Duration,
    pub(super) open_timeout: Duration,
    pub(super) flush_timeout: Duration,
    pub(super) retry_first: Duration,
    pub(super) retry_max: Duration,
    pub(super) accept_older: bool,
    pub(super) clock: Arc<dyn Clock>,
}

impl CopyOptions {
    /// Copies to `<prefix>/<job>/`. An empty prefix is the root of the object store.
    pub fn new(prefix: impl Into<String>) -> Self {
        Self {
            prefix: prefix.into(),
            pack_bytes: 32 << 20,
            request_timeout: Duration::from_secs(60),
            open_timeout: Duration::from_secs(5),
            flush_timeout: Duration::from_secs(5),
            retry_first: Duration::from_millis(100),
            retry_max: Duration::from_secs(30),
            accept_older: false,
            clock: Arc::new(SystemClock::new()),
        }
    }

    /// Chunks are packed into objects of about so many bytes, at least 1; one is held in memory. 32 MiB by default.
    pub fn pack_bytes(mut self, bytes: usize) -> Self {
        self.pack_bytes = bytes;
        self
    }

    /// How long one request may take before it counts as failed, above zero. 60 s by default.
    pub fn request_timeout(mut self, limit: Duration) -> Self {
        self.request_timeout = limit;
        self
    }

    /// How long a start with a local checkpoint waits to learn whether the job has since run elsewhere, before it starts
    /// without knowing. 5 s by default.
    pub fn open_timeout(mut self, limit: Duration) -> Self {
        self.open_timeout = limit;
        self
    }

    /// How long closing waits for the newest checkpoint to be copied. 5 s by default; the engine waits for a store to
    /// close for as long as for a task to stop.
    pub fn flush_timeout(mut self, limit: Duration) -> Self {
        self.flush_timeout = limit;
        self
    }

    /// The delay before the first retry, above zero, and the longest, no shorter: it doubles in between. 100 ms and 30 s by
    /// default.
    pub fn retry(mut self, first: Duration, max: Duration) -> Self {
        (self.retry_first, self.retry_max) = (first, max);
        self
    }

    /// Whether a job whose newest copy is damaged may start from an older one. Not by default: what sinks published
    /// since, and cannot withdraw, is published again.
    pub fn accept_older(mut self, accept: bool) -> Self {
        self.accept_older = accept;
        self
    }

    /// The clock by which requests time out and are repeated; by default the system's. Closing the store and abandoning
    /// checkpoints wait for the copier by the system's clock in any case.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// What is wrong with them.
    pub(super) fn mistake(&self) -> Option<String> {
        let (first, max) = (self.retry_first, self.retry_max);
        let waits = [
            ("request_timeout", self.request_timeout),
            ("open_timeout", self.open_timeout),
            ("flush_timeout", self.flush_timeout),
            ("retry", max),
        ];
        if self.pack_bytes == 0 {
            Some("pack_bytes(0): no chunk would fit into an object".to_owned())
        } else if self.request_timeout.is_zero() {
            Some("request_timeout of no time: every request would fail".to_owned())
        } else if first.is_zero() || first > max {
            Some(format!("retry({first:?}, {max:?}): the first delay must be above zero, the longest no shorter"))
        } else {
            let (name, wait) = waits.into_iter().find(|(_, wait)| *wait > WAIT_MAX)?;
            Some(format!("{name} of {wait:?}: at most 365 days"))
        }
    }

    /// What `future` answers, if it does so within `limit`.
    pub(super) async fn within<T>(&self, limit: Duration, future: impl Future<Output = T>) -> Option<T> {
        match select(pin!(future), self.clock.sleep(limit)).await {
            Either::Left((value, _)) => Some(value),
            Either::Right(_) => None,
        }
    }
}

impl fmt::Debug for CopyOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CopyOptions({:?}, accept_older: {})", self.prefix, self.accept_older)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_cannot_work_are_told_by_name() {
        const SECOND: Duration = Duration::from_secs(1);
        let options = || CopyOptions::new("copies");
        assert_eq!(options().mistake(), None);
        for (what, options) in [
            ("pack_bytes", options().pack_bytes(0)),
            ("request_timeout", options().request_timeout(Duration::ZERO)),
            ("request_timeout", options().request_timeout(Duration::MAX)),
            ("open_timeout", options().open_timeout(Duration::MAX)),
            ("flush_timeout", options().flush_timeout(Duration::MAX)),
            ("retry", options().retry(Duration::ZERO, SECOND)),
            ("retry", options().retry(SECOND * 2, SECOND)),
            ("retry", options().retry(SECOND, Duration::MAX)),
        ] {
            let mistake = options.mistake().unwrap();
            assert!(mistake.starts_with(what), "{mistake}");
        }
    }
}
