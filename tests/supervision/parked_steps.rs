//! A panic at each step of the protocol, in one region of three: it is parked, or restarts with the others, and the output of all is that of
//! a run without failure. P1, P3, P4.

use millstream::prelude::*;
use millstream::{ActorName, JobEventKind, Probe, RegionPolicy, RegionStrategy, Step};

use crate::parked::parks;
use crate::rig::{Fault, assert_exact, environment, in_system};
use crate::several::{NAMES, SECOND, Told, three};

/// Panics at a step of a task of the second region.
struct PanicInSecond {
    step: Step,
    fault: Fault,
}

impl Probe for PanicInSecond {
    fn reached(&self, step: Step, actor: &ActorName) {
        let is_of_region = matches!(actor, ActorName::Subtask { task, .. } if task.starts_with(NAMES[1]));
        if step == self.step && is_of_region {
            self.fault.meet("step");
        }
    }
}

const STEPS: [Step; 10] = [
    Step::Batch,
    Step::BarrierReached,
    Step::BarrierForwarded,
    Step::SnapshotTaken,
    Step::Acknowledged,
    Step::CompleteReceived,
    Step::SinkPreparing,
    Step::SinkPrepared,
    Step::SinkCommitting,
    Step::SinkCommitted,
];

#[test]
fn region_is_parked_at_any_step_and_resumed_with_the_same_output() {
    for step in STEPS {
        in_system(async {
            let fault = Fault::default();
            let probe = PanicInSecond { step, fault: fault.clone() };
            let env = environment("steps").restart_strategy(RestartStrategy::none()).probe(probe);
            let mut told = Told::of(&env);
            let (parts, figures) = three(&env, parks());
            let job = env.start().expect("the job starts");
            for part in &parts {
                part.gate.reached().await;
            }
            job.checkpoint().await.expect("nothing fails yet");
            fault.arm(1);
            parts[1].gate.open();
            // Whether it is complete depends on the step.
            let _ = job.checkpoint().await;
            told.until_parked().await;
            parts[2].gate.open();
            for _ in 0..2 {
                job.checkpoint().await.expect("checkpoints go on");
            }
            job.resume_region(SECOND).await.expect("it runs");
            parts.iter().for_each(|part| part.gate.open());
            let outcome = job.await.expect("nothing fails any more");
            assert_eq!((outcome.kind, outcome.restarts), (OutcomeKind::Finished, 0), "{step:?}");
            figures.iter().for_each(assert_exact);
        });
    }
}

#[test]
fn regions_restart_along_at_any_step_with_the_same_output() {
    for (nth, step) in STEPS.into_iter().enumerate() {
        // In turn, to be done in time: who restarts along does not depend on the step.
        let (strategy, along) = [(RegionStrategy::OneForAll, 2), (RegionStrategy::RestForOne, 1)][nth % 2];
        in_system(async {
            let fault = Fault::default();
            let probe = PanicInSecond { step, fault: fault.clone() };
            let env = environment("along").region_strategy(strategy).probe(probe);
            let mut told = Told::of(&env);
            let (parts, figures) = three(&env, RegionPolicy::new());
            let job = env.start().expect("the job starts");
            for part in &parts {
                part.gate.reached().await;
            }
            job.checkpoint().await.expect("nothing fails yet");
            fault.arm(1);
            parts.iter().for_each(|part| part.gate.open());
            let _ = job.checkpoint().await;
            for _ in 0..along {
                told.until(|kind| matches!(kind, JobEventKind::RegionRestartsAlong { cause: SECOND, .. })).await;
            }
            let outcome = job.await.expect("one failure is within the budget");
            assert_eq!((outcome.kind, outcome.restarts), (OutcomeKind::Finished, 1 + along), "{step:?}");
            figures.iter().for_each(assert_exact);
        });
    }
}
