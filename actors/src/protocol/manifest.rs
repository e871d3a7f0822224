//! Manifests: what a completed checkpoint consists of, and what each subtask contributes to one.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{CheckpointId, Incarnation, OperatorId};

/// Which part of an operator's state a chunk holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum StateScope {
    /// State of one key group: restored by whoever owns the group.
    KeyGroup(u32),
    /// State of one subtask of the writing job: restored by all, each taking what it owns.
    Subtask(u32),
}

impl fmt::Display for StateScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeyGroup(group) => write!(f, "key group {group}"),
            Self::Subtask(index) => write!(f, "subtask {}", index + 1),
        }
    }
}

/// Where a chunk lives. Unique in the life of a store, because checkpoint ids are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ChunkAddress {
    /// The checkpoint for which it was written.
    pub checkpoint: CheckpointId,
    /// The operator.
    pub operator: OperatorId,
    /// The state's name.
    pub state: Arc<str>,
    /// Key group or subtask.
    pub scope: StateScope,
    /// Counts from 0; the bytes of a section are its chunks in this order.
    pub seq: u32,
}

/// A chunk as a manifest names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkRef {
    /// Where.
    pub address: ChunkAddress,
    /// Length in bytes.
    pub len: u32,
    /// xxh3-64 of the bytes.
    pub checksum: u64,
}

/// How long the parts of a checkpoint took, in milliseconds; 0 where it was not measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointDurations {
    /// From the trigger until all had acknowledged: all but the commit of the manifest, of which this is part.
    pub took_ms: u32,
    /// The longest time for which a subtask waited for barriers after its first.
    pub alignment_ms: u32,
    /// The longest time a subtask took to write its snapshot.
    pub capture_ms: u32,
}

/// What a completed checkpoint consists of. Its durable commit *is* the completion.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The checkpoint.
    pub checkpoint: CheckpointId,
    /// The job it belongs to.
    pub job: String,
    /// The life of the process that wrote it.
    pub incarnation: Incarnation,
    /// Wall clock at the trigger, Unix milliseconds.
    pub triggered_unix_ms: u64,
    /// Key groups of the job: fixed at its first checkpoint.
    pub max_parallelism: u32,
    /// Whether every source had ended: the job is complete but for its sinks' commits.
    pub is_final: bool,
    /// How long its parts took.
    pub durations: CheckpointDurations,
    /// Every chunk, sorted by address.
    pub chunks: Vec<ChunkRef>,
}

impl Manifest {
    /// Bytes of state in all.
    pub fn state_bytes(&self) -> u64 {
        self.chunks.iter().map(|chunk| u64::from(chunk.len)).sum()
    }

    /// Bytes of state of each operator that has any.
    pub fn state_bytes_of_operators(&self) -> BTreeMap<OperatorId, u64> {
        let mut operators = BTreeMap::new();
        for chunk in &self.chunks {
            match operators.get_mut(&chunk.address.operator) {
                Some(bytes) => *bytes += u64::from(chunk.len),
                None => drop(operators.insert(chunk.address.operator.clone(), u64::from(chunk.len))),
            }
        }
        operators
    }

    /// Bytes that were written for this checkpoint; the others it shares with older ones.
    pub fn written_bytes(&self) -> u64 {
        self.own_chunks().iter().map(|chunk| u64::from(chunk.len)).sum()
    }

    /// The chunks that were written for this checkpoint.
    pub fn own_chunks(&self) -> &[ChunkRef] {
        self.chunks_of(self.checkpoint)
    }

    /// The chunks that were written for `checkpoint`.
    pub fn chunks_of(&self, checkpoint: CheckpointId) -> &[ChunkRef] {
        let start = self.chunks.partition_point(|chunk| chunk.address.checkpoint < checkpoint);
        let end = self.chunks.partition_point(|chunk| chunk.address.checkpoint <= checkpoint);
        &self.chunks[start..end]
    }

    /// The chunk at `address`, if it is named.
    pub fn chunk_at(&self, address: &ChunkAddress) -> Option<&ChunkRef> {
        let at = self.chunks.binary_search_by(|chunk| chunk.address.cmp(address)).ok()?;
        Some(&self.chunks[at])
    }

    /// A manifest of a test, which names nothing.
    #[cfg(test)]
    pub(crate) fn empty(checkpoint: u64) -> Self {
        Self {
            checkpoint: CheckpointId(checkpoint),
            job: "job".to_owned(),
            incarnation: Incarnation(1),
            triggered_unix_ms: 0,
            max_parallelism: 8,
            is_final: false,
            durations: CheckpointDurations::default(),
            chunks: Vec::new(),
        }
    }
}

/// Sections of one state that go on from the base checkpoint: what this one writes of them is a delta, or nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CarriedState {
    /// The operator.
    pub operator: OperatorId,
    /// The state.
    pub state: Arc<str>,
    /// Its key groups, ascending.
    pub groups: Vec<u32>,
}

/// What a subtask contributes to a checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contribution {
    /// The chunks that it wrote.
    pub chunks: Vec<ChunkRef>,
    /// What goes on from the base: the checkpoint consists of the base's chunks of these, too.
    pub carried: Vec<CarriedState>,
}

impl Contribution {
    /// Bytes of the chunks that it wrote.
    pub fn written_bytes(&self) -> u64 {
        self.chunks.iter().map(|chunk| u64::from(chunk.len)).sum()
    }

    /// The chunks of a checkpoint with these contributions over `base`, sorted by address.
    ///
    /// # Panics
    /// If something goes on from a base and there is none: a bug of an operator.
    pub fn compose(written: Vec<Self>, base: Option<&Manifest>) -> Vec<ChunkRef> {
        let mut carried: HashMap<(&OperatorId, &str), HashSet<u32>> = HashMap::new();
        for CarriedState { operator, state, groups } in written.iter().flat_map(|written| &written.carried) {
            carried.entry((operator, state)).or_default().extend(groups);
        }
        assert!(carried.is_empty() || base.is_some(), "a delta over no checkpoint: {carried:?}");
        let goes_on = |chunk: &&ChunkRef| {
            let StateScope::KeyGroup(group) = chunk.address.scope else { return false };
            let of_state = carried.get(&(&chunk.address.operator, &*chunk.address.state));
            of_state.is_some_and(|groups| groups.contains(&group))
        };
        let from_base = base.iter().flat_map(|base| &base.chunks).filter(goes_on);
        let own = written.iter().flat_map(|written| &written.chunks);
        let mut chunks: Vec<ChunkRef> = from_base.chain(own).cloned().collect();
        chunks.sort_by(|a, b| a.address.cmp(&b.address));
        chunks
    }
}
