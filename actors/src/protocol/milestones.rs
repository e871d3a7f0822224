//! Milestones: by which it is known that records have been taken.

/// A number that sources are asked to send behind what they have read. Whoever has a milestone on all of its inputs has taken all that
/// the sources had read when it was asked for. Milestones of a job increase, and a later one stands for those before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Milestone(pub u64);

impl Milestone {
    /// None was passed.
    pub const NONE: Self = Self(0);
    /// All are passed: the input has ended.
    pub const END: Self = Self(u64::MAX);
}

/// The milestone of a task: the least of its inputs that have not ended. No input waits for another one: records behind a milestone may be
/// taken before it has come on all.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MilestoneMerge {
    inputs: Vec<Milestone>,
    merged: Milestone,
}

impl MilestoneMerge {
    /// A merge over this many inputs, none of which has passed one.
    pub fn new(inputs: usize) -> Self {
        Self { inputs: vec![Milestone::NONE; inputs], merged: Milestone::NONE }
    }

    /// A milestone has come on an input. That of the task, if it has come to a later one.
    pub fn milestone(&mut self, input: usize, milestone: Milestone) -> Option<Milestone> {
        self.inputs[input] = self.inputs[input].max(milestone);
        self.advance()
    }

    /// An input has ended: it is not waited for. That of the task, if it has come to a later one; none once all have ended, as the end
    /// says more.
    pub fn end(&mut self, input: usize) -> Option<Milestone> {
        self.milestone(input, Milestone::END)
    }

    fn advance(&mut self) -> Option<Milestone> {
        let least = self.inputs.iter().copied().min().filter(|least| *least < Milestone::END)?;
        (least > self.merged).then(|| {
            self.merged = least;
            least
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milestone_of_a_task_is_the_least_of_its_inputs() {
        let mut merge = MilestoneMerge::new(2);
        assert_eq!(merge.milestone(0, Milestone(4)), None);
        assert_eq!(merge.milestone(1, Milestone(2)), Some(Milestone(2)));
        assert_eq!(merge.milestone(1, Milestone(1)), None, "never back");
        assert_eq!(merge.milestone(1, Milestone(7)), Some(Milestone(4)));
    }

    #[test]
    fn input_that_has_ended_is_not_waited_for_and_the_last_end_is_no_milestone() {
        let mut merge = MilestoneMerge::new(3);
        assert_eq!(merge.milestone(0, Milestone(4)), None);
        assert_eq!(merge.end(1), None);
        assert_eq!(merge.end(2), Some(Milestone(4)));
        assert_eq!(merge.milestone(0, Milestone(5)), Some(Milestone(5)));
        assert_eq!(merge.end(0), None);
    }
}
