//! How a program waits until a source has read something, and has what was read marked in the stream.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use actix::{Message, Recipient};
use tokio::sync::{oneshot, watch};

use crate::protocol::{Attempt, Milestone};

/// Programs that may wait for one subtask at a time.
pub(crate) const WAITING_MAX: usize = 1_024;

/// To a source: say when a split has been read this far. May be lost with the attempt.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct AwaitRead {
    pub(crate) split: String,
    pub(crate) offset: u64,
    pub(crate) reply: oneshot::Sender<()>,
}

/// To a source: send this milestone behind what was read, now. A later one stands for those before it.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct EmitMilestone {
    pub(crate) milestone: Milestone,
}

/// Somebody who waits, for as long as this lives.
#[derive(Debug)]
pub(crate) struct Waits(Arc<AtomicUsize>);

impl Waits {
    /// One more, of so many as there may be.
    ///
    /// # Errors
    /// [`Full`].
    pub(crate) fn begin(waiting: &Arc<AtomicUsize>) -> Result<Self, Full> {
        let before = waiting.fetch_add(1, Ordering::Relaxed);
        let waits = Self(waiting.clone());
        if before >= WAITING_MAX { Err(Full { waiting: before }) } else { Ok(waits) }
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Too many wait already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full {
    pub(crate) waiting: usize,
}

/// Where the source of one subtask is asked, in one attempt.
#[derive(Clone, Default)]
pub(crate) struct SourcePlace(Arc<Mutex<Option<Open>>>);

/// The subtask is ready.
struct Open {
    reads: Recipient<AwaitRead>,
    milestones: Recipient<EmitMilestone>,
    attempt: Attempt,
    waiting: Arc<AtomicUsize>,
    /// Dropped with this: then nobody waits any longer.
    closes: watch::Sender<()>,
}

/// A read that is waited for.
pub(crate) struct AwaitedRead {
    pub(crate) attempt: Attempt,
    /// Nothing, if the subtask ends before.
    pub(crate) told: oneshot::Receiver<()>,
    /// Fails once the attempt ends.
    pub(crate) closes: watch::Receiver<()>,
    pub(crate) _waits: Waits,
}

impl SourcePlace {
    fn lock(&self) -> MutexGuard<'_, Option<Open>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The subtask is ready.
    pub(crate) fn open(&self, reads: Recipient<AwaitRead>, milestones: Recipient<EmitMilestone>, attempt: Attempt) {
        let (closes, _) = watch::channel(());
        *self.lock() = Some(Open { reads, milestones, attempt, waiting: Arc::default(), closes });
    }

    /// The attempt ends. Its successor has another place.
    pub(crate) fn close(&self) {
        let before = self.lock().take();
        drop(before);
    }

    /// Asks to be told when a split has been read so far. `None` if the subtask is not ready, or its attempt ends.
    ///
    /// # Errors
    /// [`Full`].
    pub(crate) fn await_read(&self, split: String, offset: u64) -> Result<Option<AwaitedRead>, Full> {
        let place = self.lock();
        let Some(Open { reads, attempt, waiting, closes, .. }) = &*place else { return Ok(None) };
        let waits = Waits::begin(waiting)?;
        let (reply, told) = oneshot::channel();
        reads.do_send(AwaitRead { split, offset, reply });
        Ok(Some(AwaitedRead { attempt: *attempt, told, closes: closes.subscribe(), _waits: waits }))
    }

    /// Asks for a milestone in this attempt. False if it ends.
    pub(crate) fn emit(&self, attempt: Attempt, milestone: Milestone) -> bool {
        let place = self.lock();
        let open = place.as_ref().filter(|open| open.attempt == attempt);
        open.is_some_and(|open| {
            open.milestones.do_send(EmitMilestone { milestone });
            true
        })
    }
}

impl fmt::Debug for SourcePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SourcePlace(open: {})", self.lock().is_some())
    }
}
