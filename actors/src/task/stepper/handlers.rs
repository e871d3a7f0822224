//! What every task receives.

use super::*;

impl<W: Work> Handler<CheckpointComplete> for Task<W> {
    type Result = ();

    fn handle(&mut self, message: CheckpointComplete, ctx: &mut Self::Context) {
        self.stepper.cx.reached(Step::CompleteReceived);
        let done = self.work.complete(&mut self.stepper, message);
        self.go_on(done, ctx);
    }
}

impl<W: Work> Handler<CheckpointAborted> for Task<W> {
    type Result = ();

    fn handle(&mut self, message: CheckpointAborted, ctx: &mut Self::Context) {
        self.stepper.cx.reached(Step::AbortReceived);
        self.work.aborted(message.checkpoint);
        let is_over = self.stepper.snapshots.open().is_some_and(|open| open <= message.checkpoint);
        if is_over && self.stepper.drop_snapshot() {
            self.work.give_up_snapshot();
        }
        self.run(ctx);
    }
}

impl<W: Work> Handler<ChunksStored> for Task<W> {
    type Result = ();

    fn handle(&mut self, message: ChunksStored, ctx: &mut Self::Context) {
        self.stepper.snapshots.stored(&self.stepper.cx, message);
        if self.stepper.snapshots.open().is_some() {
            self.run(ctx);
        }
    }
}

impl<W: Work> Handler<ConnectorPanicked> for Task<W> {
    type Result = ();

    fn handle(&mut self, message: ConnectorPanicked, ctx: &mut Self::Context) {
        self.stepper.exit.panicked(message.report);
        ctx.stop();
    }
}

impl<W: Work> Handler<StopSubtask> for Task<W> {
    type Result = ();

    fn handle(&mut self, _: StopSubtask, ctx: &mut Self::Context) {
        self.work.stopping();
        ctx.stop();
    }
}
