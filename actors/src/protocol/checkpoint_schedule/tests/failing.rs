//! What follows when tasks decline, the store fails, or a control actor is restarted.

use super::*;

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
fn store_that_is_gone_ends_the_job_at_the_commit_that_notices_it() {
    let mut harness = Harness::running(every(100));
    harness.at(100);
    harness.acknowledge(1, 1, SourceState::Reading);
    let error = Arc::new(SnapshotError::Gone { store: "store".to_owned() });
    let out = harness.apply(ScheduleEvent::FinaliseFailed { checkpoint: CheckpointId(1), error, retained: None });
    assert!(matches!(out[0], ScheduleCommand::Abort { checkpoint: CheckpointId(1), .. }), "{out:?}");
    let Some(ScheduleCommand::GiveUp { failures: 1, last: AbortReason::Store(last) }) = out.last() else {
        panic!("{out:?}")
    };
    assert!(last.is_gone());
    assert!(harness.at(10_000).is_empty());
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
fn state_that_cannot_be_stored_ends_a_job_that_tolerates_all_failures() {
    let mut harness = Harness::running(every(100));
    for failures in 1..=9 {
        harness.at(100 * failures);
        let reason = StateError::Encode {
            operator: "op".into(),
            state: "s".into(),
            scope: StateScope::KeyGroup(3),
            version: 1,
            reason: "no".to_owned(),
        };
        let (execution, checkpoint) = (execution(1), CheckpointId(failures));
        let declined = ScheduleEvent::Declined { execution, subtask: SINK, checkpoint, reason: reason.into() };
        let out = harness.apply(declined);
        let gives_up = matches!(out.last(), Some(ScheduleCommand::GiveUp { failures: 9, .. }));
        assert_eq!(gives_up, failures == 9, "{out:?}");
    }
}

#[test]
fn failed_reservation_refuses_who_waits_and_is_retried_at_the_next_interval() {
    let mut harness = Harness::running(every(100));
    harness.apply(ScheduleEvent::CheckpointRequested { waiter: 3 });
    let out = harness.apply(ScheduleEvent::ReserveFailed { error: store_error(), retained: Some(Vec::new()) });
    assert!(matches!(out[..], [ScheduleCommand::AnswerWaiter { waiter: 3, result: Err(_) }]), "{out:?}");
    assert_eq!(triggered(&harness.at(100)), Some((1, 0, TriggerReason::Periodic)));
}

/// The waiters that were refused, and for how long.
fn refused(out: &[ScheduleCommand]) -> Vec<(u64, u64)> {
    let refused = out.iter().filter_map(|command| match command {
        ScheduleCommand::AnswerWaiter { waiter, result: Err(NoCheckpoint::Restarting(wait)) } => {
            Some((*waiter, wait.next_attempt_in.as_millis() as u64))
        }
        _ => None,
    });
    refused.collect()
}

#[test]
fn who_wants_a_checkpoint_waits_for_a_short_restart_delay_and_is_told_of_a_long_one() {
    let mut harness = Harness::running(every(100));
    let down = |at| ScheduleEvent::RegionDown {
        execution: execution(1),
        failed: true,
        restarts_at: Some(Duration::from_millis(at)),
    };
    harness.apply(ScheduleEvent::RegionDown { execution: execution(1), failed: true, restarts_at: None });
    assert!(harness.apply(ScheduleEvent::CheckpointRequested { waiter: 1 }).is_empty(), "its tasks are being stopped");
    assert!(harness.apply(down(1_000)).is_empty(), "a second is waited for");
    assert_eq!(refused(&harness.apply(down(5_000))), [(1, 5_000)]);
    harness.at(2_000);
    assert_eq!(refused(&harness.apply(ScheduleEvent::CheckpointRequested { waiter: 2 })), [(2, 3_000)]);
    harness.at(4_500);
    assert!(harness.apply(ScheduleEvent::CheckpointRequested { waiter: 3 }).is_empty());
    harness.restore(2, None);
    let out = harness.run(2, 0);
    let out = if out.is_empty() { harness.at(4_500) } else { out };
    assert!(matches!(out[0], ScheduleCommand::ReserveIds { .. }) || triggered(&out).is_some(), "{out:?}");
}

#[test]
fn checkpoint_of_a_region_that_is_stopped_is_not_said_to_have_failed() {
    for (failed, says) in [(true, "region 0 failed"), (false, "region 0 was stopped")] {
        let mut harness = Harness::running(every(100));
        harness.at(100);
        let out = harness.apply(ScheduleEvent::RegionDown { execution: execution(1), failed, restarts_at: None });
        assert!(matches!(&out[0], ScheduleCommand::Abort { reason, .. } if reason.to_string() == says), "{out:?}");
    }
}
