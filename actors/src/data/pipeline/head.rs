//! Where batches and marks enter a pipeline: one queue, or one for each port of its task.

use std::fmt;

use super::link::Queue;
use super::record_type::RecordType;
use crate::contract::Batch;
use crate::data::input_batch::{EitherBatch, InputBatch};
use crate::protocol::Mark;

/// What stands before the first stage of a pipeline. One batch or mark is in hand at a time, so of several queues one
/// holds something.
pub trait Head: 'static {
    /// What it takes.
    type Batch: InputBatch;

    /// Exchanges the records of `batch` for those that its queue holds: to give them to the first stage, and to take back
    /// what that has left of them.
    fn exchange(&mut self, batch: &mut Self::Batch);

    /// Gives the first stage a mark.
    fn mark(&mut self, mark: Mark);

    /// What it takes, port by port.
    fn records() -> Vec<RecordType>
    where
        Self: Sized;
}

/// A chain of stages as far as it is built, seen from the stage to be put before it: takes records of type `T`.
pub struct Chain<T> {
    pub(super) input: Queue<T>,
}

impl<T: Send + 'static> Head for Chain<T> {
    type Batch = Box<Batch<T>>;

    fn exchange(&mut self, batch: &mut Box<Batch<T>>) {
        std::mem::swap(&mut **batch, self.input.borrow_mut().open_batch());
    }

    fn mark(&mut self, mark: Mark) {
        self.input.borrow_mut().mark(mark);
    }

    fn records() -> Vec<RecordType> {
        vec![RecordType::of::<T>()]
    }
}

impl<T> fmt::Debug for Chain<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Chain")
    }
}

/// A chain that begins with an operator of two inputs: it is whole, since such an operator is the first of its task.
pub struct TwoInputChain<A, B> {
    /// Also of the marks, which are of both.
    pub(super) first: Queue<A>,
    pub(super) second: Queue<B>,
}

impl<A: Send + 'static, B: Send + 'static> Head for TwoInputChain<A, B> {
    type Batch = EitherBatch<A, B>;

    fn exchange(&mut self, batch: &mut EitherBatch<A, B>) {
        match batch {
            EitherBatch::First(batch) => std::mem::swap(&mut **batch, self.first.borrow_mut().open_batch()),
            EitherBatch::Second(batch) => std::mem::swap(&mut **batch, self.second.borrow_mut().open_batch()),
        }
    }

    fn mark(&mut self, mark: Mark) {
        self.first.borrow_mut().mark(mark);
    }

    fn records() -> Vec<RecordType> {
        vec![RecordType::of::<A>(), RecordType::of::<B>()]
    }
}

impl<A, B> fmt::Debug for TwoInputChain<A, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TwoInputChain")
    }
}
