//! The batches that a task takes: of one type, or of one type for each of its ports.

use std::any::Any;

use actix::{Actor, Addr, Context, Handler};

use super::edge::{ConnectChannel, Deliver, InputPort};
use super::wiring::AnyInputPort;
use crate::contract::Batch;

/// A batch on its way into a task. A task with several ports has one type for the batches of all: the tag is on the
/// batch, never on its records.
pub trait InputBatch: Send + Unpin + Sized + 'static {
    /// Number of records.
    fn records(&self) -> usize;

    /// Payload bytes, as counted by the source.
    fn bytes(&self) -> usize;

    /// Drops all records.
    fn clear(&mut self);

    /// The `Batch<T>` inside, for the sender of its channel to fill again.
    fn into_storage(self) -> Box<dyn Any + Send>;

    /// The ports of the task at `task`, by their numbers.
    fn ports<A>(task: &Addr<A>) -> Vec<AnyInputPort>
    where
        A: Actor<Context = Context<A>> + Handler<Deliver<Self>> + Handler<ConnectChannel>;
}

impl<T: Send + 'static> InputBatch for Box<Batch<T>> {
    fn records(&self) -> usize {
        self.len()
    }

    fn bytes(&self) -> usize {
        Batch::bytes(self)
    }

    fn clear(&mut self) {
        Batch::clear(self);
    }

    fn into_storage(self) -> Box<dyn Any + Send> {
        self
    }

    fn ports<A>(task: &Addr<A>) -> Vec<AnyInputPort>
    where
        A: Actor<Context = Context<A>> + Handler<Deliver<Self>> + Handler<ConnectChannel>,
    {
        vec![InputPort::any(task, |batch| batch)]
    }
}

/// A batch of a task with two ports, tagged with the one by which it came.
#[derive(Debug)]
pub enum EitherBatch<A, B> {
    /// Of the first port.
    First(Box<Batch<A>>),
    /// Of the second port.
    Second(Box<Batch<B>>),
}

impl<A: Send + 'static, B: Send + 'static> InputBatch for EitherBatch<A, B> {
    fn records(&self) -> usize {
        match self {
            Self::First(batch) => batch.len(),
            Self::Second(batch) => batch.len(),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::First(batch) => batch.bytes(),
            Self::Second(batch) => batch.bytes(),
        }
    }

    fn clear(&mut self) {
        match self {
            Self::First(batch) => batch.clear(),
            Self::Second(batch) => batch.clear(),
        }
    }

    fn into_storage(self) -> Box<dyn Any + Send> {
        match self {
            Self::First(batch) => batch,
            Self::Second(batch) => batch,
        }
    }

    fn ports<T>(task: &Addr<T>) -> Vec<AnyInputPort>
    where
        T: Actor<Context = Context<T>> + Handler<Deliver<Self>> + Handler<ConnectChannel>,
    {
        vec![InputPort::any(task, Self::First), InputPort::any(task, Self::Second)]
    }
}
