//! The interval at which checkpoints and repeated work together cost least.
//!
//! - J. W. Young, "A first order approximation to the optimum checkpoint interval", Communications of the ACM 17(9),
//!   1974, pp. 530-531.
//! - J. T. Daly, "A higher order estimate of the optimum checkpoint interval for restart dumps", Future Generation
//!   Computer Systems 22(3), 2006, pp. 303-312.
//! - N. H. Vaidya, "Impact of checkpoint latency on overhead ratio of a checkpointing scheme", IEEE Transactions on
//!   Computers 46(8), 1997, pp. 942-947: for checkpoints that are written while work goes on, the optimum depends on
//!   what they cost the work, and hardly on how long they take. That is why the cost below is not their duration.

use std::time::Duration;

use serde::Serialize;

use crate::protocol::serialised;

/// Young's first-order optimum, the square root of 2 `cost` `spacing`.
pub(super) fn young(cost: Duration, spacing: Duration) -> Duration {
    seconds((2.0 * cost.as_secs_f64() * spacing.as_secs_f64()).sqrt())
}

/// Daly's higher-order optimum: work between the end of one checkpoint and the start of the next.
pub(super) fn daly(cost: Duration, spacing: Duration) -> Duration {
    let (c, m) = (cost.as_secs_f64(), spacing.as_secs_f64());
    if c >= 2.0 * m {
        return spacing;
    }
    let share = c / (2.0 * m);
    seconds((2.0 * c * m).sqrt() * (1.0 + share.sqrt() / 3.0 + share / 9.0) - c)
}

fn seconds(seconds: f64) -> Duration {
    // Out of range only for spacings of many millennia.
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

/// The interval that measurements advise, and what it follows from. As of the newest checkpoint or restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct IntervalAdvice {
    /// The advised interval, from trigger to trigger as [`Checkpointing::every`](super::super::Checkpointing::every)
    /// counts: Daly's optimum and one checkpoint's cost.
    #[serde(rename = "interval_ms", serialize_with = "serialised::millis")]
    pub interval: Duration,
    /// Young's first-order optimum, for comparison (Communications of the ACM 17(9), 1974).
    #[serde(rename = "young_ms", serialize_with = "serialised::millis")]
    pub young: Duration,
    /// Daly's higher-order optimum (Future Generation Computer Systems 22(3), 2006), without the checkpoint itself.
    #[serde(rename = "daly_ms", serialize_with = "serialised::millis")]
    pub daly: Duration,
    /// What a checkpoint costs the job: the mean of the newest 8, each the longest time for which one of its tasks was
    /// held up, by aligning (exactly-once only; other inputs of the task may have gone on meanwhile) and by taking its
    /// snapshot. Writing to the store runs beside the job and does not count.
    #[serde(rename = "cost_ms", serialize_with = "serialised::millis")]
    pub cost: Duration,
    /// Mean time between failures while the job runs: over the newest 16 failures up to now, or, before the first, the
    /// longer of 24 h and the time for which the job has run.
    #[serde(rename = "failure_spacing_ms", serialize_with = "serialised::millis")]
    pub failure_spacing: Duration,
    /// Failures of running regions in this process; with 0 `failure_spacing` is an assumption.
    pub failures: u64,
}

impl IntervalAdvice {
    /// The advice for this cost of a checkpoint and mean time between failures.
    pub(crate) fn new(cost: Duration, failure_spacing: Duration, failures: u64) -> Self {
        let daly = daly(cost, failure_spacing);
        let interval = daly.saturating_add(cost);
        Self { interval, young: young(cost, failure_spacing), daly, cost, failure_spacing, failures }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn minutes(duration: Duration) -> f64 {
        duration.as_secs_f64() / 60.0
    }

    #[test]
    fn young_is_the_root_of_twice_cost_times_spacing() {
        assert_eq!(young(5 * MINUTE, 1_440 * MINUTE), 120 * MINUTE);
        assert_eq!(young(Duration::from_millis(2), Duration::from_secs(1_000)), Duration::from_secs(2));
        assert_eq!(young(Duration::ZERO, MINUTE), Duration::ZERO);
    }

    /// The captions of Daly's figures 3 to 5, for a dump time of 5 min: 117 min at M = 24 h, 57 min at 6 h, 9.1 min at
    /// 15 min; and the formula by hand, to four digits.
    #[test]
    fn daly_gives_the_optima_of_his_paper() {
        for (spacing, published, precision, by_hand) in
            [(1_440, 117.0, 0.5, 116.69), (360, 57.0, 0.5, 56.713), (15, 9.1, 0.05, 9.1412)]
        {
            let optimum = minutes(daly(5 * MINUTE, spacing * MINUTE));
            assert!((optimum - published).abs() <= precision, "{spacing}: {optimum}, published as {published}");
            assert!((optimum - by_hand).abs() < 5e-3, "{spacing}: {optimum}, by hand {by_hand}");
        }
    }

    #[test]
    fn checkpoints_dearer_than_two_spacings_are_a_spacing_apart() {
        assert_eq!(daly(2 * MINUTE, MINUTE), MINUTE);
        assert_eq!(daly(9 * MINUTE, MINUTE), MINUTE);
        // Below, the formula holds: 2 (1 + 1/3 + 1/9) - 2 is 8/9 of the spacing. The step is in the paper.
        let just_below = daly(2 * MINUTE - Duration::from_nanos(1), MINUTE);
        assert!((minutes(just_below) - 8.0 / 9.0).abs() < 1e-6, "{just_below:?}");
    }

    #[test]
    fn advised_interval_counts_from_trigger_to_trigger() {
        let advice = IntervalAdvice::new(5 * MINUTE, 1_440 * MINUTE, 0);
        assert_eq!(advice.interval, advice.daly + 5 * MINUTE);
        assert_eq!(advice.young, 120 * MINUTE);
        assert_eq!(IntervalAdvice::new(Duration::MAX, Duration::MAX, 0).interval, Duration::MAX);
    }
}
