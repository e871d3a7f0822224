//! Who takes part in checkpoints and how far each one is: regions that run, sources that have halted, sinks that have
//! committed.

use std::collections::BTreeMap;

use super::Participant;
use crate::protocol::{
    CheckpointId, Execution, ParkedSections, RegionId, RegionOperators, SourceState, SubtaskId, TaskKind,
};

#[derive(Debug)]
pub(super) struct Participants {
    all: Vec<Participant>,
    running: BTreeMap<RegionId, Execution>,
    /// With the newest checkpoint when they were parked.
    parked: BTreeMap<RegionId, CheckpointId>,
    halted: BTreeMap<SubtaskId, (Execution, SourceState)>,
    committed: BTreeMap<SubtaskId, CheckpointId>,
}

impl Participants {
    /// Of these none runs yet.
    pub(super) fn new(all: Vec<Participant>) -> Self {
        Self {
            all,
            running: BTreeMap::new(),
            parked: BTreeMap::new(),
            halted: BTreeMap::new(),
            committed: BTreeMap::new(),
        }
    }

    /// The job has other tasks, of which none runs yet.
    pub(super) fn replace(&mut self, all: Vec<Participant>) {
        let parked = std::mem::take(&mut self.parked);
        *self = Self { parked, ..Self::new(all) };
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

    /// The region, which does not run, takes no part until it is unparked.
    pub(super) fn park(&mut self, region: RegionId, newest: CheckpointId) {
        self.running.remove(&region);
        self.parked.insert(region, newest);
    }

    /// Whether it was parked.
    pub(super) fn unpark(&mut self, region: RegionId) -> bool {
        self.parked.remove(&region).is_some()
    }

    pub(super) fn is_parked(&self, region: RegionId) -> bool {
        self.parked.contains_key(&region)
    }

    /// What checkpoints hold of the parked regions.
    pub(super) fn parked_sections(&self, operators: &RegionOperators) -> ParkedSections {
        ParkedSections::of(self.parked.keys(), operators)
    }

    /// The newest checkpoint from which a region was parked: what its sinks have published up to it cannot be withdrawn meanwhile.
    pub(super) fn parked_from(&self) -> Option<(RegionId, CheckpointId)> {
        self.parked.iter().map(|(region, from)| (*region, *from)).max_by_key(|(_, from)| *from)
    }

    /// Whether no region is left that is not parked.
    pub(super) fn all_are_parked(&self) -> bool {
        !self.parked.is_empty() && self.all.iter().all(|participant| self.is_parked(participant.region))
    }

    /// Whether all regions run that are not parked.
    pub(super) fn all_run(&self) -> bool {
        let runs = |region| self.running.contains_key(region) || self.parked.contains_key(region);
        self.all.iter().all(|participant| runs(&participant.region))
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

    /// Whether all sources have halted, but those of parked regions, which read nothing.
    pub(super) fn sources_have_halted(&self) -> bool {
        let sources = self.all.iter().filter(|participant| participant.kind == TaskKind::Source);
        let mut sources = sources.filter(|source| !self.is_parked(source.region));
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
        self.have_committed(checkpoint, |_| true)
    }

    /// Whether every sink has that is in no parked region.
    pub(super) fn sinks_at_work_have_committed(&self, checkpoint: CheckpointId) -> bool {
        self.have_committed(checkpoint, |sink| !self.is_parked(sink.region))
    }

    fn have_committed(&self, checkpoint: CheckpointId, counts: impl Fn(&Participant) -> bool) -> bool {
        let sinks = self.all.iter().filter(|participant| participant.kind == TaskKind::Sink);
        let mut sinks = sinks.filter(|sink| counts(sink));
        sinks.all(|sink| self.committed.get(&sink.subtask).is_some_and(|committed| *committed >= checkpoint))
    }
}
