//! The contract of a clock: every delay and every time stamp of a job goes through one.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

/// A delay that ends when its clock says so.
pub type Sleep = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Time, as a job sees it.
///
/// ```
/// use std::time::Duration;
///
/// use millstream::Clock;
/// use millstream::time::ManualClock;
///
/// let clock = ManualClock::new();                             // a job's own is millstream::time::SystemClock
/// let before = clock.now();
/// clock.advance(Duration::from_secs(5));
/// assert_eq!(clock.now() - before, Duration::from_secs(5));
/// ```
pub trait Clock: Send + Sync + 'static {
    /// Monotonic time since the clock's origin.
    fn now(&self) -> Duration;

    /// Wall clock, Unix milliseconds.
    fn unix_ms(&self) -> u64;

    /// Resolves once [`now`](Self::now) has advanced by `delay`. May be polled on any thread that runs actors.
    fn sleep(&self, delay: Duration) -> Sleep;
}
