use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::protocol::SourceError;
use crate::protocol::{
    AckFacts, Attempt, CheckpointId, Checkpointing, Execution, Incarnation, RegionId, SourceState, SubtaskId,
    TaskError, TaskId, TaskKind,
};
use crate::protocol::{Contribution, Manifest, SnapshotError};

const SOURCE: SubtaskId = SubtaskId { task: TaskId(0), index: 0 };
const SINK: SubtaskId = SubtaskId { task: TaskId(1), index: 0 };

fn execution(attempt: u32) -> Execution {
    Execution { incarnation: Incarnation(1), region: RegionId(0), attempt: Attempt(attempt) }
}

fn manifest(id: u64, is_final: bool) -> Arc<Manifest> {
    Arc::new(Manifest {
        checkpoint: CheckpointId(id),
        job: "job".into(),
        incarnation: Incarnation(1),
        triggered_unix_ms: 0,
        max_parallelism: 128,
        is_final,
        durations: Default::default(),
        chunks: Vec::new(),
    })
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

    fn from_savepoint(
        checkpointing: Checkpointing,
        may_fall_back: bool,
        orphan: Option<u64>,
        origin: Option<Arc<Manifest>>,
    ) -> Self {
        let reserved_up_to = origin.as_ref().map_or(CheckpointId::NONE, |origin| origin.checkpoint);
        let participants = [(SOURCE, TaskKind::Source), (SINK, TaskKind::Sink)].map(|(subtask, kind)| Participant {
            subtask,
            region: RegionId(0),
            kind,
        });
        let settings = ScheduleSettings {
            job: "job".into(),
            incarnation: Incarnation(1),
            max_parallelism: 128,
            checkpointing,
            ids_per_block: 10,
            may_fall_back,
            participants: participants.into(),
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
        let mut harness = Self::asking(checkpointing, true, None);
        harness.apply(ScheduleEvent::WriterReported { retained: Some(Vec::new()) });
        harness.restore(1, None);
        harness.run(1, 0);
        harness
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

#[test]
fn periodic_checkpoints_come_each_interval_with_ids_reserved_before_use() {
    let mut harness = Harness::running(every(100));
    assert!(harness.at(99).is_empty());
    harness.now_ms = 100;
    let out = harness.apply(ScheduleEvent::Tick);
    assert!(matches!(out[..], [ScheduleCommand::ReserveIds { up_to: CheckpointId(10) }]), "{out:?}");
    let out = harness.apply(ScheduleEvent::IdsReserved { up_to: CheckpointId(10) });
    assert_eq!(triggered(&out), Some((1, 0, TriggerReason::Periodic)));
    harness.complete(1, 1, SourceState::Reading);
    assert_eq!(triggered(&harness.at(200)), Some((2, 1, TriggerReason::Periodic)), "on the newest completed");
}

#[test]
fn interval_that_is_changed_counts_from_the_last_trigger() {
    let mut harness = Harness::running(every(100));
    harness.at(100);
    harness.complete(1, 1, SourceState::Reading);
    harness.schedule.keep_interval(Some(Duration::from_millis(250)));
    assert!(harness.at(349).is_empty());
    assert_eq!(harness.schedule.next_wake(), Some(Duration::from_millis(350)));
    assert_eq!(triggered(&harness.at(350)), Some((2, 1, TriggerReason::Periodic)));
    harness.schedule.keep_interval(Some(Duration::from_millis(10)));
    assert!(harness.at(400).is_empty(), "one is in flight");
    let out = harness.complete(1, 2, SourceState::Reading);
    assert_eq!(triggered(&out), Some((3, 2, TriggerReason::Periodic)), "overdue by now");
    harness.complete(1, 3, SourceState::Reading);
    harness.schedule.keep_interval(None);
    assert_eq!(harness.schedule.next_wake(), None);
}

#[test]
fn minimal_pause_defers_periodic_but_neither_demanded_nor_final_checkpoints() {
    let mut harness = Harness::running(every(100).min_pause(Duration::from_millis(500)));
    harness.at(100);
    harness.complete(1, 1, SourceState::Reading);
    assert!(harness.at(300).is_empty());
    let out = harness.apply(ScheduleEvent::CheckpointRequested { waiter: 9 });
    assert_eq!(triggered(&out), Some((2, 1, TriggerReason::OnDemand)));
    let out = harness.complete(1, 2, SourceState::Reading);
    assert!(matches!(out[1], ScheduleCommand::AnswerWaiter { waiter: 9, result: Ok(CheckpointId(2)) }));
    assert_eq!(triggered(&harness.halt(1, SourceState::Ended)), Some((3, 2, TriggerReason::Final)));
}

#[test]
fn only_one_checkpoint_is_in_flight() {
    let mut harness = Harness::running(every(100));
    assert!(triggered(&harness.at(100)).is_some());
    assert!(harness.at(500).is_empty());
    assert!(harness.apply(ScheduleEvent::CheckpointRequested { waiter: 1 }).is_empty());
    let finalise = harness.acknowledge(1, 1, SourceState::Reading);
    assert!(matches!(finalise[..], [ScheduleCommand::Finalise { .. }]));
    assert!(harness.at(600).is_empty(), "nor while its manifest is written");
    let out = harness.apply(ScheduleEvent::Finalised { checkpoint: CheckpointId(1) });
    assert_eq!(triggered(&out), Some((2, 1, TriggerReason::OnDemand)));
}

#[test]
fn nothing_is_triggered_while_a_region_is_down_and_its_failure_aborts_what_is_pending() {
    let mut harness = Harness::running(every(100));
    harness.at(100);
    let out = harness.apply(ScheduleEvent::RegionDown { execution: execution(1) });
    assert!(matches!(
        out[..],
        [
            ScheduleCommand::Abort { checkpoint: CheckpointId(1), reason: AbortReason::RegionFailed(_) },
            ScheduleCommand::Discard { checkpoint: CheckpointId(1) }
        ]
    ));
    assert!(harness.at(1000).is_empty());
    assert!(harness.acknowledge(1, 1, SourceState::Reading).is_empty(), "late acknowledgements change nothing");
    harness.restore(2, None);
    harness.run(2, 0);
    assert_eq!(triggered(&harness.at(1100)), Some((2, 0, TriggerReason::Periodic)), "the id is not used again");
}

#[test]
fn restore_waits_for_a_finalisation_in_flight_and_takes_it_if_it_became_durable() {
    for durable in [true, false] {
        let mut harness = Harness::running(every(100));
        harness.at(100);
        harness.acknowledge(1, 1, SourceState::Reading);
        assert!(harness.restore(2, None).is_empty(), "the outcome is unknown");
        let checkpoint = CheckpointId(1);
        let retained = if durable { vec![manifest(1, false)] } else { Vec::new() };
        let event = ScheduleEvent::FinaliseFailed { checkpoint, error: store_error(), retained: Some(retained) };
        let out = harness.apply(event);
        let RestoreDecision::From { manifest, .. } = answer(&out) else { panic!("{out:?}") };
        assert_eq!(manifest.as_ref().map(|m| m.checkpoint.0), durable.then_some(1));
        let completed = out.iter().any(|command| matches!(command, ScheduleCommand::Complete { .. }));
        assert_eq!(completed, durable);
    }
}

#[test]
fn unknown_outcome_is_asked_for_until_the_store_answers_and_the_job_fails_if_it_never_does() {
    let mut harness = Harness::running(every(100));
    harness.at(100);
    harness.acknowledge(1, 1, SourceState::Reading);
    let checkpoint = CheckpointId(1);
    harness.apply(ScheduleEvent::FinaliseFailed { checkpoint, error: store_error(), retained: None });
    assert!(harness.restore(2, None).is_empty());
    let mut asked = 0;
    loop {
        let at = harness.schedule.next_wake().expect("asks again").as_millis() as u64;
        assert!(matches!(harness.at(at)[..], [ScheduleCommand::AskWriter]));
        asked += 1;
        let out = harness.apply(ScheduleEvent::WriterReported { retained: None });
        if matches!(out[..], [ScheduleCommand::StoreLost]) {
            break;
        }
        assert!(asked < 20, "bounded");
    }
}

#[test]
fn fallback_abandons_what_is_newer_before_anybody_restores() {
    let mut harness = Harness::asking(every(100), true, None);
    let retained = Some(vec![manifest(3, false), manifest(5, false), manifest(6, false)]);
    harness.apply(ScheduleEvent::WriterReported { retained });
    assert!(
        matches!(answer(&harness.restore(1, None)), RestoreDecision::From { manifest: Some(m), .. } if m.checkpoint.0 == 6)
    );
    let out = harness.restore(2, Some(6));
    assert!(
        matches!(&out[..], [ScheduleCommand::AbandonAbove { checkpoint: CheckpointId(5), completed }] if completed[..] == [CheckpointId(6)]),
        "{out:?}"
    );
    let event = ScheduleEvent::Abandoned { above: CheckpointId(5), completed: vec![CheckpointId(6)] };
    let out = harness.apply(event);
    let RestoreDecision::From { manifest: Some(restored), withdraw } = answer(&out) else { panic!("{out:?}") };
    assert_eq!((restored.checkpoint.0, &withdraw[..]), (5, &[CheckpointId(6)][..]));
    harness.run(2, 5);
    assert_eq!(triggered(&harness.at(200)).map(|(_, base, _)| base), Some(5));
}

#[test]
fn fallback_is_refused_where_it_would_repeat_output_or_nothing_older_is_there() {
    let mut harness = Harness::asking(every(100), false, None);
    harness.apply(ScheduleEvent::WriterReported { retained: Some(vec![manifest(3, false), manifest(5, false)]) });
    let out = harness.restore(2, Some(5));
    assert!(
        matches!(answer(&out), RestoreDecision::Refused(NoRestore::WouldRepeat { older }) if older[..] == [CheckpointId(3)])
    );
    let out = harness.restore(3, Some(3));
    assert!(matches!(answer(&out), RestoreDecision::Refused(NoRestore::NoOlder)));
}

#[test]
fn job_is_settled_only_when_every_sink_has_committed_the_final_checkpoint() {
    let mut harness = Harness::running(every(100));
    let out = harness.halt(1, SourceState::Ended);
    assert!(matches!(out[..], [ScheduleCommand::ReserveIds { .. }]));
    harness.apply(ScheduleEvent::IdsReserved { up_to: CheckpointId(10) });
    let out = harness.complete(1, 1, SourceState::Ended);
    assert!(matches!(&out[..], [ScheduleCommand::Complete { manifest, .. }] if manifest.is_final), "{out:?}");
    assert!(harness.at(9_000).is_empty(), "no further checkpoint");
    let out = harness.commit(1);
    assert!(matches!(out[..], [ScheduleCommand::Settled { is_final: true, .. }]), "{out:?}");
}

#[test]
fn region_that_fails_between_the_final_checkpoint_and_its_commit_settles_by_restoring_it() {
    let mut harness = Harness::running(every(100));
    harness.halt(1, SourceState::Ended);
    harness.apply(ScheduleEvent::IdsReserved { up_to: CheckpointId(10) });
    harness.complete(1, 1, SourceState::Ended);
    harness.apply(ScheduleEvent::RegionDown { execution: execution(1) });
    let out = harness.restore(2, None);
    assert!(matches!(answer(&out), RestoreDecision::From { manifest: Some(m), .. } if m.is_final));
    let out = harness.run(2, 1);
    assert!(matches!(out[..], [ScheduleCommand::Settled { is_final: true, .. }]), "{out:?}");
}

#[test]
fn drain_takes_one_checkpoint_after_all_sources_have_stopped_and_outlives_a_restart() {
    let mut harness = Harness::running(Checkpointing::disabled());
    harness.apply(ScheduleEvent::DrainRequested);
    assert!(harness.at(500).is_empty(), "the source still reads");
    harness.restore(2, None);
    harness.run(2, 0);
    assert!(harness.halt(1, SourceState::Stopped).is_empty(), "of the attempt before");
    harness.halt(2, SourceState::Stopped);
    harness.apply(ScheduleEvent::IdsReserved { up_to: CheckpointId(10) });
    harness.complete(2, 1, SourceState::Stopped);
    let out = harness.commit(1);
    assert!(matches!(out[..], [ScheduleCommand::Settled { is_final: false, .. }]), "{out:?}");
}

#[test]
fn final_checkpoint_is_retried_at_once_and_then_ever_later() {
    let mut harness = Harness::running(every(100));
    harness.halt(1, SourceState::Ended);
    let out = harness.apply(ScheduleEvent::IdsReserved { up_to: CheckpointId(10) });
    assert_eq!(triggered(&out), Some((1, 0, TriggerReason::Final)));
    let out = harness.decline(1, 1);
    assert_eq!(triggered(&out), Some((2, 0, TriggerReason::Final)), "at once");
    let out = harness.decline(1, 2);
    assert_eq!(triggered(&out), None);
    assert_eq!(harness.schedule.next_wake(), Some(Duration::from_millis(10)));
    assert_eq!(triggered(&harness.at(10)), Some((3, 0, TriggerReason::Final)));
}

#[test]
fn job_gives_up_past_the_tolerated_failures_in_a_row() {
    let mut harness = Harness::running(every(100).tolerate_failures(1).timeout(Duration::from_millis(50)));
    harness.at(100);
    let out = harness.at(150);
    assert!(matches!(out[0], ScheduleCommand::Abort { reason: AbortReason::TimedOut { missing: 2 }, .. }));
    harness.at(200);
    let out = harness.decline(1, 2);
    assert!(matches!(out.last(), Some(ScheduleCommand::GiveUp { failures: 2, .. })), "{out:?}");
    assert!(harness.at(10_000).is_empty());
}

#[test]
fn restarted_coordinator_aborts_its_predecessors_checkpoint_or_announces_it() {
    let mut harness = Harness::asking(every(100), true, Some(7));
    let out = harness.apply(ScheduleEvent::WriterReported { retained: Some(vec![manifest(6, false)]) });
    assert!(matches!(out[0], ScheduleCommand::Abort { checkpoint: CheckpointId(7), .. }), "{out:?}");
    assert!(matches!(out[1], ScheduleCommand::Discard { checkpoint: CheckpointId(7) }));
    let mut harness = Harness::asking(every(100), true, Some(7));
    let out = harness.apply(ScheduleEvent::WriterReported { retained: Some(vec![manifest(7, false)]) });
    assert!(matches!(&out[..], [ScheduleCommand::Complete { manifest, .. }] if manifest.checkpoint.0 == 7), "{out:?}");
}

#[test]
fn writer_restart_settles_whatever_was_outstanding() {
    let mut harness = Harness::running(every(100));
    harness.at(100);
    let out = harness.apply(ScheduleEvent::WriterReported { retained: Some(Vec::new()) });
    assert!(matches!(out[0], ScheduleCommand::Abort { reason: AbortReason::WriterRestarted, .. }));
    harness.at(200);
    harness.acknowledge(1, 2, SourceState::Reading);
    let out = harness.apply(ScheduleEvent::WriterReported { retained: Some(vec![manifest(2, false)]) });
    assert!(matches!(&out[..], [ScheduleCommand::Complete { manifest, .. }] if manifest.checkpoint.0 == 2), "{out:?}");
}

#[test]
fn damaged_store_ends_a_job_that_tolerates_all_failures() {
    let mut harness = Harness::running(every(100));
    let mut failures = 0u64;
    loop {
        let at = harness.schedule.next_wake().expect("tries again").as_millis() as u64;
        harness.at(at);
        let checkpoint = CheckpointId(failures + 1);
        harness.acknowledge(1, checkpoint.0, SourceState::Reading);
        let (store, what, reason) = ("store".to_owned(), "free pages".to_owned(), "no".to_owned());
        let error = Arc::new(SnapshotError::Damaged { store, what, reason, checkpoints: Vec::new() });
        failures += 1;
        let retained = Some(Vec::new());
        let out = harness.apply(ScheduleEvent::FinaliseFailed { checkpoint, error, retained });
        if out.iter().any(|command| matches!(command, ScheduleCommand::GiveUp { .. })) {
            break;
        }
        assert!(failures < 20, "bounded");
    }
    assert_eq!(failures, 9, "eight in a row are tolerated");
}

#[test]
fn failed_reservation_refuses_who_waits_and_is_retried_at_the_next_interval() {
    let mut harness = Harness::running(every(100));
    harness.apply(ScheduleEvent::CheckpointRequested { waiter: 3 });
    let out = harness.apply(ScheduleEvent::ReserveFailed { error: store_error(), retained: Some(Vec::new()) });
    assert!(matches!(out[..], [ScheduleCommand::AnswerWaiter { waiter: 3, result: Err(_) }]), "{out:?}");
    assert_eq!(triggered(&harness.at(100)), Some((1, 0, TriggerReason::Periodic)));
}

fn from_savepoint(may_fall_back: bool, is_final: bool) -> Harness {
    let origin = Some(manifest(5, is_final));
    let mut harness = Harness::from_savepoint(every(100), may_fall_back, None, origin);
    harness.apply(ScheduleEvent::WriterReported { retained: Some(Vec::new()) });
    let out = harness.restore(1, None);
    let begins = matches!(answer(&out), RestoreDecision::From { manifest: Some(m), .. } if m.checkpoint.0 == 5);
    assert!(begins, "{out:?}");
    harness
}

#[test]
fn job_from_a_savepoint_begins_with_it_until_a_full_checkpoint_of_its_own() {
    let mut harness = from_savepoint(true, false);
    harness.run(1, 5);
    let out = harness.restore(2, None);
    assert!(matches!(answer(&out), RestoreDecision::From { manifest: Some(m), .. } if m.checkpoint.0 == 5), "{out:?}");
    harness.run(2, 5);
    assert_eq!(triggered(&harness.at(100)), Some((6, 0, TriggerReason::Periodic)), "over no base");
    harness.complete(2, 6, SourceState::Reading);
    let out = harness.restore(3, None);
    assert!(matches!(answer(&out), RestoreDecision::From { manifest: Some(m), .. } if m.checkpoint.0 == 6), "{out:?}");
}

#[test]
fn job_from_a_savepoint_falls_back_to_it_where_it_may() {
    for may_fall_back in [true, false] {
        let mut harness = from_savepoint(may_fall_back, false);
        harness.run(1, 5);
        harness.at(100);
        harness.complete(1, 6, SourceState::Reading);
        let out = harness.restore(2, Some(6));
        if !may_fall_back {
            let refused = matches!(answer(&out), RestoreDecision::Refused(NoRestore::WouldRepeat { .. }));
            assert!(refused, "{out:?}");
            continue;
        }
        let [ScheduleCommand::AbandonAbove { checkpoint, completed }] = &out[..] else { panic!("{out:?}") };
        assert_eq!((checkpoint.0, &completed[..]), (5, &[CheckpointId(6)][..]));
        let (above, completed) = (*checkpoint, completed.clone());
        let out = harness.apply(ScheduleEvent::Abandoned { above, completed });
        let RestoreDecision::From { manifest: Some(chosen), withdraw } = answer(&out) else { panic!("{out:?}") };
        assert_eq!((chosen.checkpoint.0, &withdraw[..]), (5, &[CheckpointId(6)][..]));
        let out = harness.restore(3, Some(5));
        assert!(matches!(answer(&out), RestoreDecision::Refused(NoRestore::NoOlder)), "{out:?}");
    }
}

#[test]
fn job_from_the_savepoint_of_a_finished_one_is_settled_at_once() {
    let mut harness = from_savepoint(true, true);
    let out = harness.run(1, 5);
    assert!(matches!(out[..], [ScheduleCommand::Settled { is_final: true, .. }]), "{out:?}");
}

#[test]
fn drain_that_is_cancelled_is_no_end_and_checkpoints_go_on() {
    let mut harness = Harness::running(every(100));
    harness.apply(ScheduleEvent::DrainRequested);
    harness.halt(1, SourceState::Stopped);
    harness.apply(ScheduleEvent::IdsReserved { up_to: CheckpointId(10) });
    harness.complete(1, 1, SourceState::Stopped);
    assert!(matches!(harness.commit(1)[..], [ScheduleCommand::Settled { is_final: false, .. }]));
    assert!(harness.apply(ScheduleEvent::DrainCancelled).is_empty());
    let out = harness.restore(2, None);
    assert!(matches!(answer(&out), RestoreDecision::From { manifest: Some(m), .. } if m.checkpoint.0 == 1), "{out:?}");
    harness.run(2, 1);
    assert_eq!(triggered(&harness.at(500)), Some((2, 1, TriggerReason::Periodic)));
    harness.complete(2, 2, SourceState::Reading);
    assert!(harness.commit(2).is_empty(), "nothing is settled");
}
