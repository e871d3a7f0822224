//! Control actors that die at a step of the protocol.

use std::time::Duration;

use millstream::prelude::*;
use millstream::{ActorName, Attempt, Probe, Step};

use crate::rig::{Fault, Rig, environment, in_system, limits};

/// Panics at a step of a control actor.
pub(crate) struct PanicAt {
    pub(crate) step: Step,
    pub(crate) fault: Fault,
}

impl Probe for PanicAt {
    fn reached(&self, step: Step, actor: &ActorName) {
        if step == self.step && !matches!(actor, ActorName::Subtask { .. }) {
            self.fault.meet("step");
        }
    }
}

#[test]
fn coordinator_and_writer_die_and_return_without_a_task_restarting() {
    let of_coordinator = [
        Step::Triggering,
        Step::AcknowledgementReceived,
        Step::Finalising,
        Step::Completed,
        Step::CompletionSent,
        Step::CommittedReceived,
    ];
    let of_writer = [Step::StoringChunks, Step::CommittingManifest, Step::ManifestCommitted];
    let coordinator = of_coordinator.map(|step| (step, ActorName::Coordinator));
    let writer = of_writer.map(|step| (step, ActorName::Writer));
    for (step, actor) in coordinator.into_iter().chain(writer) {
        for times in [1, 3] {
            in_system(async {
                let fault = Fault::default();
                fault.arm(times);
                let env = environment("control").probe(PanicAt { step, fault: fault.clone() });
                // All of it is looked at, however many checkpoints there are.
                let env = env.limits(limits(|limits| limits.history_len = 100_000));
                let env = env.checkpointing(Checkpointing::every(Duration::from_millis(2)));
                let running = Rig::default().start(env);
                running.gate.reached().await;
                while !fault.is_spent() {
                    // One that is interrupted is asked for again.
                    let _ = running.job.checkpoint().await;
                }
                let job = running.job.clone();
                let ended = running.finish_exactly().await;
                assert_eq!(ended.restarted_actors(), vec![&actor; times as usize], "{step:?}");
                assert_eq!(ended.panics(), [""; 0], "{step:?}");
                let attempts: Vec<_> = job.status().attempts.into_values().collect();
                assert_eq!((attempts, ended.outcome.restarts), (vec![Attempt(1)], 0), "{step:?}");
            });
        }
    }
}

#[test]
fn region_supervisor_dies_and_its_region_restarts_with_the_same_output() {
    for step in [Step::RegionRestoring, Step::RegionStarting, Step::RegionReady] {
        in_system(async {
            let fault = Fault::default();
            let rig = Rig::default();
            let operator = rig.faults.operator.clone();
            let running = rig.start(environment("region").probe(PanicAt { step, fault: fault.clone() }));
            running.checkpoint_at_gate().await;
            operator.arm(1);
            fault.arm(1);
            let ended = running.finish_exactly().await;
            assert!(fault.is_spent(), "{step:?}");
            assert_eq!(ended.restarted_actors(), [&ActorName::RegionSupervisor(millstream::RegionId(0))]);
            assert_eq!(ended.outcome.restarts, 2, "{step:?}");
        });
    }
}
