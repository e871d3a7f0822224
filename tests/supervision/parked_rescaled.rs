//! A job that is rescaled while a region is parked, and a region that parks while the job is rescaled: the output of all regions is that of
//! a run without failure. P4, P5, L6, L7.

use std::time::Duration;

use millstream::prelude::*;
use millstream::query::Consistency;
use millstream::sink::Collected;
use millstream::{
    ActorName, CheckpointError, JobEventKind, JobState, OnExhausted, Probe, QueryError, RescaleError, Step,
};

use crate::parked::{LATE, parks};
use crate::rig::{Fault, Figure, GATE_AT, RECORDS, assert_exact, environment, in_system};
use crate::several::{Part, SECOND, Told, attempts, three};

/// A job of three regions that are at their gates.
struct AtGates {
    job: JobHandle,
    told: Told,
    parts: [Part; 3],
    figures: [Collected<Figure>; 3],
}

impl AtGates {
    async fn new(env: StreamEnvironment) -> Self {
        let env = env.restart_strategy(RestartStrategy::none()).tell_panic_hook(false);
        let told = Told::of(&env);
        let (parts, figures) = three(&env, parks());
        let job = env.start().expect("the job starts");
        for part in &parts {
            part.gate.reached().await;
        }
        job.checkpoint().await.expect("nothing fails yet");
        Self { job, told, parts, figures }
    }

    /// And the second one of which is parked after a checkpoint.
    async fn parked(env: StreamEnvironment) -> Self {
        let mut of = Self::new(env).await;
        of.parts[1].faults.operator.arm(1);
        of.parts[1].gate.open();
        of.told.until_parked().await;
        of
    }

    fn is_parked(&self) -> bool {
        self.job.status().parked.contains_key(&SECOND)
    }

    /// To the end, without another failure.
    async fn ends(self) {
        self.parts.iter().for_each(|part| part.gate.open());
        let outcome = self.job.await.expect("nothing fails any more");
        assert_eq!((outcome.kind, outcome.restarts), (OutcomeKind::Finished, 0));
        self.figures.iter().for_each(assert_exact);
    }
}

#[test]
fn region_stays_parked_over_rescales_and_goes_on_at_the_last_parallelism() {
    for (nth, place) in LATE.into_iter().enumerate() {
        in_system(async {
            let dir = tempfile::tempdir().expect("a folder");
            let env = environment("rescaled");
            let env = if nth % 2 == 0 { env } else { env.state_backend(StateBackend::redb(dir.path())) };
            let mut of = AtGates::new(env).await;
            let fault = place(&of.parts[1].faults).clone();
            fault.arm(1_000);
            of.parts[1].gate.open();
            // Some places are come to at a checkpoint only.
            let _ = of.job.checkpoint().await;
            of.told.until_parked().await;
            let (job, parked) = (of.job.clone(), of.job.status().parked);
            let before = of.figures[1].snapshot();
            for (to, opens) in [(3, 0), (1, 2), (4, 2)] {
                assert_eq!(job.rescale(to).await.expect("the others have other tasks").to, to);
                let status = job.status();
                assert_eq!((status.state, status.parallelism), (JobState::Running, to));
                assert_eq!(status.parked, parked, "as before");
                of.parts[opens].gate.open();
                job.checkpoint().await.expect("checkpoints go on");
            }
            assert_eq!(of.figures[1].snapshot(), before, "nothing comes of a region that is parked");
            fault.arm(0);
            job.resume_region(SECOND).await.expect("it runs");
            assert_eq!(attempts(&job), [4, 2, 4]);
            let sums = job.figures().into_iter().filter(|figures| figures.task.contains("second-sums")).count();
            assert_eq!(sums, 4, "at the parallelism of the job");
            of.ends().await;
        });
    }
}

/// It is parked again, and again without having taken part in a checkpoint.
#[test]
fn region_that_gives_up_at_each_parallelism_is_parked_where_it_was() {
    in_system(async {
        let mut of = AtGates::parked(environment("again")).await;
        for to in [1, 3, 2] {
            of.job.rescale(to).await.expect("the others have other tasks");
            of.parts[1].faults.operator.arm(1);
            // It may run for a moment.
            let _ = of.job.resume_region(SECOND).await;
            of.told.until_parked().await;
        }
        of.job.rescale(1).await.expect("the others have other tasks");
        of.job.resume_region(SECOND).await.expect("it runs");
        let rewinds: Vec<u64> = of
            .job
            .history()
            .into_iter()
            .filter_map(|event| match event.kind {
                JobEventKind::Restored { region: SECOND, rewinds, .. } => rewinds,
                _ => None,
            })
            .collect();
        assert!(rewinds.len() == 4 && rewinds.iter().all(|read| *read <= RECORDS - GATE_AT), "{rewinds:?}");
        assert!(rewinds.is_sorted(), "none is forgotten: {rewinds:?}");
        of.ends().await;
    });
}

#[test]
fn region_that_does_not_start_at_the_new_parallelism_is_parked_and_the_rescale_is_answered() {
    in_system(async {
        let mut of = AtGates::new(environment("narrow")).await;
        of.parts[1].faults.sink_open.arm(1_000);
        let rescaled = of.job.rescale(3).await.expect("the others run");
        let kind = of.told.until_parked().await;
        assert!(
            matches!(kind, JobEventKind::RegionParked { region: SECOND, checkpoint, .. } if checkpoint == rescaled.checkpoint),
            "{kind}"
        );
        assert_eq!(of.job.status().state, JobState::Running);
        of.job.rescale(1).await.expect("again");
        assert!(of.is_parked());
        of.parts[1].faults.sink_open.arm(0);
        of.job.resume_region(SECOND).await.expect("it runs");
        of.ends().await;
    });
}

/// Its commit fails before, while, or after it is told to stop for the rescale: its output is published once.
#[test]
fn region_that_fails_behind_the_checkpoint_of_a_rescale_is_parked_or_rescaled() {
    for _ in 0..10 {
        in_system(async {
            let of = AtGates::new(environment("commits")).await;
            of.parts[1].gate.open();
            of.parts[1].faults.sink_commit.arm(1_000);
            // It may be the commit of the checkpoint before that one.
            while let Err(error) = of.job.rescale(3).await {
                assert!(matches!(error, RescaleError::Checkpoint(CheckpointError::Aborted(_))), "{error}");
            }
            of.parts[1].faults.sink_commit.arm(0);
            of.job.rescale(1).await.expect("again");
            if of.is_parked() {
                of.job.resume_region(SECOND).await.expect("it runs");
            }
            of.ends().await;
        });
    }
}

#[test]
fn region_that_is_resumed_during_a_rescale_starts_with_the_new_tasks() {
    in_system(async {
        let mut of = AtGates::parked(environment("meanwhile")).await;
        let rescaled = actix_rt::spawn(of.job.rescale(3));
        of.told.until(|kind| matches!(kind, JobEventKind::Rescaling { .. })).await;
        of.job.resume_region(SECOND).await.expect("it runs");
        assert_eq!(rescaled.await.expect("it is answered").expect("rescaled").to, 3);
        of.ends().await;

        // And before: the checkpoint waits for it.
        let of = AtGates::parked(environment("before")).await;
        let (resumed, rescaled) = (actix_rt::spawn(of.job.resume_region(SECOND)), of.job.rescale(3).await);
        resumed.await.expect("it is answered").expect("it runs");
        assert_eq!(rescaled.expect("rescaled").to, 3);
        of.ends().await;
    });
}

#[test]
fn job_is_asked_to_end_after_a_rescale_with_a_parked_region() {
    in_system(async {
        let of = AtGates::parked(environment("finishes")).await;
        of.job.rescale(3).await.expect("the others have other tasks");
        assert_eq!(of.job.finish().await.expect("the region does not fail again").kind, OutcomeKind::Finished);
        let resumed =
            of.job.history().into_iter().any(|event| matches!(event.kind, JobEventKind::RegionResumed { .. }));
        assert!(resumed && of.figures[1].snapshot().len() >= of.figures[0].snapshot().len());

        let of = AtGates::parked(environment("drains")).await;
        of.job.rescale(3).await.expect("the others have other tasks");
        assert_eq!(of.job.drain().await.expect("it needs not the region").kind, OutcomeKind::Drained);
    });
}

/// Whichever order comes first, both are answered.
#[test]
fn end_that_is_asked_for_during_a_rescale_with_a_parked_region_is_come_to() {
    for finishes in [false, true] {
        in_system(async {
            let mut of = AtGates::parked(environment("ends")).await;
            let rescaled = actix_rt::spawn(of.job.rescale(3));
            of.told.until(|kind| matches!(kind, JobEventKind::Rescaling { .. })).await;
            let outcome = if finishes { of.job.finish().await } else { of.job.drain().await };
            let kind = if finishes { OutcomeKind::Finished } else { OutcomeKind::Drained };
            assert_eq!(outcome.expect("nothing fails").kind, kind);
            match rescaled.await.expect("it is answered") {
                Ok(done) => assert_eq!(done.to, 3),
                Err(error) => assert!(matches!(error, RescaleError::Ended), "{error}"),
            }
        });
    }
}

#[test]
fn queries_of_the_region_are_answered_as_before_the_rescale() {
    in_system(async {
        let of = AtGates::parked(environment("queries")).await;
        let query = |consistency| of.job.query::<u64, u64>("second-sums", "accumulator").consistency(consistency);
        let before = query(Consistency::Checkpoint).get(&0).await.expect("the checkpoint has it").value;
        of.job.rescale(3).await.expect("the others have other tasks");
        let error = query(Consistency::Live).get(&0).await.expect_err("nobody is there");
        assert!(matches!(error, QueryError::Parked { region: SECOND }), "{error}");
        for consistency in [Consistency::Checkpoint, Consistency::LiveOrCheckpoint] {
            assert_eq!(query(consistency).get(&0).await.expect("the checkpoint has it").value, before);
        }
        of.job.resume_region(SECOND).await.expect("it runs");
        of.ends().await;
    });
}

#[test]
fn job_all_of_whose_regions_are_parked_is_not_rescaled() {
    in_system(async {
        let env = environment("all").restart_strategy(RestartStrategy::none()).on_exhausted(OnExhausted::Park);
        let mut told = Told::of(&env);
        let (parts, figures) = three(&env, parks());
        parts.iter().for_each(|part| part.faults.operator.arm(1));
        let job = env.start().expect("the job starts");
        for _ in 0..3 {
            told.until_parked().await;
        }
        let error = job.rescale(3).await.expect_err("there is nothing to take a checkpoint of");
        assert!(matches!(error, RescaleError::Checkpoint(CheckpointError::AllParked)), "{error}");
        assert_eq!((job.status().state, job.status().parallelism), (JobState::Parked, 2));
        for region in job.status().parked.into_keys() {
            job.resume_region(region).await.expect("it runs");
        }
        job.rescale(3).await.expect("all run");
        AtGates { job, told, parts, figures }.ends().await;
    });
}

/// Panics once at a step of an actor that controls the job.
struct PanicOfControl {
    step: Step,
    fault: Fault,
}

impl Probe for PanicOfControl {
    fn reached(&self, step: Step, actor: &ActorName) {
        if step == self.step && !matches!(actor, ActorName::Subtask { .. }) {
            self.fault.meet("step");
        }
    }
}

/// The actors that control the job are restarted at any step of a rescale with a parked region: it stays so, and the rescale is answered.
#[test]
fn control_actors_die_at_any_step_of_a_rescale_with_a_parked_region() {
    for step in [
        Step::Triggering,
        Step::AcknowledgementReceived,
        Step::Finalising,
        Step::CommittingManifest,
        Step::ManifestCommitted,
        Step::Completed,
        Step::CompletionSent,
        Step::CommittedReceived,
        Step::RegionStopping,
        Step::RegionRestoring,
        Step::RegionStarting,
        Step::RegionReady,
    ] {
        in_system(async {
            let fault = Fault::default();
            let env = environment("control").tell_panic_hook(false);
            let env = env.probe(PanicOfControl { step, fault: fault.clone() });
            let mut told = Told::of(&env);
            let (parts, figures) = three(&env, parks());
            let job = env.start().expect("the job starts");
            for part in &parts {
                part.gate.reached().await;
            }
            job.checkpoint().await.expect("nothing fails yet");
            parts[1].faults.operator.arm(4);
            parts[1].gate.open();
            told.until_parked().await;
            for to in [3, 1] {
                fault.arm(1);
                while let Err(error) = job.rescale(to).await {
                    assert!(matches!(error, RescaleError::Checkpoint(_)), "{step:?}: {error}");
                }
                assert_eq!((job.status().parallelism, job.status().parked.len()), (to, 1), "{step:?}");
            }
            fault.arm(0);
            parts[0].gate.open();
            while job.checkpoint().await.is_err() {}
            job.resume_region(SECOND).await.expect("it runs");
            parts.iter().for_each(|part| part.gate.open());
            assert_eq!(job.await.expect("nothing fails any more").kind, OutcomeKind::Finished, "{step:?}");
            figures.iter().for_each(assert_exact);
        });
    }
}

/// The host is asked, and says nothing for a while: the rescale waits for that, and no longer.
#[test]
fn rescale_waits_for_what_the_host_says_to_a_region_that_gives_up() {
    struct Silent;

    impl actix::Actor for Silent {
        type Context = actix::Context<Self>;
    }

    impl actix::Handler<millstream::Escalation> for Silent {
        type Result = actix::ResponseFuture<millstream::EscalationDecision>;

        fn handle(&mut self, _: millstream::Escalation, _: &mut Self::Context) -> Self::Result {
            Box::pin(std::future::pending())
        }
    }

    in_system(async {
        let clock = millstream::time::ManualClock::new();
        let host = actix::Actor::start(Silent);
        let within = Duration::from_secs(3_600);
        let env = environment("asks").clock(clock.clone()).on_escalation(host.recipient(), within);
        let mut of = AtGates::new(env).await;
        of.parts[1].faults.sink_open.arm(1);
        let rescaled = actix_rt::spawn(of.job.rescale(3));
        of.told.until(|kind| matches!(kind, JobEventKind::Escalated { region: SECOND, .. })).await;
        assert!(!rescaled.is_finished());
        clock.advance(within);
        assert_eq!(rescaled.await.expect("it is answered").expect("the region is parked").to, 3);
        assert!(of.is_parked());
        of.job.resume_region(SECOND).await.expect("it runs");
        of.ends().await;
    });
}
