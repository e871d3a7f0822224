//! How a sink task writes: inline, or on a thread of the connector's own.

use std::sync::Arc;
use std::task::Waker;

use actix::{Message, Recipient};

use crate::contract::{
    Batch, Demand, Fence, PendingCommit, Probe, Sink, SinkContext, SinkError, SinkRestore, SinkWriter, Step, Threading,
};
use crate::protocol::{ActorName, Barrier, CheckpointId, TaskError};
use crate::runtime::connector_thread::{self, ConnectorPanicked};
use crate::runtime::guard::{ExitSlot, catch_panic};
use crate::runtime::order_queue::{OrderSender, order_queue};

/// What a sink's writer is told to do, in this order.
pub(crate) enum Order<T> {
    /// Write these records, which came on this channel.
    Write { channel: usize, batch: Box<Batch<T>> },
    /// Nothing more is at hand.
    Flush,
    /// Make durable what belongs to this checkpoint.
    Prepare(Barrier),
    /// Publish everything up to this checkpoint.
    Commit(CheckpointId),
}

/// What a thread's writer is told.
pub(crate) enum Call<T> {
    Obey(Order<T>),
    /// Let go of what it holds: it is the last call.
    Close,
}

/// What became of an order.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) enum WriterEvent<T: Send + 'static> {
    /// The writer is open, and has settled what was pending.
    Opened,
    /// Opening failed.
    NotOpened(SinkError),
    /// The records are written.
    Written { channel: usize, batch: Box<Batch<T>>, result: Result<(), SinkError> },
    /// Buffers were handed on.
    Flushed(Result<(), SinkError>),
    /// The checkpoint is prepared.
    Prepared { barrier: Barrier, result: Result<Vec<PendingCommit>, SinkError> },
    /// Everything up to the checkpoint is published.
    Committed { checkpoint: CheckpointId, result: Result<(), SinkError> },
}

/// The writer of a sink task.
pub(crate) enum Writing<T: Send + 'static> {
    /// Called on the arbiter.
    Inline(GuardedWriter<T>),
    /// Called on its thread; dropping the sender ends the thread.
    Thread(OrderSender<Call<T>>),
}

impl<T: Send + 'static> Writing<T> {
    /// What it takes now.
    pub(crate) fn demand(&self) -> Demand {
        match self {
            Self::Inline(writer) => writer.writer.demand(),
            Self::Thread(_) => Demand::Any,
        }
    }

    /// `waker` has it asked again what it takes.
    pub(crate) fn attach(&mut self, waker: Waker) {
        if let Self::Inline(writer) = self {
            writer.writer.attach(waker);
        }
    }

    /// The task stops.
    pub(crate) fn close(self) {
        match self {
            Self::Inline(writer) => writer.close(),
            Self::Thread(calls) => calls.send(Call::Close),
        }
    }
}

/// A writer, the flag it reads before each effect, and the test seam.
pub(crate) struct GuardedWriter<T> {
    writer: Box<dyn SinkWriter<Item = T>>,
    effects: Effects,
}

/// What surrounds every outside effect of a sink.
#[derive(Clone)]
pub(crate) struct Effects {
    pub(crate) fence: Fence,
    pub(crate) probe: Option<Arc<dyn Probe>>,
    pub(crate) name: ActorName,
}

impl Effects {
    fn reached(&self, step: Step) {
        if let Some(probe) = &self.probe {
            probe.reached(step, &self.name);
        }
    }

    fn check(&self) -> Result<(), SinkError> {
        if self.fence.is_raised() { Err(SinkError::fenced()) } else { Ok(()) }
    }
}

/// Where a writer on a thread reports.
pub(crate) struct WriterReports<T: Send + 'static> {
    pub(crate) events: Recipient<WriterEvent<T>>,
    pub(crate) panicked: Recipient<ConnectorPanicked>,
}

impl<T: Send + 'static> GuardedWriter<T> {
    fn open<S: Sink<Item = T>>(
        sink: &S,
        cx: &SinkContext,
        restored: SinkRestore,
        effects: Effects,
    ) -> Result<Self, SinkError> {
        effects.check()?;
        Ok(Self { writer: sink.open(cx, restored)?, effects })
    }

    /// Lets the writer go. What it does then can make nothing of the job's output wrong, so a failure is only logged.
    fn close(mut self) {
        if self.effects.fence.is_raised() {
            return;
        }
        let told = |reason: &dyn std::fmt::Display| {
            log::warn!(target: "millstream::sink", "{} does not close: {reason}", self.effects.name);
        };
        match catch_panic(|| self.writer.close()) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => told(&error),
            Err(panic) => told(&panic),
        }
    }

    /// Carries an order out.
    pub(crate) fn obey(&mut self, order: Order<T>) -> WriterEvent<T> {
        match order {
            Order::Write { channel, mut batch } => {
                let result = self.effects.check().and_then(|()| self.writer.write(&mut batch));
                WriterEvent::Written { channel, batch, result }
            }
            Order::Flush => WriterEvent::Flushed(self.effects.check().and_then(|()| self.writer.flush())),
            Order::Prepare(barrier) => {
                self.effects.reached(Step::SinkPreparing);
                let result = self.effects.check().and_then(|()| self.writer.prepare(barrier.checkpoint));
                self.effects.reached(Step::SinkPrepared);
                WriterEvent::Prepared { barrier, result }
            }
            Order::Commit(checkpoint) => {
                self.effects.reached(Step::SinkCommitting);
                let result = self.effects.check().and_then(|()| self.writer.commit(checkpoint));
                self.effects.reached(Step::SinkCommitted);
                WriterEvent::Committed { checkpoint, result }
            }
        }
    }
}

/// Opens the writer; a blocking one is open when [`WriterEvent::Opened`] arrives.
pub(crate) fn open<S: Sink>(
    sink: &Arc<S>,
    cx: SinkContext,
    restored: SinkRestore,
    effects: Effects,
    exit: &ExitSlot,
    reports: WriterReports<S::Item>,
) -> Result<Writing<S::Item>, TaskError> {
    match sink.threading() {
        Threading::Inline => Ok(Writing::Inline(GuardedWriter::open(&**sink, &cx, restored, effects)?)),
        Threading::Blocking => {
            let (orders, received) = order_queue(&effects.fence);
            let (sink, name) = (sink.clone(), format!("{}-{}", cx.operator, cx.subtask_index));
            connector_thread::spawn(name, exit.clone(), reports.panicked, move || {
                match GuardedWriter::open(&*sink, &cx, restored, effects) {
                    Ok(mut writer) => {
                        reports.events.do_send(WriterEvent::Opened);
                        while let Some(call) = received.recv() {
                            match call {
                                Call::Obey(order) => reports.events.do_send(writer.obey(order)),
                                Call::Close => return writer.close(),
                            }
                        }
                    }
                    Err(error) => reports.events.do_send(WriterEvent::NotOpened(error)),
                }
            })?;
            Ok(Writing::Thread(orders))
        }
    }
}
