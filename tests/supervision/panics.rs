//! A panic anywhere in a job's own code costs one restart, and no result.

use millstream::CheckpointId;

use crate::rig::{Ended, Fault, Faults, Rig, environment, in_system};

/// When a fault is armed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum When {
    /// Before the start.
    AtStart,
    /// Just before the checkpoint.
    AtCheckpoint,
    /// Once there is a checkpoint to restore.
    AfterCheckpoint,
    /// Where a restore is under way: with a panic of the operator that causes it.
    InRestore,
}

fn run(place: fn(&Faults) -> &Fault, when: When, blocking: bool) -> Ended {
    in_system(async {
        let rig = Rig { blocking, ..Rig::default() };
        let faults = rig.faults.clone();
        let fault = place(&faults);
        if when == When::AtStart {
            fault.arm(1);
        }
        let running = rig.start(environment(&format!("panic {when:?}")));
        running.gate.reached().await;
        if when == When::AtCheckpoint {
            fault.arm(1);
        }
        running.checkpoint_at_gate().await;
        if let When::AfterCheckpoint | When::InRestore = when {
            fault.arm(1);
        }
        if when == When::InRestore {
            faults.operator.arm(1);
        }
        let ended = running.finish_exactly().await;
        assert!(fault.is_spent(), "{when:?}");
        ended
    })
}

fn assert_survived(name: &str, place: fn(&Faults) -> &Fault, when: When) {
    for blocking in [false, true] {
        let ended = run(place, when, blocking);
        let panics = ended.panics();
        let expected = format!("injected: {name}");
        let expected = if when == When::InRestore { vec!["injected: operator", &expected] } else { vec![&*expected] };
        assert_eq!(panics, expected, "{when:?}, blocking: {blocking}");
        assert_eq!(ended.outcome.restarts, panics.len() as u64, "{when:?}, blocking: {blocking}");
        assert!(ended.outcome.last_checkpoint >= Some(CheckpointId(2)), "the gate's and the final one");
        assert!(ended.restarted_actors().is_empty());
    }
}

#[test]
fn panic_when_a_source_opens_is_survived() {
    assert_survived("source open", |faults| &faults.source_open, When::AtStart);
    assert_survived("source open", |faults| &faults.source_open, When::InRestore);
}

#[test]
fn panic_when_a_source_reads_is_survived() {
    assert_survived("source read", |faults| &faults.source_read, When::AtStart);
    assert_survived("source read", |faults| &faults.source_read, When::AfterCheckpoint);
}

#[test]
fn panic_of_an_operator_is_survived() {
    assert_survived("operator", |faults| &faults.operator, When::AtStart);
    assert_survived("operator", |faults| &faults.operator, When::AfterCheckpoint);
}

#[test]
fn panic_of_a_key_selector_is_survived() {
    assert_survived("key selector", |faults| &faults.selector, When::AtStart);
    assert_survived("key selector", |faults| &faults.selector, When::AfterCheckpoint);
}

#[test]
fn panic_of_a_partitioner_is_survived() {
    assert_survived("partitioner", |faults| &faults.partitioner, When::AtStart);
    assert_survived("partitioner", |faults| &faults.partitioner, When::AfterCheckpoint);
}

#[test]
fn panic_of_a_start_up_closure_is_survived() {
    assert_survived("start-up closure", |faults| &faults.start_up, When::InRestore);
}

#[test]
fn panic_when_a_sink_opens_is_survived() {
    assert_survived("sink open", |faults| &faults.sink_open, When::AtStart);
    assert_survived("sink open", |faults| &faults.sink_open, When::InRestore);
}

#[test]
fn panic_when_a_sink_writes_is_survived() {
    assert_survived("sink write", |faults| &faults.sink_write, When::AtStart);
    assert_survived("sink write", |faults| &faults.sink_write, When::AfterCheckpoint);
}

#[test]
fn panic_when_a_sink_prepares_is_survived() {
    assert_survived("sink prepare", |faults| &faults.sink_prepare, When::AtCheckpoint);
    assert_survived("sink prepare", |faults| &faults.sink_prepare, When::AfterCheckpoint);
}

#[test]
fn panic_when_a_sink_commits_is_survived() {
    assert_survived("sink commit", |faults| &faults.sink_commit, When::AtCheckpoint);
    assert_survived("sink commit", |faults| &faults.sink_commit, When::AfterCheckpoint);
}
