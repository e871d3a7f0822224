//! When checkpoints are triggered.

use super::*;

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
    let out = harness.apply(ScheduleEvent::RegionDown { execution: execution(1), failed: true, restarts_at: None });
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
