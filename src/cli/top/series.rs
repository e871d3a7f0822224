//! Figures over time, kept here: the server keeps none.

use std::collections::VecDeque;
use std::time::Duration;

/// Samples that are kept, which is more than a terminal is wide.
const SAMPLES_MAX: usize = 512;

/// The newest values of one figure, oldest first. `None` is a time in which it was not known.
#[derive(Clone, Debug, Default)]
pub(super) struct Series {
    values: VecDeque<Option<f64>>,
    newest_at: Option<Duration>,
}

impl Series {
    /// Takes a value of this moment. After a time of more than `gap` without any, it is not joined to what is there.
    pub(super) fn push(&mut self, at: Duration, value: Option<f64>, gap: Duration) {
        if self.newest_at.is_some_and(|newest| at.saturating_sub(newest) > gap) {
            self.values.push_back(None);
        }
        self.newest_at = Some(at);
        self.values.push_back(value.filter(|value| value.is_finite() && *value >= 0.0));
        while self.values.len() > SAMPLES_MAX {
            self.values.pop_front();
        }
    }

    /// The newest `len` values, oldest first.
    pub(super) fn newest(&self, len: usize) -> impl Iterator<Item = Option<f64>> + '_ {
        self.values.iter().skip(self.values.len().saturating_sub(len)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_stay_gaps_and_old_samples_go() {
        let (mut series, second) = (Series::default(), Duration::from_secs);
        series.push(second(1), Some(1.0), second(3));
        series.push(second(2), Some(f64::INFINITY), second(3));
        series.push(second(9), Some(3.0), second(3));
        assert_eq!(series.newest(9).collect::<Vec<_>>(), [Some(1.0), None, None, Some(3.0)]);
        assert_eq!(series.newest(1).collect::<Vec<_>>(), [Some(3.0)]);
        (10..1_000).for_each(|at| series.push(second(at), Some(0.0), second(3)));
        assert_eq!(series.newest(usize::MAX).count(), SAMPLES_MAX);
    }
}
