//! A sink that sends its records to an actor.

use std::collections::VecDeque;
use std::error::Error as StdError;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use actix::dev::RecipientRequest;
use actix::{MailboxError, Message, Recipient};
use millstream_actors::contract::{
    Batch, Clock, Fence, PendingCommit, Retry, Sink, SinkContext, SinkError, SinkRestore, SinkWriter, Threading,
};
use millstream_actors::protocol::CheckpointId;
use millstream_actors::runtime::block_on::block_on;

type Lookup<M> = Arc<dyn Fn() -> Recipient<M> + Send + Sync>;
type Check<R> = Arc<dyn Fn(R) -> Result<(), Box<dyn StdError + Send + Sync>> + Send + Sync>;

/// Sends each record to an actor: the records are its messages. At least once: an actor is sent a record at once, and again after a
/// restart of the job if that goes back before it.
///
/// A subtask sends its records in their order, and goes on while up to [`in_flight`](Self::in_flight) of them have no reply yet; each
/// subtask by itself. A barrier waits for all replies, so a record that a completed checkpoint covers has been handled, and has been
/// [accepted](Self::accepting). What is not covered when the job restarts is sent again, in the same order; the actor may have handled
/// any part of it, also while the restart is under way. So it should not matter to the actor how often a record comes: let records
/// have a number or key.
///
/// It is waited for replies on a thread of the sink's own: the actor may live on any arbiter, in the `System` of the service or
/// elsewhere. Its mailbox need not be as large as what is in flight, which is all that bounds it: `in_flight` messages for each subtask,
/// and for each attempt that has ended before the actor came to them. A call that waits for replies is waited for when the job is
/// cancelled or restarts, for [`stop_timeout`](crate::Limits::stop_timeout) at most. Replies are looked at when the sink
/// waits for one, when it has nothing more to write, and at barriers: in a quiet job a bad one that comes later is noticed at the next barrier.
///
/// | the actor | what follows |
/// |---|---|
/// | is slow | the job is held back, and so are barriers. A checkpoint whose barrier gets no reply for longer than [`reply_timeout`](Self::reply_timeout) is declined; the replies are still waited for |
/// | owes `in_flight` replies, and gives none for longer than `reply_timeout` | the attempt fails with [`RecipientSinkError::NoReply`], and the job restarts by its strategy |
/// | has stopped, or drops a message | the same with [`Closed`](RecipientSinkError::Closed). An address stays good where an actix `Supervisor` restarts its actor; where another one takes its place say [`looked_up`](Self::looked_up) |
/// | refuses a record | the same with [`Refused`](RecipientSinkError::Refused) |
///
/// ```
/// use actix::prelude::*;
/// use millstream::prelude::*;
///
/// #[derive(Message)]
/// #[rtype(result = "Result<(), String>")]
/// struct Order(u64);
///
/// #[derive(Default)]
/// struct Ledger(Vec<u64>);
///
/// impl Actor for Ledger {
///     type Context = Context<Self>;
/// }
///
/// impl Handler<Order> for Ledger {
///     type Result = Result<(), String>;
///
///     fn handle(&mut self, Order(id): Order, _: &mut Context<Self>) -> Result<(), String> {
///         if !self.0.contains(&id) {                          // it may come again
///             self.0.push(id);
///         }
///         Ok(())
///     }
/// }
///
/// # actix_rt::System::new().block_on(async {
/// let ledger = Ledger::default().start();
/// let env = StreamEnvironment::new("orders");
/// env.source("orders", SequenceSource::new(0..100))
///     .map(Order)
///     .sink("ledger", RecipientSink::new(ledger.recipient()).in_flight(32).accepting(|reply| reply));
/// env.start()?.await?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
pub struct RecipientSink<M: Message + Send + 'static>
where
    M::Result: Send,
{
    recipient: Lookup<M>,
    check: Check<M::Result>,
    in_flight: usize,
    reply_timeout: Duration,
}

/// The [reason](SinkError::reason) for which a [`RecipientSink`] failed.
///
/// [`FileSinkError`](crate::sink::FileSinkError) shows how a program comes by the reason.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecipientSinkError {
    /// An actor has not replied in time. At a barrier the checkpoint is declined, and the reply waited for; else the attempt fails.
    #[error("no reply within {within:?}, and {in_flight} records in flight")]
    #[non_exhaustive]
    NoReply {
        /// Its [`reply_timeout`](RecipientSink::reply_timeout).
        within: Duration,
        /// Records of this subtask without a reply.
        in_flight: usize,
    },
    /// The actor has stopped, or has dropped a message without a reply. The attempt fails.
    #[error("the actor has stopped, or has dropped a record without a reply")]
    Closed,
    /// The reply says that the record is not accepted. The attempt fails.
    #[error("a record was refused: {source}")]
    #[non_exhaustive]
    Refused {
        /// What [`accepting`](RecipientSink::accepting) made of the reply.
        source: Box<dyn StdError + Send + Sync>,
    },
}

impl<M: Message + Send + 'static> RecipientSink<M>
where
    M::Result: Send,
{
    /// Sends to this recipient.
    pub fn new(recipient: Recipient<M>) -> Self {
        Self::looked_up(move || recipient.clone())
    }

    /// Sends to the recipient that `recipient` gives when a subtask opens, so at each restart: for an actor that is started anew when
    /// it has stopped, under another address. Called on the sink's own threads.
    pub fn looked_up(recipient: impl Fn() -> Recipient<M> + Send + Sync + 'static) -> Self {
        let (recipient, check) = (Arc::new(recipient), Arc::new(|_| Ok(())));
        Self { recipient, check, in_flight: 256, reply_timeout: Duration::from_secs(30) }
    }

    /// For how many records a subtask waits for a reply at most; 256 if nothing is said, at least 1. With 1 each record is handled before
    /// the next one is sent.
    pub fn in_flight(mut self, records: usize) -> Self {
        self.in_flight = records;
        self
    }

    /// For how long there may be no reply where the sink has to wait for one: since the record was sent, or since the reply before it was
    /// taken if that is later, so an actor that goes on replying is never late. 30 seconds if nothing is said, above zero, by the
    /// job's clock. [`Duration::MAX`] is for ever: then also a job that is cancelled or restarts waits, for
    /// [`stop_timeout`](crate::Limits::stop_timeout), and leaves the thread of an actor that never replies behind.
    pub fn reply_timeout(mut self, timeout: Duration) -> Self {
        self.reply_timeout = timeout;
        self
    }

    /// Looks at each reply: with an error the record is not accepted, and the attempt fails. If nothing is said every reply is fine.
    pub fn accepting<E: Into<Box<dyn StdError + Send + Sync>>>(
        mut self,
        check: impl Fn(M::Result) -> Result<(), E> + Send + Sync + 'static,
    ) -> Self {
        self.check = Arc::new(move |reply| check(reply).map_err(Into::into));
        self
    }
}

impl<M: Message + Send + 'static> fmt::Debug for RecipientSink<M>
where
    M::Result: Send,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { in_flight, reply_timeout, .. } = self;
        f.debug_struct("RecipientSink")
            .field("in_flight", in_flight)
            .field("reply_timeout", reply_timeout)
            .finish_non_exhaustive()
    }
}

impl<M: Message + Send + 'static> Sink for RecipientSink<M>
where
    M::Result: Send,
{
    type Item = M;

    fn threading(&self) -> Threading {
        Threading::Blocking
    }

    fn mistake(&self) -> Option<String> {
        if self.in_flight == 0 {
            return Some("in_flight(0): no record could be sent; at least 1".to_owned());
        }
        self.reply_timeout.is_zero().then(|| "reply_timeout of no time: no reply could come within it".to_owned())
    }

    fn open(&self, cx: &SinkContext, _: SinkRestore) -> Result<Box<dyn SinkWriter<Item = M>>, SinkError> {
        Ok(Box::new(Writer {
            recipient: (self.recipient)(),
            check: self.check.clone(),
            in_flight_max: self.in_flight,
            reply_timeout: self.reply_timeout,
            clock: cx.clock.clone(),
            fence: cx.fenced.clone(),
            location: format!("actor of sink '{}'", cx.operator),
            in_flight: VecDeque::new(),
            replied_at: Duration::ZERO,
        }))
    }
}

/// A record that was sent.
struct Sent<M: Message + Send + 'static>
where
    M::Result: Send,
{
    at: Duration,
    request: Pin<Box<RecipientRequest<M>>>,
}

struct Writer<M: Message + Send + 'static>
where
    M::Result: Send,
{
    recipient: Recipient<M>,
    check: Check<M::Result>,
    in_flight_max: usize,
    reply_timeout: Duration,
    clock: Arc<dyn Clock>,
    fence: Fence,
    location: String,
    /// In the order in which they were sent.
    in_flight: VecDeque<Sent<M>>,
    /// When a reply was taken last.
    replied_at: Duration,
}

impl<M: Message + Send + 'static> Writer<M>
where
    M::Result: Send,
{
    fn error(&self, reason: RecipientSinkError, retry: Retry) -> SinkError {
        SinkError::external(&*self.location, reason, retry)
    }

    fn send(&mut self, record: M) -> Result<(), SinkError> {
        if self.fence.is_raised() {
            return Err(SinkError::fenced());
        }
        let at = self.clock.now();
        let mut request = Box::pin(self.recipient.send(record));
        // Where the mailbox is full the record gets there when this is polled first: before the next one, so in order.
        match request.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(reply) => self.take(reply),
            Poll::Pending => {
                self.in_flight.push_back(Sent { at, request });
                Ok(())
            }
        }
    }

    fn take(&mut self, reply: Result<M::Result, MailboxError>) -> Result<(), SinkError> {
        self.replied_at = self.clock.now();
        // A record that is not known to be handled is sent again, by the next attempt.
        let reply = reply.map_err(|_| self.error(RecipientSinkError::Closed, Retry::Attempt))?;
        let accepted = (self.check)(reply).map_err(|source| RecipientSinkError::Refused { source });
        accepted.map_err(|refused| self.error(refused, Retry::Attempt))
    }

    /// Takes replies that are there, in the order of their records.
    fn take_ready(&mut self) -> Result<(), SinkError> {
        while let Some(sent) = self.in_flight.front_mut() {
            let Poll::Ready(reply) = sent.request.as_mut().poll(&mut Context::from_waker(Waker::noop())) else { break };
            self.in_flight.pop_front();
            self.take(reply)?;
        }
        Ok(())
    }

    /// Waits for the first reply; `retry` may help if it does not come in time. A record without a reply stays in flight.
    fn await_first(&mut self, retry: Retry) -> Result<(), SinkError> {
        let Some(sent) = self.in_flight.front_mut() else { return Ok(()) };
        // An actor that goes on replying is slow, not gone, however many records wait for it.
        let since = sent.at.max(self.replied_at);
        let left = since.saturating_add(self.reply_timeout).saturating_sub(self.clock.now());
        let mut time_out = self.clock.sleep(left);
        let reply = block_on(poll_fn(|cx| match sent.request.as_mut().poll(cx) {
            Poll::Ready(reply) => Poll::Ready(Some(reply)),
            Poll::Pending => time_out.as_mut().poll(cx).map(|()| None),
        }));
        match reply {
            Some(reply) => {
                self.in_flight.pop_front();
                self.take(reply)
            }
            None => {
                let (within, in_flight) = (self.reply_timeout, self.in_flight.len());
                Err(self.error(RecipientSinkError::NoReply { within, in_flight }, retry))
            }
        }
    }
}

impl<M: Message + Send + 'static> SinkWriter for Writer<M>
where
    M::Result: Send,
{
    type Item = M;

    fn write(&mut self, batch: &mut Batch<M>) -> Result<(), SinkError> {
        for record in batch.drain() {
            while self.in_flight.len() >= self.in_flight_max {
                self.await_first(Retry::Attempt)?;
            }
            self.send(record)?;
        }
        batch.clear();
        Ok(())
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        self.take_ready()
    }

    fn prepare(&mut self, _: CheckpointId) -> Result<Vec<PendingCommit>, SinkError> {
        while !self.in_flight.is_empty() {
            self.await_first(Retry::Call)?;
        }
        Ok(Vec::new())
    }

    fn commit(&mut self, _: CheckpointId) -> Result<(), SinkError> {
        Ok(())
    }
}
