//! What schedules have tried.

#[derive(Debug, Default)]
pub(super) struct Figures {
    pub(super) fired: u64,
    pub(super) walked: u64,
    pub(super) completed: u64,
    pub(super) restores: u64,
    pub(super) aborted: u64,
    pub(super) visited: u64,
    pub(super) queried: u64,
    pub(super) cleaned: u64,
    pub(super) deletions: u64,
}

impl Figures {
    pub(super) fn add(&mut self, other: &Self) {
        let Self { fired, walked, completed, restores, aborted, visited, queried, cleaned, deletions } = other;
        self.fired += fired;
        self.walked += walked;
        self.completed += completed;
        self.restores += restores;
        self.aborted += aborted;
        self.visited += visited;
        self.queried += queried;
        self.cleaned += cleaned;
        self.deletions += deletions;
    }

    /// Whether all that can come between two timers has come a few times.
    pub(super) fn has_all(&self) -> bool {
        let Self { fired, walked: _, completed, restores, aborted, visited, queried, cleaned, deletions } = *self;
        fired > 500 && [completed, restores, aborted, visited, queried, cleaned, deletions].iter().all(|of| *of > 4)
    }
}
