//! How long a recovery is expected to take, in parts.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::protocol::serialised;

/// Assumed for stopping and starting a region before that was seen.
const RESTART_UNKNOWN: Duration = Duration::from_millis(100);
/// Bytes of state read in a second, assumed where it was not measured on enough state.
const RESTORE_BYTES_PER_SECOND: u64 = 64 << 20;
/// State on which the speed of a restore can be measured; below, what does not depend on the size prevails.
const MEASURABLE_BYTES: u64 = 4 << 20;

/// A part of a recovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecoveryPart {
    /// Stopping what is left of the failed attempt, the delay of the restart strategy, starting anew.
    Restart,
    /// Reading state.
    Restore,
    /// Doing again what was done since the checkpoint.
    Reprocessing,
}

impl fmt::Display for RecoveryPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Restart => "stopping and starting tasks",
            Self::Restore => "restoring state",
            Self::Reprocessing => "reprocessing",
        })
    }
}

/// How long it takes until a job that fails has done again all it had done before, if it fails at the worst moment: just
/// before a checkpoint completes. Counted from when the engine knows of the failure, which for a panic or an error is
/// at once; a call that does not return is only noticed after [`Limits::stuck_after`](super::super::Limits::stuck_after),
/// and the death of the process by whoever starts it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RecoveryEstimate {
    /// Stopping and starting, with the delay of the restart strategy: the longest of the newest 8; 100 ms before the
    /// first.
    #[serde(rename = "restart_ms", serialize_with = "serialised::millis")]
    pub restart: Duration,
    /// Reading state of the present size, from the newest restore of each region: in proportion to the size if that was
    /// of 4 MiB or more, else what it took and what more there is now at 64 MiB a second.
    #[serde(rename = "restore_ms", serialize_with = "serialised::millis")]
    pub restore: Duration,
    /// Doing the work of one interval and of one checkpoint's duration (the longest of the newest 8) again.
    #[serde(rename = "reprocessing_ms", serialize_with = "serialised::millis")]
    pub reprocessing: Duration,
    /// The speed at which work is done again, in percent of the first time, 10 to 10,000. Measured after restarts, up to
    /// the next checkpoint: the mean of the newest 8, each at most the true one. 100 before the first.
    pub catch_up_percent: u32,
}

impl RecoveryEstimate {
    /// All parts together.
    pub fn total(&self) -> Duration {
        self.restart.saturating_add(self.restore).saturating_add(self.reprocessing)
    }

    /// The longest part.
    pub fn longest(&self) -> RecoveryPart {
        let Self { restart, restore, reprocessing, .. } = *self;
        if reprocessing >= restart.max(restore) {
            RecoveryPart::Reprocessing
        } else if restore >= restart {
            RecoveryPart::Restore
        } else {
            RecoveryPart::Restart
        }
    }
}

/// What restoring a region took, and the size of the checkpoint.
#[derive(Clone, Copy, Debug)]
pub(super) struct MeasuredRestore {
    pub(super) state_bytes: u64,
    pub(super) took: Duration,
}

impl MeasuredRestore {
    /// A restore of nothing, which takes no time.
    pub(super) const NONE: Self = Self { state_bytes: 0, took: Duration::ZERO };

    /// What restoring `state_bytes` would take.
    pub(super) fn scaled_to(&self, state_bytes: u64) -> Duration {
        if self.state_bytes >= MEASURABLE_BYTES {
            let factor = state_bytes as f64 / self.state_bytes as f64;
            return Duration::try_from_secs_f64(self.took.as_secs_f64() * factor).unwrap_or(Duration::MAX);
        }
        let more = state_bytes.saturating_sub(self.state_bytes);
        self.took.saturating_add(Duration::from_secs_f64(more as f64 / RESTORE_BYTES_PER_SECOND as f64))
    }
}

/// What a recovery depends on, besides the interval.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outlook {
    /// `None` if no restart was seen.
    pub(super) restart: Option<Duration>,
    pub(super) restore: Duration,
    /// From the trigger of a checkpoint to its completion.
    pub(super) latency: Duration,
    /// Least time from completion to the next trigger.
    pub(super) min_pause: Duration,
    pub(super) catch_up_percent: u32,
}

impl Outlook {
    /// The recovery to expect with this interval. Checkpoints do not overlap, so that triggers are at least a duration
    /// and the pause apart.
    pub(super) fn with_interval(&self, interval: Duration) -> RecoveryEstimate {
        let apart = interval.max(self.latency.saturating_add(self.min_pause));
        let again = apart.saturating_add(self.latency);
        RecoveryEstimate {
            restart: self.restart(),
            restore: self.restore,
            reprocessing: again.saturating_mul(100) / self.catch_up_percent,
            catch_up_percent: self.catch_up_percent,
        }
    }

    /// The longest interval with which a recovery is over within `objective`; zero if there is none.
    pub(super) fn longest_interval(&self, objective: Duration) -> Duration {
        let left = objective.saturating_sub(self.restart()).saturating_sub(self.restore);
        (left.saturating_mul(self.catch_up_percent) / 100).saturating_sub(self.latency)
    }

    fn restart(&self) -> Duration {
        self.restart.unwrap_or(RESTART_UNKNOWN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    const OUTLOOK: Outlook = Outlook {
        restart: Some(ms(50)),
        restore: ms(150),
        latency: ms(400),
        min_pause: Duration::ZERO,
        catch_up_percent: 200,
    };

    #[test]
    fn estimate_is_the_sum_of_its_parts_at_the_worst_moment() {
        let estimate = OUTLOOK.with_interval(ms(2_000));
        assert_eq!((estimate.restart, estimate.restore, estimate.reprocessing), (ms(50), ms(150), ms(1_200)));
        assert_eq!(estimate.total(), ms(1_400));
        assert_eq!(estimate.longest(), RecoveryPart::Reprocessing);
        let slow_restore = Outlook { restore: ms(1_201), ..OUTLOOK };
        assert_eq!(slow_restore.with_interval(ms(2_000)).longest(), RecoveryPart::Restore);
        let slow_restart = Outlook { restart: Some(ms(1_201)), ..OUTLOOK };
        assert_eq!(slow_restart.with_interval(ms(2_000)).longest(), RecoveryPart::Restart);
        let unknown = Outlook { restart: None, ..OUTLOOK };
        assert_eq!(unknown.with_interval(ms(2_000)).restart, ms(100));
    }

    #[test]
    fn triggers_are_no_closer_than_a_checkpoint_and_the_pause() {
        assert_eq!(OUTLOOK.with_interval(ms(1)).reprocessing, ms(400));
        let pausing = Outlook { min_pause: ms(1_000), ..OUTLOOK };
        assert_eq!(pausing.with_interval(ms(1)).reprocessing, ms(900));
    }

    #[test]
    fn longest_interval_just_meets_the_objective() {
        assert_eq!(OUTLOOK.longest_interval(ms(1_400)), ms(2_000));
        assert_eq!(OUTLOOK.with_interval(OUTLOOK.longest_interval(ms(1_400))).total(), ms(1_400));
        // Also where percentages do not divide.
        let odd = Outlook { catch_up_percent: 137, ..OUTLOOK };
        assert!(odd.with_interval(odd.longest_interval(ms(1_399))).total() <= ms(1_399));
        assert_eq!(OUTLOOK.longest_interval(ms(300)), Duration::ZERO);
        assert_eq!(OUTLOOK.longest_interval(ms(3)), Duration::ZERO);
    }

    #[test]
    fn restore_grows_with_the_state_by_what_was_measured_on_enough_of_it() {
        let large = MeasuredRestore { state_bytes: 100 << 20, took: ms(500) };
        assert_eq!((large.scaled_to(200 << 20), large.scaled_to(50 << 20)), (ms(1_000), ms(250)));
        let small = MeasuredRestore { state_bytes: 1 << 20, took: ms(3) };
        assert_eq!((small.scaled_to(65 << 20), small.scaled_to(0)), (ms(1_003), ms(3)));
        assert_eq!(MeasuredRestore::NONE.scaled_to(128 << 20), ms(2_000));
    }
}
