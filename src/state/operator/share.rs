//! What falls to which subtask.

use std::ops::Range;

/// One subtask of a number of subtasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// The subtask, below `parallelism`.
    pub subtask: u32,
    /// How many there are, at least 1.
    pub parallelism: u32,
}

impl Share {
    /// The part of `items` items that falls to the subtask: parts follow each other in the order of subtasks, and the
    /// first ones have one item more if the division leaves some over. Follows `splitPartition` of Flink's
    /// `RoundRobinOperatorStateRepartitioner`.
    pub(crate) fn of(self, items: u64) -> Range<u64> {
        let (subtask, parallelism) = (u64::from(self.subtask), u64::from(self.parallelism));
        let (each, over) = (items / parallelism, items % parallelism);
        let start = subtask * each + subtask.min(over);
        start..start + each + u64::from(subtask < over)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_follow_each_other_and_differ_by_one_item_at_most() {
        for parallelism in 1..20 {
            for items in 0..100 {
                let shares: Vec<_> = (0..parallelism).map(|subtask| Share { subtask, parallelism }.of(items)).collect();
                assert!(shares.iter().cloned().flatten().eq(0..items), "{shares:?}");
                let lens = shares.iter().map(|share| share.end - share.start);
                assert!(lens.clone().max().unwrap() - lens.min().unwrap() <= 1, "{shares:?}");
            }
        }
        assert_eq!(Share { subtask: 1, parallelism: 3 }.of(u64::MAX), u64::MAX / 3..u64::MAX / 3 * 2);
    }
}
