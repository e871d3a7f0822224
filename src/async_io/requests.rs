//! The futures of one subtask, and the times at which something is to be done about them.

use std::cell::Cell;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::{AbortHandle, Abortable, Aborted};
use futures_util::stream::{FuturesUnordered, StreamExt};

/// A record's future.
struct Asking<Fut> {
    number: u64,
    /// The record whose future is polled.
    polled: Rc<Cell<u64>>,
    future: Pin<Box<Fut>>,
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
    /// The records that are not settled.
    asked: HashMap<u64, Asked>,
    /// When the time of a record is over, the earliest first; those that are settled meanwhile among them.
    deadlines: VecDeque<(Duration, u64)>,
    /// When a record is asked for again.
    retries: BTreeSet<(Duration, u64)>,
}

/// How far a record is.
#[derive(Default)]
struct Asked {
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
        Self {
            futures: FuturesUnordered::new(),
            polled: Rc::default(),
            asked: HashMap::new(),
            deadlines: VecDeque::new(),
            retries: BTreeSet::new(),
        }
    }

    /// A record is asked for by this future.
    pub(super) fn ask(&mut self, number: u64, future: Fut) {
        let (handle, registration) = AbortHandle::new_pair();
        let asking = Asking { number, polled: self.polled.clone(), future: Box::pin(future) };
        self.futures.push(Abortable::new(asking, registration));
        let asked = self.asked.entry(number).or_default();
        asked.attempts += 1;
        asked.handle = Some(handle);
    }

    /// No answer for this record is waited for after this time, which is no earlier than those that were set before.
    pub(super) fn set_deadline(&mut self, number: u64, at: Duration) {
        self.deadlines.push_back((at, number));
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

    /// The record whose future was polled last.
    pub(super) fn polled(&self) -> Rc<Cell<u64>> {
        self.polled.clone()
    }

    /// How often a record has been asked for.
    pub(super) fn attempts(&self, number: u64) -> u32 {
        self.asked.get(&number).map_or(0, |asked| asked.attempts)
    }

    /// A record whose future has come to its end is to be asked for again at this time.
    pub(super) fn ask_again(&mut self, number: u64, at: Duration) {
        self.asked.entry(number).or_default().again_at = Some(at);
        self.retries.insert((at, number));
    }

    /// Nothing more is asked for this record. A future that it has is dropped when futures are polled next.
    pub(super) fn settle(&mut self, number: u64) {
        let asked = self.asked.remove(&number).unwrap_or_default();
        if let Some(at) = asked.again_at {
            self.retries.remove(&(at, number));
        }
        if let Some(handle) = asked.handle {
            handle.abort();
        }
    }

    /// Takes what has come due by now.
    pub(super) fn take_due(&mut self, now: Duration) -> Option<DueRequest> {
        while let Some((at, number)) = self.deadlines.front().copied() {
            let waits = self.asked.contains_key(&number);
            if waits && at > now {
                break;
            }
            self.deadlines.pop_front();
            if waits {
                return Some(DueRequest::TimedOut(number));
            }
        }
        let (_, number) = self.retries.first().copied().filter(|(at, _)| *at <= now)?;
        self.retries.pop_first();
        self.asked.entry(number).or_default().again_at = None;
        Some(DueRequest::Again(number))
    }

    /// When something comes due.
    pub(super) fn due(&self) -> Option<Duration> {
        let deadline = self.deadlines.front().map(|(at, _)| *at);
        let retry = self.retries.first().map(|(at, _)| *at);
        deadline.into_iter().chain(retry).min()
    }
}
