//! What a source task does with its messages.

use actix::{Context, Handler, Message};

use super::{Phase, SourceWork};
use crate::contract::{Hold, Source};
use crate::protocol::SourceState;
use crate::task::source_reading::{ReaderEvent, Reading};
use crate::task::stepper::{Stepper, Task};
use crate::task::{BeginReading, FinishInput, RequestBarrier, SetPaused, StopReading};

/// To itself: look for records again.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(super) struct Wake;

impl<S: Source> SourceWork<S> {
    /// Reads nothing from now on, or reads on.
    fn set_paused(&mut self, stepper: &mut Stepper, paused: bool) {
        let now = stepper.cx.info.clock.now();
        self.is_paused = paused;
        if paused {
            // It holds back only what waits for it.
            if self.phase != Phase::Ended {
                self.time.hold(Hold::Paused, now);
            }
        } else {
            self.time.release(Hold::Paused, now);
            self.fill_read_ahead(stepper);
        }
    }
}

impl<S: Source> Handler<BeginReading> for Task<SourceWork<S>> {
    type Result = ();

    fn handle(&mut self, _: BeginReading, ctx: &mut Context<Self>) {
        if self.work.phase == Phase::Opening {
            self.work.phase = Phase::Reading;
            self.work.time.release(Hold::Starting, self.stepper.cx.info.clock.now());
            self.work.fill_read_ahead(&self.stepper);
            self.run(ctx);
        }
    }
}

impl<S: Source> Handler<RequestBarrier> for Task<SourceWork<S>> {
    type Result = ();

    fn handle(&mut self, message: RequestBarrier, ctx: &mut Context<Self>) {
        self.work.requested = Some(message.barrier);
        self.run(ctx);
    }
}

impl<S: Source> Handler<SetPaused> for Task<SourceWork<S>> {
    type Result = ();

    fn handle(&mut self, SetPaused { paused }: SetPaused, ctx: &mut Context<Self>) {
        self.work.set_paused(&mut self.stepper, paused);
        self.run(ctx);
    }
}

impl<S: Source> Handler<StopReading> for Task<SourceWork<S>> {
    type Result = ();

    fn handle(&mut self, _: StopReading, ctx: &mut Context<Self>) {
        let phase = self.work.phase;
        if !self.work.is_ending && phase != Phase::Ended && phase != Phase::Stopped {
            self.work.halt(&self.stepper, Phase::Stopped, SourceState::Stopped);
            self.work.time.hold(Hold::Stopped, self.stepper.cx.info.clock.now());
            self.work.tell_end();
            self.run(ctx);
        }
    }
}

impl<S: Source> Handler<FinishInput> for Task<SourceWork<S>> {
    type Result = ();

    fn handle(&mut self, message: FinishInput, ctx: &mut Context<Self>) {
        if self.work.phase != Phase::Ended {
            // What is to be read before the end is read, pause or not.
            self.work.set_paused(&mut self.stepper, false);
            let is_known = self.work.finish_after.replace(message.after_records).is_some();
            if self.work.phase == Phase::Stopped && self.work.source.ends_on_finish() {
                self.work.read_on(&mut self.stepper);
            } else if !is_known && self.work.phase != Phase::Stopped {
                self.work.tell_end();
            }
            self.work.end_if_finished(self.stepper.records_in());
            self.run(ctx);
        }
    }
}

impl<S: Source> Handler<ReaderEvent<S::Item>> for Task<SourceWork<S>> {
    type Result = ();

    fn handle(&mut self, message: ReaderEvent<S::Item>, ctx: &mut Context<Self>) {
        match message {
            ReaderEvent::Opened(positions) => {
                self.work.positions.update(positions);
                self.ready(ctx);
            }
            ReaderEvent::Read(read) => {
                if let Some(Reading::Ahead(ahead)) = &mut self.work.reading {
                    ahead.arrive(read);
                }
            }
            ReaderEvent::Failed(error) => return self.fail(error.into(), ctx),
        }
        self.run(ctx);
    }
}

impl<S: Source> Handler<Wake> for Task<SourceWork<S>> {
    type Result = ();

    fn handle(&mut self, _: Wake, ctx: &mut Context<Self>) {
        self.work.wake(&mut self.stepper);
        self.run(ctx);
    }
}
