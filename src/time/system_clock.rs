//! The machine's clock.

use std::future;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use millstream_actors::contract::{Clock, Sleep};

use super::timing_thread;

/// The machine's clock: what a job runs on unless it is given another. Its origin is when it was made.
///
/// Delays are ended by one thread for the process, and need no runtime. (Should the system
/// refuse the thread, they wait on the timer of the tokio runtime that polls them, which goes by the millisecond.)
///
/// ```
/// use millstream::Clock;
/// use millstream::prelude::*;
/// use millstream::time::SystemClock;
///
/// let clock = SystemClock::new();
/// let env = StreamEnvironment::new("numbers").clock(clock);   // what it has anyway
/// assert!(clock.unix_ms() > 1_700_000_000_000);
/// # let _ = env;
/// ```
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    origin: Instant,
}

impl SystemClock {
    /// A clock whose time begins now.
    pub fn new() -> Self {
        Self { origin: instant() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        instant().saturating_duration_since(self.origin)
    }

    fn unix_ms(&self) -> u64 {
        #[expect(clippy::disallowed_methods, reason = "this is the clock that is injected elsewhere")]
        let now = SystemTime::now();
        // Before 1970 the clock is not set; 0 is as wrong as any other answer then.
        now.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    fn sleep(&self, delay: Duration) -> Sleep {
        match instant().checked_add(delay) {
            Some(deadline) => timing_thread::until(deadline),
            None => Box::pin(future::pending()),
        }
    }
}

pub(super) fn instant() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "this is the clock that is injected elsewhere")]
    Instant::now()
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn block_on(future: impl Future<Output = ()>) {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future);
    }

    #[test]
    fn sleep_made_without_a_runtime_counts_from_when_it_was_made() {
        let clock = SystemClock::new();
        let before = clock.now();
        let delay = Duration::from_millis(20);
        let sleep = clock.sleep(delay);
        thread::spawn(move || block_on(sleep)).join().unwrap();
        assert!(clock.now() >= before + delay);
    }

    #[test]
    fn unrepresentable_delay_never_ends_instead_of_panicking() {
        let clock = SystemClock::new();
        block_on(async move {
            let forever = clock.sleep(Duration::MAX);
            let other = clock.sleep(Duration::from_millis(1));
            assert!(tokio::time::timeout(Duration::from_millis(1), forever).await.is_err());
            other.await;
        });
    }

    #[test]
    fn wall_clock_is_in_this_century() {
        let clock = SystemClock::new();
        assert!((1_600_000_000_000..4_102_444_800_000).contains(&clock.unix_ms()));
    }
}
