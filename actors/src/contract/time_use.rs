//! What a task uses its time for.

use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::time::Duration;

use super::Counter;

/// What a task does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    /// There is no input.
    Idle,
    /// An output takes nothing more.
    Blocked,
    /// It has work, and others have their turn.
    Waiting,
    /// It runs.
    Busy,
    /// It is not ready, or has ended.
    Nothing,
}

impl Doing {
    const ALL: [Self; 5] = [Self::Idle, Self::Blocked, Self::Waiting, Self::Busy, Self::Nothing];
    const BITS: u32 = 3;
}

/// What a task has used its time for. Read while it is written, with the time of what the task is doing: a task that is blocked for
/// good would show nothing otherwise.
#[derive(Debug)]
pub(super) struct TimeUse {
    /// What it does, in the lowest bits, and since when, in nanoseconds; [`Self::TURNING`] while the sums change.
    doing: AtomicU64,
    /// Nanoseconds in which it did so, by [`Doing`].
    sums: [Counter; 4],
    /// The most that anybody has read of them. A task that is stopped between its look at the clock and the change would otherwise
    /// take back what was read in between.
    read: [AtomicU64; 4],
}

impl Default for TimeUse {
    fn default() -> Self {
        Self { doing: AtomicU64::new(Doing::Nothing as u64), sums: Default::default(), read: Default::default() }
    }
}

impl TimeUse {
    const TURNING: u64 = u64::MAX;
    /// A writer is in the middle of a change for some nanoseconds, unless its thread has been stopped there.
    const TRIES_MAX: usize = 100;

    /// A sequence lock with one writer (Boehm, "Can seqlocks get along with programming language memory models?", 2012): the fence
    /// keeps the sums behind the mark that they change.
    pub(super) fn turns_to(&self, doing: Doing, now: Duration) {
        let (was, since) = Self::unpack(self.doing.load(Ordering::Relaxed));
        let now_ns = nanos(now);
        self.doing.store(Self::TURNING, Ordering::Relaxed);
        fence(Ordering::Release);
        if let Some(sum) = self.sums.get(was as usize) {
            sum.add(now_ns.saturating_sub(since));
        }
        self.doing.store(now_ns << Doing::BITS | doing as u64, Ordering::Release);
    }

    /// None of them is ever less than it was for a reader before.
    pub(super) fn read(&self, now: Duration) -> [u64; 4] {
        let mut sums = self.sums.each_ref().map(Counter::get);
        for _ in 0..Self::TRIES_MAX {
            let before = self.doing.load(Ordering::Acquire);
            sums = self.sums.each_ref().map(Counter::get);
            fence(Ordering::Acquire);
            if before != Self::TURNING && before == self.doing.load(Ordering::Relaxed) {
                let (doing, since) = Self::unpack(before);
                if let Some(sum) = sums.get_mut(doing as usize) {
                    *sum += nanos(now).saturating_sub(since);
                }
                break;
            }
            std::thread::yield_now();
        }
        [0, 1, 2, 3].map(|place| self.read[place].fetch_max(sums[place], Ordering::Relaxed).max(sums[place]))
    }

    fn unpack(packed: u64) -> (Doing, u64) {
        let doing = (packed & ((1 << Doing::BITS) - 1)) as usize;
        (Doing::ALL.get(doing).copied().unwrap_or(Doing::Nothing), packed >> Doing::BITS)
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::contract::{Counters, Figures};

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn what_a_task_is_doing_counts_while_it_does_it() {
        let counters = Counters::default();
        let of = |figures: Figures| (figures.idle_ns, figures.busy_ns, figures.blocked_ns);
        counters.turns_to(Doing::Idle, MS);
        assert_eq!(of(counters.read(3 * MS)), (2_000_000, 0, 0));
        counters.turns_to(Doing::Busy, 4 * MS);
        counters.turns_to(Doing::Blocked, 6 * MS);
        assert_eq!(of(counters.read(9 * MS)), (3_000_000, 2_000_000, 3_000_000));
        counters.turns_to(Doing::Nothing, 9 * MS);
        assert_eq!(of(counters.read(20 * MS)), (3_000_000, 2_000_000, 3_000_000));
    }

    #[test]
    fn a_turn_that_is_told_late_takes_back_nothing_that_was_read() {
        let counters = Counters::default();
        counters.turns_to(Doing::Busy, MS);
        assert_eq!(counters.read(10 * MS).busy_ns, 9_000_000);
        counters.turns_to(Doing::Idle, 4 * MS);
        let of = |figures: Figures| (figures.busy_ns, figures.idle_ns);
        assert_eq!(of(counters.read(12 * MS)), (9_000_000, 8_000_000));
        counters.turns_to(Doing::Busy, 12 * MS);
        assert_eq!(of(counters.read(19 * MS)), (10_000_000, 8_000_000));
    }

    #[test]
    fn times_that_are_read_while_they_change_never_go_back() {
        let counters = Arc::new(Counters::default());
        let writer = counters.clone();
        let written = std::thread::spawn(move || {
            for turn in 0..200_000u64 {
                writer.turns_to(if turn % 2 == 0 { Doing::Busy } else { Doing::Idle }, Duration::from_nanos(10 * turn));
            }
        });
        let mut last = 0;
        while !written.is_finished() {
            // At the time zero: what is open adds nothing, so only sums show.
            let Figures { busy_ns, idle_ns, .. } = counters.read(Duration::ZERO);
            assert!(busy_ns + idle_ns >= last, "{busy_ns} and {idle_ns} after {last}");
            last = busy_ns + idle_ns;
        }
        written.join().expect("no panic");
    }
}
