//! Snapshots of operators that run without a job.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use millstream_actors::contract::{
    BatchOperator, Chunk, Progress, RestoredSection, RestoredState, RunBudget, SectionWriter, StateScope, Stateful,
};
use millstream_actors::protocol::{CheckpointId, KeyGroupRange, OperatorId};

use super::BoxedOperator;

/// By this id operators are known in their snapshots.
pub(super) const OPERATOR: &str = "harness";

/// The state of an operator at one moment, as a checkpoint has it: taken by
/// [`OperatorRun::snapshot`](super::OperatorRun::snapshot), restored by
/// [`OperatorHarness::restore`](super::OperatorHarness::restore), which has an example.
pub struct OperatorSnapshot {
    pub(super) checkpoint: CheckpointId,
    /// What the clock showed.
    pub(super) unix_ms: u64,
    chunks: Vec<Chunk>,
}

impl fmt::Debug for OperatorSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OperatorSnapshot({} bytes in {} sections)", self.bytes(), self.chunks.len())
    }
}

impl OperatorSnapshot {
    /// How many bytes of state it has, as they are stored: what an operator forgets is not among them.
    pub fn bytes(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.bytes.len()).sum()
    }

    /// That of all subtasks of an operator.
    pub(super) fn take<In, Out>(subtasks: &mut [BoxedOperator<In, Out>], checkpoint: CheckpointId, unix_ms: u64) -> Self
    where
        In: Send + 'static,
        Out: Send + 'static,
    {
        let mut chunks = Vec::new();
        for (index, subtask) in subtasks.iter_mut().enumerate() {
            let Some(state) = subtask.stateful() else { continue };
            let mut writer = SectionWriter::new(checkpoint, CheckpointId::NONE, index as u32);
            writer.set_operator(&OperatorId::from(OPERATOR));
            write(state, &mut writer);
            writer.check().expect("each section is written once");
            chunks.extend(writer.finish().0);
        }
        chunks.sort_by(|a, b| a.reference.address.cmp(&b.reference.address));
        Self { checkpoint, unix_ms, chunks }
    }

    /// Gives one subtask its part: the key groups of `range`, and all that is not keyed.
    pub(super) fn restore<In, Out>(&self, range: KeyGroupRange, subtask: &mut dyn BatchOperator<In = In, Out = Out>)
    where
        In: Send + 'static,
        Out: Send + 'static,
    {
        let owned = self.chunks.iter().filter(|chunk| match chunk.reference.address.scope {
            StateScope::KeyGroup(group) => range.contains(group),
            StateScope::Subtask(_) => true,
        });
        let owned = owned.map(|chunk| (chunk.reference.address.clone(), chunk.bytes.clone()));
        let sections = RestoredState::from_chunks(owned).take(&OperatorId::from(OPERATOR));
        if let (false, Some(state)) = (self.chunks.is_empty(), subtask.stateful()) {
            load(state, sections, self.checkpoint);
        }
    }
}

fn write(state: &mut dyn Stateful, writer: &mut SectionWriter) {
    let written =
        |progress: Result<Progress, _>| progress.unwrap_or_else(|error| panic!("its state is refused: {error}"));
    let mut progress = written(state.snapshot(writer));
    while progress == Progress::Suspended {
        let mut budget = RunBudget::start_by(Some(|| Duration::ZERO));
        progress = written(state.continue_snapshot(writer, &mut budget));
    }
}

/// Restores as the engine does: key groups by the operator's loader, then the rest.
fn load(state: &mut dyn Stateful, sections: Vec<RestoredSection>, checkpoint: CheckpointId) {
    let mut groups: BTreeMap<u32, Vec<RestoredSection>> = BTreeMap::new();
    let mut others = Vec::new();
    for section in sections {
        match section.scope {
            StateScope::KeyGroup(group) => groups.entry(group).or_default().push(section),
            StateScope::Subtask(_) => others.push(section),
        }
    }
    let read = |error| -> () { panic!("what was stored is not read back: {error}") };
    if let Some(mut loader) = state.group_loader() {
        for (group, sections) in groups {
            let loaded = loader.load(group, &sections).and_then(|loaded| state.restore_group(loaded));
            loaded.unwrap_or_else(read);
        }
    }
    if !others.is_empty() {
        state.restore(others).unwrap_or_else(read);
    }
    state.restored(checkpoint).unwrap_or_else(read);
}
