//! What failures do to jobs, and what they do not.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use actix_rt::System;

use super::fake_store::*;
use super::running::*;
use super::stub::*;
use crate::contract::{Probe, SinkError, SnapshotError, Step};
use crate::control::event::JobEventKind;
use crate::control::outcome::{JobError, OutcomeKind};
use crate::protocol::{ActorName, Cause, CheckpointId, Checkpointing, Limits, NoRestore, RestartStrategy, TaskError};

/// Panics the first few times an actor other than a task comes to a step.
struct PanicAt {
    step: Step,
    left: AtomicU64,
    fired: AtomicBool,
}

impl Probe for PanicAt {
    fn reached(&self, step: Step, _: &ActorName) {
        let left = self.left.load(Ordering::Relaxed);
        if step == self.step && left > 0 {
            self.left.store(left - 1, Ordering::Relaxed);
            self.fired.store(true, Ordering::Relaxed);
            panic!("injected at {step:?}");
        }
    }
}

/// Longer than the clock of a test goes on while threads of the job are kept from their cores: no task that would stop is left behind.
fn patient() -> Limits {
    Limits { stop_timeout: Duration::from_secs(300), ..Limits::default() }
}

#[test]
fn panics_of_tasks_at_any_moment_restart_the_region_from_the_newest_checkpoint() {
    for when in [When::Made, When::Begin, When::Barrier, When::Complete] {
        for task in [SOURCE, SINK] {
            if (task, when) == (SINK, When::Begin) {
                continue;
            }
            System::new().block_on(async {
                let setup = Setup { limits: patient(), ..Setup::default() }.bad(task, when, Bad::Panic);
                let script = setup.script.clone();
                let mut running = setup.launch();
                running.until(|kind| matches!(kind, JobEventKind::SubtaskFailed { .. })).await;
                let outcome = running.outcome_with_time().await.expect("finished");
                assert_eq!(outcome.kind, OutcomeKind::Finished, "{task:?} {when:?}");
                // A source may panic over a completion that the sinks have already answered.
                if when != When::Complete {
                    assert_eq!((outcome.restarts, script.starts.load(Ordering::Relaxed)), (1, 8));
                }
            });
        }
    }
}

#[test]
fn coordinator_and_writer_die_at_every_step_and_no_task_restarts() {
    let steps = [
        Step::Triggering,
        Step::AcknowledgementReceived,
        Step::Finalising,
        Step::Completed,
        Step::CompletionSent,
        Step::CommittedReceived,
        Step::StoringChunks,
        Step::CommittingManifest,
        Step::ManifestCommitted,
    ];
    for (step, times) in steps.into_iter().flat_map(|step| [(step, 1), (step, 3)]) {
        System::new().block_on(async {
            let probe = Arc::new(PanicAt { step, left: AtomicU64::new(times), fired: AtomicBool::new(false) });
            let setup = Setup { probe: Some(probe.clone()), ..Setup::default() };
            let script = setup.script.clone();
            let outcome = setup.launch().outcome_with_time().await.expect("finished");
            assert!(probe.fired.load(Ordering::Relaxed), "{step:?}");
            assert_eq!((outcome.kind, outcome.restarts), (OutcomeKind::Finished, 0), "{step:?}");
            assert_eq!(script.starts.load(Ordering::Relaxed), 4, "{step:?}");
        });
    }
}

#[test]
fn region_supervisor_dies_at_every_step_and_its_region_restarts() {
    for step in [Step::RegionRestoring, Step::RegionStarting, Step::RegionReady, Step::RegionStopping] {
        for times in [1, 3] {
            System::new().block_on(async {
                let probe = Arc::new(PanicAt { step, left: AtomicU64::new(times), fired: AtomicBool::new(false) });
                // Its region stops in any case, so that the last step is reached too.
                let setup = Setup::default().bad(SINK, When::Barrier, Bad::Panic);
                let running = Setup { probe: Some(probe.clone()), ..setup }.launch();
                let outcome = running.outcome_with_time().await.expect("finished");
                assert!(probe.fired.load(Ordering::Relaxed), "{step:?}");
                assert_eq!(outcome.kind, OutcomeKind::Finished);
                assert!(outcome.restarts >= 2, "{step:?}: {outcome:?}");
            });
        }
    }
}

#[test]
fn root_that_dies_ends_its_job_with_a_typed_error_and_another_job_runs_on() {
    System::new().block_on(async {
        let left = AtomicU64::new(1);
        let probe = Arc::new(PanicAt { step: Step::JobSupervising, left, fired: AtomicBool::new(false) });
        let other = Setup::unbounded().launch();
        let setup = Setup { probe: Some(probe), ..Setup::default() };
        let store = setup.store.clone();
        let error = setup.launch().handle.await.expect_err("the root is gone");
        assert!(matches!(&error, JobError::Internal { actor: ActorName::JobSupervisor, .. }), "{error}");
        assert!(store.closed.load(Ordering::Relaxed));
        assert_eq!(other.handle.finish().await.expect("finished").kind, OutcomeKind::Finished);
    });
}

#[test]
fn strategy_that_gives_up_ends_the_job_with_its_history() {
    System::new().block_on(async {
        let setup = Setup { restart: RestartStrategy::fixed_delay(1, Duration::ZERO), ..Setup::default() };
        // Each attempt uses up at most two.
        let setup = (0..3).fold(setup, |setup, _| setup.bad(SOURCE, When::Begin, Bad::Panic));
        let error = setup.launch().handle.await.expect_err("gave up");
        let JobError::GaveUp { failures, history, .. } = &error else { panic!("{error}") };
        assert_eq!(*failures, 2);
        assert!(history.iter().all(|failure| matches!(&failure.cause, Cause::Panicked(_))), "{history:?}");
    });
}

#[test]
fn error_that_would_repeat_is_final_at_once() {
    System::new().block_on(async {
        let reason = SinkError::configuration("no such directory");
        let setup = Setup::default().bad(SINK, When::Made, Bad::Fail(TaskError::from(reason)));
        let error = setup.launch().handle.await.expect_err("failed");
        assert!(matches!(&error, JobError::Failed { error: TaskError::Sink(_), .. }), "{error}");
    });
}

fn damage() -> Bad {
    Bad::Fail(TaskError::from(SnapshotError::Damaged {
        store: "fake".into(),
        what: "chunk 6".into(),
        reason: "checksum".into(),
        checkpoints: vec![CheckpointId(6)],
    }))
}

#[test]
fn damaged_checkpoint_falls_back_where_sinks_can_withdraw() {
    System::new().block_on(async {
        let store = FakeStore::with([(5, false), (6, false)]);
        let setup = Setup { store, ..Setup::default() }.bad(SINK, When::Made, damage());
        let (script, store) = (setup.script.clone(), setup.store.clone());
        let mut running = setup.launch();
        running.until(|kind| matches!(kind, JobEventKind::FellBack { .. })).await;
        running.handle.await.expect("finished");
        let restored = script.restored.lock().unwrap().clone();
        assert!(restored[..4].iter().all(|(_, from, withdraw)| *from == Some(CheckpointId(6)) && withdraw.is_empty()));
        let fallen =
            |(_, from, withdraw): &(_, _, Vec<_>)| *from == Some(CheckpointId(5)) && *withdraw == [CheckpointId(6)];
        assert!(restored[4..].iter().all(fallen), "{restored:?}");
        assert!(store.abandoned.lock().unwrap().contains(&CheckpointId(6)));
    });
}

#[test]
fn damaged_checkpoint_is_a_typed_error_where_output_would_repeat() {
    System::new().block_on(async {
        let store = FakeStore::with([(5, false), (6, false)]);
        let setup = Setup { store, sinks_can_withdraw: false, ..Setup::default() };
        let error = setup.bad(SINK, When::Made, damage()).launch().handle.await.expect_err("refused");
        let JobError::Damaged { checkpoint: CheckpointId(6), reason: NoRestore::WouldRepeat { older }, .. } = &error
        else {
            panic!("{error}")
        };
        assert_eq!(older[..], [CheckpointId(5)]);
    });
}

#[test]
fn failed_manifest_commits_cost_a_checkpoint_only_if_they_took_no_effect() {
    for (effect, checkpoints) in [(false, CheckpointId(2)), (true, CheckpointId(1))] {
        System::new().block_on(async {
            let setup = Setup::default();
            let store = setup.store.clone();
            store.finalise_fails.lock().unwrap().push_back(effect);
            let outcome = setup.launch().handle.await.expect("finished");
            assert_eq!((outcome.last_checkpoint, outcome.restarts), (Some(checkpoints), 0));
        });
    }
}

#[test]
fn task_that_does_not_stop_loses_its_arbiter_and_the_region_goes_on() {
    System::new().block_on(async {
        let (release, until) = mpsc::channel();
        let limits = Limits { stuck_after: Duration::from_secs(1000), ..Limits::default() };
        let checkpointing = Checkpointing::every(Duration::from_secs(1)).timeout(Duration::from_secs(5));
        let setup = Setup { limits, checkpointing, ..Setup::default() }.bad(SINK, When::Barrier, Bad::Hang(until));
        // The checkpoint after the one that hangs.
        let setup = setup.bad(SOURCE, When::Barrier, Bad::Nothing).bad(SOURCE, When::Barrier, Bad::Nothing);
        let setup = setup.bad(SOURCE, When::Barrier, Bad::Panic);
        let script = setup.script.clone();
        let mut running = setup.launch();
        // Were it to begin before, time could be up for the checkpoint before its barrier has come to the sink.
        while script.hangs.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        running.until_with_time(|kind| matches!(kind, JobEventKind::ArbiterCondemned { .. })).await;
        let outcome = running.outcome_with_time().await.expect("finished");
        assert_eq!(outcome.kind, OutcomeKind::Finished);
        drop(release);
    });
}

#[test]
fn stuck_task_is_reported_and_replaced_if_the_limits_say_so() {
    System::new().block_on(async {
        let (release, until) = mpsc::channel();
        let limits = Limits { replace_stuck: true, ..Limits::default() };
        let setup = Setup { limits, ..Setup::default() }.bad(SINK, When::Barrier, Bad::Hang(until));
        let mut running = setup.launch();
        running.until_with_time(|kind| matches!(kind, JobEventKind::SubtaskStuck { .. })).await;
        running.until_with_time(|kind| matches!(kind, JobEventKind::RegionRunning { .. })).await;
        let outcome = running.outcome_with_time().await.expect("finished");
        assert!(outcome.restarts >= 1);
        drop(release);
    });
}

/// It answered when it was told to stop, so its arbiter counts as running, and the next attempt begins there.
#[test]
fn task_that_holds_its_arbiter_after_it_was_left_behind_loses_it() {
    System::new().block_on(async {
        let (release, until) = mpsc::channel();
        let setup = Setup { limits: patient(), ..Setup::default() }.bad(SOURCE, When::Barrier, Bad::Panic);
        let setup = setup.bad(SINK, When::Stop, Bad::HangLater(until));
        let script = setup.script.clone();
        let mut running = setup.launch();
        // Were time to begin before, it could be up before the sink has run at all.
        while script.hangs.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        running.until_with_time(|kind| matches!(kind, JobEventKind::SubtaskLeftBehind { .. })).await;
        running.until_with_time(|kind| matches!(kind, JobEventKind::RegionMoving { .. })).await;
        let outcome = running.outcome_with_time().await.expect("finished");
        assert_eq!((outcome.kind, outcome.restarts), (OutcomeKind::Finished, 2));
        drop(release);
    });
}
