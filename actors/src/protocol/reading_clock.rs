//! A clock that stands still while what it tells the time of cannot be read.

use std::collections::BTreeMap;
use std::time::Duration;

use super::SubtaskId;

/// So much of the time for which a task is blocked without a break counts all the same: a job whose sinks are always behind is
/// blocked for short times again and again, and what has no records is to be noticed there, too.
pub(crate) const BLOCKED_COUNTS_MAX: Duration = Duration::from_millis(100);

/// Time in which records could have come to a place of a job: it stands still while a source before that is held, and while a
/// task before it has been blocked for long. All times are by the job's clock.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReadingClock {
    /// How many sources are held.
    holds: u32,
    /// The tasks that are blocked, and since when.
    blocked: BTreeMap<SubtaskId, Duration>,
    /// Up to when time was counted.
    up_to: Duration,
    counted: Duration,
}

impl ReadingClock {
    /// A clock before which so many sources are held.
    pub(crate) fn held(holds: u32) -> Self {
        Self { holds, ..Self::default() }
    }

    /// A source is held.
    pub(crate) fn hold(&mut self, now: Duration) {
        self.count(now);
        self.holds += 1;
    }

    /// A source is held no more.
    ///
    /// # Panics
    /// If none is held.
    pub(crate) fn release(&mut self, now: Duration) {
        self.count(now);
        self.holds = self.holds.checked_sub(1).expect("who is released was held");
    }

    /// A task is blocked by what is behind it.
    pub(crate) fn blocks(&mut self, task: SubtaskId, now: Duration) {
        self.count(now);
        self.blocked.entry(task).or_insert(now);
    }

    /// A task is blocked no more.
    pub(crate) fn unblocks(&mut self, task: SubtaskId, now: Duration) {
        self.count(now);
        self.blocked.remove(&task);
    }

    /// The time that counts up to now.
    pub(crate) fn at(&mut self, now: Duration) -> Duration {
        self.count(now);
        self.counted
    }

    /// Whether it stands still now.
    pub(crate) fn stands_still(&self, now: Duration) -> bool {
        self.holds > 0 || self.blocked_from().is_some_and(|from| from <= now)
    }

    /// From when on a task has been blocked for too long.
    fn blocked_from(&self) -> Option<Duration> {
        self.blocked.values().min().map(|since| since.saturating_add(BLOCKED_COUNTS_MAX))
    }

    fn count(&mut self, now: Duration) {
        // Tasks of several threads tell the time, of which one may have looked at the clock before another.
        let now = now.max(self.up_to);
        if self.holds == 0 {
            let until = self.blocked_from().map_or(now, |from| from.min(now));
            self.counted = self.counted.saturating_add(until.saturating_sub(self.up_to));
        }
        self.up_to = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::TaskId;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn task(index: u32) -> SubtaskId {
        SubtaskId { task: TaskId(0), index }
    }

    #[test]
    fn time_stands_still_until_all_that_were_held_are_released() {
        let mut clock = ReadingClock::held(2);
        assert_eq!(clock.at(ms(500)), ms(0));
        clock.release(ms(1_000));
        assert!(clock.stands_still(ms(1_500)));
        clock.release(ms(2_000));
        assert_eq!((clock.at(ms(2_700)), clock.stands_still(ms(2_700))), (ms(700), false));
        clock.hold(ms(3_000));
        assert_eq!((clock.at(ms(9_000)), clock.stands_still(ms(9_000))), (ms(1_000), true));
    }

    #[test]
    fn of_each_time_in_which_a_task_is_blocked_only_the_beginning_counts() {
        let mut clock = ReadingClock::default();
        clock.blocks(task(0), ms(1_000));
        assert!(!clock.stands_still(ms(1_099)) && clock.stands_still(ms(1_100)));
        assert_eq!(clock.at(ms(5_000)), ms(1_100));
        clock.unblocks(task(0), ms(6_000));
        clock.blocks(task(0), ms(6_050));
        clock.unblocks(task(0), ms(6_080));
        assert_eq!(clock.at(ms(7_000)), ms(2_100), "a short one counts");
    }

    #[test]
    fn tasks_that_are_blocked_in_turn_for_short_times_do_not_stop_it() {
        let mut clock = ReadingClock::default();
        for step in 0..100 {
            clock.blocks(task(step % 3), ms(u64::from(step) * 20));
            clock.unblocks(task((step + 1) % 3), ms(u64::from(step) * 20 + 10));
        }
        assert_eq!(clock.at(ms(2_000)), ms(2_000));
        clock.blocks(task(7), ms(2_000));
        clock.blocks(task(8), ms(2_090));
        clock.unblocks(task(7), ms(2_500));
        assert!(clock.stands_still(ms(2_500)), "the other has been blocked for long, too");
    }

    #[test]
    fn looks_at_the_clock_that_come_out_of_order_count_nothing_twice() {
        let mut clock = ReadingClock::default();
        assert_eq!((clock.at(ms(100)), clock.at(ms(90)), clock.at(ms(110))), (ms(100), ms(100), ms(110)));
        clock.hold(ms(100));
        clock.release(ms(105));
        assert_eq!(clock.at(ms(120)), ms(120));
    }
}
