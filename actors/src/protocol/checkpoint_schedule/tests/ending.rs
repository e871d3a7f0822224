//! The last checkpoint of a job: final, or of a drain.

use super::*;

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
fn final_checkpoint_is_triggered_once_the_end_has_passed_who_may_hold_it_back() {
    let mut harness = Harness::holding_the_end();
    assert_eq!(triggered(&harness.halt(1, SourceState::Ended)), None, "the end has not passed the other");
    assert_eq!(triggered(&harness.at(100)), Some((1, 0, TriggerReason::Periodic)), "checkpoints go on");
    let passed = |attempt| ScheduleEvent::SourceHalted {
        execution: execution(attempt),
        subtask: SINK,
        state: SourceState::Ended,
    };
    harness.decline(1, 1);
    assert_eq!(triggered(&harness.apply(passed(0))), None, "of an attempt that is over");
    assert_eq!(triggered(&harness.apply(passed(1))), Some((2, 0, TriggerReason::Final)));
}

#[test]
fn region_that_fails_between_the_final_checkpoint_and_its_commit_settles_by_restoring_it() {
    let mut harness = Harness::running(every(100));
    harness.halt(1, SourceState::Ended);
    harness.apply(ScheduleEvent::IdsReserved { up_to: CheckpointId(10) });
    harness.complete(1, 1, SourceState::Ended);
    harness.apply(ScheduleEvent::RegionDown { execution: execution(1), failed: true, restarts_at: None });
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
fn drain_waits_for_a_source_that_was_stopped_and_reads_on_to_its_end() {
    let mut harness = Harness::running(Checkpointing::disabled());
    harness.apply(ScheduleEvent::IdsReserved { up_to: CheckpointId(10) });
    harness.halt(1, SourceState::Stopped);
    harness.halt(1, SourceState::Reading);
    harness.apply(ScheduleEvent::DrainRequested);
    assert_eq!(triggered(&harness.at(500)), None);
    assert!(triggered(&harness.halt(1, SourceState::Ended)).is_some_and(|it| it.2 == TriggerReason::Final));
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
