//! Which values of the settings can work. What cannot is told before a job starts: it would end in a panic, or in a job that
//! waits for ever.

use std::time::Duration;

use super::{Checkpointing, Limits, RestartStrategy};

/// Longer delays and intervals are a slip of the unit, and near the end of what a clock can count.
const DURATION_MAX: Duration = Duration::from_secs(365 * 86_400);
/// Most of what is counted one by one in memory: credits, batches, events.
const COUNT_MAX: u64 = 1 << 20;
/// Most batches that a source reads ahead, all of which are made at its start.
const READ_AHEAD_MAX: u64 = 1 << 10;
/// Less room than this, and a task declines checkpoints of next to nothing.
const CAPTURE_BYTES_MIN: u64 = 64 << 10;
/// Shorter than the messages of a job are on their way.
const TIME_MIN: Duration = Duration::from_millis(1);
/// Most threads of one kind.
const THREADS_MAX: u64 = 1 << 10;
/// Most checkpoints that a store retains.
const RETAINED_MAX: usize = 64;

#[derive(Default)]
struct Mistakes(Vec<String>);

impl Mistakes {
    fn number(&mut self, name: &str, value: u64, min: u64, max: u64) {
        if value < min {
            self.0.push(format!("{name} is {value}; it must be at least {min}"));
        } else if value > max {
            self.0.push(format!("{name} is {value}; it must be at most {max}"));
        }
    }

    fn time(&mut self, name: &str, value: Duration) {
        if value < TIME_MIN {
            self.0.push(format!("{name} is {value:?}; it must be at least a millisecond"));
        }
        self.delay(name, value);
    }

    /// Zero is none.
    fn delay(&mut self, name: &str, value: Duration) {
        if value > DURATION_MAX {
            self.0.push(format!("{name} is {value:?}; it must be at most 365 days"));
        }
    }
}

impl Limits {
    /// What is wrong with them: a sentence for each that names the field.
    ///
    /// | fields | range |
    /// |---|---|
    /// | `credits_..`, `history_len`, `checkpoint_ids_per_block` | 1 to 1,048,576; the fewest credits of a channel not above the most |
    /// | `read_ahead`, `store_threads`, `restore_threads` | 1 to 1,024 |
    /// | `capture_bytes_max` | at least 64 KiB |
    /// | `emit_per_call_max`, `capture_bytes_in_flight`, `store_transaction_bytes` | at least 1 |
    /// | `commit_retries` | any |
    /// | times | a millisecond to 365 days; `commit_retry_delay`, `restore_progress_every` and `savepoint_progress_every` may be zero |
    pub fn mistakes(&self) -> Vec<String> {
        let mut mistakes = Mistakes::default();
        let bytes = |bytes: usize| bytes as u64;
        for (name, value, max) in [
            ("credits_per_task", self.credits_per_task.into(), COUNT_MAX),
            ("credits_per_channel_max", self.credits_per_channel_max.into(), COUNT_MAX),
            ("credits_per_channel_min", self.credits_per_channel_min.into(), COUNT_MAX),
            ("credits_same_arbiter", self.credits_same_arbiter.into(), COUNT_MAX),
            ("emit_per_call_max", bytes(self.emit_per_call_max), u64::MAX),
            ("history_len", bytes(self.history_len), COUNT_MAX),
            ("checkpoint_ids_per_block", self.checkpoint_ids_per_block, COUNT_MAX),
            ("read_ahead", bytes(self.read_ahead), READ_AHEAD_MAX),
            ("store_transaction_bytes", bytes(self.store_transaction_bytes), u64::MAX),
            ("store_threads", bytes(self.store_threads), THREADS_MAX),
            ("capture_bytes_in_flight", bytes(self.capture_bytes_in_flight), u64::MAX),
            ("restore_threads", bytes(self.restore_threads), THREADS_MAX),
        ] {
            mistakes.number(name, value, 1, max);
        }
        for (name, time) in [
            ("channel_backlog_max", self.channel_backlog_max),
            ("stop_timeout", self.stop_timeout),
            ("stuck_after", self.stuck_after),
            ("event_time_held_after", self.event_time_held_after),
            ("store_wait_max", self.store_wait_max),
            ("checkpoint_progress_every", self.checkpoint_progress_every),
        ] {
            mistakes.time(name, time);
        }
        mistakes.delay("commit_retry_delay", self.commit_retry_delay);
        mistakes.delay("restore_progress_every", self.restore_progress_every);
        mistakes.delay("savepoint_progress_every", self.savepoint_progress_every);
        mistakes.number("capture_bytes_max", bytes(self.capture_bytes_max), CAPTURE_BYTES_MIN, u64::MAX);
        let (min, max) = (self.credits_per_channel_min, self.credits_per_channel_max);
        if min > max {
            mistakes.0.push(format!("credits_per_channel_min is {min}, above credits_per_channel_max, which is {max}"));
        }
        mistakes.0
    }
}

impl Checkpointing {
    /// What is wrong with the values that are looked at by themselves: a sentence for each. Those of the interval, its
    /// bounds and the recovery objective are not among them.
    pub fn mistakes(&self) -> Vec<String> {
        let mut mistakes = Mistakes::default();
        if let Some(interval) = self.interval {
            mistakes.delay("the interval", interval);
        }
        mistakes.delay("min_pause", self.min_pause);
        if self.timeout.is_zero() {
            mistakes.0.push("timeout is zero; every checkpoint would be aborted as soon as it is triggered".to_owned());
        }
        if !(1..=RETAINED_MAX).contains(&self.retained) {
            mistakes.0.push(format!("retain({}): a store retains 1 to {RETAINED_MAX} checkpoints", self.retained));
        }
        mistakes.0
    }
}

impl RestartStrategy {
    /// What is wrong with it, in a sentence. Delays are at most 365 days, a jitter is a number from 0 to 1, the first delay not
    /// above the longest, and the interval of a failure rate above zero.
    pub fn mistake(&self) -> Option<String> {
        let mut mistakes = Mistakes::default();
        match *self {
            Self::None => {}
            Self::FixedDelay { delay, .. } => mistakes.delay("delay", delay),
            Self::ExponentialDelay { initial, max, jitter, .. } => {
                mistakes.delay("max", max);
                if initial > max {
                    mistakes.0.push(format!("initial is {initial:?}, above max, which is {max:?}"));
                }
                if !(0.0..=1.0).contains(&jitter) {
                    mistakes.0.push(format!("jitter is {jitter}; it must be from 0 to 1"));
                }
            }
            Self::FailureRate { within, delay, .. } => {
                mistakes.time("within", within);
                mistakes.delay("delay", delay);
            }
        }
        mistakes.0.into_iter().next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_have_no_mistakes() {
        assert_eq!(Limits::default().mistakes(), Vec::<String>::new());
        assert_eq!(Checkpointing::default().mistakes(), Vec::<String>::new());
        assert_eq!(Checkpointing::disabled().mistakes(), Vec::<String>::new());
        assert_eq!(RestartStrategy::default().mistake(), None);
    }
}
