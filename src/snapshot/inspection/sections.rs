//! The chunks of a checkpoint, put in order by what they hold.

use std::collections::BTreeMap;
use std::sync::Arc;

use millstream_actors::contract::{ChunkRef, Manifest, SnapshotError, StateScope};
use millstream_actors::protocol::{CheckpointId, OperatorId};

use super::Inspection;

/// A state of an operator.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct StateId {
    /// The operator.
    pub(crate) operator: OperatorId,
    /// The state's name.
    pub(crate) state: Arc<str>,
}

/// One state of one key group or subtask, as one checkpoint wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Section {
    /// The checkpoint that wrote it.
    pub(crate) checkpoint: CheckpointId,
    /// Its chunks, in order.
    pub(crate) chunks: Vec<ChunkRef>,
}

/// The states of a checkpoint, and of each the sections by key group or subtask: the whole one first, then the changes
/// since, in the order of their checkpoints.
pub(crate) type Sections = BTreeMap<StateId, BTreeMap<StateScope, Vec<Section>>>;

/// What `manifest` names.
pub(crate) fn sections_of(manifest: &Manifest) -> Sections {
    let mut sections = Sections::new();
    // They are sorted by checkpoint first, and by sequence number last.
    for chunk in &manifest.chunks {
        let address = &chunk.address;
        let id = StateId { operator: address.operator.clone(), state: address.state.clone() };
        let chain = sections.entry(id).or_default().entry(address.scope).or_default();
        match chain.last_mut() {
            Some(section) if section.checkpoint == address.checkpoint => section.chunks.push(chunk.clone()),
            _ => chain.push(Section { checkpoint: address.checkpoint, chunks: vec![chunk.clone()] }),
        }
    }
    sections
}

impl Section {
    /// Bytes in all.
    pub(crate) fn bytes(&self) -> u64 {
        self.chunks.iter().map(|chunk| u64::from(chunk.len)).sum()
    }

    /// Whether its chunks are counted from 0 without a gap.
    pub(crate) fn is_gapless(&self) -> bool {
        self.chunks.iter().zip(0..).all(|(chunk, seq)| chunk.address.seq == seq)
    }

    /// Reads and verifies it.
    ///
    /// # Errors
    /// As [`Inspection::read_chunk`].
    pub(crate) fn read(&self, store: &Inspection) -> Result<Vec<u8>, SnapshotError> {
        let mut bytes = Vec::with_capacity(self.bytes() as usize);
        for chunk in &self.chunks {
            bytes.extend_from_slice(&store.read_chunk(chunk)?);
        }
        Ok(bytes)
    }
}
