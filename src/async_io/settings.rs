//! How answers are waited for.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::AsyncError;

/// Records for which a subtask waits at a time, unless it is said otherwise.
const CAPACITY: usize = 100;

/// Most records for which a subtask may wait at a time: all are written at every barrier, at once.
const CAPACITY_MAX: usize = 1 << 16;

/// How the answers of an asynchronous function are waited for: in which order they leave, for how long and for how many at a time.
///
/// | | leaves |
/// |---|---|
/// | [`ordered`](Self::ordered) | an answer once those of all records before it have left |
/// | [`unordered`](Self::unordered) | an answer as soon as it is there, but not before a watermark that came before its record, and never behind one that came after it |
///
/// In a job without event time unordered answers leave in any order.
///
/// ```
/// use std::time::Duration;
///
/// use millstream::prelude::*;
///
/// # actix_rt::System::new().block_on(async {
/// let wait = AsyncWait::unordered(Duration::from_secs(5))
///     .capacity(1_000)
///     .retry(AsyncRetry::exponential(3, Duration::from_millis(10), Duration::from_secs(1)))
///     .or_else(|user: u64, error| if error.is_timed_out() { Ok((user, None)) } else { Err(error) });
///
/// let sink = CollectSink::new();
/// let names = sink.handle();
/// let env = StreamEnvironment::new("names").parallelism(1);
/// env.source("users", SequenceSource::new(0..3))
///     .async_map("name", wait, |user| async move {
///         let name = ["ann", "bob"].get(user as usize).ok_or_else(|| AsyncError::permanent("no such user"));
///         Ok((user, name.ok().copied()))
///     })
///     .sink("names", sink);
/// env.start()?.await?;
/// let mut names = names.snapshot();
/// names.sort();
/// assert_eq!(names, [(0, Some("ann")), (1, Some("bob")), (2, None)]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
pub struct AsyncWait<T, U> {
    pub(super) is_ordered: bool,
    pub(super) timeout: Duration,
    pub(super) capacity: usize,
    pub(super) retry: Option<AsyncRetry>,
    pub(super) or_else: Option<OrElse<T, U>>,
}

/// Answers in the place of the function.
pub(super) type OrElse<T, U> = Arc<dyn Fn(T, AsyncError) -> Result<U, AsyncError> + Send + Sync>;

impl<T, U> AsyncWait<T, U> {
    /// Answers leave in the order of their records. One that is late holds up those behind it, which count as waiting too. As Flink's
    /// `orderedWait`.
    ///
    /// Each record has this much time by the job's clock, above zero, from when it is first asked for, over all attempts, and at most a
    /// 128th more. `Duration::MAX` is for ever. Time in which the task was held up by what is behind it does not count.
    pub fn ordered(timeout: Duration) -> Self {
        Self { is_ordered: true, timeout, capacity: CAPACITY, retry: None, or_else: None }
    }

    /// Answers leave as they come, between the watermarks between which their records came. As Flink's `unorderedWait`.
    ///
    /// Each record has this much time by the job's clock, as in [`ordered`](Self::ordered).
    pub fn unordered(timeout: Duration) -> Self {
        Self { is_ordered: false, ..Self::ordered(timeout) }
    }

    /// For how many records a subtask waits at a time, from 1 to 65,536; 100 by default. With so many it takes no more input, and
    /// what is before it is held back, but for what comes before a barrier: that is taken, so that no checkpoint waits, up to some
    /// 65,536 records or 64 MiB. All these are in the snapshot.
    pub fn capacity(mut self, records: usize) -> Self {
        self.capacity = records;
        self
    }

    /// Asks again for a record whose error is [retryable](AsyncError::retryable). Never by default.
    pub fn retry(mut self, retry: AsyncRetry) -> Self {
        self.retry = Some(retry);
        self
    }

    /// Has `function` answer for a record that has no answer: in time, after all attempts, or for a reason for which no other attempt is
    /// made. What it answers leaves as any answer does. By default, and for what it fails with, the task fails
    /// with [`TaskError::Unanswered`](crate::TaskError::Unanswered).
    pub fn or_else(
        mut self,
        function: impl Fn(T, AsyncError) -> Result<U, AsyncError> + Send + Sync + 'static,
    ) -> Self {
        self.or_else = Some(Arc::new(function));
        self
    }

    /// What cannot be.
    pub(crate) fn mistake(&self) -> Option<String> {
        if self.timeout.is_zero() {
            return Some("the time-out is 0; Duration::MAX waits for ever".to_owned());
        }
        if !(1..=CAPACITY_MAX).contains(&self.capacity) {
            return Some(format!("the capacity is {}; it can be from 1 to {CAPACITY_MAX}", self.capacity));
        }
        self.retry.as_ref().and_then(AsyncRetry::mistake)
    }
}

impl<T, U> Clone for AsyncWait<T, U> {
    fn clone(&self) -> Self {
        let (retry, or_else) = (self.retry.clone(), self.or_else.clone());
        Self { is_ordered: self.is_ordered, timeout: self.timeout, capacity: self.capacity, retry, or_else }
    }
}

impl<T, U> fmt::Debug for AsyncWait<T, U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { is_ordered, timeout, capacity, retry, or_else } = self;
        f.debug_struct("AsyncWait")
            .field("is_ordered", is_ordered)
            .field("timeout", timeout)
            .field("capacity", capacity)
            .field("retry", retry)
            .field("or_else", &or_else.is_some())
            .finish()
    }
}

/// When a record is asked for again whose error is [retryable](AsyncError::retryable): so often, and after these delays by the job's
/// clock. After Flink's `AsyncRetryStrategies`.
///
/// The time-out of [`AsyncWait`] goes on: where it would end before the next attempt, the record is given up at once, for the reason of
/// the last one. Attempts are counted anew after a restore.
///
/// ```
/// use std::time::Duration;
///
/// use millstream::async_io::{AsyncRetry, AsyncWait};
///
/// let twice = AsyncRetry::fixed(2, Duration::from_millis(50));
/// let wait: AsyncWait<u64, String> = AsyncWait::ordered(Duration::from_secs(1)).retry(twice);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AsyncRetry {
    attempts: u32,
    first: Duration,
    max: Duration,
}

impl AsyncRetry {
    /// Up to `attempts` more attempts, at least 1, each `delay` after the one before has failed.
    pub fn fixed(attempts: u32, delay: Duration) -> Self {
        Self { attempts, first: delay, max: delay }
    }

    /// Up to `attempts` more attempts, at least 1, the first of them after `initial`, above zero; then the delay doubles with each, up to
    /// `max`.
    pub fn exponential(attempts: u32, initial: Duration, max: Duration) -> Self {
        Self { attempts, first: initial, max }
    }

    /// How long after so many failed attempts the next one is made; `None` if none is.
    pub(super) fn delay(&self, failed: u32) -> Option<Duration> {
        if failed > self.attempts {
            return None;
        }
        let doubled = 1_u32.checked_shl(failed - 1).and_then(|factor| self.first.checked_mul(factor));
        Some(doubled.unwrap_or(self.max).min(self.max))
    }

    fn mistake(&self) -> Option<String> {
        if self.attempts == 0 {
            return Some("a retry without an attempt; leave it out".to_owned());
        }
        if self.first > self.max {
            return Some(format!("the first delay, {:?}, is above the longest, {:?}", self.first, self.max));
        }
        (self.first.is_zero() && !self.max.is_zero()).then(|| "a first delay of 0 does not grow".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn delays_double_up_to_the_longest_and_end_with_the_attempts() {
        let delays = |retry: AsyncRetry| (1..6).map(|failed| retry.delay(failed)).collect::<Vec<_>>();
        assert_eq!(delays(AsyncRetry::fixed(2, 7 * MS)), [Some(7 * MS), Some(7 * MS), None, None, None]);
        let doubled = AsyncRetry::exponential(4, 3 * MS, 10 * MS);
        assert_eq!(delays(doubled), [Some(3 * MS), Some(6 * MS), Some(10 * MS), Some(10 * MS), None]);
        assert_eq!(AsyncRetry::exponential(u32::MAX, MS, Duration::MAX).delay(u32::MAX), Some(Duration::MAX));
        assert_eq!(AsyncRetry::fixed(9, Duration::ZERO).delay(9), Some(Duration::ZERO));
    }

    #[test]
    fn what_cannot_be_is_said() {
        let wait = || AsyncWait::<u32, u32>::ordered(MS);
        assert_eq!(wait().mistake(), None);
        assert_eq!(wait().retry(AsyncRetry::fixed(1, Duration::ZERO)).mistake(), None);
        assert_eq!(AsyncWait::<u32, u32>::unordered(Duration::MAX).mistake(), None);
        let mistakes = [
            (AsyncWait::unordered(Duration::ZERO), "time-out is 0"),
            (wait().capacity(0), "capacity is 0"),
            (wait().capacity(CAPACITY_MAX + 1), "from 1 to 65536"),
            (wait().retry(AsyncRetry::fixed(0, MS)), "without an attempt"),
            (wait().retry(AsyncRetry::exponential(1, 2 * MS, MS)), "above the longest"),
            (wait().retry(AsyncRetry::exponential(1, Duration::ZERO, MS)), "does not grow"),
        ];
        for (wait, expected) in mistakes {
            let mistake = wait.mistake().unwrap_or_default();
            assert!(mistake.contains(expected), "{mistake:?} and not {expected:?}");
        }
    }
}
