//! Edges: the channels between subtasks, their batches and their credits.
//!
//! Data goes by `do_send` only: FIFO per sender, and never refused. What bounds it is credit, returned by messages that
//! carry the emptied batch back to be filled again: freeing it on another thread costs more than the hop.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use actix::{Actor, Addr, Context, Handler, Message, Recipient};

use crate::contract::{Batch, ChannelCounters, ChannelPlace, Counters, Partitioner};
use crate::data::input_batch::InputBatch;
use crate::data::wiring::{AnyInputPort, ChannelTarget, InputWiring, OutputWiring};
use crate::protocol::{Barrier, Element, Grant, Mark, Portion, ReceiveWindow, SendWindow, TaskError};

/// An element of one channel, to the receiving task, which takes batches of kind `B`.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Deliver<B: Send + 'static> {
    /// The receiver's number for the channel.
    pub channel: u32,
    /// The element.
    pub element: Element<B>,
}

/// The first message of a channel: where its credits go.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct ConnectChannel {
    /// The receiver's number for the channel.
    pub channel: u32,
    /// The way back.
    pub credits: CreditReturn,
}

/// Where the receiver of a channel gives credits back.
#[derive(Clone, Debug)]
pub struct CreditReturn {
    /// The sending task.
    pub to: Recipient<ReturnCredit>,
    /// The sender's number for the edge.
    pub output: u32,
    /// The sender's number for the channel in the edge.
    pub channel: u32,
}

/// To the sender of a channel: batches were worked off.
///
/// The emptied batch is only storage, and a task's outputs have several types, so it travels untyped: one downcast per
/// batch.
#[derive(Message)]
#[rtype(result = "()")]
pub struct ReturnCredit {
    /// The sender's number for the edge.
    pub output: u32,
    /// The sender's number for the channel in the edge.
    pub channel: u32,
    /// How many credits, and how many records batches may have from now on.
    pub grant: Grant,
    /// The emptied `Batch<T>`, if there was one.
    pub batch: Option<Box<dyn Any + Send>>,
}

/// The receiving end of a channel.
#[derive(Debug)]
pub(crate) struct ChannelEnd {
    window: ReceiveWindow,
    back: Option<CreditReturn>,
}

impl ChannelEnd {
    /// The ends of all input channels of a task.
    pub(crate) fn all(input: &InputWiring) -> Vec<Self> {
        input.windows.iter().map(|&window| Self { window: ReceiveWindow::new(window), back: None }).collect()
    }

    /// The sender says where credits go.
    pub(crate) fn connect(&mut self, back: CreditReturn) {
        self.back = Some(back);
    }

    /// A credit's worth of so many records was worked off: gives back what brings the sender to `target`, and the emptied
    /// batch.
    pub(crate) fn give_back<B: InputBatch>(&mut self, target: Grant, records: usize, batch: Option<B>) {
        let grant = self.window.give_back(target, records);
        let back = self.back.as_ref().expect("a channel is connected before its first element");
        let batch = batch.map(InputBatch::into_storage);
        back.to.do_send(ReturnCredit { output: back.output, channel: back.channel, grant, batch });
    }
}

impl<T> Portion for Box<Batch<T>> {
    fn records(&self) -> usize {
        self.len()
    }

    fn cut(&mut self, records: usize, to: &mut Self) {
        self.move_front(records, to);
    }
}

/// Where a task takes the elements of one of its inputs. Whoever sends knows the type of these alone: the port tags
/// batches for tasks that have several.
pub struct InputPort<T: Send + 'static> {
    deliver: DeliverTo<T>,
    connect: Recipient<ConnectChannel>,
}

/// Sends an element of the channel with this number to the receiving task.
type DeliverTo<T> = Arc<dyn Fn(u32, Element<Box<Batch<T>>>) + Send + Sync>;

impl<T: Send + 'static> InputPort<T> {
    /// The port of the task at `task` whose batches it takes with this tag.
    pub(crate) fn any<A, B>(task: &Addr<A>, tag: fn(Box<Batch<T>>) -> B) -> AnyInputPort
    where
        A: Actor<Context = Context<A>> + Handler<Deliver<B>> + Handler<ConnectChannel>,
        B: InputBatch,
    {
        let (connect, to) = (task.clone().recipient(), task.clone());
        let deliver = move |channel, element: Element<_>| to.do_send(Deliver { channel, element: element.map(tag) });
        Arc::new(Self { deliver: Arc::new(deliver), connect })
    }
}

/// How the records of an edge spread over its channels.
pub enum Routing<T> {
    /// There is one channel.
    Single,
    /// Each record takes one channel.
    Partitioned(Box<dyn Partitioner<T>>),
    /// Each record takes every channel.
    Broadcast(fn(&T) -> T),
}

/// The sending side of one edge of one subtask.
pub struct Outlet<T: Send + 'static> {
    routing: Routing<T>,
    channels: Vec<Channel<T>>,
    targets: Vec<u32>,
}

/// One channel, seen from its sender.
struct Channel<T: Send + 'static> {
    to: DeliverTo<T>,
    /// The number that its receiver has for it.
    channel: u32,
    window: SendWindow<Box<Batch<T>>>,
    open: Box<Batch<T>>,
    #[expect(clippy::vec_box, reason = "the box travels: it is the allocation to be kept")]
    spare: Vec<Box<Batch<T>>>,
    /// Batches that have gone out, and those that were worked off.
    sent: u64,
    worked_off: u64,
    counters: Arc<ChannelCounters>,
}

impl<T: Send + 'static> Outlet<T> {
    /// An outlet over these channels, of a subtask that counts with `counters`; announces itself to each receiver as edge `output` of
    /// the task at `credits`.
    ///
    /// # Panics
    /// If a port is not of type `T`: the graph wires ports by type.
    pub fn connect(
        routing: Routing<T>,
        wiring: &OutputWiring,
        output: u32,
        credits: &Recipient<ReturnCredit>,
        counters: &Counters,
    ) -> Self {
        let channels = (0u32..).zip(wiring).map(|(channel, target)| {
            let port = target.port.downcast_ref::<InputPort<T>>().expect("the graph wires ports by type");
            let credits = CreditReturn { to: credits.clone(), output, channel };
            port.connect.do_send(ConnectChannel { channel: target.channel, credits });
            Channel::new(port.deliver.clone(), target, counters.channel(ChannelPlace { output, channel }))
        });
        let channels: Vec<Channel<T>> = channels.collect();
        let routing = if channels.len() == 1 { Routing::Single } else { routing };
        Self { routing, channels, targets: Vec::new() }
    }

    /// Whether it copies records, or has each go where a partitioner says.
    pub(crate) fn spreads(&self) -> bool {
        !matches!(self.routing, Routing::Single)
    }

    /// Takes all records of the batch. What cannot go out for want of credit waits, at most one closed batch and one
    /// open one per channel if [`is_blocked`](AnyOutlet::is_blocked) is respected between batches.
    ///
    /// # Errors
    /// [`TaskError::ChannelOutOfRange`] if a partitioner chooses a channel that does not exist,
    /// [`TaskError::TargetsMissing`] if it does not choose one for each record.
    pub fn accept(&mut self, batch: &mut Batch<T>) -> Result<(), TaskError> {
        match &mut self.routing {
            Routing::Single => self.channels[0].accept(batch),
            Routing::Broadcast(copy) => {
                let (last, others) = self.channels.split_last_mut().expect("an edge has a channel");
                for channel in others {
                    channel.open.append_copy(batch, *copy);
                    channel.close_if_full();
                }
                last.accept(batch);
            }
            Routing::Partitioned(partitioner) => {
                self.targets.clear();
                partitioner.assign(batch, self.channels.len() as u32, &mut self.targets);
                let (records, targets) = (batch.len(), self.targets.len());
                if records != targets {
                    return Err(TaskError::TargetsMissing { records, targets });
                }
                let channels = self.channels.len() as u32;
                batch
                    .scatter(&self.targets, &mut self.channels, |channel| &mut channel.open, Channel::close)
                    .map_err(|channel| TaskError::ChannelOutOfRange { channel, channels })?;
            }
        }
        Ok(())
    }
}

impl<T: Send + 'static> Channel<T> {
    fn new(to: DeliverTo<T>, target: &ChannelTarget, counters: Arc<ChannelCounters>) -> Self {
        let window = SendWindow::new(target.window);
        let mut open = Box::<Batch<T>>::default();
        open.limit_to(window.records_max());
        let this =
            Self { to, channel: target.channel, window, open, spare: Vec::new(), sent: 0, worked_off: 0, counters };
        this.shows();
        this
    }

    /// Shows how full it is.
    fn shows(&self) {
        self.counters.credits.set(self.window.credits().into());
        self.counters.waiting_batches.set(self.window.batches_waiting().into());
        self.counters.batches_under_way.set(self.sent - self.worked_off);
    }

    /// A batch that is at least half as large as the receiver takes goes as it is; smaller ones are gathered.
    fn accept(&mut self, batch: &mut Batch<T>) {
        let records_max = self.window.records_max();
        if self.open.len() + batch.len() > records_max {
            self.close();
        }
        if self.open.is_empty() {
            std::mem::swap(&mut *self.open, batch);
            self.open.limit_to(records_max);
        } else {
            self.open.append(batch);
        }
        if self.open.len() >= records_max.div_ceil(2) || self.open.is_full() {
            self.close();
        }
    }

    #[inline]
    fn close_if_full(&mut self) {
        if self.open.is_full() {
            self.close();
        }
    }

    fn close(&mut self) {
        if !self.open.is_empty() {
            let mut fresh = self.spare.pop().unwrap_or_default();
            fresh.limit_to(self.window.records_max());
            let closed = std::mem::replace(&mut self.open, fresh);
            self.push(Element::Batch(closed));
        }
    }

    fn push(&mut self, element: Element<Box<Batch<T>>>) {
        self.window.push(element);
        self.send();
    }

    fn send(&mut self) {
        while let Some(element) = self.window.pop(|| self.spare.pop().unwrap_or_default()) {
            if let Element::Batch(batch) = &element {
                self.sent += 1;
                self.counters.records.add(batch.len() as u64);
                self.counters.bytes.add(batch.bytes() as u64);
                self.counters.batches.set(self.sent);
            }
            (self.to)(self.channel, element);
        }
        self.shows();
    }
}

/// An outlet, whatever its records.
pub trait AnyOutlet {
    /// Whether a batch waits for credit: no new input until it has gone.
    fn is_blocked(&self) -> bool;

    /// Batches that it has sent.
    fn batches_sent(&self) -> u64;

    /// Sends records that wait for a batch to fill.
    fn flush(&mut self);

    /// Passes a mark on, behind all records so far, on every channel.
    fn mark(&mut self, mark: Mark);

    /// Closes a checkpoint on every channel in one step, behind all records so far.
    fn barrier(&mut self, barrier: Barrier);

    /// Credits came back, with the batch that carried them.
    fn credit(&mut self, channel: u32, grant: Grant, batch: Option<Box<dyn Any + Send>>);
}

impl<T: Send + 'static> Outlet<T> {
    fn on_each_channel(&mut self, element: impl Fn() -> Element<Box<Batch<T>>>) {
        for channel in &mut self.channels {
            channel.close();
            channel.push(element());
        }
    }
}

impl<T: Send + 'static> AnyOutlet for Outlet<T> {
    fn is_blocked(&self) -> bool {
        self.channels.iter().any(|channel| channel.window.is_blocked())
    }

    fn batches_sent(&self) -> u64 {
        self.channels.iter().map(|channel| channel.sent).sum()
    }

    fn flush(&mut self) {
        self.channels.iter_mut().for_each(Channel::close);
    }

    fn mark(&mut self, mark: Mark) {
        self.on_each_channel(|| mark.into());
    }

    fn barrier(&mut self, barrier: Barrier) {
        self.on_each_channel(|| Element::Barrier(barrier));
    }

    fn credit(&mut self, channel: u32, grant: Grant, batch: Option<Box<dyn Any + Send>>) {
        let channel = &mut self.channels[channel as usize];
        if let Some(batch) = batch.and_then(|batch| batch.downcast::<Batch<T>>().ok()) {
            channel.worked_off += 1;
            channel.spare.push(batch);
        }
        channel.window.grant(grant);
        channel.open.limit_to(channel.window.records_max());
        channel.send();
    }
}

impl<T: Send + 'static> fmt::Debug for Outlet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Outlet({} channels)", self.channels.len())
    }
}
