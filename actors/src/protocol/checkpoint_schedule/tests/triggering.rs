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

// Guarantee A1.
#[test]
fn checkpoint_that_sinks_want_is_taken_at_once_or_after_the_one_in_flight_and_the_minimal_pause() {
    let mut harness = Harness::running(every(1_000).min_pause(Duration::from_millis(50)));
    harness.at(10);
    harness.apply(ScheduleEvent::CheckpointWanted);
    let out = harness.apply(ScheduleEvent::IdsReserved { up_to: CheckpointId(10) });
    assert_eq!(triggered(&out), Some((1, 0, TriggerReason::Awaited)));
    for _ in 0..3 {
        assert!(harness.apply(ScheduleEvent::CheckpointWanted).is_empty(), "one is in flight");
    }
    assert_eq!(triggered(&harness.complete(1, 1, SourceState::Reading)), None, "not within the pause");
    assert_eq!(harness.schedule.next_wake(), Some(Duration::from_millis(60)));
    assert_eq!(triggered(&harness.at(60)), Some((2, 1, TriggerReason::Awaited)), "one for all");
    harness.complete(1, 2, SourceState::Reading);
    assert_eq!(harness.schedule.next_wake(), Some(Duration::from_millis(1_060)), "the interval goes on");
    assert_eq!(triggered(&harness.at(1_060)), Some((3, 2, TriggerReason::Periodic)));
}

// Guarantee A1.
#[test]
fn wanted_checkpoint_that_fails_is_tried_again_ever_later_until_one_is_complete() {
    let mut harness = Harness::running(every(3_600_000).tolerate_failures(5));
    harness.at(10);
    harness.apply(ScheduleEvent::CheckpointWanted);
    harness.apply(ScheduleEvent::IdsReserved { up_to: CheckpointId(10) });
    for (id, at) in [(1, 1_010), (2, 3_010), (3, 7_010), (4, 15_010), (5, 25_010)] {
        assert_eq!(triggered(&harness.decline(1, id)), None);
        assert!(harness.apply(ScheduleEvent::CheckpointWanted).is_empty(), "nor because another answer has come");
        assert_eq!(harness.schedule.next_wake(), Some(Duration::from_millis(at)));
        assert_eq!(triggered(&harness.at(at)), Some((id + 1, 0, TriggerReason::Awaited)));
    }
    assert_eq!(triggered(&harness.complete(1, 6, SourceState::Reading)), None);
    assert_eq!(harness.schedule.next_wake(), Some(Duration::from_millis(25_010 + 3_600_000)), "nothing is wanted");
    let out = harness.apply(ScheduleEvent::CheckpointWanted);
    assert_eq!(triggered(&out), Some((7, 6, TriggerReason::Awaited)), "at once after a success");
}

// Guarantee A1.
#[test]
fn wanted_checkpoint_that_is_aborted_before_its_barrier_comes_to_the_sink_is_taken_again() {
    let mut harness = Harness::running(every(3_600_000).timeout(Duration::from_millis(50)));
    harness.apply(ScheduleEvent::CheckpointWanted);
    harness.apply(ScheduleEvent::IdsReserved { up_to: CheckpointId(10) });
    assert!(matches!(harness.at(50)[0], ScheduleCommand::Abort { reason: AbortReason::TimedOut { missing: 2 }, .. }));
    assert_eq!(triggered(&harness.at(1_050)), Some((2, 0, TriggerReason::Awaited)));
    let down = ScheduleEvent::RegionDown { execution: execution(1), failed: true, restarts_at: None };
    assert!(matches!(harness.apply(down)[0], ScheduleCommand::Abort { reason: AbortReason::RegionFailed(_), .. }));
    harness.restore(2, None);
    assert_eq!(
        triggered(&harness.run(2, 0)),
        Some((3, 0, TriggerReason::Awaited)),
        "that is no failure of a checkpoint"
    );
    let out = harness.apply(ScheduleEvent::WriterReported { retained: Some(Vec::new()) });
    assert!(matches!(out[0], ScheduleCommand::Abort { reason: AbortReason::WriterRestarted, .. }));
    assert_eq!(triggered(&out), Some((4, 0, TriggerReason::Awaited)));
}

#[test]
fn wanted_checkpoint_for_which_no_id_can_be_reserved_is_taken_later_or_with_the_interval() {
    for (interval, reason) in [(500, TriggerReason::Periodic), (60_000, TriggerReason::Awaited)] {
        let mut harness = Harness::running(every(interval));
        harness.apply(ScheduleEvent::CheckpointWanted);
        harness.apply(ScheduleEvent::ReserveFailed { error: store_error(), retained: Some(Vec::new()) });
        let at = interval.min(1_000);
        assert_eq!(harness.schedule.next_wake(), Some(Duration::from_millis(at)));
        assert_eq!(triggered(&harness.at(at)), Some((1, 0, reason)));
        harness.complete(1, 1, SourceState::Reading);
        assert_eq!(harness.schedule.next_wake(), Some(Duration::from_millis(at + interval)), "it served both");
    }
}

#[test]
fn wanted_checkpoint_waits_for_a_region_that_is_down_and_gives_way_to_the_end() {
    let mut harness = Harness::running(every(100));
    harness.at(100);
    harness.complete(1, 1, SourceState::Reading);
    harness.apply(ScheduleEvent::RegionDown { execution: execution(1), failed: true, restarts_at: None });
    assert!(harness.apply(ScheduleEvent::CheckpointWanted).is_empty());
    harness.restore(2, None);
    let out = harness.run(2, 1);
    assert_eq!(triggered(&out), Some((2, 1, TriggerReason::Awaited)));
    harness.apply(ScheduleEvent::CheckpointWanted);
    harness.halt(2, SourceState::Ended);
    let out = harness.complete(2, 2, SourceState::Ended);
    assert_ne!(triggered(&out).map(|(_, _, reason)| reason), Some(TriggerReason::Awaited));
}
