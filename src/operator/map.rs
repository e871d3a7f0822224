//! One record out for each record in.

use std::marker::PhantomData;

use millstream_actors::contract::{Batch, BatchOperator, Output, Progress, RunBudget};
use millstream_actors::protocol::TaskError;

use super::slices::Slices;

/// Makes one record of each; keeps the order.
#[derive(Debug)]
pub struct Map<T, U, F> {
    function: F,
    slices: Slices,
    of: PhantomData<fn(T) -> U>,
}

impl<T, U, F: Fn(T) -> U> Map<T, U, F> {
    /// An operator that applies `function`.
    pub fn new(function: F) -> Self {
        Self { function, slices: Slices::new(), of: PhantomData }
    }
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
            let records = self.slices.next(input.len().min(out.room()));
            input.map_front(records, out.open_batch(), &self.function);
            out.close_if_full();
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
        let mut input = Batch::counted(vec![1u64, 2, 3], 300);
        let mut budget = RunBudget::start();
        let progress = Map::new(|x: u64| x).process(&mut input, &mut out, &mut budget).unwrap();
        assert_eq!((progress, input.bytes(), out.open_batch().bytes()), (Progress::Done, 0, 300));
    }
}
