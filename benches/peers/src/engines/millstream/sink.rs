//! A sink that keeps nothing but what a function makes of the records.

use std::marker::PhantomData;

use millstream::CheckpointId;
use millstream::sink::{Batch, PendingCommit, Sink, SinkContext, SinkError, SinkRestore, SinkWriter};

use crate::total::{Part, Total};

/// Gives each subtask a fresh clone of a function that takes the records.
pub(super) struct ForEach<T, F> {
    take: F,
    of: PhantomData<fn(T)>,
}

impl<T, F: FnMut(T) + Clone + Send + Sync + 'static> ForEach<T, F> {
    pub(super) fn new(take: F) -> Self {
        Self { take, of: PhantomData }
    }
}

/// A sink that adds up what `weigh` makes of the records.
pub(super) fn add_up<T: Send + 'static>(
    total: &Total,
    weigh: impl Fn(T) -> u64 + Clone + Send + Sync + 'static,
) -> impl Sink<Item = T> {
    let mut part: Part = total.part();
    ForEach::new(move |record| part.add(weigh(record)))
}

/// A sink that also counts them.
pub(super) fn tally<T: Send + 'static>(
    total: &Total,
    weigh: impl Fn(T) -> u64 + Clone + Send + Sync + 'static,
) -> impl Sink<Item = T> {
    let mut part: Part = total.part();
    ForEach::new(move |record| part.take(weigh(record)))
}

impl<T, F> Sink for ForEach<T, F>
where
    T: Send + 'static,
    F: FnMut(T) + Clone + Send + Sync + 'static,
{
    type Item = T;

    fn open(&self, _: &SinkContext, _: SinkRestore) -> Result<Box<dyn SinkWriter<Item = T>>, SinkError> {
        Ok(Box::new(Self::new(self.take.clone())))
    }
}

impl<T, F> SinkWriter for ForEach<T, F>
where
    T: Send + 'static,
    F: FnMut(T) + Send + 'static,
{
    type Item = T;

    fn write(&mut self, batch: &mut Batch<T>) -> Result<(), SinkError> {
        batch.drain().for_each(&mut self.take);
        batch.clear();
        Ok(())
    }

    fn prepare(&mut self, _: CheckpointId) -> Result<Vec<PendingCommit>, SinkError> {
        Ok(Vec::new())
    }

    fn commit(&mut self, _: CheckpointId) -> Result<(), SinkError> {
        Ok(())
    }
}
