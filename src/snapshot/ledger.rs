//! What a store remembers beside chunks and manifests, and how each call changes it. Pure: the stores make a changed
//! copy durable before they go on with it.

use std::sync::Arc;

use millstream_actors::contract::{Manifest, StoreOpening};
use millstream_actors::protocol::{CheckpointId, Incarnation};

/// A retained checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Retained {
    pub(super) checkpoint: CheckpointId,
    /// Of the manifest's bytes: a manifest that is whole but not the one that was finalised is noticed.
    pub(super) checksum: u64,
}

/// The one row that says what a store holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ledger {
    /// `None` until a job first opens the store.
    pub(super) job: Option<String>,
    pub(super) incarnation: Incarnation,
    pub(super) reserved_up_to: CheckpointId,
    /// Ascending.
    pub(super) retained: Vec<Retained>,
    /// Ascending.
    pub(super) abandoned: Vec<CheckpointId>,
    /// Since when the job is paused, Unix milliseconds, if it is.
    pub(super) paused_since: Option<u64>,
}

impl Ledger {
    /// Gives the store to `job` and begins a life of it.
    ///
    /// # Errors
    /// The owner, if that is another job.
    pub(super) fn claim(&mut self, job: &str, incarnation_floor: Incarnation) -> Result<(), String> {
        match &self.job {
            Some(owner) if owner != job => return Err(owner.clone()),
            Some(_) => {}
            None => self.job = Some(job.to_owned()),
        }
        self.incarnation = Incarnation(self.incarnation.0 + 1).max(incarnation_floor);
        Ok(())
    }

    /// Retains `checkpoint`, forgets all but the newest `retain` (at least this one) and the abandoned. Answers what
    /// is no longer retained, ascending.
    ///
    /// # Panics
    /// If `checkpoint` is not above every completed one: ids were reused, or checkpoints completed out of order.
    pub(super) fn complete(&mut self, checkpoint: CheckpointId, checksum: u64, retain: usize) -> Vec<CheckpointId> {
        let newest = self.retained.last().map(|entry| entry.checkpoint).max(self.abandoned.last().copied());
        assert!(newest < Some(checkpoint), "checkpoint {checkpoint} completed after {newest:?}");
        self.retained.push(Retained { checkpoint, checksum });
        self.abandoned.clear();
        let surplus = self.retained.len().saturating_sub(retain.max(1));
        self.retained.drain(..surplus).map(|entry| entry.checkpoint).collect()
    }

    /// Retains `checkpoint`, which was copied from a store whose ids go up to `lost_up_to`.
    ///
    /// # Panics
    /// If one is retained, or `lost_up_to` is below `checkpoint`.
    pub(super) fn import(&mut self, checkpoint: CheckpointId, checksum: u64, lost_up_to: CheckpointId) {
        assert!(self.retained.is_empty(), "checkpoint {checkpoint} imported beside {:?}", self.retained);
        assert!(checkpoint <= lost_up_to, "checkpoint {checkpoint} imported, ids up to {lost_up_to} lost");
        self.retained.push(Retained { checkpoint, checksum });
        self.reserved_up_to = self.reserved_up_to.max(lost_up_to);
        if lost_up_to > checkpoint && !self.abandoned.contains(&lost_up_to) {
            self.abandoned.push(lost_up_to);
            self.abandoned.sort_unstable();
        }
    }

    /// Moves the retained checkpoints above `checkpoint` to the abandoned ones and answers them, ascending.
    pub(super) fn abandon_above(&mut self, checkpoint: CheckpointId) -> Vec<CheckpointId> {
        let kept = self.retained.partition_point(|entry| entry.checkpoint <= checkpoint);
        let dropped: Vec<CheckpointId> = self.retained.drain(kept..).map(|entry| entry.checkpoint).collect();
        self.abandoned.extend_from_slice(&dropped);
        self.abandoned.sort_unstable();
        dropped
    }

    /// The newest retained checkpoint, if `later`, a later state of this ledger, has forgotten it without a newer one.
    pub(super) fn lost_in(&self, later: &Self) -> Option<CheckpointId> {
        let newest = self.retained.last()?.checkpoint;
        let is_kept = later.retained.last().is_some_and(|entry| entry.checkpoint >= newest);
        (!is_kept && !later.abandoned.contains(&newest)).then_some(newest)
    }

    /// The ids of the retained checkpoints.
    pub(super) fn retained_ids(&self) -> Vec<CheckpointId> {
        self.retained.iter().map(|entry| entry.checkpoint).collect()
    }

    /// What a starting job is told.
    pub(super) fn opening(&self, retained: Vec<Arc<Manifest>>) -> StoreOpening {
        StoreOpening {
            incarnation: self.incarnation,
            reserved_up_to: self.reserved_up_to,
            retained,
            abandoned: self.abandoned.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(ids: &[u64]) -> Vec<CheckpointId> {
        ids.iter().copied().map(CheckpointId).collect()
    }

    #[test]
    fn checkpoint_that_is_neither_retained_nor_abandoned_nor_superseded_is_lost() {
        let mut before = Ledger::default();
        before.complete(CheckpointId(3), 0, 3);
        let mut known = before.clone();
        known.complete(CheckpointId(4), 0, 3);
        assert_eq!(known.lost_in(&before), Some(CheckpointId(4)));
        assert_eq!(known.lost_in(&Ledger::default()), Some(CheckpointId(4)));
        assert_eq!(before.lost_in(&known), None);
        let mut later = known.clone();
        later.abandon_above(CheckpointId(3));
        assert_eq!(known.lost_in(&later), None);
        known.complete(CheckpointId(5), 0, 1);
        assert_eq!(later.lost_in(&known), None);
        assert_eq!(Ledger::default().lost_in(&later), None);
    }

    #[test]
    fn completed_beyond_the_limit_expire_oldest_first() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.complete(CheckpointId(1), 0, 2), ids(&[]));
        assert_eq!(ledger.complete(CheckpointId(4), 0, 2), ids(&[]));
        assert_eq!(ledger.complete(CheckpointId(5), 0, 2), ids(&[1]));
        assert_eq!(ledger.complete(CheckpointId(6), 0, 1), ids(&[4, 5]));
        assert_eq!(ledger.complete(CheckpointId(7), 0, 0), ids(&[6]));
        assert_eq!(ledger.retained_ids(), ids(&[7]));
    }

    #[test]
    fn abandoned_gather_until_a_checkpoint_completes() {
        let mut ledger = Ledger::default();
        for id in 1..=4 {
            ledger.complete(CheckpointId(id), 0, 9);
        }
        assert_eq!(ledger.abandon_above(CheckpointId(3)), ids(&[4]));
        assert_eq!(ledger.abandon_above(CheckpointId(1)), ids(&[2, 3]));
        assert_eq!(ledger.abandon_above(CheckpointId(1)), ids(&[]));
        assert_eq!(ledger.abandoned, ids(&[2, 3, 4]));
        ledger.complete(CheckpointId(5), 0, 9);
        assert_eq!(ledger.abandoned, ids(&[]));
    }

    #[test]
    #[should_panic(expected = "checkpoint 4 completed after")]
    fn id_of_an_abandoned_checkpoint_does_not_complete_again() {
        let mut ledger = Ledger::default();
        ledger.complete(CheckpointId(4), 0, 9);
        ledger.abandon_above(CheckpointId(3));
        ledger.complete(CheckpointId(4), 0, 9);
    }

    #[test]
    fn incarnation_rises_with_each_claim_and_to_the_floor() {
        let mut ledger = Ledger::default();
        ledger.claim("job", Incarnation(100)).unwrap();
        assert_eq!(ledger.incarnation, Incarnation(100));
        ledger.claim("job", Incarnation(7)).unwrap();
        assert_eq!(ledger.incarnation, Incarnation(101));
        assert_eq!(ledger.claim("other", Incarnation(500)), Err("job".to_owned()));
        assert_eq!(ledger.incarnation, Incarnation(101));
    }
}
