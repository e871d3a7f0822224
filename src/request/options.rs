//! How requests are kept, and waited for.

use std::time::Duration;

use crate::source::{IngestLogError, IngestOptions};

/// An answer is a value of the file, and part of a pending commit.
const ANSWER_BYTES_MAX: usize = 1 << 30;

/// How requests and their answers are kept, and how long they are waited for.
///
/// ```
/// use std::time::Duration;
///
/// use millstream::request::RequestOptions;
/// use millstream::source::IngestOptions;
///
/// let options = RequestOptions::new()
///     .timeout(Duration::from_secs(5))
///     .log(IngestOptions::new().splits(4).idempotency_retention(Duration::from_secs(24 * 3600)));
/// ```
#[derive(Clone, Debug)]
pub struct RequestOptions {
    pub(super) log: IngestOptions,
    pub(super) timeout: Duration,
    pub(super) answer_bytes_max: usize,
    pub(super) answers_at_once: bool,
}

impl Default for RequestOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl RequestOptions {
    /// The defaults, as each method names them.
    pub fn new() -> Self {
        Self {
            log: IngestOptions::new(),
            timeout: Duration::from_secs(30),
            answer_bytes_max: 1 << 20,
            answers_at_once: false,
        }
    }

    /// How the log is kept in which requests are durable. Its [retention](IngestOptions::idempotency_retention) and
    /// [number](IngestOptions::idempotency_keys_max) of idempotency keys are those of answers, too: an answer is kept for as long as
    /// the key of its request is known.
    pub fn log(mut self, options: IngestOptions) -> Self {
        self.log = options;
        self
    }

    /// For how long an answer is waited for where the [request](super::Ask::timeout) does not say, 30 s if nothing is said.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How large an answer may be, as it is stored: 1 MiB if nothing is said, at most 1 GiB. Of a larger one it is stored that it
    /// was too large ([`AskError::AnswerTooLarge`](super::AskError::AnswerTooLarge)).
    pub fn answer_bytes_max(mut self, bytes: usize) -> Self {
        self.answer_bytes_max = bytes;
        self
    }

    /// Says that the job answers each request before the barrier behind it: it keeps none in state, windows or asynchronous
    /// functions. Then whoever waits for a request that gets no answer, as one that a `filter` leaves out, is told so
    /// ([`AskError::Unanswered`](super::AskError::Unanswered)) once the first checkpoint that covers it is complete and all
    /// answers of that are given; else only when the job has finished. False if nothing is said.
    pub fn answers_at_once(mut self, yes: bool) -> Self {
        self.answers_at_once = yes;
        self
    }

    /// What is wrong with them, beside what is with those of the log.
    pub(super) fn check(&self, log: &str) -> Result<(), IngestLogError> {
        if (1..=ANSWER_BYTES_MAX).contains(&self.answer_bytes_max) {
            return Ok(());
        }
        let reason = format!("answers of {} bytes: it must be from 1 to {ANSWER_BYTES_MAX}", self.answer_bytes_max);
        Err(IngestLogError::Options { log: log.into(), reason })
    }
}
