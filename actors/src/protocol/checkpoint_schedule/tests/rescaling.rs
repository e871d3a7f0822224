//! The checkpoint from which a job goes on with other tasks.

use super::*;

const RESCALE: ScheduleEvent = ScheduleEvent::Rescale(RescaleStep::Requested { waiter: 7 });
const OVER: ScheduleEvent = ScheduleEvent::Rescale(RescaleStep::Over);

fn answered(out: &[ScheduleCommand], of: u64) -> Option<bool> {
    out.iter().find_map(|command| match command {
        ScheduleCommand::AnswerWaiter { waiter, result } if *waiter == of => Some(result.is_ok()),
        _ => None,
    })
}

/// The source has two subtasks from now on.
fn wider() -> Vec<Participant> {
    let source = |index| Participant {
        subtask: SubtaskId { index, ..SOURCE },
        region: RegionId(0),
        kind: TaskKind::Source,
        holds_end: false,
    };
    let sink = Participant { subtask: SINK, kind: TaskKind::Sink, ..source(0) };
    vec![source(0), source(1), sink]
}

#[test]
fn no_checkpoint_follows_before_the_job_has_its_other_tasks_which_then_take_part() {
    let mut harness = Harness::running(every(100));
    assert!(triggered(&harness.at(100)).is_some());
    assert!(harness.apply(RESCALE).is_empty(), "one is in flight");
    let out = harness.complete(1, 1, SourceState::Reading);
    assert_eq!(triggered(&out), Some((2, 1, TriggerReason::OnDemand)));
    assert!(harness.apply(ScheduleEvent::CheckpointRequested { waiter: 8 }).is_empty());
    let out = harness.complete(1, 2, SourceState::Reading);
    assert_eq!((answered(&out, 7), triggered(&out)), (Some(true), None));
    assert!(harness.at(1_000).is_empty() && harness.schedule.next_wake().is_none());

    let down = ScheduleEvent::RegionDown { execution: execution(1), failed: false, restarts_at: None };
    assert!(harness.apply(down).is_empty(), "nothing is cut off");
    assert!(harness.apply(ScheduleEvent::Rescale(RescaleStep::TasksReplaced { by: wider() })).is_empty());
    assert!(harness.apply(OVER).is_empty());
    harness.restore(2, None);
    let out = harness.run(2, 2);
    assert_eq!(triggered(&out), Some((3, 2, TriggerReason::OnDemand)), "that of the other waiter");
    assert!(harness.schedule.sinks_have_committed(CheckpointId(2)), "they have settled what they restored");
    assert!(harness.acknowledge(2, 3, SourceState::Reading).is_empty(), "the second source's subtask is missing");
    let out = harness.apply(ScheduleEvent::Acknowledged {
        execution: execution(2),
        subtask: SubtaskId { index: 1, ..SOURCE },
        checkpoint: CheckpointId(3),
        written: Contribution::default(),
        facts: AckFacts { source: Some(SourceState::Reading), ..AckFacts::default() },
    });
    assert!(matches!(out[..], [ScheduleCommand::Finalise { .. }]), "{out:?}");
}

#[test]
fn checkpoints_go_on_where_that_of_a_rescale_fails_or_the_rescale_is_given_up() {
    let mut harness = Harness::running(every(100));
    harness.at(50);
    let reserve = harness.apply(RESCALE);
    assert!(matches!(reserve[..], [ScheduleCommand::ReserveIds { .. }]), "{reserve:?}");
    let out = harness.apply(ScheduleEvent::IdsReserved { up_to: CheckpointId(10) });
    assert_eq!(triggered(&out), Some((1, 0, TriggerReason::OnDemand)));
    assert_eq!(answered(&harness.decline(1, 1), 7), Some(false));
    assert_eq!(triggered(&harness.at(150)), Some((2, 0, TriggerReason::Periodic)));
    // One that is in flight and fails is not its own.
    assert!(harness.apply(RESCALE).is_empty());
    let out = harness.decline(1, 2);
    assert_eq!((answered(&out, 7), triggered(&out)), (None, Some((3, 0, TriggerReason::OnDemand))));
    harness.complete(1, 3, SourceState::Reading);
    assert!(harness.at(1_000).is_empty());
    let out = harness.apply(OVER);
    assert_eq!(triggered(&out), Some((4, 3, TriggerReason::Periodic)));
}
