//! The schedule without a runtime: an event in, commands out.

mod ending;
mod failing;
mod parking;
mod rescaling;
mod restoring;
mod triggering;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::protocol::SourceError;
use crate::protocol::{
    AckFacts, Attempt, CheckpointId, Checkpointing, Execution, Incarnation, RegionId, RegionOperators, SourceState,
    SubtaskId, TaskError, TaskId, TaskKind,
};
use crate::protocol::{Contribution, Manifest, SnapshotError, StateError, StateScope};

const SOURCE: SubtaskId = SubtaskId { task: TaskId(0), index: 0 };
const SINK: SubtaskId = SubtaskId { task: TaskId(1), index: 0 };

fn execution(attempt: u32) -> Execution {
    Execution { incarnation: Incarnation(1), region: RegionId(0), attempt: Attempt(attempt) }
}

fn manifest(id: u64, is_final: bool) -> Arc<Manifest> {
    Arc::new(Manifest { is_final, ..Manifest::empty(id) })
}

fn store_error() -> Arc<SnapshotError> {
    Arc::new(SnapshotError::Io { store: "test".into(), action: "write", source: "disk full".into() })
}

/// A schedule of one source and one sink, one millisecond per step.
struct Harness {
    schedule: CheckpointSchedule,
    now_ms: u64,
}

impl Harness {
    fn asking(checkpointing: Checkpointing, may_fall_back: bool, orphan: Option<u64>) -> Self {
        Self::from_savepoint(checkpointing, may_fall_back, orphan, None)
    }

    /// One whose region runs its first attempt, and in which the second subtask may hold the end back.
    fn holding_the_end() -> Self {
        Self::of(every(100), true, (None, None), true).begin()
    }

    fn from_savepoint(
        checkpointing: Checkpointing,
        may_fall_back: bool,
        orphan: Option<u64>,
        origin: Option<Arc<Manifest>>,
    ) -> Self {
        Self::of(checkpointing, may_fall_back, (orphan, origin), false)
    }

    fn of(
        checkpointing: Checkpointing,
        may_fall_back: bool,
        (orphan, origin): (Option<u64>, Option<Arc<Manifest>>),
        holds_end: bool,
    ) -> Self {
        let reserved_up_to = origin.as_ref().map_or(CheckpointId::NONE, |origin| origin.checkpoint);
        let participants = [(SOURCE, TaskKind::Source), (SINK, TaskKind::Sink)].map(|(subtask, kind)| Participant {
            subtask,
            region: RegionId(0),
            kind,
            holds_end: holds_end && kind != TaskKind::Source,
        });
        let settings = ScheduleSettings {
            job: "job".into(),
            incarnation: Incarnation(1),
            max_parallelism: 128,
            checkpointing,
            ids_per_block: 10,
            may_fall_back,
            participants: participants.into(),
            operators: RegionOperators::new(),
            origin,
        };
        let mut out = Vec::new();
        let schedule = CheckpointSchedule::new(
            settings,
            reserved_up_to,
            CheckpointId::NONE,
            orphan.map(CheckpointId),
            BTreeSet::new(),
            &mut out,
        );
        assert!(matches!(out[..], [ScheduleCommand::AskWriter]));
        Self { schedule, now_ms: 0 }
    }

    /// One whose region runs its first attempt.
    fn running(checkpointing: Checkpointing) -> Self {
        Self::asking(checkpointing, true, None).begin()
    }

    fn begin(mut self) -> Self {
        self.apply(ScheduleEvent::WriterReported { retained: Some(Vec::new()) });
        self.restore(1, None);
        self.run(1, 0);
        self
    }

    fn apply(&mut self, event: ScheduleEvent) -> Vec<ScheduleCommand> {
        let mut out = Vec::new();
        let now = Now { at: Duration::from_millis(self.now_ms), unix_ms: self.now_ms };
        self.schedule.apply(now, event, &mut out);
        out
    }

    fn at(&mut self, ms: u64) -> Vec<ScheduleCommand> {
        self.now_ms = ms;
        let reserve = self.apply(ScheduleEvent::Tick);
        match reserve[..] {
            [ScheduleCommand::ReserveIds { up_to }] => self.apply(ScheduleEvent::IdsReserved { up_to }),
            _ => reserve,
        }
    }

    fn restore(&mut self, attempt: u32, damaged: Option<u64>) -> Vec<ScheduleCommand> {
        let damaged = damaged.map(CheckpointId);
        self.apply(ScheduleEvent::RestoreRequested { execution: execution(attempt), damaged })
    }

    fn run(&mut self, attempt: u32, restored: u64) -> Vec<ScheduleCommand> {
        let restored = CheckpointId(restored);
        self.apply(ScheduleEvent::RegionRunning { execution: execution(attempt), restored })
    }

    fn halt(&mut self, attempt: u32, state: SourceState) -> Vec<ScheduleCommand> {
        self.apply(ScheduleEvent::SourceHalted { execution: execution(attempt), subtask: SOURCE, state })
    }

    fn acknowledge(&mut self, attempt: u32, id: u64, state: SourceState) -> Vec<ScheduleCommand> {
        let mut out = Vec::new();
        for (subtask, source) in [(SINK, None), (SOURCE, Some(state))] {
            let (execution, checkpoint) = (execution(attempt), CheckpointId(id));
            let written = Contribution::default();
            out = self.apply(ScheduleEvent::Acknowledged {
                execution,
                subtask,
                checkpoint,
                written,
                facts: AckFacts { source, ..AckFacts::default() },
            });
        }
        out
    }

    fn complete(&mut self, attempt: u32, id: u64, state: SourceState) -> Vec<ScheduleCommand> {
        let finalise = self.acknowledge(attempt, id, state);
        assert!(matches!(finalise[..], [ScheduleCommand::Finalise { .. }]), "{finalise:?}");
        self.apply(ScheduleEvent::Finalised { checkpoint: CheckpointId(id) })
    }

    fn commit(&mut self, id: u64) -> Vec<ScheduleCommand> {
        self.apply(ScheduleEvent::SinkCommitted { subtask: SINK, checkpoint: CheckpointId(id) })
    }

    fn decline(&mut self, attempt: u32, id: u64) -> Vec<ScheduleCommand> {
        let reason = TaskError::from(SourceError::unavailable("input", "no"));
        let (execution, checkpoint) = (execution(attempt), CheckpointId(id));
        self.apply(ScheduleEvent::Declined { execution, subtask: SINK, checkpoint, reason })
    }
}

fn every(ms: u64) -> Checkpointing {
    Checkpointing::every(Duration::from_millis(ms))
}

fn triggered(out: &[ScheduleCommand]) -> Option<(u64, u64, TriggerReason)> {
    out.iter().find_map(|command| match command {
        ScheduleCommand::Trigger { barrier, reason } => Some((barrier.checkpoint.0, barrier.base.0, *reason)),
        _ => None,
    })
}

fn answer(out: &[ScheduleCommand]) -> &RestoreDecision {
    let mut answers = out.iter().filter_map(|command| match command {
        ScheduleCommand::AnswerRestore { decision, .. } => Some(decision),
        _ => None,
    });
    answers.next().unwrap_or_else(|| panic!("no answer in {out:?}"))
}
