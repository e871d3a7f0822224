//! How operators write their state at a barrier, and read it back.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::sync::Arc;

use super::{CHUNK_BYTES_MAX, Chunk};
use crate::protocol::{CarriedState, CheckpointId, ChunkAddress, Contribution, OperatorId, StateError, StateScope};

/// Buffers kept for what is written next: 32 MiB of them.
pub(crate) const SPARE_BUFFERS_MAX: usize = 128;

/// Takes the state of one subtask for one checkpoint, section by section, and cuts it into chunks.
#[derive(Debug)]
pub struct SectionWriter {
    checkpoint: CheckpointId,
    base: CheckpointId,
    subtask_index: u32,
    operator: OperatorId,
    section: Option<ChunkAddress>,
    open: Vec<u8>,
    /// How many chunks a section has that is written in several parts.
    seqs: HashMap<(OperatorId, Arc<str>, u32), u32>,
    /// Sections that are written in one part.
    started: HashSet<(OperatorId, Arc<str>, StateScope)>,
    /// The first section that was started twice. From then on nothing is kept: the snapshot is no good.
    repeated: Option<(OperatorId, Arc<str>, StateScope)>,
    chunks: Vec<Chunk>,
    written: Contribution,
    spare: Vec<Vec<u8>>,
    room: usize,
}

impl SectionWriter {
    /// A writer for `checkpoint` of the subtask with this index. `base` is the newest completed checkpoint.
    pub fn new(checkpoint: CheckpointId, base: CheckpointId, subtask_index: u32) -> Self {
        Self {
            checkpoint,
            base,
            subtask_index,
            operator: OperatorId::from(""),
            section: None,
            open: Vec::new(),
            seqs: HashMap::new(),
            started: HashSet::new(),
            repeated: None,
            chunks: Vec::new(),
            written: Contribution::default(),
            spare: Vec::new(),
            room: usize::MAX,
        }
    }

    /// The checkpoint.
    pub fn checkpoint(&self) -> CheckpointId {
        self.checkpoint
    }

    /// The index of the subtask whose snapshot it is.
    pub fn subtask_index(&self) -> u32 {
        self.subtask_index
    }

    /// The newest completed checkpoint when the barrier was sent; a delta is over exactly this one.
    pub fn base(&self) -> CheckpointId {
        self.base
    }

    /// Bytes that may be written now without taking up more memory than a capture may. An operator that goes on with a
    /// capture returns [`Progress::Suspended`](super::Progress::Suspended) where there is none, and is called again.
    pub fn room(&self) -> usize {
        self.room
    }

    /// Sets the bytes that may be written. The engine does, whenever the store has taken some.
    pub fn set_room(&mut self, bytes: usize) {
        self.room = bytes;
    }

    /// An empty buffer for [`append`](Self::append), one that has been used before if there is any.
    pub fn buffer(&mut self) -> Option<Vec<u8>> {
        self.spare.pop()
    }

    /// Gives buffers back. Some are kept, emptied: not too many, and none that is much larger than a chunk.
    pub fn recycle(&mut self, buffers: impl IntoIterator<Item = Vec<u8>>) {
        let worth_keeping = |buffer: &Vec<u8>| buffer.capacity() <= 2 * CHUNK_BYTES_MAX;
        for mut buffer in buffers.into_iter().filter(worth_keeping) {
            if self.spare.len() == SPARE_BUFFERS_MAX {
                return;
            }
            buffer.clear();
            self.spare.push(buffer);
        }
    }

    /// Sets whose state the following sections are. The engine calls this before each operator.
    pub fn set_operator(&mut self, operator: &OperatorId) {
        self.close_section();
        self.operator = operator.clone();
    }

    /// Starts a section with the state called `state` of key group `group`; what is written next belongs to it. A
    /// section is started once in a snapshot, else the checkpoint is declined ([`check`](Self::check)).
    pub fn key_group(&mut self, state: &Arc<str>, group: u32) -> &mut Self {
        self.start_section(state.clone(), StateScope::KeyGroup(group))
    }

    /// Starts a section with the state called `state` of this subtask, once in a snapshot.
    pub fn subtask(&mut self, state: &Arc<str>) -> &mut Self {
        self.start_section(state.clone(), StateScope::Subtask(self.subtask_index))
    }

    /// Says that the section of `state` in these key groups (ascending) goes on from the base: the checkpoint has the
    /// base's chunks of it, and after them what is written now.
    pub fn carry(&mut self, state: &Arc<str>, groups: Vec<u32>) {
        if !groups.is_empty() {
            let (operator, state) = (self.operator.clone(), state.clone());
            self.written.carried.push(CarriedState { operator, state, groups });
        }
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

    /// Appends `bytes` as a chunk of its own (as several, if they are more than fit) to the section of `state` in
    /// `group`, whichever section is open. For sections that are written in parts, in any order between them.
    pub fn append(&mut self, state: &Arc<str>, group: u32, bytes: Vec<u8>) {
        let key = (self.operator.clone(), state.clone(), group);
        if !self.seqs.contains_key(&key) {
            let whole = (self.operator.clone(), state.clone(), StateScope::KeyGroup(group));
            if self.started.contains(&whole) {
                self.repeated.get_or_insert(whole);
            }
        }
        if self.repeated.is_some() {
            return self.spare.push(bytes);
        }
        let seq = self.seqs.entry(key).or_default();
        let mut seal = |bytes: Vec<u8>| {
            let (operator, state, scope) = (self.operator.clone(), state.clone(), StateScope::KeyGroup(group));
            let address = ChunkAddress { checkpoint: self.checkpoint, operator, state, scope, seq: *seq };
            *seq += 1;
            self.room = self.room.saturating_sub(bytes.len());
            self.chunks.push(Chunk::seal(address, bytes));
        };
        if bytes.len() <= CHUNK_BYTES_MAX {
            seal(bytes);
        } else {
            bytes.chunks(CHUNK_BYTES_MAX).for_each(|part| seal(part.to_vec()));
        }
    }

    /// Whether what was written so far can be stored.
    ///
    /// # Errors
    /// [`StateError::SectionTwice`] if an operator started one section twice. What was written since is not kept.
    pub fn check(&self) -> Result<(), StateError> {
        match &self.repeated {
            Some((operator, state, scope)) => {
                Err(StateError::SectionTwice { operator: operator.clone(), state: state.clone(), scope: *scope })
            }
            None => Ok(()),
        }
    }

    /// The chunks that are complete and were not taken before.
    pub fn take_chunks(&mut self) -> Vec<Chunk> {
        self.written.chunks.extend(self.chunks.iter().map(|chunk| chunk.reference.clone()));
        std::mem::take(&mut self.chunks)
    }

    /// Bytes of the chunks that are complete and were not taken.
    pub fn pending_bytes(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.bytes.len()).sum()
    }

    /// The remaining chunks, and all that was written. To be stored only if [`check`](Self::check) has no objection.
    pub fn finish(mut self) -> (Vec<Chunk>, Contribution) {
        self.close_section();
        let chunks = self.take_chunks();
        (chunks, self.written)
    }

    fn start_section(&mut self, state: Arc<str>, scope: StateScope) -> &mut Self {
        self.close_section();
        let section = (self.operator.clone(), state.clone(), scope);
        let has_parts = match scope {
            StateScope::KeyGroup(group) => self.seqs.contains_key(&(self.operator.clone(), state.clone(), group)),
            StateScope::Subtask(_) => false,
        };
        if has_parts || !self.started.insert(section.clone()) {
            self.repeated.get_or_insert(section);
        }
        self.section =
            Some(ChunkAddress { checkpoint: self.checkpoint, operator: self.operator.clone(), state, scope, seq: 0 });
        self
    }

    fn seal_chunk(&mut self) {
        let address = self.section.as_mut().expect("checked by the callers");
        if self.repeated.is_some() {
            return self.open.clear();
        }
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

impl io::Write for SectionWriter {
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
    /// The checkpoint that wrote it. An incremental checkpoint has several sections of one state and key group: the
    /// whole one, and then the changes since, in the order of their checkpoints.
    pub checkpoint: CheckpointId,
    /// The checkpoint has it under another name of the operator or the state. Then nothing of it can be
    /// [carried](SectionWriter::carry) into the next checkpoint.
    pub is_renamed: bool,
    /// All bytes of the section.
    pub bytes: Vec<u8>,
}

impl RestoredSection {
    fn is_of(&self, address: &ChunkAddress) -> bool {
        self.checkpoint == address.checkpoint && self.state == address.state && self.scope == address.scope
    }
}

/// A chunk of a snapshot as it was read, under the names that its operator and state have now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoredChunk {
    /// Its address, with these names.
    pub address: ChunkAddress,
    /// The checkpoint has it under others.
    pub is_renamed: bool,
    /// What is in it.
    pub bytes: Vec<u8>,
}

impl From<(ChunkAddress, Vec<u8>)> for RestoredChunk {
    /// Under the names that the checkpoint has.
    fn from((address, bytes): (ChunkAddress, Vec<u8>)) -> Self {
        Self { address, is_renamed: false, bytes }
    }
}

/// What a subtask gets back at restore: the sections of its key groups, and every subtask's sections of its operators.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RestoredState {
    sections: BTreeMap<OperatorId, Vec<RestoredSection>>,
}

impl RestoredState {
    /// Puts chunks together again. They are expected in the order of their addresses in the checkpoint.
    pub fn from_chunks(chunks: impl IntoIterator<Item: Into<RestoredChunk>>) -> Self {
        let mut sections: BTreeMap<OperatorId, Vec<RestoredSection>> = BTreeMap::new();
        for chunk in chunks {
            let RestoredChunk { address, is_renamed, bytes } = chunk.into();
            let of_operator = sections.entry(address.operator.clone()).or_default();
            match of_operator.last_mut() {
                Some(last) if address.seq > 0 && last.is_of(&address) => last.bytes.extend_from_slice(&bytes),
                _ => {
                    let ChunkAddress { checkpoint, state, scope, .. } = address;
                    of_operator.push(RestoredSection { state, scope, checkpoint, is_renamed, bytes });
                }
            }
        }
        Self { sections }
    }

    /// Whether there is no section.
    pub fn is_empty(&self) -> bool {
        self.sections.is_empty()
    }

    /// The sections of one operator, which are then no longer here.
    pub fn take(&mut self, operator: &OperatorId) -> Vec<RestoredSection> {
        self.sections.remove(operator).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATES: [&str; 2] = ["a", "b"];

    fn writer() -> SectionWriter {
        let mut writer = SectionWriter::new(CheckpointId(7), CheckpointId::NONE, 2);
        writer.set_operator(&"one".into());
        writer
    }

    /// Each of these begins a section of state "a": of key group 1 in one part, in several, or of the subtask.
    const BEGINS: [fn(&mut SectionWriter); 3] = [
        |writer| writer.key_group(&"a".into(), 1).put(b"x"),
        |writer| writer.append(&"a".into(), 1, vec![0]),
        |writer| writer.subtask(&"a".into()).put(b"x"),
    ];

    #[test]
    fn section_started_twice_is_an_error_that_names_it_and_nothing_more_is_kept() {
        for (first, second) in [(0, 0), (0, 1), (1, 0), (2, 2)] {
            let mut writer = writer();
            BEGINS[first](&mut writer);
            writer.check().unwrap();
            BEGINS[second](&mut writer);
            writer.subtask(&"b".into()).put(&vec![0; CHUNK_BYTES_MAX + 1]);
            let scope = if first == 2 { StateScope::Subtask(2) } else { StateScope::KeyGroup(1) };
            let error = writer.check().unwrap_err();
            let StateError::SectionTwice { operator, state, scope: of } = &error else { panic!("{error}") };
            assert_eq!((operator.to_string(), &**state, *of), ("one".to_owned(), "a", scope));
            assert!(!error.is_retryable());
            let (chunks, _) = writer.finish();
            assert!(chunks.len() <= 1 && chunks.iter().all(|chunk| &*chunk.reference.address.state == "a"));
        }
    }

    #[test]
    fn sections_that_differ_in_operator_state_or_scope_are_no_repetition() {
        let mut writer = writer();
        for operator in ["one", "two"] {
            writer.set_operator(&operator.into());
            for state in STATES.map(Arc::from) {
                writer.key_group(&state, 1).put(b"x");
                writer.key_group(&state, 2);
                writer.subtask(&state).put(b"x");
                (0..3).for_each(|_| writer.append(&state, 3, vec![0]));
            }
        }
        writer.check().unwrap();
        assert_eq!(writer.finish().0.len(), 4 * 6);
    }
}
