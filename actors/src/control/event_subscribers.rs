//! Who is told of a job's events: actors, and streams that somebody awaits.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use actix::Recipient;
use actix::dev::RecipientRequest;
use futures_core::Stream;

use crate::control::event::{JobEvent, JobEventKind};

/// All of them.
#[derive(Default)]
pub struct EventSubscribers(Vec<Subscriber>);

/// One of them.
pub enum Subscriber {
    /// An actor.
    Actor(Recipient<JobEvent>),
    /// The sending end of a stream.
    Stream(EventSender),
}

impl From<Recipient<JobEvent>> for Subscriber {
    fn from(recipient: Recipient<JobEvent>) -> Self {
        Self::Actor(recipient)
    }
}

impl EventSubscribers {
    /// Adds one.
    pub fn add(&mut self, subscriber: Subscriber) {
        self.0.push(subscriber);
    }

    /// Tells everyone, and forgets those that have gone; all of them after the job's end.
    pub(crate) fn tell(&mut self, event: &JobEvent) {
        if matches!(event.kind, JobEventKind::Ended { .. }) {
            return self.0.drain(..).for_each(|subscriber| subscriber.tell_last(event.clone()));
        }
        self.0.retain(|subscriber| match subscriber {
            Subscriber::Actor(recipient) => {
                recipient.do_send(event.clone());
                recipient.connected()
            }
            Subscriber::Stream(sender) => sender.send(event.clone()),
        });
    }
}

impl Subscriber {
    fn tell_last(self, event: JobEvent) {
        match self {
            Self::Actor(recipient) => LastEvent::send(recipient, event),
            Self::Stream(sender) => drop(sender.send(event)),
        }
    }
}

/// Keeps the address of an actor until it has handled its last event, or is gone: an actor without an address stops, also with
/// messages in its mailbox. Polled by whoever wakes it, since no runtime is sure to be there.
struct LastEvent(Mutex<Option<Unhandled>>);

/// Resolves once the event is handled; and the address.
type Unhandled = (Pin<Box<RecipientRequest<JobEvent>>>, Recipient<JobEvent>);

impl LastEvent {
    fn send(recipient: Recipient<JobEvent>, event: JobEvent) {
        Arc::new(Self(Mutex::new(Some((Box::pin(recipient.send(event)), recipient))))).wake();
    }
}

impl Wake for LastEvent {
    fn wake(self: Arc<Self>) {
        let waker = Waker::from(self.clone());
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((handled, _)) = &mut *kept else { return };
        if handled.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
            *kept = None;
        }
    }
}

/// A job's events as they come, to be awaited on any runtime: by [`next`](Self::next), or as a
/// [`Stream`](futures_core::Stream). It ends after the event of the job's end.
///
/// A bounded number waits. When it is full the oldest is dropped and counted, so the newest, and above all the end, are always
/// there. Dropping the stream ends the subscription.
///
/// ```
/// use millstream::JobEventKind;
/// use millstream::prelude::*;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let env = StreamEnvironment::new("numbers");
/// env.source("numbers", SequenceSource::new(0..10)).sink("out", CollectSink::new());
/// let mut events = env.events(1_000);
/// env.start()?;
///
/// let mut completed = 0;
/// while let Some(event) = events.next().await {
///     match event.kind {
///         JobEventKind::CheckpointCompleted { .. } => completed += 1,
///         JobEventKind::Ended { result, .. } => println!("{result:?}"),
///         other => println!("{other}"),
///     }
/// }
/// assert_eq!((completed, events.dropped()), (1, 0), "the final checkpoint");
/// # Ok(())
/// # }
/// ```
pub struct JobEvents(Arc<Shared>);

/// Where the events of a [`JobEvents`] come from. Dropping it ends the stream.
pub struct EventSender {
    shared: Arc<Shared>,
    capacity: usize,
}

#[derive(Default)]
struct Shared(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    events: VecDeque<JobEvent>,
    dropped: u64,
    /// One of the two ends is gone.
    closed: bool,
    waker: Option<Waker>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) {
        let mut waiting = self.lock();
        waiting.closed = true;
        let waker = waiting.waker.take();
        drop(waiting);
        waker.into_iter().for_each(Waker::wake);
    }
}

impl EventSender {
    /// Whether somebody still listens.
    fn send(&self, event: JobEvent) -> bool {
        let mut waiting = self.shared.lock();
        if waiting.closed {
            return false;
        }
        if waiting.events.len() >= self.capacity {
            waiting.events.pop_front();
            waiting.dropped += 1;
        }
        waiting.events.push_back(event);
        let waker = waiting.waker.take();
        drop(waiting);
        waker.into_iter().for_each(Waker::wake);
        true
    }
}

impl Drop for EventSender {
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl JobEvents {
    /// A stream on which at most `capacity` events wait, at least 1, and what feeds it.
    pub fn channel(capacity: usize) -> (Subscriber, Self) {
        let shared = Arc::new(Shared::default());
        let sender = EventSender { shared: shared.clone(), capacity: capacity.max(1) };
        (Subscriber::Stream(sender), Self(shared))
    }

    /// The next event, in the order in which they were recorded. `None` after the job's end.
    ///
    /// # Cancellation
    /// No event is lost.
    pub async fn next(&mut self) -> Option<JobEvent> {
        poll_fn(|cx| self.poll(cx)).await
    }

    /// How many events were dropped so far because as many as may wait had not been taken.
    pub fn dropped(&self) -> u64 {
        self.0.lock().dropped
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<JobEvent>> {
        let mut waiting = self.0.lock();
        match waiting.events.pop_front() {
            Some(event) => Poll::Ready(Some(event)),
            None if waiting.closed => Poll::Ready(None),
            None => {
                waiting.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Stream for JobEvents {
    type Item = JobEvent;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<JobEvent>> {
        self.poll(cx)
    }
}

impl Drop for JobEvents {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl fmt::Debug for JobEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = self.0.lock();
        f.debug_struct("JobEvents").field("waiting", &waiting.events.len()).field("dropped", &waiting.dropped).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use actix::{Actor, AsyncContext, Context as ActorContext, Handler, WrapFuture};

    use super::*;
    use crate::control::outcome::JobError;
    use crate::protocol::{CheckpointId, TriggerReason};
    use crate::runtime::block_on::block_on;

    fn event(kind: JobEventKind) -> JobEvent {
        JobEvent { seq: 1, unix_ms: 0, job: "job".into(), kind }
    }

    fn triggered(checkpoint: u64) -> JobEvent {
        let checkpoint = CheckpointId(checkpoint);
        event(JobEventKind::CheckpointTriggered { checkpoint, reason: TriggerReason::Periodic })
    }

    fn checkpoint(event: Option<JobEvent>) -> Option<u64> {
        match event?.kind {
            JobEventKind::CheckpointTriggered { checkpoint, .. } => Some(checkpoint.0),
            _ => None,
        }
    }

    #[test]
    fn full_stream_drops_the_oldest_and_counts_it_and_ends_after_the_end() {
        let (sender, mut events) = JobEvents::channel(2);
        let mut subscribers = EventSubscribers::default();
        subscribers.add(sender);
        (1..=3).for_each(|id| subscribers.tell(&triggered(id)));
        assert_eq!((checkpoint(block_on(events.next())), events.dropped()), (Some(2), 1));
        subscribers.tell(&event(JobEventKind::Ended { result: Err(JobError::SystemStopped) }));
        assert_eq!((checkpoint(block_on(events.next())), events.dropped()), (Some(3), 1));
        assert!(matches!(block_on(events.next()), Some(JobEvent { kind: JobEventKind::Ended { .. }, .. })));
        assert!(block_on(events.next()).is_none());
    }

    #[test]
    fn stream_that_is_dropped_is_forgotten_and_one_that_waits_is_woken() {
        let (sender, events) = JobEvents::channel(1);
        let mut subscribers = EventSubscribers::default();
        subscribers.add(sender);
        drop(events);
        subscribers.tell(&triggered(1));
        assert!(subscribers.0.is_empty());

        let (sender, mut events) = JobEvents::channel(1);
        subscribers.add(sender);
        let waits = std::thread::spawn(move || checkpoint(block_on(events.next())));
        subscribers.tell(&triggered(2));
        assert_eq!(waits.join().expect("no panic"), Some(2));
    }

    /// An actor that has looked into its mailbox, and has not yet looked whether anybody has its address.
    struct Between {
        there: mpsc::Sender<()>,
        goes_on: Option<mpsc::Receiver<()>>,
        handled: mpsc::Sender<JobEventKind>,
    }

    impl Actor for Between {
        type Context = ActorContext<Self>;

        fn started(&mut self, ctx: &mut Self::Context) {
            let (there, goes_on) = (self.there.clone(), self.goes_on.take().expect("started once"));
            let between = async move {
                there.send(()).expect("the test waits");
                goes_on.recv().expect("the test says so");
            };
            ctx.spawn(between.into_actor(self));
        }
    }

    impl Handler<JobEvent> for Between {
        type Result = ();

        fn handle(&mut self, event: JobEvent, _: &mut Self::Context) {
            self.handled.send(event.kind).expect("the test waits");
        }
    }

    // The end was lost with the address, which nobody but the job had.
    #[test]
    fn actor_that_only_the_subscription_keeps_handles_the_end_and_stops() {
        let (there, is_there) = mpsc::channel();
        let (goes_on, may_go_on) = mpsc::channel();
        let (handled, is_handled) = mpsc::channel();
        let (give, address) = mpsc::channel();
        let host = std::thread::spawn(move || {
            actix_rt::System::new().block_on(async move {
                let actor = Between { there, goes_on: Some(may_go_on), handled }.start();
                give.send(actor.downgrade().recipient()).expect("the test waits");
                let listener = actor.clone().recipient();
                drop(actor);
                let mut subscribers = EventSubscribers::default();
                subscribers.add(listener.into());
                std::thread::spawn(move || {
                    is_there.recv().expect("the actor starts");
                    subscribers.tell(&event(JobEventKind::Ended { result: Err(JobError::SystemStopped) }));
                    goes_on.send(()).expect("the actor waits");
                });
                let address = address.recv().expect("it was sent");
                while address.upgrade().is_some() {
                    tokio::task::yield_now().await;
                }
            });
        });
        host.join().expect("the actor stops");
        assert!(matches!(is_handled.recv(), Ok(JobEventKind::Ended { .. })));
    }
}
