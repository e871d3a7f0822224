//! How each key group is written at a barrier: as changes over the base, or in full.

use crate::state::Stamp;

/// What a checkpoint holds of one key group: a whole section and the changes since, counted in entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::state) struct GroupChain {
    /// Entries of the whole section; 0 if there is none, and then no delta may follow.
    pub(in crate::state) whole: usize,
    /// Entries of all deltas.
    pub(in crate::state) changed: usize,
    /// Number of deltas.
    pub(in crate::state) deltas: u32,
}

/// How a group is written at a barrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plan {
    /// As a delta over the base, which closed this stamp.
    Delta(Stamp),
    /// As a delta, though writing it in full would shorten a long chain.
    Compactable(Stamp),
    /// In full.
    Full,
}

impl GroupChain {
    /// More deltas than that are compacted: each is a read at a restore and a line of every manifest.
    const DELTAS_MAX: u32 = 64;

    /// How a group of `keys` with this chain and `changes` since is written; `base` is the stamp that the base closed.
    /// `in_parts`: of a value that has changed only a part may be written.
    fn plan(self, base: Stamp, keys: usize, changes: usize, in_parts: bool) -> Plan {
        if self.whole == 0 {
            return Plan::Full;
        }
        if changes == 0 {
            return Plan::Delta(base);
        }
        if changes >= keys / 4 * 3 && !in_parts {
            return Plan::Full;
        }
        if self.changed + changes > self.whole || self.deltas >= Self::DELTAS_MAX {
            return Plan::Compactable(base);
        }
        Plan::Delta(base)
    }

    /// The chain after a delta with `changes`.
    pub(in crate::state) fn with_delta(self, changes: usize) -> Self {
        Self { changed: self.changed + changes, deltas: self.deltas + u32::from(changes > 0), ..self }
    }
}

/// A key group at a barrier.
#[derive(Clone, Copy, Debug)]
pub(in crate::state) struct GroupAtBarrier {
    /// Keys, with those that were removed and are still marked.
    pub(in crate::state) keys: usize,
    /// Keys that have state.
    pub(in crate::state) live: usize,
    /// At least as many have changed since the base.
    pub(in crate::state) changes: usize,
    /// A delta would lack something.
    pub(in crate::state) is_whole: bool,
}

/// How the groups of a table are written at a barrier.
#[derive(Debug, Default)]
pub(in crate::state) struct BarrierPlan {
    /// For each group, the stamp that its base closed; 0 if it is written in full.
    pub(in crate::state) after: Vec<Stamp>,
    /// What the checkpoint will hold of each.
    pub(in crate::state) chains: Vec<GroupChain>,
}

/// Which group is compacted next, so that all have their turn.
#[derive(Debug, Default)]
pub(in crate::state) struct Compaction {
    next: usize,
}

impl Compaction {
    /// At most one in so many entries that have not changed is written by it at a barrier.
    const SHARE: usize = 8;
    /// As many are always written. In tests few, so that chains grow long.
    const ENTRIES_MIN: usize = if cfg!(test) { 4 } else { 1024 };

    /// Decides for each group. `base` has the stamp that the base closed and its chains, if the task knows it.
    pub(in crate::state) fn plan(
        &mut self,
        base: Option<(Stamp, Vec<GroupChain>)>,
        groups: &[GroupAtBarrier],
        in_parts: bool,
    ) -> BarrierPlan {
        let (base, chains) = base.unwrap_or_default();
        let keys: usize = groups.iter().map(|group| group.keys).sum();
        let mut spare = (keys / Self::SHARE).max(Self::ENTRIES_MIN);
        let mut plan = BarrierPlan { after: vec![0; groups.len()], chains: vec![GroupChain::default(); groups.len()] };
        let first = self.next;
        for index in (0..groups.len()).map(|place| (first + place) % groups.len()) {
            let GroupAtBarrier { keys, live, changes, is_whole } = groups[index];
            let chain = chains.get(index).copied().unwrap_or_default();
            let unchanged = keys.saturating_sub(changes);
            let written = if base == 0 || is_whole { Plan::Full } else { chain.plan(base, keys, changes, in_parts) };
            match written {
                Plan::Full => plan.chains[index].whole = live,
                Plan::Compactable(_) if spare >= unchanged => {
                    spare -= unchanged;
                    self.next = index + 1;
                    plan.chains[index].whole = live;
                }
                Plan::Delta(stamp) | Plan::Compactable(stamp) => {
                    plan.after[index] = stamp;
                    plan.chains[index] = chain.with_delta(changes);
                }
            }
        }
        plan
    }
}

impl BarrierPlan {
    /// The groups that go on from the base, if the first has this number.
    pub(in crate::state) fn carried(&self, first: u32) -> Vec<u32> {
        (first..).zip(&self.after).filter(|(_, after)| **after > 0).map(|(group, _)| group).collect()
    }

    /// For each group, whether deltas may follow what is written of it now.
    pub(in crate::state) fn is_base(&self) -> Vec<bool> {
        self.chains.iter().map(|chain| chain.whole > 0).collect()
    }
}
