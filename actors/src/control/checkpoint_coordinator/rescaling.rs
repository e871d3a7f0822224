//! Rescaling: the coordinator's part, which takes the checkpoint from which the job goes on, and then expects other tasks.

use super::*;
use crate::protocol::RescaleStep;
use crate::task::JobSpec;

/// Take a checkpoint now, and none after it before [`RescaleOver`].
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct TakeLastBeforeRescale {
    pub(crate) reply: oneshot::Sender<Result<CheckpointId, CheckpointError>>,
}

/// The job has other tasks, which are in its plan, or goes on with those that it had.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct RescaleOver {
    pub(crate) has_other_tasks: bool,
}

/// Who takes part in the checkpoints of a job.
pub(super) fn participants(spec: &JobSpec) -> Vec<Participant> {
    let participants = spec.tasks.iter().flat_map(|task| {
        (0..task.parallelism).map(|index| Participant {
            subtask: SubtaskId { task: task.id, index },
            region: task.region,
            kind: task.kind,
            holds_end: task.holds_end,
        })
    });
    participants.collect()
}

impl Handler<TakeLastBeforeRescale> for CheckpointCoordinator {
    type Result = ();

    fn handle(&mut self, TakeLastBeforeRescale { reply }: TakeLastBeforeRescale, ctx: &mut Self::Context) {
        self.next_waiter += 1;
        let waiter = self.next_waiter;
        self.waiters.insert(waiter, reply);
        self.apply(Event::Rescale(RescaleStep::Requested { waiter }), ctx);
    }
}

impl Handler<RescaleOver> for CheckpointCoordinator {
    type Result = ();

    fn handle(&mut self, RescaleOver { has_other_tasks }: RescaleOver, ctx: &mut Self::Context) {
        if has_other_tasks {
            // The old tasks have ended: what they said is before this.
            let mut memory = lock(&self.seed.job.memory);
            memory.halted.clear();
            memory.committed.clear();
            memory.running.clear();
            drop(memory);
            let plan = self.seed.job.layout();
            self.apply(Event::Rescale(RescaleStep::TasksReplaced { by: participants(&plan.spec) }), ctx);
        }
        self.apply(Event::Rescale(RescaleStep::Over), ctx);
    }
}
