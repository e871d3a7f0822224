//! What a task knows of the checkpoints that a delta may build on.

use millstream_actors::protocol::CheckpointId;

use super::plan::GroupChain;
use crate::state::Stamp;

/// A checkpoint in which the task took part, or that it was restored from.
#[derive(Debug)]
struct KnownCheckpoint {
    checkpoint: CheckpointId,
    /// The last stamp that it has: E(n) for checkpoint n.
    closed: Stamp,
    /// For each group.
    chains: Vec<GroupChain>,
}

/// The checkpoints from the newest base on.
#[derive(Debug, Default)]
pub(super) struct KnownCheckpoints(Vec<KnownCheckpoint>);

impl KnownCheckpoints {
    /// Checkpoints kept that have not become a base: one is in flight at a time, and some may have failed.
    const LEN_MAX: usize = 8;

    /// Whether no checkpoint can be a base.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Forgets what is older than `base`, and gives the stamp that it closed and its chains, if the task has it.
    pub(super) fn base(&mut self, base: CheckpointId) -> Option<(Stamp, &[GroupChain])> {
        self.0.retain(|known| known.checkpoint >= base);
        let known = self.0.first().filter(|known| known.checkpoint == base)?;
        Some((known.closed, &known.chains))
    }

    /// Adds a checkpoint, newer than all.
    pub(super) fn push(&mut self, checkpoint: CheckpointId, closed: Stamp, chains: Vec<GroupChain>) {
        if self.0.len() == Self::LEN_MAX {
            // The first may be the base; the others have probably failed. If not, the next snapshot is written in full.
            self.0.remove(1);
        }
        self.0.push(KnownCheckpoint { checkpoint, closed, chains });
    }
}
