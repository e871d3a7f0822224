//! One record out for each record in.

use std::marker::PhantomData;

use millstream_actors::contract::{Batch, BatchOperator, Output, Progress, RunBudget};
use millstream_actors::protocol::TaskError;

use super::batches::{count_filled, room, take_bytes};
use super::slices::Slices;

/// Makes one record of each; keeps the order.
#[derive(Debug)]
pub struct Map<T, U, F> {
    function: F,
    slices: Slices,
    of: PhantomData<fn(T) -> U>,
}

impl<T, U, F: Fn(T) -> U> Map<T, U, F> {
    /// Whether records can be mapped where they lie.
    const SAME_LAYOUT: bool = size_of::<T>() == size_of::<U>() && align_of::<T>() == align_of::<U>();

    /// An operator that applies `function`.
    pub fn new(function: F) -> Self {
        Self { function, slices: Slices::new(), of: PhantomData }
    }
}

/// Maps all of `input` into `out`, which is empty, and exchanges their allocations: collecting a vector's own iterator
/// reuses its allocation where the layouts are the same. A chain then works in one buffer, which stays in the
/// processor's first cache.
fn map_in_place<T, U>(input: &mut Vec<T>, out: &mut Vec<U>, function: impl Fn(T) -> U) {
    let spare = std::mem::take(out);
    *out = std::mem::take(input).into_iter().map(function).collect();
    *input = spare.into_iter().filter_map(|_| None).collect();
}

impl<T: Send + 'static, U: Send + 'static, F: Fn(T) -> U + 'static> BatchOperator for Map<T, U, F> {
    type In = T;
    type Out = U;

    fn process(
        &mut self,
        input: &mut Batch<T>,
        out: &mut Output<U>,
        budget: &mut RunBudget,
    ) -> Result<Progress, TaskError> {
        self.slices.start(budget);
        while !input.is_empty() {
            if out.is_full() {
                return Ok(Progress::Suspended);
            }
            let records = self.slices.next(input.len().min(room(out)));
            let bytes = take_bytes(input, records);
            if Self::SAME_LAYOUT && records == input.len() && out.open_batch().is_empty() {
                map_in_place(&mut input.records, &mut out.open_batch().records, &self.function);
            } else {
                out.open_batch().records.extend(input.records.drain(..records).map(&self.function));
            }
            count_filled(out, bytes);
            if !self.slices.has_time_after(records, budget) && !input.is_empty() {
                return Ok(Progress::Suspended);
            }
        }
        Ok(Progress::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::OperatorHarness;

    #[test]
    fn every_way_of_running_maps_each_record_in_order() {
        OperatorHarness::stateless(move || Map::new(|x: u64| x * 2))
            .batch(0..3000)
            .batch([])
            .batch(7..8)
            .check((0..3000).chain(7..8).map(|x| x * 2));
    }

    #[test]
    fn bytes_are_handed_on() {
        let mut out = Output::new();
        let mut input = Batch { records: vec![1u64, 2, 3], bytes: 300 };
        let mut budget = RunBudget::start(millstream_actors::runtime::time::monotonic);
        let progress = Map::new(|x: u64| x).process(&mut input, &mut out, &mut budget).unwrap();
        assert_eq!((progress, input.bytes, out.open_batch().bytes), (Progress::Done, 0, 300));
    }
}
