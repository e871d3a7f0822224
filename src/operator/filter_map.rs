//! Some of the records, changed.

use std::marker::PhantomData;

use millstream_actors::contract::{Batch, BatchOperator, Output, Progress, RunBudget};
use millstream_actors::protocol::TaskError;

use super::slices::Slices;

/// Makes one record or none of each; keeps the order.
#[derive(Debug)]
pub struct FilterMap<T, U, F> {
    function: F,
    slices: Slices,
    of: PhantomData<fn(T) -> U>,
}

impl<T, U, F: Fn(T) -> Option<U>> FilterMap<T, U, F> {
    /// An operator that applies `function` and emits what is not `None`.
    pub fn new(function: F) -> Self {
        Self { function, slices: Slices::new(), of: PhantomData }
    }
}

impl<T: Send + 'static, U: Send + 'static, F: Fn(T) -> Option<U> + 'static> BatchOperator for FilterMap<T, U, F> {
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
            input.filter_map_front(records, out.open_batch(), &self.function);
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
    fn every_way_of_running_emits_the_same_records_in_order() {
        let odd = |x: u64| (x % 2 == 1).then(|| format!("{x}"));
        OperatorHarness::stateless(move || FilterMap::new(odd))
            .batch(0..700)
            .batch(700..4000)
            .check((0..4000).filter_map(odd));
    }
}
