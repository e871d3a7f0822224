//! The contract of a clock: every delay and every time stamp of a job goes through one.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

/// A delay that ends when its clock says so.
pub type Sleep = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Time, as a job sees it.
pub trait Clock: Send + Sync + 'static {
    /// Monotonic time since the clock's origin.
    fn now(&self) -> Duration;

    /// Wall clock, Unix milliseconds.
    fn unix_ms(&self) -> u64;

    /// Resolves once [`now`](Self::now) has advanced by `delay`. May be polled on any thread that runs actors.
    fn sleep(&self, delay: Duration) -> Sleep;
}
