//! The time that a step may take.

use std::time::Duration;

/// The time a task may spend before it must let others run, measured sparsely: an operator asks for a slice of records,
/// works on it, and asks again. Fast operators get whole batches, slow ones 64 records and fewer.
#[derive(Debug)]
pub struct RunBudget {
    now: fn() -> Duration,
    deadline: Duration,
    /// What was left at the last look at the clock.
    left: Duration,
}

impl RunBudget {
    /// How long a task runs before it yields.
    pub const SLICE: Duration = Duration::from_micros(200);

    /// A budget of [`SLICE`](Self::SLICE) from now, by the monotonic clock `now`.
    pub fn start(now: fn() -> Duration) -> Self {
        Self { now, deadline: now() + Self::SLICE, left: Self::SLICE }
    }

    /// A full budget again, from now.
    pub fn restart(&mut self) {
        *self = Self::start(self.now);
    }

    /// Looks at the clock and gives the time that is left; zero from the first time the deadline has passed.
    pub fn left(&mut self) -> Duration {
        if !self.left.is_zero() {
            self.left = self.deadline.saturating_sub((self.now)());
        }
        self.left
    }

    /// The time that was left at the last look at the clock: free, where a look costs 25 ns.
    pub fn last_left(&self) -> Duration {
        self.left
    }

    /// Looks at the clock; true from the first time the deadline has passed.
    pub fn check(&mut self) -> bool {
        self.left().is_zero()
    }
}
