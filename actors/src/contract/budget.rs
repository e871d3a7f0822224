//! The time that a step may take.

use std::time::Duration;

use super::monotonic;

/// The time a task may spend before it must let others run, measured sparsely: an operator asks for a slice of records,
/// works on it, and asks again. Fast operators get whole batches, slow ones 64 records and fewer.
#[derive(Debug)]
pub struct RunBudget {
    slices: SliceClock,
    deadline: Duration,
    /// What was left at the last look at the clock.
    left: Duration,
    looked_at: Duration,
    /// Work has been done since then, of which nobody knows how long it took.
    is_behind: bool,
}

/// What the time that work may take is measured by, if not by the machine's monotonic clock: a monotonic clock without an origin that
/// means anything, for tests.
pub type SliceClock = Option<fn() -> Duration>;

impl RunBudget {
    /// How long a task runs before it yields.
    pub const SLICE: Duration = Duration::from_micros(200);

    /// A budget of [`SLICE`](Self::SLICE) from now.
    pub fn start() -> Self {
        Self::start_by(None)
    }

    /// A budget of [`SLICE`](Self::SLICE) from now, by this clock.
    pub fn start_by(slices: SliceClock) -> Self {
        let mut budget =
            Self { slices, deadline: Duration::ZERO, left: Self::SLICE, looked_at: Duration::ZERO, is_behind: false };
        budget.restart();
        budget
    }

    /// A full budget again, from now.
    pub fn restart(&mut self) {
        self.deadline = self.look() + Self::SLICE;
        self.left = Self::SLICE;
    }

    /// Looks at the clock and gives the time that is left; zero from the first time the deadline has passed.
    pub fn left(&mut self) -> Duration {
        if !self.left.is_zero() {
            self.left = self.deadline.saturating_sub(self.look());
        }
        self.left
    }

    /// [`left`](Self::left) for who has just done all of its work: what comes until the next work is short.
    #[doc(hidden)]
    pub fn left_after_work(&mut self) -> Duration {
        self.is_behind &= self.left.is_zero();
        self.left()
    }

    /// The time that was left at the last look at the clock: free, where a look costs 25 ns.
    pub fn last_left(&self) -> Duration {
        self.left
    }

    /// Looks at the clock; true from the first time the deadline has passed.
    pub fn check(&mut self) -> bool {
        self.left().is_zero()
    }

    /// When it last looked at the clock, by the monotonic clock of the process.
    pub(crate) fn looked_at(&self) -> Duration {
        self.looked_at
    }

    /// The time now, by the monotonic clock of the process.
    pub(crate) fn now(&mut self) -> Duration {
        self.is_behind = false;
        self.looked_at = monotonic();
        self.looked_at
    }

    /// Work is done from here on.
    pub(crate) fn works(&mut self) {
        self.is_behind = true;
    }

    /// Looks at the clock if work has been done since the last look.
    pub(crate) fn catch_up(&mut self) {
        if self.is_behind {
            self.now();
        }
    }

    fn look(&mut self) -> Duration {
        self.looked_at = monotonic();
        self.slices.map_or(self.looked_at, |slices| slices())
    }
}
