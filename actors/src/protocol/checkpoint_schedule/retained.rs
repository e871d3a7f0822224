//! The checkpoints that the store retains, and which of them a region restores.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{NoRestore, RestoreDecision};
use crate::protocol::{CheckpointId, Manifest, RegionId};

#[derive(Debug)]
pub(super) struct Retained {
    /// The newest last.
    manifests: Vec<Arc<Manifest>>,
    /// Completed once, and abandoned since the newest one completed.
    abandoned: BTreeSet<CheckpointId>,
}

/// What to do about a region that asks for a checkpoint.
pub(super) enum RestoreChoice {
    Answer(RestoreDecision),
    /// These newer checkpoints must be marked abandoned first; then the choice is made again.
    Abandon {
        above: CheckpointId,
        completed: Vec<CheckpointId>,
    },
}

impl Retained {
    /// Nothing is known to be retained yet.
    pub(super) fn unknown(abandoned: BTreeSet<CheckpointId>) -> Self {
        Self { manifests: Vec::new(), abandoned }
    }

    /// The store has told what it retains.
    pub(super) fn replace(&mut self, manifests: Vec<Arc<Manifest>>) {
        self.manifests = manifests;
    }

    /// The newest becomes this one, and only the newest `retained` are kept.
    pub(super) fn add(&mut self, manifest: Arc<Manifest>, retained: usize) {
        self.manifests.push(manifest);
        let excess = self.manifests.len().saturating_sub(retained);
        self.manifests.drain(..excess);
    }

    pub(super) fn newest(&self) -> Option<&Arc<Manifest>> {
        self.manifests.last()
    }

    /// [`CheckpointId::NONE`] if there is none.
    pub(super) fn newest_id(&self) -> CheckpointId {
        self.newest().map_or(CheckpointId::NONE, |manifest| manifest.checkpoint)
    }

    /// A checkpoint has completed: the output of those abandoned before it need not be withdrawn any more.
    pub(super) fn forget_abandoned(&mut self) {
        self.abandoned.clear();
    }

    /// Whether there is such output.
    pub(super) fn has_abandoned(&self) -> bool {
        !self.abandoned.is_empty()
    }

    /// Completed checkpoints will be marked abandoned.
    pub(super) fn abandon(&mut self, completed: impl IntoIterator<Item = CheckpointId>) {
        self.abandoned.extend(completed);
    }

    pub(super) fn remove_above(&mut self, checkpoint: CheckpointId) {
        self.manifests.retain(|manifest| manifest.checkpoint <= checkpoint);
    }

    /// What a region restores: the newest checkpoint, or the newest that is older than the `damaged` one. `origin` is
    /// the savepoint that the job began with. With `may_fall_back` an older checkpoint keeps the output right, or
    /// repeats are accepted. Not one from before `parked` was parked, whose sinks withdraw nothing.
    pub(super) fn choose(
        &self,
        damaged: Option<CheckpointId>,
        origin: Option<&Arc<Manifest>>,
        may_fall_back: bool,
        parked: Option<(RegionId, CheckpointId)>,
    ) -> RestoreChoice {
        let older = |manifest: &&Arc<Manifest>| damaged.is_none_or(|damaged| manifest.checkpoint < damaged);
        let chosen = self.manifests.iter().rev().find(older).or(origin.filter(older));
        let falls_back = damaged.is_some() && self.newest().is_some_and(|newest| !older(&newest));
        RestoreChoice::Answer(match chosen {
            None if damaged.is_some() => RestoreDecision::Refused(NoRestore::NoOlder),
            Some(_) if falls_back && !may_fall_back => {
                let older = self.manifests.iter().filter(older).map(|manifest| manifest.checkpoint).collect();
                RestoreDecision::Refused(NoRestore::WouldRepeat { older })
            }
            Some(chosen)
                if falls_back
                    && let Some((region, from)) = parked
                    && chosen.checkpoint < from =>
            {
                RestoreDecision::Refused(NoRestore::Parked { region, from })
            }
            Some(chosen) if chosen.checkpoint < self.newest_id() => {
                let above = chosen.checkpoint;
                let completed = self.manifests.iter().map(|manifest| manifest.checkpoint).filter(|id| *id > above);
                return RestoreChoice::Abandon { above, completed: completed.collect() };
            }
            chosen => {
                let withdraw = self.abandoned.iter().copied().collect();
                RestoreDecision::From { manifest: chosen.cloned(), withdraw }
            }
        })
    }
}
