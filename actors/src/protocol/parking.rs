//! Regions that are parked: what a checkpoint holds of them, and by which checkpoint they are known afterwards.

use std::collections::{BTreeMap, BTreeSet};

use super::{CheckpointId, ChunkRef, Manifest, OperatorId, RegionId};

/// The operators of each region, under all ids that the state of an operator may be stored under.
pub(crate) type RegionOperators = BTreeMap<RegionId, BTreeSet<OperatorId>>;

/// The regions that are parked while a checkpoint is taken: it has of them what its base has.
#[derive(Clone, Debug, Default)]
pub(crate) struct ParkedSections {
    operators: BTreeSet<OperatorId>,
    any: bool,
}

impl ParkedSections {
    /// Of these regions.
    pub(crate) fn of<'a>(parked: impl Iterator<Item = &'a RegionId>, operators: &RegionOperators) -> Self {
        let mut of = Self::default();
        for region in parked {
            of.any = true;
            of.operators.extend(operators.get(region).into_iter().flatten().cloned());
        }
        of
    }

    /// Whether a region is parked: the job has not come to its end then, whatever the others say.
    pub(crate) fn any(&self) -> bool {
        self.any
    }

    /// Adds to the chunks of a checkpoint, sorted by address, what it has of the parked regions.
    pub(crate) fn carry(&self, base: Option<&Manifest>, chunks: &mut Vec<ChunkRef>) {
        if self.operators.is_empty() {
            return;
        }
        let of_base = base.into_iter().flat_map(|base| &base.chunks);
        let before = chunks.len();
        chunks.extend(of_base.filter(|chunk| self.operators.contains(&chunk.address.operator)).cloned());
        if chunks.len() > before {
            chunks.sort_by(|a, b| a.address.cmp(&b.address));
        }
    }
}

/// Checkpoints in which a region took no part, as it was parked: what they have of it is as in an older one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CarriedOver {
    /// The newest before it was parked, if there was one.
    pub(crate) from: Option<CheckpointId>,
    /// The newest in which it took no part.
    pub(crate) to: Option<CheckpointId>,
}

impl CarriedOver {
    /// The checkpoint in which the region has taken part and that has of it what this one has.
    pub(crate) fn known_as(self, checkpoint: Option<CheckpointId>) -> Option<CheckpointId> {
        if (self.from..=self.to).contains(&checkpoint) { self.from } else { checkpoint }
    }

    /// As [`known_as`](Self::known_as), if there is any.
    pub(crate) fn known_by(carried: Option<Self>, checkpoint: Option<CheckpointId>) -> Option<CheckpointId> {
        carried.map_or(checkpoint, |carried| carried.known_as(checkpoint))
    }

    /// This one, after another that it follows.
    pub(crate) fn after(self, earlier: Option<Self>) -> Self {
        // Parked again before it took part in a checkpoint: it is where it was.
        Self { from: Self::known_by(earlier, self.from), ..self }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::protocol::{ChunkAddress, StateScope};

    fn chunk(checkpoint: u64, operator: &str) -> ChunkRef {
        let (operator, state, scope): (_, Arc<str>, _) = (operator.into(), "s".into(), StateScope::Subtask(0));
        let address = ChunkAddress { checkpoint: CheckpointId(checkpoint), operator, state, scope, seq: 0 };
        ChunkRef { address, len: 1, checksum: 1 }
    }

    #[test]
    fn checkpoint_has_of_parked_regions_what_its_base_has_and_of_others_nothing() {
        let operators = RegionOperators::from([
            (RegionId(0), BTreeSet::from(["a".into()])),
            (RegionId(1), BTreeSet::from(["b".into(), "b-of-old".into()])),
        ]);
        let base = Manifest {
            chunks: vec![chunk(3, "b-of-old"), chunk(4, "a"), chunk(4, "b"), chunk(4, "gone")],
            ..Manifest::empty(4)
        };
        let mut chunks = vec![chunk(5, "a")];
        ParkedSections::of([RegionId(1)].iter(), &operators).carry(Some(&base), &mut chunks);
        assert_eq!(chunks, [chunk(3, "b-of-old"), chunk(4, "b"), chunk(5, "a")]);

        let none = ParkedSections::of([].iter(), &operators);
        none.carry(Some(&base), &mut chunks);
        assert_eq!((chunks.len(), none.any()), (3, false));
        ParkedSections::of([RegionId(1)].iter(), &operators).carry(None, &mut chunks);
        assert_eq!(chunks.len(), 3, "a region that is parked before the first checkpoint has nothing in one");
    }

    #[test]
    fn checkpoints_without_a_region_are_known_by_the_one_that_it_is_in() {
        let id = |id| Some(CheckpointId(id));
        let carried = CarriedOver { from: id(4), to: id(9) };
        assert_eq!([3, 4, 7, 9, 10].map(|at| carried.known_as(id(at))), [id(3), id(4), id(4), id(4), id(10)]);
        let again = CarriedOver { from: id(9), to: id(12) }.after(Some(carried));
        assert_eq!(again, CarriedOver { from: id(4), to: id(12) });
        let later = CarriedOver { from: id(11), to: id(12) }.after(Some(carried));
        assert_eq!(later, CarriedOver { from: id(11), to: id(12) });
        let from_the_beginning = CarriedOver { from: None, to: id(2) };
        assert_eq!([None, id(1), id(3)].map(|at| from_the_beginning.known_as(at)), [None, None, id(3)]);
    }
}
