//! The futures of one subtask, and the times at which something is to be done about them.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::{AbortHandle, Abortable, Aborted};
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::task::coop::{Unconstrained, unconstrained};

/// A record's future. It is polled outside of tokio's budget, for the operator has one of its own: tokio's would be used up after some
/// hundred answers, and then every future that is ready would be polled in vain, and wake itself again.
struct Asking<Fut> {
    number: u64,
    /// The record whose future is polled or dropped.
    polled: Rc<Cell<u64>>,
    future: Pin<Box<Unconstrained<Fut>>>,
}

impl<Fut> Drop for Asking<Fut> {
    fn drop(&mut self) {
        // That may be where it panics.
        self.polled.set(self.number);
    }
}

impl<Fut: Future> Future for Asking<Fut> {
    type Output = (u64, Fut::Output);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.polled.set(self.number);
        let number = self.number;
        self.future.as_mut().poll(cx).map(|answer| (number, answer))
    }
}

/// What is asked of records by their numbers.
pub(super) struct Requests<Fut> {
    futures: FuturesUnordered<Abortable<Asking<Fut>>>,
    polled: Rc<Cell<u64>>,
    /// The records that are not settled. They have been asked for in the order of their numbers.
    asked: BTreeMap<u64, Asked>,
    /// When a record is asked for again.
    retries: BTreeSet<(Duration, u64)>,
}

/// How far a record is.
struct Asked {
    /// When its time is over, if it ever is.
    deadline: Option<Duration>,
    /// How often it has been asked for.
    attempts: u32,
    /// Of its future.
    handle: Option<AbortHandle>,
    /// When it is asked for again, if that is not due yet.
    again_at: Option<Duration>,
}

/// Something whose time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DueRequest {
    /// No answer has come in time.
    TimedOut(u64),
    /// The record is to be asked for again.
    Again(u64),
}

impl<Fut: Future> Requests<Fut> {
    pub(super) fn new() -> Self {
        let (asked, retries) = (BTreeMap::new(), BTreeSet::new());
        Self { futures: FuturesUnordered::new(), polled: Rc::default(), asked, retries }
    }

    /// The next record is asked for. Its deadline is no earlier than those of the records before it.
    pub(super) fn begin(&mut self, number: u64, deadline: Option<Duration>) {
        self.asked.insert(number, Asked { deadline, attempts: 0, handle: None, again_at: None });
    }

    /// A record that is not settled is asked for by this future.
    pub(super) fn ask(&mut self, number: u64, future: Fut) {
        let (handle, registration) = AbortHandle::new_pair();
        let asking = Asking { number, polled: self.polled.clone(), future: Box::pin(unconstrained(future)) };
        self.futures.push(Abortable::new(asking, registration));
        let asked = self.asked.get_mut(&number).expect("it is not settled");
        asked.attempts += 1;
        asked.handle = Some(handle);
    }

    /// Polls the futures that have been woken, until one of them has an answer: that of the record with this number.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Option<(u64, Fut::Output)> {
        loop {
            match self.futures.poll_next_unpin(cx) {
                Poll::Ready(Some(Ok(answered))) => return Some(answered),
                Poll::Ready(Some(Err(Aborted))) => {}
                Poll::Ready(None) | Poll::Pending => return None,
            }
        }
    }

    /// The record whose future was polled or dropped last.
    pub(super) fn polled(&self) -> Rc<Cell<u64>> {
        self.polled.clone()
    }

    /// How often a record that is not settled has been asked for.
    pub(super) fn attempts(&self, number: u64) -> u32 {
        self.asked.get(&number).map_or(0, |asked| asked.attempts)
    }

    /// A record whose future has come to its end is asked for again at this time, if its own is not over by then. Whether it is.
    pub(super) fn ask_again(&mut self, number: u64, at: Duration) -> bool {
        let Some(asked) = self.asked.get_mut(&number) else { return false };
        let is_in_time = asked.deadline.is_none_or(|deadline| at < deadline);
        if is_in_time {
            asked.again_at = Some(at);
            self.retries.insert((at, number));
        }
        is_in_time
    }

    /// Nothing more is asked for this record. A future that it has is dropped when futures are polled next.
    pub(super) fn settle(&mut self, number: u64) {
        let Some(asked) = self.asked.remove(&number) else { return };
        if let Some(at) = asked.again_at {
            self.retries.remove(&(at, number));
        }
        if let Some(handle) = asked.handle {
            handle.abort();
        }
    }

    /// Takes what has come due by now.
    pub(super) fn take_due(&mut self, now: Duration) -> Option<DueRequest> {
        if let Some((number, _)) = self.earliest().filter(|(_, deadline)| *deadline <= now) {
            return Some(DueRequest::TimedOut(number));
        }
        let (_, number) = self.retries.first().copied().filter(|(at, _)| *at <= now)?;
        self.retries.pop_first();
        if let Some(asked) = self.asked.get_mut(&number) {
            asked.again_at = None;
        }
        Some(DueRequest::Again(number))
    }

    /// When something comes due.
    pub(super) fn due(&self) -> Option<Duration> {
        let deadline = self.earliest().map(|(_, deadline)| deadline);
        let retry = self.retries.first().map(|(at, _)| *at);
        deadline.into_iter().chain(retry).min()
    }

    /// The record whose time is over first.
    fn earliest(&self) -> Option<(u64, Duration)> {
        let (number, asked) = self.asked.first_key_value()?;
        Some((*number, asked.deadline?))
    }

    /// Gives all records so much more time.
    pub(super) fn postpone(&mut self, by: Duration) {
        for deadline in self.asked.values_mut().filter_map(|asked| asked.deadline.as_mut()) {
            *deadline = deadline.saturating_add(by);
        }
    }
}
