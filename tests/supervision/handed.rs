//! A source that hands out as much as a test allows.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use millstream::source::{
    Batch, Boundedness, ReadStatus, Source, SourceContext, SourceError, SourceReader, SourceWaker, SplitPosition,
};
use tokio::sync::watch;

const SPLIT: &str = "numbers";

/// How far a [`HandedSource`] may read, and has. Clones are one.
#[derive(Clone)]
pub(crate) struct Hand {
    allowed: watch::Sender<u64>,
    read: watch::Sender<u64>,
    waker: Arc<Mutex<Option<SourceWaker>>>,
}

impl Default for Hand {
    fn default() -> Self {
        Self { allowed: watch::Sender::new(0), read: watch::Sender::new(0), waker: Arc::default() }
    }
}

impl Hand {
    /// Lets numbers below `end` be read.
    pub(crate) fn allow(&self, end: u64) {
        self.allowed.send_replace(end);
        if let Some(waker) = &*self.waker() {
            waker.wake();
        }
    }

    /// Resolves once the running attempt has read all numbers below `end`.
    pub(crate) async fn read(&self, end: u64) {
        self.read.subscribe().wait_for(|read| *read == end).await.expect("the sender is here");
    }

    fn waker(&self) -> MutexGuard<'_, Option<SourceWaker>> {
        self.waker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The numbers from 0, on one subtask, in one split, without an end.
pub(crate) struct HandedSource(pub(crate) Hand);

struct HandedReader {
    hand: Hand,
    next: u64,
}

impl Source for HandedSource {
    type Item = u64;

    fn boundedness(&self) -> Boundedness {
        Boundedness::Unbounded
    }

    fn open(
        &self,
        cx: &SourceContext,
        restored: Option<Vec<SplitPosition>>,
    ) -> Result<Box<dyn SourceReader<Item = u64>>, SourceError> {
        *self.0.waker() = Some(cx.waker.clone());
        let restored = restored.into_iter().flatten().next();
        let next = restored.map_or(0, |split| u64::from_le_bytes(split.position.try_into().expect("eight bytes")));
        self.0.read.send_replace(next);
        Ok(Box::new(HandedReader { hand: self.0.clone(), next }))
    }
}

impl SourceReader for HandedReader {
    type Item = u64;

    fn read(&mut self, batch: &mut Batch<u64>) -> Result<ReadStatus, SourceError> {
        let allowed = *self.hand.allowed.borrow();
        while self.next < allowed && !batch.is_full() {
            batch.push(self.next, 8);
            self.next += 1;
        }
        self.hand.read.send_replace(self.next);
        Ok(if self.next < allowed { ReadStatus::More } else { ReadStatus::Idle { retry_after: None } })
    }

    fn report_positions(&mut self, moved: &mut Vec<SplitPosition>) {
        moved.push(SplitPosition::new(SPLIT, self.next.to_le_bytes()));
    }
}
