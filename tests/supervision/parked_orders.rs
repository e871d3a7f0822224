//! What each order does while a region is parked: the table of docs/supervision.md, row by row. P5.

use millstream::prelude::*;
use millstream::query::Consistency;
use millstream::{
    CheckpointError, JobEventKind, JobState, OnExhausted, QueryError, RegionId, ResumeRegionError, SavepointError,
};

use crate::parked::parks;
use crate::rig::{Figure, GATE_AT, KEYS, assert_exact, environment, in_system};
use crate::several::{Part, SECOND, Told, attempts, three};

/// A job with a checkpoint at its gates, whose second region has been parked after that.
struct Parked {
    job: JobHandle,
    told: Told,
    parts: [Part; 3],
    figures: [millstream::sink::Collected<Figure>; 3],
}

impl Parked {
    async fn new() -> Self {
        let env = environment("orders").restart_strategy(RestartStrategy::none());
        let mut told = Told::of(&env);
        let (parts, figures) = three(&env, parks());
        let job = env.start().expect("the job starts");
        for part in &parts {
            part.gate.reached().await;
        }
        job.checkpoint().await.expect("nothing fails yet");
        parts[1].faults.operator.arm(1);
        parts[1].gate.open();
        told.until_parked().await;
        Self { job, told, parts, figures }
    }

    /// Nothing was done to it: it is resumed, and its output is whole.
    async fn goes_on(self) {
        self.job.resume_region(SECOND).await.expect("it runs");
        self.parts.iter().for_each(|part| part.gate.open());
        assert_eq!(self.job.await.expect("nothing fails").kind, OutcomeKind::Finished);
        self.figures.iter().for_each(assert_exact);
    }
}

#[test]
fn savepoints_are_refused_and_the_job_goes_on() {
    in_system(async {
        let parked = Parked::new().await;
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("savepoint");
        let refused =
            |error: &SavepointError| matches!(error, SavepointError::Parked { regions , .. } if regions == &[SECOND]);
        let error = parked.job.savepoint(&path).await.expect_err("it would hold pending commits");
        assert!(refused(&error), "{error}");
        let error = parked.job.stop_with_savepoint(&path).await.expect_err("the same");
        assert!(refused(&error), "{error}");
        assert!(!path.exists());
        parked.job.checkpoint().await.expect("it was not stopped");
        parked.goes_on().await;
    });
}

/// One that waits for a checkpoint when the region is parked is told so, and does not wait for the region.
#[test]
fn savepoint_under_way_is_refused_when_a_region_is_parked() {
    for stops in [false, true] {
        in_system(async {
            let env = environment("under way").restart_strategy(RestartStrategy::none());
            let mut told = Told::of(&env);
            let (parts, figures) = three(&env, parks());
            // At the first checkpoint, which is that of the savepoint.
            parts[1].faults.sink_commit.arm(1);
            let job = env.start().expect("the job starts");
            for part in &parts {
                part.gate.reached().await;
            }
            let dir = tempfile::tempdir().expect("a folder");
            let path = dir.path().join("savepoint");
            let error = if stops {
                job.stop_with_savepoint(&path).await.expect_err("no sink of the region answers")
            } else {
                job.savepoint(&path).await.expect_err("no sink of the region answers")
            };
            assert!(matches!(&error, SavepointError::Parked { regions , .. } if regions == &[SECOND]), "{error}");
            told.until_parked().await;
            // It reads on. A stop had begun: all that is not parked starts again for that.
            while job.resume_region(SECOND).await.is_err() {}
            parts.iter().for_each(|part| part.gate.open());
            assert_eq!(job.await.expect("nothing fails any more").kind, OutcomeKind::Finished);
            figures.iter().for_each(assert_exact);
        });
    }
}

#[test]
fn job_is_paused_and_resumed_and_a_region_that_is_resumed_in_a_pause_is_paused() {
    in_system(async {
        let parked = Parked::new().await;
        parked.job.pause().await.expect("it is kept");
        parked.job.resume_region(SECOND).await.expect("it runs");
        let read = |job: &JobHandle| -> u64 {
            let of_sources = job.figures().into_iter().filter(|figures| figures.task.starts_with("second-numbers"));
            of_sources.map(|figures| figures.of_attempt.records_in).sum()
        };
        let checkpoint = parked.job.checkpoint().await.expect("taken in a pause");
        assert_eq!(read(&parked.job), 0, "it has read nothing by {checkpoint}");
        parked.job.resume().await.expect("it is kept");
        parked.parts.iter().for_each(|part| part.gate.open());
        assert_eq!(parked.job.await.expect("nothing fails").kind, OutcomeKind::Finished);
        parked.figures.iter().for_each(assert_exact);
    });
}

#[test]
fn job_whose_other_regions_have_ended_waits_for_the_parked_one() {
    in_system(async {
        let mut parked = Parked::new().await;
        parked.parts[0].gate.open();
        parked.parts[2].gate.open();
        // All that they had is published by a checkpoint, which is not the last one.
        while parked.figures[0].snapshot().len() < 3_000 || parked.figures[2].snapshot().len() < 3_000 {
            parked.job.checkpoint().await.expect("checkpoints go on");
        }
        assert_eq!(parked.job.status().state, JobState::Running);
        parked.job.resume_region(SECOND).await.expect("it runs");
        parked.told.until(|kind| matches!(kind, JobEventKind::RegionRunning { region: SECOND, .. })).await;
        assert_eq!(parked.job.await.expect("nothing fails").kind, OutcomeKind::Finished);
        parked.figures.iter().for_each(assert_exact);
    });
}

#[test]
fn finish_resumes_the_region_and_ends_the_job_complete() {
    in_system(async {
        let parked = Parked::new().await;
        let outcome = parked.job.finish().await.expect("the region does not fail again");
        assert_eq!((outcome.kind, attempts(&parked.job)), (OutcomeKind::Finished, vec![1, 2, 1]));
        let resumed =
            parked.job.history().into_iter().any(|event| matches!(event.kind, JobEventKind::RegionResumed { .. }));
        assert!(resumed);
        // What it had read when it failed is read again first.
        assert!(parked.figures[1].snapshot().len() >= parked.figures[0].snapshot().len());
    });
}

#[test]
fn region_that_gives_up_when_the_job_finishes_ends_it_with_its_error() {
    in_system(async {
        let parked = Parked::new().await;
        parked.parts[1].faults.source_open.arm(1_000);
        let error = parked.job.finish().await.expect_err("it cannot be complete without the region");
        assert!(matches!(error, JobError::GaveUp { region: SECOND, .. }), "{error}");
    });
}

#[test]
fn drain_and_cancel_end_the_job_without_the_region() {
    in_system(async {
        let parked = Parked::new().await;
        let newest = parked.job.status().newest_checkpoint;
        let outcome = parked.job.drain().await.expect("it needs not the region");
        assert_eq!((outcome.kind, attempts(&parked.job)), (OutcomeKind::Drained, vec![1, 1, 1]));
        assert!(outcome.last_checkpoint > newest, "the others have a last checkpoint");
        let error = parked.job.resume_region(SECOND).await.expect_err("it has ended");
        assert!(matches!(error, ResumeRegionError::Ended), "{error}");

        let parked = Parked::new().await;
        assert_eq!(parked.job.cancel().await.expect("at once").kind, OutcomeKind::Cancelled);
    });
}

#[test]
fn while_all_regions_are_parked_there_is_no_checkpoint_and_a_drain_is_over_at_once() {
    in_system(async {
        let env = environment("all").restart_strategy(RestartStrategy::none()).on_exhausted(OnExhausted::Park);
        let mut told = Told::of(&env);
        let (parts, _) = three(&env, parks());
        parts.iter().for_each(|part| part.faults.operator.arm(1));
        let job = env.start().expect("the job starts");
        for _ in 0..3 {
            told.until_parked().await;
        }
        assert_eq!((job.status().state, job.status().parked.len()), (JobState::Parked, 3));
        let error = job.checkpoint().await.expect_err("there is nothing to take one of");
        assert!(matches!(error, CheckpointError::AllParked), "{error}");
        assert_eq!(job.drain().await.expect("at once").kind, OutcomeKind::Drained);
    });
}

#[test]
fn live_queries_say_that_the_region_is_parked_and_those_of_checkpoints_are_answered() {
    in_system(async {
        let parked = Parked::new().await;
        parked.job.checkpoint().await.expect("checkpoints go on");
        let live = parked.job.query::<u64, u64>("second-sums", "accumulator").consistency(Consistency::Live);
        let error = live.get(&0).await.expect_err("nobody is there");
        assert!(matches!(error, QueryError::Parked { region: SECOND }) && !error.is_retryable(), "{error}");
        for consistency in [Consistency::Checkpoint, Consistency::LiveOrCheckpoint] {
            let query = parked.job.query::<u64, u64>("second-sums", "accumulator").consistency(consistency);
            let sum = query.get(&0).await.expect("the checkpoint has it").value;
            assert_eq!(sum, Some((0..GATE_AT).filter(|x| x % KEYS == 0).sum()));
        }
        parked.goes_on().await;
    });
}

#[test]
fn what_is_not_parked_is_not_resumed() {
    in_system(async {
        let parked = Parked::new().await;
        let not_parked = parked.job.resume_region(RegionId(0)).await.expect_err("it runs");
        assert!(matches!(not_parked, ResumeRegionError::NotParked { region: RegionId(0), .. }), "{not_parked}");
        let unknown = parked.job.resume_region(RegionId(3)).await.expect_err("there is none");
        assert!(matches!(unknown, ResumeRegionError::Unknown { region: RegionId(3), regions: 3, .. }), "{unknown}");
        parked.goes_on().await;
    });
}
