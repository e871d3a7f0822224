//! The coordinator's handlers: each keeps the fact, and has the schedule decide.

use super::*;
use crate::control::metrics::Acknowledged;
use crate::protocol::AbortReason;
use crate::task::{AcknowledgeCheckpoint, DeclineCheckpoint, SinkCommitted, SourceHalted, WantCheckpoint};

impl Handler<AcknowledgeCheckpoint> for CheckpointCoordinator {
    type Result = ();

    fn handle(&mut self, ack: AcknowledgeCheckpoint, ctx: &mut Self::Context) {
        self.reached(Step::AcknowledgementReceived);
        let AcknowledgeCheckpoint { execution, subtask, checkpoint, written, facts, snapshot } = ack;
        let (mode, bytes) = (self.seed.job.checkpointing.mode, written.written_bytes());
        let of = (subtask, self.seed.job.layout().task(subtask.task).name.clone());
        self.seed.job.events.acknowledged(checkpoint, of, &Acknowledged { facts, held_up: snapshot, bytes });
        lock(&self.seed.job.memory).advisor.acknowledged(checkpoint, mode, facts.alignment, snapshot);
        if facts.source.is_some() {
            self.source_acknowledged(execution, subtask, checkpoint, facts);
        }
        self.apply(Event::Acknowledged { execution, subtask, checkpoint, written, facts }, ctx);
    }
}

impl Handler<DeclineCheckpoint> for CheckpointCoordinator {
    type Result = ();

    fn handle(&mut self, decline: DeclineCheckpoint, ctx: &mut Self::Context) {
        let DeclineCheckpoint { execution, subtask, checkpoint, reason } = decline;
        if lock(&self.seed.job.memory).in_flight == Some(checkpoint) {
            let (actor, reason) = (self.seed.job.name_of(subtask), reason.clone());
            self.seed.job.emit(JobEventKind::CheckpointDeclined { checkpoint, actor, reason });
        }
        self.apply(Event::Declined { execution, subtask, checkpoint, reason }, ctx);
    }
}

impl Handler<SourceHalted> for CheckpointCoordinator {
    type Result = ();

    fn handle(&mut self, halted: SourceHalted, ctx: &mut Self::Context) {
        let SourceHalted { execution, subtask, state } = halted;
        let mut memory = lock(&self.seed.job.memory);
        // A task that was given up with its arbiter may speak after its successor.
        if memory.halted.get(&subtask).is_none_or(|(known, _)| *known <= execution) {
            memory.halted.insert(subtask, (execution, state));
        }
        drop(memory);
        self.apply(Event::SourceHalted { execution, subtask, state }, ctx);
    }
}

impl Handler<SinkCommitted> for CheckpointCoordinator {
    type Result = ();

    fn handle(&mut self, committed: SinkCommitted, ctx: &mut Self::Context) {
        let SinkCommitted { subtask, checkpoint, .. } = committed;
        let mut memory = lock(&self.seed.job.memory);
        let newest = memory.committed.entry(subtask).or_default();
        *newest = checkpoint.max(*newest);
        drop(memory);
        self.reached(Step::CommittedReceived);
        self.apply(Event::SinkCommitted { subtask, checkpoint }, ctx);
    }
}

impl Handler<WantCheckpoint> for CheckpointCoordinator {
    type Result = ();

    /// One of an attempt that is over wants nothing any more: what it had taken is taken again.
    fn handle(&mut self, WantCheckpoint { execution }: WantCheckpoint, ctx: &mut Self::Context) {
        let mut memory = lock(&self.seed.job.memory);
        memory.sinks_want = true;
        let running = memory.running.get(&execution.region).map(|region| region.execution);
        drop(memory);
        if running.is_none_or(|running| running <= execution) {
            self.apply(Event::CheckpointWanted, ctx);
        }
    }
}

impl Handler<RegionRunning> for CheckpointCoordinator {
    type Result = ();

    fn handle(&mut self, region: RegionRunning, ctx: &mut Self::Context) {
        let RegionRunning { execution, restored, subtasks } = region;
        let running = RunningRegion { execution, restored, subtasks };
        lock(&self.seed.job.memory).running.insert(execution.region, running);
        self.follow_advice();
        self.apply(Event::RegionRunning { execution, restored }, ctx);
    }
}

impl Handler<RegionDown> for CheckpointCoordinator {
    type Result = ();

    fn handle(&mut self, down: RegionDown, ctx: &mut Self::Context) {
        let RegionDown { execution, failed, restarts_at } = down;
        // Its sinks may hear of the abort: before they are forgotten.
        self.apply(Event::RegionDown { execution, failed, restarts_at }, ctx);
        let mut memory = lock(&self.seed.job.memory);
        memory.running.retain(|_, running| running.execution != execution);
        memory.restarts_at.extend(restarts_at.map(|at| (execution.region, (execution, at))));
    }
}

impl Handler<ChooseRestore> for CheckpointCoordinator {
    type Result = ();

    fn handle(&mut self, ChooseRestore { execution, damaged }: ChooseRestore, ctx: &mut Self::Context) {
        let mut memory = lock(&self.seed.job.memory);
        memory.running.remove(&execution.region);
        memory.parks.remove(&execution.region);
        memory.parked.remove(&execution.region);
        memory.restarts_at.remove(&execution.region);
        memory.restores.insert(execution.region, (execution, damaged));
        drop(memory);
        self.apply(Event::RestoreRequested { execution, damaged }, ctx);
    }
}

impl Handler<StoreReply> for CheckpointCoordinator {
    type Result = ();

    fn handle(&mut self, reply: StoreReply, ctx: &mut Self::Context) {
        self.learn_oldest(&reply);
        let event = match reply {
            StoreReply::Report { life, retained } => {
                if self.writer_life != life && self.writer_life != 0 {
                    self.fail_lost_savepoints();
                }
                self.writer_life = life;
                Event::WriterReported { retained }
            }
            StoreReply::IdsReserved { up_to } => {
                let mut memory = lock(&self.seed.job.memory);
                memory.reserved_up_to = up_to.max(memory.reserved_up_to);
                Event::IdsReserved { up_to }
            }
            StoreReply::ReserveFailed { error, retained } => {
                let reason = AbortReason::Store(error.clone());
                self.seed.job.emit(JobEventKind::CheckpointNotTriggered { reason });
                Event::ReserveFailed { error, retained }
            }
            StoreReply::Finalised { checkpoint, .. } => Event::Finalised { checkpoint },
            StoreReply::FinaliseFailed { checkpoint, error, retained } => {
                Event::FinaliseFailed { checkpoint, error, retained }
            }
            StoreReply::ChunksFailed { checkpoint, error, retained } => {
                Event::ChunksFailed { checkpoint, error, retained }
            }
            StoreReply::Abandoned { above, completed } => {
                lock(&self.seed.job.memory).abandoned.extend(&completed);
                self.savepoints.abandoned_above(above, &mut self.savepoint_commands);
                Event::Abandoned { above, completed }
            }
            StoreReply::AbandonFailed { error } => Event::AbandonFailed { error },
        };
        self.apply(event, ctx);
    }
}

impl Handler<RequestCheckpoint> for CheckpointCoordinator {
    type Result = ();

    fn handle(&mut self, RequestCheckpoint { reply }: RequestCheckpoint, ctx: &mut Self::Context) {
        self.next_waiter += 1;
        let waiter = self.next_waiter;
        self.waiters.insert(waiter, reply);
        self.apply(Event::CheckpointRequested { waiter }, ctx);
    }
}

impl Handler<RequestDrain> for CheckpointCoordinator {
    type Result = ();

    fn handle(&mut self, _: RequestDrain, ctx: &mut Self::Context) {
        self.apply(Event::DrainRequested, ctx);
    }
}

impl Handler<StopCoordinator> for CheckpointCoordinator {
    type Result = ();

    fn handle(&mut self, StopCoordinator { error }: StopCoordinator, ctx: &mut Self::Context) {
        self.answer_all(error);
        ctx.stop();
    }
}
