//! The newest measurements of one quantity, and nothing older: how everything here is smoothed.

use std::collections::VecDeque;
use std::iter::Sum;
use std::ops::Div;

/// Measurements kept. 8: one that is out of line moves the mean by an eighth, and is forgotten eight later.
const KEPT: usize = 8;

/// Up to 8 measurements.
#[derive(Clone, Debug)]
pub(super) struct Recent<T>(VecDeque<T>);

impl<T> Default for Recent<T> {
    fn default() -> Self {
        Self(VecDeque::with_capacity(KEPT))
    }
}

impl<T: Copy + Ord + Sum + Div<u32, Output = T>> Recent<T> {
    /// Takes a measurement; the oldest goes if there are too many.
    pub(super) fn push(&mut self, measured: T) {
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back(measured);
    }

    /// Their arithmetic mean: what the formulas for an optimum ask for.
    pub(super) fn mean(&self) -> Option<T> {
        let count = u32::try_from(self.0.len()).expect("eight at most");
        if count == 0 { None } else { Some(self.0.iter().copied().sum::<T>() / count) }
    }

    /// The greatest: what a bound has to reckon with.
    pub(super) fn worst(&self) -> Option<T> {
        self.0.iter().copied().max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_newest_eight_count() {
        let mut recent = Recent::<u32>::default();
        assert_eq!((recent.mean(), recent.worst()), (None, None));
        recent.push(1_000);
        assert_eq!((recent.mean(), recent.worst()), (Some(1_000), Some(1_000)));
        (1..=8).for_each(|x| recent.push(x * 10));
        assert_eq!((recent.mean(), recent.worst()), (Some(45), Some(80)), "the first is forgotten");
    }
}
