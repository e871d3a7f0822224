//! The region supervisor's handlers.

use super::*;
use crate::control::event::RegionAwaited;
use crate::protocol::TaskKind;
use crate::runtime::guard::ChildExit;
use crate::task::{RestoreFigures, RestoreProgress, SubtaskReady};

impl Handler<SubtaskReady> for RegionSupervisor {
    type Result = ();

    fn handle(&mut self, ready: SubtaskReady, _: &mut Self::Context) {
        if ready.execution != self.execution || self.state != RegionState::Starting {
            return;
        }
        if self.ready.is_empty() {
            self.figures = RestoreFigures::default();
        }
        if self.ready.insert(ready.subtask) {
            self.figures.bytes += ready.restored.bytes;
            self.figures.entries += ready.restored.entries;
            self.figures.took = self.figures.took.max(ready.restored.took);
        }
        self.check_ready();
    }
}

impl Handler<RestoreProgress> for RegionSupervisor {
    type Result = ();

    fn handle(&mut self, progress: RestoreProgress, _: &mut Self::Context) {
        let RestoreProgress { execution, subtask, restored: RestoreFigures { bytes, entries, took }, bytes_total } =
            progress;
        let Some(manifest) = self.restored.as_ref().filter(|_| execution == self.execution) else { return };
        let (actor, checkpoint) = (self.seed.job.name_of(subtask), manifest.checkpoint);
        let (region, attempt) = (self.seed.region, execution.attempt);
        self.seed.job.emit(JobEventKind::Restoring {
            region,
            attempt,
            actor,
            checkpoint,
            bytes,
            bytes_total,
            entries,
            elapsed: took,
        });
    }
}

impl Handler<ChildExit> for RegionSupervisor {
    type Result = ();

    fn handle(&mut self, exit: ChildExit, ctx: &mut Self::Context) {
        let ChildExit { execution, subtask, name, cause, records_in, held_of, at, panicked } = exit;
        let attempt = execution.attempt;
        let mut memory = lock(self.memory());
        if memory.children.remove(&(attempt, subtask)).is_none() {
            return;
        }
        let plan = self.seed.job.layout();
        let task = plan.task(subtask.task);
        if attempt == self.execution.attempt {
            match task.kind {
                TaskKind::Source => memory.progress.ended(subtask, records_in),
                _ if task.holds_end => memory.answered.ended(subtask, held_of),
                _ => {}
            }
        }
        drop(memory);
        let expected = match &cause {
            Cause::Stopped | Cause::Abandoned => self.state.is_stopping(),
            Cause::Failed(TaskError::Sink(error)) if error.is_fenced() => self.state.is_stopping(),
            Cause::Failed(_) | Cause::Panicked(_) => false,
        };
        if !expected {
            self.subtask_failed(attempt, name, (cause, records_in, at, panicked), ctx);
        }
        self.check_ended(ctx);
    }
}

impl Handler<RestoreChosen> for RegionSupervisor {
    type Result = ();

    fn handle(&mut self, RestoreChosen { execution, decision }: RestoreChosen, ctx: &mut Self::Context) {
        if execution != self.execution || self.state != RegionState::Restoring {
            return;
        }
        match decision {
            RestoreDecision::From { manifest, withdraw } => self.start_subtasks(manifest, withdraw, ctx),
            RestoreDecision::Refused(reason) => {
                let error = match (self.damaged.take(), reason) {
                    (Some((checkpoint, error)), reason) => JobError::Damaged { checkpoint, error, reason },
                    (None, NoRestore::Store(error)) => {
                        let error = TaskError::Restore(error);
                        JobError::Failed { actor: ActorName::Writer, error }
                    }
                    (None, _) => JobError::StoreLost { store: self.seed.job.store.describe() },
                };
                self.final_error(error);
                self.fail_for_good(ctx);
            }
        }
    }
}

impl Handler<CheckpointCompleted> for RegionSupervisor {
    type Result = ();

    fn handle(&mut self, completed: CheckpointCompleted, _: &mut Self::Context) {
        self.newest = Some(completed.checkpoint);
        if self.state != RegionState::Running {
            return;
        }
        let mut memory = lock(self.memory());
        let RegionMemory { progress, answered, .. } = &*memory;
        if [progress, answered].iter().all(|progress| progress.covers_failures(completed.checkpoint)) {
            memory.policy.overcome();
            memory.answered_in_part = 0;
            memory.failures.clear();
            let ended = Self::end_careful_work(&mut memory, completed.checkpoint);
            drop(memory);
            self.tell_of_ended(completed.checkpoint, ended);
        }
    }
}

impl Handler<EndInput> for RegionSupervisor {
    type Result = ();

    /// A region that does not run is told again once it does.
    fn handle(&mut self, _: EndInput, ctx: &mut Self::Context) {
        let awaits = match self.state {
            RegionState::Running => return self.end_input(),
            RegionState::StoppingForGood | RegionState::Ended | RegionState::Parking => return,
            RegionState::Parked => return self.end_parked(),
            RegionState::GivenUp => RegionAwaited::Decision,
            RegionState::Waiting => RegionAwaited::Restarts,
            RegionState::StoppingToRestart => RegionAwaited::Stops,
            RegionState::Restoring | RegionState::Starting => RegionAwaited::Restores,
        };
        self.seed.job.emit(JobEventKind::EndAwaitsRegion { region: self.seed.region, awaits });
        self.end_parked();
        if matches!(self.state, RegionState::Waiting | RegionState::StoppingToRestart) {
            self.cut_delay_short(ctx);
        }
    }
}

impl Handler<ReadOn> for RegionSupervisor {
    type Result = ();

    /// Sources that have stopped do not begin again; those of an attempt that is yet to run do not stop.
    fn handle(&mut self, _: ReadOn, ctx: &mut Self::Context) {
        if self.state == RegionState::Running && self.go(RegionEvent::Failed) {
            self.delay = Duration::ZERO;
            self.stop_subtasks(false, ctx);
        }
    }
}

impl Handler<StopRegion> for RegionSupervisor {
    type Result = ();

    fn handle(&mut self, _: StopRegion, ctx: &mut Self::Context) {
        self.fail_for_good(ctx);
    }
}

impl RegionSupervisor {
    pub(super) fn fail_for_good(&mut self, ctx: &mut Context<Self>) {
        let was_stopping = self.state.is_stopping();
        self.stop_for_good();
        match self.state {
            RegionState::Ended => {}
            _ if was_stopping => self.check_ended(ctx),
            _ => self.stop_subtasks(self.error.is_some(), ctx),
        }
    }
}

impl Handler<ArbiterCondemned> for RegionSupervisor {
    type Result = ();

    fn handle(&mut self, ArbiterCondemned { arbiter }: ArbiterCondemned, ctx: &mut Self::Context) {
        self.move_off(arbiter, ctx);
    }
}
