//! What regions restore, and what is abandoned for it.

use super::*;

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
