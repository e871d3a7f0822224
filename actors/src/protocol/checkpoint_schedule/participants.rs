//! Who takes part in checkpoints and how far each one is: regions that run, sources that have halted, sinks that have
//! committed.

use std::collections::BTreeMap;

use super::Participant;
use crate::protocol::{CheckpointId, Execution, RegionId, SourceState, SubtaskId, TaskKind};

#[derive(Debug)]
pub(super) struct Participants {
    all: Vec<Participant>,
    running: BTreeMap<RegionId, Execution>,
    halted: BTreeMap<SubtaskId, (Execution, SourceState)>,
    committed: BTreeMap<SubtaskId, CheckpointId>,
}

impl Participants {
    /// Of these none runs yet.
    pub(super) fn new(all: Vec<Participant>) -> Self {
        Self { all, running: BTreeMap::new(), halted: BTreeMap::new(), committed: BTreeMap::new() }
    }

    /// A region runs, whose sinks have settled what was restored.
    pub(super) fn region_runs(&mut self, execution: Execution, restored: CheckpointId) {
        self.running.insert(execution.region, execution);
        let of_region = self.all.iter().filter(|participant| participant.region == execution.region);
        for sink in of_region.filter(|participant| participant.kind == TaskKind::Sink) {
            let newest = self.committed.entry(sink.subtask).or_default();
            *newest = restored.max(*newest);
        }
    }

    pub(super) fn region_ended(&mut self, region: RegionId) {
        self.running.remove(&region);
    }

    /// Whether the region runs as another execution than this one.
    pub(super) fn runs_anew(&self, execution: Execution) -> bool {
        self.running.get(&execution.region).is_some_and(|running| *running != execution)
    }

    pub(super) fn all_run(&self) -> bool {
        self.all.iter().all(|participant| self.running.contains_key(&participant.region))
    }

    /// The subtasks of the regions that run.
    pub(super) fn running(&self) -> BTreeMap<SubtaskId, Execution> {
        let running = |participant: &Participant| {
            self.running.get(&participant.region).map(|execution| (participant.subtask, *execution))
        };
        self.all.iter().filter_map(running).collect()
    }

    /// A source reads no more, or reads on after all, or the end has passed a task that may hold it back. It may say so before its
    /// region is known to run: this is kept, and compared with the region's execution when it counts.
    pub(super) fn source_halted(&mut self, execution: Execution, source: SubtaskId, state: SourceState) {
        if self.halted.get(&source).is_none_or(|(known, _)| *known <= execution) {
            self.halted.insert(source, (execution, state));
        }
    }

    /// Whether all sources have halted.
    pub(super) fn sources_have_halted(&self) -> bool {
        let mut sources = self.all.iter().filter(|participant| participant.kind == TaskKind::Source);
        sources.all(|source| self.has_halted(source, |state| state != SourceState::Reading))
    }

    /// Whether the end of all input has come, and has passed those that may hold it back.
    pub(super) fn input_has_ended(&self) -> bool {
        let mut tell =
            self.all.iter().filter(|participant| participant.kind == TaskKind::Source || participant.holds_end);
        tell.all(|participant| self.has_halted(participant, |state| state == SourceState::Ended))
    }

    fn has_halted(&self, participant: &Participant, fits: impl Fn(SourceState) -> bool) -> bool {
        let halted = self.halted.get(&participant.subtask);
        halted.is_some_and(|(by, state)| self.running.get(&participant.region) == Some(by) && fits(*state))
    }

    pub(super) fn sink_committed(&mut self, sink: SubtaskId, checkpoint: CheckpointId) {
        let newest = self.committed.entry(sink).or_default();
        *newest = checkpoint.max(*newest);
    }

    /// Whether every sink has answered for this checkpoint, or a later one.
    pub(super) fn sinks_have_committed(&self, checkpoint: CheckpointId) -> bool {
        let mut sinks = self.all.iter().filter(|participant| participant.kind == TaskKind::Sink);
        sinks.all(|sink| self.committed.get(&sink.subtask).is_some_and(|committed| *committed >= checkpoint))
    }
}
