//! Polls the streams of one subtask.

use std::fmt::Debug;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use millstream_actors::contract::{
    Batch, CompletedPositions, ReadStatus, SourceError, SourceReader, SourceWaker, SplitPosition, SplitRead,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::task::coop::unconstrained;

use super::error::{StreamSourceError, of_item};
use super::source::{CompletedSplit, Items, OnCheckpoint, ReadTo, Stored};
use crate::source::decode_position;
use crate::source::position::encode_named_position;

/// A split that the subtask owns.
pub(super) struct StreamSplit<P, T> {
    pub(super) id: String,
    pub(super) input: Input<P, T>,
    /// That of its last record.
    pub(super) position: Option<P>,
}

/// What there is to read of a split.
pub(super) enum Input<P, T> {
    /// Its stream.
    Open(Items<P, T>),
    /// Nothing in this attempt, since the job was told to finish; its stream has more. A next start goes on there.
    Cut,
    /// Nothing, ever: its stream has come to its end.
    Ended,
}

impl<P, T> StreamSplit<P, T> {
    fn is_open(&self) -> bool {
        matches!(self.input, Input::Open(_))
    }
}

/// Prompts a read, of which at most one is asked for at a time, however often streams are woken.
struct ReaderWaker {
    is_asked: AtomicBool,
    source: SourceWaker,
}

/// A stream's own.
struct SplitWaker {
    /// Polling the stream may give something.
    is_woken: AtomicBool,
    reader: Arc<ReaderWaker>,
}

impl ReaderWaker {
    fn wake(&self) {
        if !self.is_asked.swap(true, Ordering::SeqCst) {
            self.source.wake();
        }
    }
}

impl Wake for SplitWaker {
    fn wake(self: Arc<Self>) {
        self.is_woken.store(true, Ordering::SeqCst);
        self.reader.wake();
    }
}

/// Reads its streams side by side, one a read.
pub(super) struct StreamReader<P, T> {
    splits: Vec<Polled<P, T>>,
    waker: Arc<ReaderWaker>,
    /// The split whose turn it is next.
    turn: usize,
    /// That of the last read, and whether it has ended.
    last: Option<(usize, bool)>,
    /// By all attempts.
    read_to: ReadTo<P>,
    on_checkpoint: Option<OnCheckpoint<P>>,
    /// Streams come to an end.
    is_bounded: bool,
    is_finishing: bool,
}

struct Polled<P, T> {
    split: StreamSplit<P, T>,
    waker: Arc<SplitWaker>,
    is_moved: bool,
}

/// What a read of a split came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Came {
    /// To no record.
    Nothing,
    /// To records.
    Records,
    /// To its end.
    End,
}

impl<P, T> StreamReader<P, T>
where
    P: Ord + Clone + Debug,
{
    pub(super) fn new(
        splits: Vec<StreamSplit<P, T>>,
        waker: SourceWaker,
        read_to: ReadTo<P>,
        (on_checkpoint, is_bounded): (Option<OnCheckpoint<P>>, bool),
    ) -> Self {
        let waker = Arc::new(ReaderWaker { is_asked: AtomicBool::new(false), source: waker });
        let polled = |split| {
            let waker = SplitWaker { is_woken: AtomicBool::new(true), reader: waker.clone() };
            Polled { split, waker: Arc::new(waker), is_moved: true }
        };
        let splits = splits.into_iter().map(polled).collect();
        Self { splits, waker, turn: 0, last: None, read_to, on_checkpoint, is_bounded, is_finishing: false }
    }

    /// Ends the splits that have come to where an attempt had read them when the job was told to finish.
    fn cut(&mut self) {
        for polled in &mut self.splits {
            let read_to = self.read_to.of(&polled.split.id);
            // `None` is less than any position.
            if polled.split.is_open() && polled.split.position >= read_to {
                polled.split.input = Input::Cut;
            }
        }
    }
}

impl<P, T> Polled<P, T>
where
    P: Ord + Clone + Debug,
{
    /// Whether it is to be polled.
    fn is_at_hand(&self) -> bool {
        self.split.is_open() && self.waker.is_woken.load(Ordering::SeqCst)
    }

    /// Records, until the batch is full or there are none.
    fn read(&mut self, batch: &mut Batch<T>, may_end: bool) -> Result<Came, SourceError> {
        let Self { split, waker, is_moved } = self;
        let Input::Open(items) = &mut split.input else { return Ok(Came::Nothing) };
        waker.is_woken.store(false, Ordering::SeqCst);
        let context = Waker::from(waker.clone());
        let mut cx = Context::from_waker(&context);
        let mut came = Came::Nothing;
        while !batch.is_full() {
            // Outside of tokio's budget for a task: a batch is one, too.
            let next = pin!(unconstrained(poll_fn(|cx| items.as_mut().poll_next(cx))));
            match next.poll(&mut cx) {
                Poll::Pending => return Ok(came),
                Poll::Ready(None) if !may_end => {
                    return Err(StreamSourceError::Ended { split: split.id.clone() }.into());
                }
                Poll::Ready(None) => {
                    (split.input, *is_moved) = (Input::Ended, true);
                    return Ok(Came::End);
                }
                Poll::Ready(Some(Err(error))) => return Err(of_item(&split.id, error)),
                Poll::Ready(Some(Ok((position, record)))) => {
                    if let Some(previous) = split.position.as_ref().filter(|previous| position <= **previous) {
                        let (previous, position) = (format!("{previous:?}"), format!("{position:?}"));
                        return Err(
                            StreamSourceError::NotAscending { split: split.id.clone(), previous, position }.into()
                        );
                    }
                    batch.push(record, size_of::<T>());
                    (split.position, *is_moved, came) = (Some(position), true, Came::Records);
                }
            }
        }
        waker.is_woken.store(true, Ordering::SeqCst);
        Ok(came)
    }
}

impl<P, T> SourceReader for StreamReader<P, T>
where
    P: Serialize + DeserializeOwned + Ord + Clone + Debug + Send + 'static,
    T: Send + 'static,
{
    type Item = T;

    fn read(&mut self, batch: &mut Batch<T>) -> Result<ReadStatus, SourceError> {
        // Before it looks: who wakes a stream from now on asks for another read.
        self.waker.is_asked.store(false, Ordering::SeqCst);
        self.last = None;
        if self.is_finishing {
            self.cut();
        }
        for offset in 0..self.splits.len() {
            let place = (self.turn + offset) % self.splits.len();
            let polled = &mut self.splits[place];
            if !polled.is_at_hand() {
                continue;
            }
            let came = polled.read(batch, self.is_bounded)?;
            if came == Came::Nothing {
                continue;
            }
            if let Some(position) = &polled.split.position {
                self.read_to.note(&polled.split.id, position);
            }
            self.last = Some((place, came == Came::End));
            self.turn = place + 1;
            break;
        }
        if !self.splits.iter().any(|polled| polled.split.is_open()) {
            return Ok(ReadStatus::End);
        }
        let is_more = self.splits.iter().any(Polled::is_at_hand);
        Ok(if is_more || self.is_finishing && self.last.is_some() {
            ReadStatus::More
        } else {
            ReadStatus::Idle { retry_after: None }
        })
    }

    fn report_positions(&mut self, moved: &mut Vec<SplitPosition>) {
        for polled in self.splits.iter_mut().filter(|polled| polled.is_moved) {
            polled.is_moved = false;
            let StreamSplit { id, input, position } = &polled.split;
            moved.push(encode_named_position::<Stored<P>>(id, &(position.clone(), matches!(input, Input::Ended))));
        }
    }

    fn checkpoint_completed(&mut self, completed: &CompletedPositions) -> Result<(), SourceError> {
        let Some(hook) = &self.on_checkpoint else { return Ok(()) };
        for stored in &completed.positions {
            let oldest = completed.oldest_needed.iter().flatten().find(|oldest| oldest.split == stored.split);
            let oldest = oldest.map(decode_position::<Stored<P>>).transpose()?.and_then(|(oldest, _)| oldest);
            if let (Some(position), _) = &decode_position::<Stored<P>>(stored)? {
                hook(CompletedSplit { split: &stored.split, position, oldest_needed: oldest.as_ref() });
            }
        }
        Ok(())
    }

    /// The input is cut where it has been read to, by this attempt or one before.
    fn finish(&mut self) {
        self.is_finishing = true;
        self.waker.wake();
    }

    fn last_read(&self) -> Option<SplitRead<'_>> {
        let (place, at_end) = self.last?;
        Some(SplitRead { split: &self.splits[place].split.id, at_end })
    }

    fn concurrent_splits(&self) -> Vec<String> {
        let open = self.splits.iter().filter(|polled| polled.split.is_open());
        open.map(|polled| polled.split.id.clone()).collect()
    }
}
