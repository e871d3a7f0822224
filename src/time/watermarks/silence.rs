//! Since when a stream has had no records, for one who is given them and does not ask for them.

use std::time::Duration;

/// Where records come, the next look at the clock is at most so far away, so that a silence is noticed soon after it begins.
const LOOK_AFTER_MAX: Duration = Duration::from_millis(100);

/// So often other input than records may come where it is asked for records.
const ASKED_MAX: u32 = 64;

/// Tells when a stream has had no records for so long that it is idle.
///
/// Time counts only from a look at which nothing waited to be taken, so that a task that was blocked by what is behind it, or busy,
/// does not take its own delay for a silence. Whether something waits is found out by asking: the look is followed by another one
/// at once, before which the engine takes what there is (promise T6). The same holds for the look at which the time is over.
#[derive(Debug)]
pub(crate) struct Silence {
    idle_after: Duration,
    /// The last look at the clock.
    looked: Duration,
    /// How much of the silence counts.
    counted: Duration,
    phase: Phase,
    /// Something other than records has come since the last look.
    is_interrupted: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Records have come since the last look.
    HasRecords,
    /// Waits for what there is to be taken, for this time.
    Asks(u32),
    /// Nothing waited at the last look.
    Silent,
    Idle,
}

impl Silence {
    /// Begins at the time `now`.
    pub(crate) fn new(idle_after: Duration, now: Duration) -> Self {
        Self { idle_after, looked: now, counted: Duration::ZERO, phase: Phase::HasRecords, is_interrupted: false }
    }

    /// Begins at the time `now` instead.
    pub(crate) fn begun_at(self, now: Duration) -> Self {
        Self { looked: now, ..self }
    }

    /// Records have come.
    pub(crate) fn records(&mut self) {
        self.phase = Phase::HasRecords;
    }

    /// Something else has come, behind which records may wait.
    pub(crate) fn other_input(&mut self) {
        self.is_interrupted = true;
    }

    /// When to look at the clock next.
    pub(crate) fn due(&self) -> Option<Duration> {
        let after = match self.phase {
            Phase::HasRecords => self.idle_after.min(LOOK_AFTER_MAX),
            Phase::Asks(_) => Duration::ZERO,
            Phase::Silent => self.idle_after.saturating_sub(self.counted),
            Phase::Idle => return None,
        };
        Some(self.looked.saturating_add(after))
    }

    /// Looks at the clock, which shows `now`. Whether the stream has become idle.
    pub(crate) fn look(&mut self, now: Duration) -> bool {
        let passed = now.saturating_sub(std::mem::replace(&mut self.looked, now));
        let is_interrupted = std::mem::take(&mut self.is_interrupted);
        self.phase = match self.phase {
            Phase::HasRecords => {
                self.counted = Duration::ZERO;
                Phase::Asks(1)
            }
            Phase::Silent => {
                self.counted = self.counted.saturating_add(passed);
                Phase::Asks(1)
            }
            Phase::Asks(times) if is_interrupted && times < ASKED_MAX => Phase::Asks(times + 1),
            Phase::Asks(_) if self.counted < self.idle_after => Phase::Silent,
            Phase::Asks(_) => Phase::Idle,
            Phase::Idle => return false,
        };
        self.phase == Phase::Idle
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AFTER: Duration = Duration::from_secs(1);

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn stream_is_idle_once_it_has_been_silent_for_so_long_and_again_after_records() {
        let mut silence = Silence::new(AFTER, ms(5_000));
        for from in [5_000, 9_000] {
            silence.records();
            assert!(silence.due() <= Some(ms(from + 100)));
            assert!(!silence.look(ms(from + 100)));
            assert_eq!(silence.due(), Some(ms(from + 100)), "it asks");
            assert!(!silence.look(ms(from + 100)));
            assert_eq!(silence.due(), Some(ms(from + 1_100)));
            assert!(!silence.look(ms(from + 1_100)) && silence.look(ms(from + 1_100)));
            assert_eq!((silence.due(), silence.look(ms(from + 3_000))), (None, false), "that is said once");
        }
    }

    #[test]
    fn records_that_waited_while_nobody_looked_end_the_silence() {
        let mut silence = Silence::new(AFTER, ms(0));
        // The task is blocked for a minute, and records wait in front of it.
        assert!(!silence.look(ms(60_000)));
        silence.records();
        assert!(!silence.look(ms(60_000)) && !silence.look(ms(60_000)));
        assert_eq!(silence.due(), Some(ms(61_000)), "it was silent from the first look at which nothing waited");
        // It is blocked again, in the silence.
        assert!(!silence.look(ms(99_000)));
        silence.records();
        assert!(!silence.look(ms(99_100)));
        assert_eq!(silence.due(), Some(ms(99_100)));
    }

    #[test]
    fn other_input_is_no_record_and_has_it_ask_again_a_limited_number_of_times() {
        let mut silence = Silence::new(AFTER, ms(0));
        assert!(!silence.look(ms(100)) && !silence.look(ms(100)) && !silence.look(ms(1_100)));
        silence.other_input();
        assert!(!silence.look(ms(1_100)));
        assert!(silence.look(ms(1_100)), "nothing came but that");
        silence.records();
        assert!(!silence.look(ms(1_200)) && !silence.look(ms(1_200)) && !silence.look(ms(2_200)));
        let asked = (1..1_000).find(|_| {
            silence.other_input();
            silence.look(ms(2_200))
        });
        assert_eq!(asked, Some(ASKED_MAX as usize));
    }

    #[test]
    fn times_without_end_do_not_overflow() {
        let mut silence = Silence::new(Duration::MAX, ms(1));
        assert!(!silence.look(ms(100)) && !silence.look(ms(100)));
        assert_eq!(silence.due(), Some(Duration::MAX));
        assert!(!silence.look(Duration::MAX) && !silence.look(Duration::MAX));
    }
}
