//! Key groups, as the engine knows them: numbers that move between subtasks when the parallelism changes.
//!
//! Which key belongs to which group is the language's business. The mapping of groups to subtasks is Flink's
//! (`KeyGroupRangeAssignment`): a subtask owns a contiguous range.

use std::ops::Range;

/// The key groups `[start, end)` that one subtask owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeyGroupRange {
    /// First group.
    pub start: u32,
    /// One past the last group.
    pub end: u32,
}

impl KeyGroupRange {
    /// The range of subtask `index` of `parallelism`, of `max_parallelism` groups in all.
    ///
    /// # Panics
    /// If `index >= parallelism`, or `parallelism` is 0 or above `max_parallelism`: the graph is checked for this.
    pub fn of_subtask(index: u32, parallelism: u32, max_parallelism: u32) -> Self {
        assert!(
            parallelism > 0 && parallelism <= max_parallelism && index < parallelism,
            "subtask {index} of {parallelism}, max parallelism {max_parallelism}"
        );
        let bound = |i: u32| (u64::from(i) * u64::from(max_parallelism)).div_ceil(u64::from(parallelism)) as u32;
        Self { start: bound(index), end: bound(index + 1) }
    }

    /// Whether the group lies in the range.
    pub fn contains(self, group: u32) -> bool {
        (self.start..self.end).contains(&group)
    }

    /// The groups in order.
    pub fn iter(self) -> Range<u32> {
        self.start..self.end
    }

    /// How many groups.
    pub fn len(self) -> usize {
        (self.end - self.start) as usize
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.start == self.end
    }
}

/// The subtask that owns `group`: `floor(group * parallelism / max_parallelism)`.
pub fn subtask_of_group(group: u32, parallelism: u32, max_parallelism: u32) -> u32 {
    (u64::from(group) * u64::from(parallelism) / u64::from(max_parallelism)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_and_owner_agree_at_every_parallelism() {
        for max in [1, 2, 7, 128, 1000] {
            for parallelism in 1..=max.min(130) {
                let mut next = 0;
                for index in 0..parallelism {
                    let range = KeyGroupRange::of_subtask(index, parallelism, max);
                    assert_eq!(range.start, next, "contiguous");
                    assert!(range.iter().all(|group| subtask_of_group(group, parallelism, max) == index));
                    next = range.end;
                }
                assert_eq!(next, max, "complete");
            }
        }
    }
}
