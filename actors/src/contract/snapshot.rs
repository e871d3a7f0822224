//! How operators write their state at a barrier, and read it back.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::io;
use std::sync::Arc;

use super::{CHUNK_BYTES_MAX, Chunk, ChunkAddress, StateScope};
use crate::protocol::{CheckpointId, Fault, OperatorId};

/// Takes the state of one subtask for one checkpoint, section by section, and cuts it into chunks.
#[derive(Debug)]
pub struct SnapshotWriter {
    checkpoint: CheckpointId,
    base: CheckpointId,
    subtask_index: u32,
    operator: OperatorId,
    section: Option<ChunkAddress>,
    open: Vec<u8>,
    chunks: Vec<Chunk>,
}

impl SnapshotWriter {
    /// A writer for `checkpoint` of the subtask with this index. `base` is the newest completed checkpoint.
    pub fn new(checkpoint: CheckpointId, base: CheckpointId, subtask_index: u32) -> Self {
        Self {
            checkpoint,
            base,
            subtask_index,
            operator: OperatorId::from(""),
            section: None,
            open: Vec::new(),
            chunks: Vec::new(),
        }
    }

    /// The checkpoint.
    pub fn checkpoint(&self) -> CheckpointId {
        self.checkpoint
    }

    /// The newest completed checkpoint when the barrier was sent.
    pub fn base(&self) -> CheckpointId {
        self.base
    }

    /// Sets whose state the following sections are. The engine calls this before each operator.
    pub fn set_operator(&mut self, operator: &OperatorId) {
        self.close_section();
        self.operator = operator.clone();
    }

    /// Starts a section with the state called `state` of key group `group`; what is written next belongs to it.
    pub fn key_group(&mut self, state: &Arc<str>, group: u32) -> &mut Self {
        self.start_section(state.clone(), StateScope::KeyGroup(group))
    }

    /// Starts a section with the state called `state` of this subtask.
    pub fn subtask(&mut self, state: &Arc<str>) -> &mut Self {
        self.start_section(state.clone(), StateScope::Subtask(self.subtask_index))
    }

    /// Appends bytes to the current section.
    ///
    /// # Panics
    /// If no section was started.
    pub fn put(&mut self, mut bytes: &[u8]) {
        assert!(self.section.is_some(), "state written outside a section");
        while !bytes.is_empty() {
            let room = CHUNK_BYTES_MAX - self.open.len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.open.extend_from_slice(now);
            if self.open.len() == CHUNK_BYTES_MAX {
                self.seal_chunk();
            }
            bytes = later;
        }
    }

    /// The chunks of all sections.
    pub fn finish(mut self) -> Vec<Chunk> {
        self.close_section();
        self.chunks
    }

    fn start_section(&mut self, state: Arc<str>, scope: StateScope) -> &mut Self {
        self.close_section();
        self.section =
            Some(ChunkAddress { checkpoint: self.checkpoint, operator: self.operator.clone(), state, scope, seq: 0 });
        self
    }

    fn seal_chunk(&mut self) {
        let address = self.section.as_mut().expect("checked by the callers");
        self.chunks.push(Chunk::seal(address.clone(), std::mem::take(&mut self.open)));
        address.seq += 1;
    }

    /// A section that holds no byte still gets a chunk: that it exists is information.
    fn close_section(&mut self) {
        if self.section.as_ref().is_some_and(|address| address.seq == 0 || !self.open.is_empty()) {
            self.seal_chunk();
        }
        self.section = None;
    }
}

impl io::Write for SnapshotWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.put(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One section of a snapshot, as read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoredSection {
    /// The state's name.
    pub state: Arc<str>,
    /// Key group, or the subtask that wrote it.
    pub scope: StateScope,
    /// All bytes of the section.
    pub bytes: Vec<u8>,
}

/// What a subtask gets back at restore: the sections of its key groups, and every subtask's sections of its operators.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RestoredState {
    sections: BTreeMap<OperatorId, Vec<RestoredSection>>,
}

impl RestoredState {
    /// Puts chunks together again. They are expected sorted by address, each with its bytes.
    pub fn from_chunks(chunks: impl IntoIterator<Item = (ChunkAddress, Vec<u8>)>) -> Self {
        let mut sections: BTreeMap<OperatorId, Vec<RestoredSection>> = BTreeMap::new();
        for (address, bytes) in chunks {
            let of_operator = sections.entry(address.operator).or_default();
            match of_operator.last_mut() {
                Some(last) if address.seq > 0 && last.state == address.state && last.scope == address.scope => {
                    last.bytes.extend_from_slice(&bytes);
                }
                _ => of_operator.push(RestoredSection { state: address.state, scope: address.scope, bytes }),
            }
        }
        Self { sections }
    }

    /// The sections of one operator, which are then no longer here.
    pub fn take(&mut self, operator: &OperatorId) -> Vec<RestoredSection> {
        self.sections.remove(operator).unwrap_or_default()
    }
}

/// Why state could not be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// A value's serializer gave up.
    #[error("operator '{operator}', state '{state}', {scope}: cannot encode: {reason}")]
    Encode {
        /// The operator.
        operator: OperatorId,
        /// The state.
        state: Arc<str>,
        /// Key group or subtask.
        scope: StateScope,
        /// What the serializer said.
        reason: String,
    },
    /// Stored bytes are not what the type expects: it has changed shape since, or its deserializer is wrong.
    #[error(
        "operator '{operator}', state '{state}' (version {version}), {scope}: cannot decode: {reason}; the stored bytes are undamaged, so the type or its deserializer has changed: give new fields a serde default, or start without this checkpoint"
    )]
    Decode {
        /// The operator.
        operator: OperatorId,
        /// The state.
        state: Arc<str>,
        /// Key group or subtask.
        scope: StateScope,
        /// The version of the state's encoding.
        version: u32,
        /// What the deserializer said.
        reason: String,
    },
    /// The stored state was declared otherwise.
    #[error("operator '{operator}': {reason}")]
    Mismatch {
        /// The operator.
        operator: OperatorId,
        /// What does not match.
        reason: String,
    },
    /// A keyed operator met a key outside its key groups: the key selector is not pure.
    #[error(
        "operator '{operator}': a key of group {group} reached the subtask that owns groups {start}..{end}; the key selector must give the same key for the same record every time"
    )]
    ForeignKey {
        /// The operator.
        operator: OperatorId,
        /// The key's group.
        group: u32,
        /// First group of the subtask.
        start: u32,
        /// One past its last.
        end: u32,
    },
    /// Something else, from an operator outside this crate.
    #[error(transparent)]
    Other(Box<dyn StdError + Send + Sync>),
}

impl StateError {
    /// Whether doing the same again may succeed.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Encode { .. } | Self::Other(_))
    }

    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        Fault::User
    }
}
