//! What a task knows of the checkpoints that a delta may build on.

use millstream_actors::protocol::CheckpointId;

use super::Stamp;

/// What a checkpoint holds of one key group: a whole section and the changes since, counted in entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct GroupChain {
    /// Entries of the whole section; 0 if there is none, and then no delta may follow.
    pub(super) whole: usize,
    /// Entries of all deltas.
    pub(super) changed: usize,
    /// Number of deltas.
    pub(super) deltas: u32,
}

/// How a group is written at a barrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plan {
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
    pub(super) fn plan(self, base: Stamp, keys: usize, changes: usize, in_parts: bool) -> Plan {
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
    pub(super) fn with_delta(self, changes: usize) -> Self {
        Self { changed: self.changed + changes, deltas: self.deltas + u32::from(changes > 0), ..self }
    }
}

/// A checkpoint in which the task took part, or that it was restored from.
#[derive(Debug)]
struct Epoch {
    checkpoint: CheckpointId,
    /// The last stamp that it has: E(n) for checkpoint n.
    closed: Stamp,
    /// For each group.
    chains: Vec<GroupChain>,
}

/// The checkpoints from the newest base on.
#[derive(Debug, Default)]
pub(super) struct Epochs(Vec<Epoch>);

impl Epochs {
    /// Checkpoints kept that have not become a base: one is in flight at a time, and some may have failed.
    const LEN_MAX: usize = 8;

    /// Whether no checkpoint can be a base.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Forgets what is older than `base`, and gives the stamp that it closed and its chains, if the task has it.
    pub(super) fn base(&mut self, base: CheckpointId) -> Option<(Stamp, &[GroupChain])> {
        self.0.retain(|epoch| epoch.checkpoint >= base);
        let epoch = self.0.first().filter(|epoch| epoch.checkpoint == base)?;
        Some((epoch.closed, &epoch.chains))
    }

    /// Adds a checkpoint, newer than all.
    pub(super) fn push(&mut self, checkpoint: CheckpointId, closed: Stamp, chains: Vec<GroupChain>) {
        if self.0.len() == Self::LEN_MAX {
            // The first may be the base; the others have probably failed. If not, the next snapshot is written in full.
            self.0.remove(1);
        }
        self.0.push(Epoch { checkpoint, closed, chains });
    }
}
