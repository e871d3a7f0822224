//! The input channels of a task: what operator and sink tasks have in common.

use std::sync::Arc;
use std::time::Duration;

use actix::{Context, Handler};

use crate::contract::Clock;
use crate::data::edge::{ChannelEnd, ConnectChannel, Deliver};
use crate::data::input_batch::InputBatch;
use crate::data::wiring::InputWiring;
use crate::protocol::{CheckpointId, Inlet, Input, WorkRate};
use crate::task::SubtaskContext;
use crate::task::stepper::{Task, Work};

/// The input channels of a task, aligned, and the credit that they get back.
pub(crate) struct Inputs<B> {
    inlet: Inlet<B>,
    channels: Vec<ChannelEnd>,
    rate: WorkRate,
    clock: Arc<dyn Clock>,
    /// When the first barrier of the pending checkpoint came.
    alignment_started: Option<Duration>,
}

/// The work of a task that has inputs.
pub(crate) trait WithInputs: Work {
    /// What comes on the channels, of all ports.
    type Batch: InputBatch;

    fn inputs(&mut self) -> &mut Inputs<Self::Batch>;
}

impl<B: InputBatch> Inputs<B> {
    pub(crate) fn new(cx: &SubtaskContext, wiring: &InputWiring) -> Self {
        Self {
            inlet: Inlet::new(wiring.windows.len(), cx.mode),
            channels: ChannelEnd::all(wiring),
            rate: WorkRate::new(&cx.info.limits, wiring.windows.len() as u32),
            clock: cx.info.clock.clone(),
            alignment_started: None,
        }
    }

    /// The next element that the task has to do with; `None` if none may be taken. Notes when an alignment starts, and
    /// gives back the credit of elements that are nothing but credit.
    pub(crate) fn take(&mut self) -> Option<Input<B>> {
        self.take_by(Inlet::take)
    }

    /// The next element of those that come before a barrier that is on its way; `None` if none is, or none of them is there.
    pub(crate) fn take_awaited(&mut self) -> Option<Input<B>> {
        if self.inlet.awaits_barrier() { self.take_by(Inlet::take_awaited) } else { None }
    }

    #[inline]
    fn take_by(&mut self, take: impl Fn(&mut Inlet<B>) -> Option<Input<B>>) -> Option<Input<B>> {
        loop {
            match take(&mut self.inlet)? {
                Input::Credit { channel } => self.give_back(channel, 0, None),
                Input::AlignmentStarted(_) => self.alignment_started = Some(self.clock.now()),
                input => return Some(input),
            }
        }
    }

    /// The barrier of this checkpoint is on its way.
    pub(crate) fn expect(&mut self, checkpoint: CheckpointId) {
        self.inlet.expect(checkpoint);
    }

    /// Whether there is input that waits for a barrier of others.
    pub(crate) fn holds_back(&self) -> bool {
        self.inlet.holds_elements_back()
    }

    /// When the first barrier of the checkpoint came that is now aligned, and the time since. To be asked once.
    pub(crate) fn alignment(&mut self) -> (Duration, Duration) {
        let now = self.clock.now();
        let started = self.alignment_started.take().unwrap_or(now);
        (started, now.saturating_sub(started))
    }

    /// A batch of this channel, of so many records, was worked off; its storage goes back.
    pub(crate) fn worked_off(&mut self, channel: usize, records: usize, batch: B) {
        self.give_back(channel, records, Some(batch));
    }

    /// So much time passed from when a batch of so many records was taken until the task could take another one.
    pub(crate) fn measured(&mut self, took: Duration, records: usize) {
        self.rate.measured(took, records);
    }

    /// The checkpoint was aborted: nothing waits for it.
    pub(crate) fn abort(&mut self, checkpoint: CheckpointId) {
        if self.inlet.abort(checkpoint) {
            self.alignment_started = None;
        }
    }

    fn give_back(&mut self, channel: usize, records: usize, batch: Option<B>) {
        self.channels[channel].give_back(self.rate.target(), records, batch);
    }
}

impl<W: WithInputs> Handler<ConnectChannel> for Task<W> {
    type Result = ();

    fn handle(&mut self, message: ConnectChannel, _: &mut Context<Self>) {
        self.work.inputs().channels[message.channel as usize].connect(message.credits);
    }
}

impl<W: WithInputs> Handler<Deliver<W::Batch>> for Task<W> {
    type Result = ();

    fn handle(&mut self, message: Deliver<W::Batch>, ctx: &mut Context<Self>) {
        self.work.inputs().inlet.arrive(message.channel as usize, message.element);
        self.run(ctx);
    }
}
