//! A region that is parked and resumed: the others run on, checkpoints go on, and the output is that of a run without failure.

use std::time::Duration;

use millstream::prelude::*;
use millstream::{CheckpointId, JobEventKind, JobState, OnExhausted, RegionPolicy, ResumeRegionError};

use crate::rig::{Fault, Faults, assert_exact, environment, in_system};
use crate::several::{SECOND, Told, attempts, three};

pub(crate) fn parks() -> RegionPolicy {
    RegionPolicy::new().on_exhausted(OnExhausted::Park)
}

/// P3, P4: the second region is parked by a panic at this place, at once or once a checkpoint is complete, and resumed after more checkpoints.
fn park_and_resume(place: fn(&Faults) -> &Fault, early: bool, backend: StateBackend) {
    in_system(async {
        let env = environment("parks").restart_strategy(RestartStrategy::none()).state_backend(backend);
        let mut told = Told::of(&env);
        let (parts, figures) = three(&env, parks());
        let fault = place(&parts[1].faults).clone();
        if early {
            fault.arm(1_000);
        }
        let job = env.start().expect("the job starts");
        let mut at = None;
        if !early {
            for part in &parts {
                part.gate.reached().await;
            }
            at = Some(job.checkpoint().await.expect("nothing fails yet"));
            fault.arm(1_000);
            parts[1].gate.open();
            // Some places are come to at a checkpoint only.
            let _ = job.checkpoint().await;
        }
        let JobEventKind::RegionParked { region: SECOND, checkpoint, error, .. } = told.until_parked().await else {
            panic!("another region")
        };
        assert!(matches!(error, JobError::GaveUp { failures: 1, .. }), "{error}");
        // The commit of a checkpoint is what fails after it is complete.
        assert!(checkpoint >= at && checkpoint <= job.status().newest_checkpoint, "{checkpoint:?} after {at:?}");
        let parked = job.status().parked.remove(&SECOND).expect("it is told");
        assert_eq!((parked.checkpoint, parked.cause), (checkpoint, error.to_string()));

        let before = figures[1].snapshot();
        let first = job.checkpoint().await.expect("checkpoints go on");
        parts[0].gate.open();
        parts[2].gate.open();
        let second = job.checkpoint().await.expect("checkpoints go on");
        assert!(second > first && job.status().state == JobState::Running);
        assert_eq!(figures[1].snapshot(), before, "nothing comes of a region that is parked");

        fault.arm(0);
        job.resume_region(SECOND).await.expect("it runs");
        assert!(job.status().parked.is_empty());
        parts[1].gate.open();
        let outcome = job.clone().await.expect("nothing fails any more");
        assert_eq!((outcome.kind, outcome.restarts), (OutcomeKind::Finished, 0));
        figures.iter().for_each(assert_exact);
        assert_eq!(attempts(&job), [1, 2, 1]);
    });
}

const EARLY: [fn(&Faults) -> &Fault; 6] = [
    |faults| &faults.source_open,
    |faults| &faults.source_read,
    |faults| &faults.operator,
    |faults| &faults.sink_open,
    |faults| &faults.sink_write,
    |faults| &faults.sink_prepare,
];

pub(crate) const LATE: [fn(&Faults) -> &Fault; 5] = [
    |faults| &faults.source_read,
    |faults| &faults.operator,
    |faults| &faults.sink_write,
    |faults| &faults.sink_prepare,
    |faults| &faults.sink_commit,
];

#[test]
fn region_that_is_parked_from_the_beginning_starts_from_there() {
    for place in &EARLY[..5] {
        park_and_resume(*place, true, StateBackend::memory());
    }
}

#[test]
fn region_that_is_parked_after_a_checkpoint_goes_on_from_it_with_its_output_once() {
    for place in LATE {
        park_and_resume(place, false, StateBackend::memory());
        let dir = tempfile::tempdir().expect("a folder");
        park_and_resume(place, false, StateBackend::redb(dir.path()));
    }
}

/// P4: parked again and again, with checkpoints in between in which it takes no part.
#[test]
fn region_that_gives_up_again_is_parked_where_it_was() {
    in_system(async {
        let env = environment("again").restart_strategy(RestartStrategy::none());
        let mut told = Told::of(&env);
        let (parts, figures) = three(&env, parks());
        let job = env.start().expect("the job starts");
        for part in &parts {
            part.gate.reached().await;
        }
        job.checkpoint().await.expect("nothing fails yet");
        parts[1].faults.operator.arm(4);
        parts[1].gate.open();
        for _ in 0..4 {
            told.until_parked().await;
            for _ in 0..2 {
                job.checkpoint().await.expect("checkpoints go on");
            }
            match job.resume_region(SECOND).await {
                // It may run before it fails, or not.
                Ok(()) | Err(ResumeRegionError::ParkedAgain { region: SECOND, .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
        parts.iter().for_each(|part| part.gate.open());
        job.clone().await.expect("nothing fails any more");
        figures.iter().for_each(assert_exact);
        assert_eq!(attempts(&job), [1, 5, 1]);
    });
}

/// P4: with a fresh budget.
#[test]
fn resumed_region_may_fail_as_often_as_at_first() {
    in_system(async {
        let env = environment("fresh");
        let mut told = Told::of(&env);
        let policy = parks().restart_strategy(RestartStrategy::fixed_delay(2, Duration::ZERO));
        let (parts, figures) = three(&env, policy);
        parts[1].faults.operator.arm(3 + 2);
        let job = env.start().expect("the job starts");
        let JobEventKind::RegionParked { error, checkpoint: None, .. } = told.until_parked().await else {
            panic!("no checkpoint was taken")
        };
        assert!(matches!(error, JobError::GaveUp { failures: 3, .. }), "{error}");
        job.resume_region(SECOND).await.ok();
        parts.iter().for_each(|part| part.gate.open());
        let outcome = job.clone().await.expect("two more failures are within the budget");
        figures.iter().for_each(assert_exact);
        assert_eq!((outcome.restarts, attempts(&job)), (4, vec![1, 6, 1]));
    });
}

/// P3: the engine's own actors die while a region is parked, and the checkpoints after that have all of it still.
#[test]
fn parked_region_outlives_restarts_of_the_control_actors() {
    use crate::control::PanicAt;
    use millstream::Step;
    for step in [Step::Triggering, Step::Finalising, Step::Completed, Step::CommittingManifest, Step::ManifestCommitted]
    {
        in_system(async {
            let fault = Fault::default();
            let probe = PanicAt { step, fault: fault.clone() };
            let env = environment("control").restart_strategy(RestartStrategy::none()).probe(probe);
            let mut told = Told::of(&env);
            let (parts, figures) = three(&env, parks());
            let job = env.start().expect("the job starts");
            for part in &parts {
                part.gate.reached().await;
            }
            let at = job.checkpoint().await.expect("nothing fails yet");
            parts[1].faults.operator.arm(1);
            parts[1].gate.open();
            told.until_parked().await;
            fault.arm(2);
            while !fault.is_spent() {
                // One that is interrupted is asked for again.
                let _ = job.checkpoint().await;
            }
            let mut newest = CheckpointId::NONE;
            while newest <= at {
                newest = job.checkpoint().await.unwrap_or_default();
            }
            assert_eq!(job.status().parked[&SECOND].checkpoint, Some(at), "{step:?}");
            job.resume_region(SECOND).await.expect("it runs");
            parts.iter().for_each(|part| part.gate.open());
            job.clone().await.expect("nothing fails any more");
            figures.iter().for_each(assert_exact);
            assert_eq!(attempts(&job), [1, 2, 1], "{step:?}");
        });
    }
}
