//! When a failed region is started again, and when no more.
//!
//! The measure of a restart's success is progress, not time: delay and count start over once a checkpoint completes
//! beyond the failure: one that covers every record which any failed attempt had read (`ReadProgress`).

use std::collections::VecDeque;
use std::time::Duration;

/// Longest restart delay that somebody is kept waiting for: who wants a checkpoint is told of a longer one, and a job that was
/// asked to end restarts no later than that.
pub(crate) const RESTART_DELAY_BORNE: Duration = Duration::from_secs(1);

/// How a region is restarted after a failure. Values that cannot work ([`mistake`](Self::mistake)) are mistakes that `start()`
/// reports.
///
/// ```
/// use std::time::Duration;
///
/// use millstream::prelude::*;
///
/// let env = StreamEnvironment::new("stubborn")
///     .restart_strategy(RestartStrategy::fixed_delay(2, Duration::from_millis(1)))
///     .tell_panic_hook(false);
/// env.source("numbers", SequenceSource::new(0..10)).for_each("out", |n| panic!("cannot take {n}"));
///
/// let error = env.start()?.wait().unwrap_err();
/// assert!(matches!(error, JobError::GaveUp { failures: 3, .. }), "{error}");
/// # Ok::<(), millstream::StartError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum RestartStrategy {
    /// Never: the first failure ends the job.
    None,
    /// After the same delay each time.
    FixedDelay {
        /// Failures without a checkpoint in between that are answered with a restart.
        attempts: u32,
        /// The delay.
        delay: Duration,
    },
    /// The first time at once, then after a delay that doubles.
    ExponentialDelay {
        /// Delay before the second restart.
        initial: Duration,
        /// Longest delay.
        max: Duration,
        /// Random share of the delay by which it is lengthened or shortened, 0 to 1.
        jitter: f64,
        /// Failures without a checkpoint in between that are answered with a restart.
        attempts: u32,
    },
    /// As long as failures are rare.
    FailureRate {
        /// Most failures in the interval.
        failures: u32,
        /// The interval.
        within: Duration,
        /// Delay before each restart.
        delay: Duration,
    },
}

impl Default for RestartStrategy {
    fn default() -> Self {
        Self::exponential_delay()
    }
}

impl RestartStrategy {
    /// No restarts.
    pub fn none() -> Self {
        Self::None
    }

    /// Up to `attempts` restarts without a checkpoint in between, each after `delay`.
    pub fn fixed_delay(attempts: u32, delay: Duration) -> Self {
        Self::FixedDelay { attempts, delay }
    }

    /// At once, then after 10 ms, doubling up to 30 s, with a jitter of 0.1; gives up after 16 failures without a
    /// checkpoint beyond the first of them.
    pub fn exponential_delay() -> Self {
        Self::ExponentialDelay {
            initial: Duration::from_millis(10),
            max: Duration::from_secs(30),
            jitter: 0.1,
            attempts: 16,
        }
    }

    /// Restarts after `delay` unless more than `failures` came `within` an interval.
    pub fn failure_rate(failures: u32, within: Duration, delay: Duration) -> Self {
        Self::FailureRate { failures, within, delay }
    }
}

impl RestartStrategy {
    /// Failures in a row, none of them overcome, that are answered with a restart.
    pub fn restarts(&self) -> u32 {
        match self {
            Self::None => 0,
            Self::FixedDelay { attempts, .. } | Self::ExponentialDelay { attempts, .. } => *attempts,
            Self::FailureRate { failures, .. } => *failures,
        }
    }
}

/// What to do about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RestartDecision {
    /// Start again.
    Restart {
        /// After this long.
        delay: Duration,
        /// The how-manieth failure without progress it is.
        failure: u32,
        /// How many are answered with a restart.
        of: u32,
    },
    /// Do not.
    GiveUp {
        /// Failures without progress.
        failures: u32,
    },
}

/// The restart strategy of one region, with what it remembers.
#[derive(Clone, Debug)]
pub(crate) struct RestartPolicy {
    strategy: RestartStrategy,
    random: u64,
    failures: u32,
    recent: VecDeque<Duration>,
}

impl RestartPolicy {
    pub(crate) fn new(strategy: RestartStrategy, seed: u64) -> Self {
        Self { strategy, random: seed, failures: 0, recent: VecDeque::new() }
    }

    /// A failure at `now`.
    pub(crate) fn failed(&mut self, now: Duration) -> RestartDecision {
        self.failures = self.failures.saturating_add(1);
        let failures = self.failures;
        let bounded = |attempts: u32, delay: Duration| {
            if failures > attempts {
                RestartDecision::GiveUp { failures }
            } else {
                RestartDecision::Restart { delay, failure: failures, of: attempts }
            }
        };
        match self.strategy {
            RestartStrategy::None => RestartDecision::GiveUp { failures },
            RestartStrategy::FixedDelay { attempts, delay } => bounded(attempts, delay),
            RestartStrategy::ExponentialDelay { attempts, .. } => bounded(attempts, self.delay_of(failures)),
            RestartStrategy::FailureRate { failures: most, within, delay } => {
                self.recent.push_back(now);
                while self.recent.front().is_some_and(|at| now.saturating_sub(*at) > within) {
                    self.recent.pop_front();
                }
                let failure = self.recent.len() as u32;
                if failure > most {
                    RestartDecision::GiveUp { failures: failure }
                } else {
                    RestartDecision::Restart { delay, failure, of: most }
                }
            }
        }
    }

    /// A failure that was answered otherwise, the `nth` in a row of such: it does not count, and has the delay that it would have.
    pub(crate) fn uncounted(&mut self, nth: u32) -> RestartDecision {
        RestartDecision::Restart { delay: self.delay_of(self.failures.saturating_add(nth)), failure: 0, of: 0 }
    }

    /// The delay before the restart after so many failures, at least 1.
    fn delay_of(&mut self, failures: u32) -> Duration {
        match self.strategy {
            RestartStrategy::None => Duration::ZERO,
            RestartStrategy::FixedDelay { delay, .. } | RestartStrategy::FailureRate { delay, .. } => delay,
            RestartStrategy::ExponentialDelay { initial, max, jitter, .. } => {
                let delay = match failures {
                    1 => Duration::ZERO,
                    n => initial.saturating_mul(1_u32.checked_shl(n - 2).unwrap_or(u32::MAX)).min(max),
                };
                delay.mul_f64(1.0 + jitter.clamp(0.0, 1.0) * (2.0 * self.next_unit() - 1.0))
            }
        }
    }

    /// A checkpoint completed beyond all failures: the counting starts over.
    pub(crate) fn overcome(&mut self) {
        self.failures = 0;
    }

    /// The region starts with a fresh budget.
    pub(crate) fn renew(&mut self) {
        self.failures = 0;
        self.recent.clear();
    }

    /// splitmix64, mapped to [0, 1).
    fn next_unit(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delays(policy: &mut RestartPolicy, count: u32) -> Vec<Duration> {
        (0..count)
            .map(|_| match policy.failed(Duration::ZERO) {
                RestartDecision::Restart { delay, .. } => delay,
                RestartDecision::GiveUp { failures } => panic!("gave up at {failures}"),
            })
            .collect()
    }

    #[test]
    fn exponential_starts_at_once_doubles_to_the_cap_and_gives_up_after_sixteen() {
        let strategy = RestartStrategy::ExponentialDelay {
            initial: Duration::from_millis(10),
            max: Duration::from_secs(1),
            jitter: 0.0,
            attempts: 16,
        };
        let mut policy = RestartPolicy::new(strategy, 1);
        let delays = delays(&mut policy, 16);
        let millis: Vec<_> = delays.iter().map(Duration::as_millis).collect();
        assert_eq!(millis[..9], [0, 10, 20, 40, 80, 160, 320, 640, 1000]);
        assert!(millis[9..].iter().all(|delay| *delay == 1000));
        assert_eq!(policy.failed(Duration::ZERO), RestartDecision::GiveUp { failures: 17 }, "the seventeenth");
    }

    #[test]
    fn jitter_stays_in_its_share_and_repeats_for_one_seed() {
        let run = |seed| delays(&mut RestartPolicy::new(RestartStrategy::exponential_delay(), seed), 16);
        assert_eq!(run(7), run(7));
        assert_ne!(run(7), run(8));
        let second = run(7)[1].as_micros();
        assert!((9_000..=11_000).contains(&second), "{second}");
    }

    #[test]
    fn count_starts_over_once_failures_are_overcome() {
        let mut policy = RestartPolicy::new(RestartStrategy::exponential_delay(), 1);
        policy.failed(Duration::ZERO);
        assert!(matches!(policy.failed(Duration::ZERO), RestartDecision::Restart { failure: 2, .. }));
        policy.overcome();
        let first = policy.failed(Duration::ZERO);
        assert!(matches!(first, RestartDecision::Restart { failure: 1, delay: Duration::ZERO, .. }));
    }

    #[test]
    fn failure_rate_forgets_what_is_older_than_its_interval() {
        let second = Duration::from_secs(1);
        let mut policy = RestartPolicy::new(RestartStrategy::failure_rate(2, 10 * second, second), 1);
        for at in [0, 6, 12, 18, 24] {
            assert!(matches!(policy.failed(at * second), RestartDecision::Restart { .. }), "at {at}");
        }
        policy.failed(25 * second);
        assert!(matches!(policy.failed(26 * second), RestartDecision::GiveUp { .. }));
    }

    #[test]
    fn failures_that_are_answered_otherwise_count_for_no_strategy_and_have_their_delay() {
        let second = Duration::from_secs(1);
        for strategy in [RestartStrategy::fixed_delay(2, second), RestartStrategy::failure_rate(2, 60 * second, second)]
        {
            assert_eq!(strategy.restarts(), 2);
            let mut policy = RestartPolicy::new(strategy, 1);
            assert!(matches!(policy.failed(second), RestartDecision::Restart { failure: 1, .. }));
            for nth in 1..10 {
                let uncounted = RestartDecision::Restart { delay: second, failure: 0, of: 0 };
                assert_eq!(policy.uncounted(nth), uncounted);
            }
            assert!(matches!(policy.failed(second), RestartDecision::Restart { failure: 2, .. }));
        }
        let mut policy = RestartPolicy::new(RestartStrategy::exponential_delay(), 1);
        let mut delays = (1..=4).map(|nth| match policy.uncounted(nth) {
            RestartDecision::Restart { delay, .. } => delay,
            RestartDecision::GiveUp { .. } => panic!("it does not count"),
        });
        assert_eq!(delays.next(), Some(Duration::ZERO));
        assert!(delays.is_sorted(), "they grow");
    }

    #[test]
    fn renewed_budget_is_that_of_the_beginning() {
        let second = Duration::from_secs(1);
        for strategy in [RestartStrategy::fixed_delay(1, second), RestartStrategy::failure_rate(1, 60 * second, second)]
        {
            let mut policy = RestartPolicy::new(strategy, 1);
            assert!(matches!(policy.failed(second), RestartDecision::Restart { .. }));
            assert!(matches!(policy.failed(second), RestartDecision::GiveUp { .. }));
            policy.renew();
            assert!(matches!(policy.failed(second), RestartDecision::Restart { failure: 1, .. }));
            assert!(matches!(policy.failed(second), RestartDecision::GiveUp { .. }));
        }
    }

    #[test]
    fn none_gives_up_at_once_and_fixed_after_its_attempts() {
        let mut none = RestartPolicy::new(RestartStrategy::None, 1);
        assert_eq!(none.failed(Duration::ZERO), RestartDecision::GiveUp { failures: 1 });
        let mut fixed = RestartPolicy::new(RestartStrategy::fixed_delay(2, Duration::from_secs(1)), 1);
        assert_eq!(delays(&mut fixed, 2), [Duration::from_secs(1); 2]);
        assert_eq!(fixed.failed(Duration::ZERO), RestartDecision::GiveUp { failures: 3 });
    }
}
