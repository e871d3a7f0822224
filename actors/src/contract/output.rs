//! What an operator emits into.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::rc::Rc;

use super::{BATCH_BYTES_MAX, BATCH_RECORDS_MAX, Batch};
use crate::protocol::{Mark, NO_TIME, Timestamp};

/// What an operator emits into: a queue of batches and marks, in the order of emission, which the engine hands on
/// between the operator's steps.
///
/// Records gather in an open batch, which is closed when it is full, or when a mark goes behind it.
///
/// ```
/// use millstream::operator::{Emitted, Mark, Output};
///
/// let mut out = Output::new();
/// out.emit(1);
/// out.emit(2);
/// out.mark(Mark::Watermark(7));
/// let mut order = Vec::new();
/// out.drain(|emitted| match emitted {
///     Emitted::Batch(batch) => order.push(format!("{:?}", batch.as_slice())),
///     Emitted::Mark(mark) => order.push(format!("{mark:?}")),
/// });
/// assert_eq!(order, ["[1, 2]", "Watermark(7)"]);
/// ```
pub struct Output<T> {
    open: Batch<T>,
    closed: VecDeque<Closed<T>>,
    spare: Vec<Batch<T>>,
    /// Get each mark too.
    sides: Vec<Rc<dyn TakesMarks>>,
    /// The last mark but milestones says that the stream is idle, and no record of the input has come since.
    is_idle: bool,
    has_ended: bool,
    /// The watermark that was emitted last; [`NO_TIME`] before the first, and after the end.
    watermark: Timestamp,
}

enum Closed<T> {
    Batch(Batch<T>),
    Mark(Mark),
}

/// The first element of an [`Output`].
#[derive(Debug)]
pub enum Emitted<'a, T> {
    /// Records, and perhaps room for more behind them.
    Batch(&'a mut Batch<T>),
    /// A mark.
    Mark(Mark),
}

/// A side output, seen from the main one.
pub(crate) trait TakesMarks {
    /// Queues the mark behind the records so far.
    fn take_mark(&self, mark: Mark);
}

impl<T> TakesMarks for RefCell<Output<T>> {
    fn take_mark(&self, mark: Mark) {
        self.borrow_mut().mark(mark);
    }
}

impl<T> Output<T> {
    const SPARES_MAX: usize = 4;

    /// An empty output.
    pub fn new() -> Self {
        let (closed, spare, sides) = (VecDeque::new(), Vec::new(), Vec::new());
        let (open, watermark) = (Batch::new(), NO_TIME);
        Self { open, closed, spare, sides, is_idle: false, has_ended: false, watermark }
    }

    /// Passes each mark to `side` too, behind its records so far.
    pub(crate) fn add_side(&mut self, side: Rc<dyn TakesMarks>) {
        self.sides.push(side);
    }

    /// Emits one record. Never fails and never blocks: an operator looks at [`is_full`](Self::is_full) between records.
    #[inline]
    pub fn emit(&mut self, record: T) {
        self.emit_at(record, NO_TIME);
    }

    /// Emits one record with this event time, or [`NO_TIME`].
    #[inline]
    pub fn emit_at(&mut self, record: T, time: Timestamp) {
        self.open.push_at(record, 0, time);
        if self.open.len() >= BATCH_RECORDS_MAX {
            self.close();
        }
    }

    /// Emits records of `input` as they are, from its front: the whole batch by exchange where the open one is empty, else
    /// as many as fit. False if some are left for want of room.
    pub fn pass_on(&mut self, input: &mut Batch<T>) -> bool {
        if self.open.is_empty() && input.len() <= BATCH_RECORDS_MAX {
            std::mem::swap(input, &mut self.open);
        } else {
            input.move_front(input.len().min(self.room()), &mut self.open);
        }
        self.close_if_full();
        input.is_empty()
    }

    /// Counts payload bytes for what was emitted last, so that batches of large records close early.
    #[inline]
    pub fn add_bytes(&mut self, bytes: usize) {
        if bytes > 0 {
            self.open.add_bytes(bytes);
            self.close_if_full();
        }
    }

    /// Emits a mark behind all records so far, to the main output and to the side outputs.
    ///
    /// # Panics
    /// If [`Mark::End`] was emitted before.
    pub fn mark(&mut self, mark: Mark) {
        assert!(!self.has_ended, "{mark:?} is emitted after the end");
        self.close();
        if !matches!(mark, Mark::Milestone(_)) {
            (self.is_idle, self.has_ended) = (mark == Mark::Idle, mark == Mark::End);
        }
        match mark {
            Mark::Watermark(at) => self.watermark = at,
            Mark::End => self.watermark = NO_TIME,
            Mark::Idle | Mark::Milestone(_) => {}
        }
        self.closed.push_back(Closed::Mark(mark));
        self.sides.iter().for_each(|side| side.take_mark(mark));
    }

    /// Records of the input have been worked on: if it was said before that the stream is idle, it is not any more.
    pub(crate) fn becomes_active(&mut self) {
        self.is_idle = false;
    }

    /// Whether [`Mark::Idle`] was the last mark, and no record of the input has come since.
    pub(crate) fn is_idle(&self) -> bool {
        self.is_idle
    }

    /// Whether [`Mark::End`] was emitted.
    pub fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Whether a closed batch or a mark waits to be handed on. An operator then returns
    /// [`Progress::Suspended`](super::Progress::Suspended) as soon as it can, unless it is done.
    #[inline]
    pub fn is_full(&self) -> bool {
        !self.closed.is_empty()
    }

    /// The open batch, for operators that work on whole batches. It must not grow above
    /// [`BATCH_RECORDS_MAX`] records; [`close_if_full`](Self::close_if_full) follows.
    #[inline]
    pub fn open_batch(&mut self) -> &mut Batch<T> {
        &mut self.open
    }

    /// How many records the open batch still takes.
    #[inline]
    pub fn room(&self) -> usize {
        BATCH_RECORDS_MAX - self.open.len()
    }

    /// Closes the open batch if it has reached a limit.
    #[inline]
    pub fn close_if_full(&mut self) {
        if self.open.len() >= BATCH_RECORDS_MAX || self.open.bytes() >= BATCH_BYTES_MAX {
            self.close();
        }
    }

    /// The watermark that was emitted last; [`NO_TIME`] before the first, and after the end.
    pub(crate) fn watermark(&self) -> Timestamp {
        self.watermark
    }

    /// Payload bytes of the records emitted and not handed on.
    pub(crate) fn bytes(&self) -> usize {
        let closed = self.closed.iter().map(|closed| match closed {
            Closed::Batch(batch) => batch.bytes(),
            Closed::Mark(_) => 0,
        });
        self.open.bytes() + closed.sum::<usize>()
    }

    /// Number of records emitted and not handed on.
    pub fn len(&self) -> usize {
        let closed = self.closed.iter().map(|closed| match closed {
            Closed::Batch(batch) => batch.len(),
            Closed::Mark(_) => 0,
        });
        self.open.len() + closed.sum::<usize>()
    }

    /// Whether nothing waits to be handed on, not even a mark.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty() && self.closed.is_empty()
    }

    /// The first element that waits: what is to be handed on next, to be taken off by
    /// [`remove_first`](Self::remove_first). Of a batch some records may be taken before.
    #[inline]
    pub fn first(&mut self) -> Option<Emitted<'_, T>> {
        match self.closed.front_mut() {
            Some(Closed::Batch(batch)) => Some(Emitted::Batch(batch)),
            Some(Closed::Mark(mark)) => Some(Emitted::Mark(*mark)),
            None if self.open.is_empty() => None,
            None => Some(Emitted::Batch(&mut self.open)),
        }
    }

    /// Takes the first element off; drops records that are left in it.
    #[inline]
    pub fn remove_first(&mut self) {
        match self.closed.pop_front() {
            Some(Closed::Batch(mut done)) => {
                done.clear();
                if self.spare.len() < Self::SPARES_MAX {
                    self.spare.push(done);
                }
            }
            Some(Closed::Mark(_)) => {}
            None => self.open.clear(),
        }
    }

    /// Hands everything on, in order. Records that are left in a batch are dropped.
    pub fn drain(&mut self, mut each: impl FnMut(Emitted<'_, T>)) {
        while let Some(first) = self.first() {
            each(first);
            self.remove_first();
        }
    }

    fn close(&mut self) {
        if !self.open.is_empty() {
            assert!(!self.has_ended, "records are emitted after the end");
            let fresh = self.spare.pop().unwrap_or_default();
            self.closed.push_back(Closed::Batch(std::mem::replace(&mut self.open, fresh)));
        }
    }
}

impl<T> Default for Output<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> fmt::Debug for Output<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Output({} records in {} parts)", self.len(), self.closed.len() + usize::from(!self.open.is_empty()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drained(out: &mut Output<u32>) -> Vec<Result<Vec<u32>, Mark>> {
        let mut all = Vec::new();
        out.drain(|emitted| {
            all.push(match emitted {
                Emitted::Batch(batch) => Ok(batch.drain().collect()),
                Emitted::Mark(mark) => Err(mark),
            });
        });
        all
    }

    #[test]
    fn records_and_marks_leave_in_the_order_of_emission() {
        let side = Rc::new(RefCell::new(Output::new()));
        let mut out = Output::new();
        out.add_side(side.clone());
        out.emit(1);
        side.borrow_mut().emit(10);
        assert!(!out.is_full());
        out.mark(Mark::Watermark(7));
        assert!(out.is_full());
        out.emit(2);
        out.mark(Mark::Idle);
        side.borrow_mut().emit(11);
        out.emit(3);
        assert_eq!(out.len(), 3);
        let (watermark, idle) = (Err(Mark::Watermark(7)), Err(Mark::Idle));
        assert_eq!(drained(&mut out), [Ok(vec![1]), watermark.clone(), Ok(vec![2]), idle.clone(), Ok(vec![3])]);
        assert_eq!(drained(&mut side.borrow_mut()), [Ok(vec![10]), watermark, idle, Ok(vec![11])]);
        assert!(out.is_empty());
    }

    #[test]
    fn passing_on_exchanges_an_empty_batch_and_fills_an_open_one() {
        let mut out = Output::new();
        let mut input = Batch::counted((0..600).collect(), 600);
        let place = input.as_slice().as_ptr();
        assert!(out.pass_on(&mut input));
        assert_eq!((out.open_batch().as_slice().as_ptr(), out.open_batch().bytes()), (place, 600));
        let mut input = Batch::counted((600..1200).collect(), 1200);
        assert!(!out.pass_on(&mut input));
        assert_eq!((out.is_full(), input.len(), input.bytes()), (true, 176, 352));
        assert!(out.pass_on(&mut input));
        let (mut records, mut bytes) = (Vec::new(), 0);
        out.drain(|emitted| {
            let Emitted::Batch(batch) = emitted else { panic!("no mark was emitted") };
            bytes += batch.bytes();
            records.extend(batch.drain());
        });
        assert_eq!((records, bytes), ((0..1200).collect(), 1800));
    }

    #[test]
    #[should_panic(expected = "Idle is emitted after the end")]
    fn nothing_is_emitted_after_the_end() {
        let mut out = Output::<u32>::new();
        out.mark(Mark::End);
        out.mark(Mark::Idle);
    }
}
