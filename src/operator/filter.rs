//! Some of the records, as they are.

use std::marker::PhantomData;

use millstream_actors::contract::{Batch, BatchOperator, Output, Progress, RunBudget};
use millstream_actors::protocol::TaskError;

use super::slices::Slices;

/// Keeps the records for which `function` is true; keeps the order.
#[derive(Debug)]
pub struct Filter<T, F> {
    function: F,
    slices: Slices,
    of: PhantomData<fn(T)>,
}

impl<T, F: Fn(&T) -> bool> Filter<T, F> {
    /// An operator that keeps what `function` accepts.
    pub fn new(function: F) -> Self {
        Self { function, slices: Slices::new(), of: PhantomData }
    }
}

impl<T: Send + 'static, F: Fn(&T) -> bool + 'static> BatchOperator for Filter<T, F> {
    type In = T;
    type Out = T;

    fn process(
        &mut self,
        input: &mut Batch<T>,
        out: &mut Output<T>,
        budget: &mut RunBudget,
    ) -> Result<Progress, TaskError> {
        self.slices.start(budget);
        while !input.is_empty() {
            if out.is_full() {
                return Ok(Progress::Suspended);
            }
            let records = self.slices.next(input.len().min(out.room()));
            input.filter_front(records, out.open_batch(), &self.function);
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
    fn every_way_of_running_keeps_the_same_records_in_order() {
        let keep = |x: &u64| !x.is_multiple_of(3);
        OperatorHarness::stateless(move || Filter::new(keep))
            .batch(0..1000)
            .batch(1000..5000)
            .check((0..5000).filter(keep));
        OperatorHarness::stateless(move || Filter::new(|_: &u64| false)).batch(0..100).check([]);
    }

    #[test]
    fn kept_records_take_their_share_of_the_bytes() {
        let mut out = Output::new();
        let mut filter = Filter::new(|x: &u64| *x < 5);
        let mut budget = RunBudget::start();
        let mut input = Batch::counted((0..1000).collect(), 200_000);
        while filter.process(&mut input, &mut out, &mut budget).unwrap() == Progress::Suspended {}
        let bytes = out.open_batch().bytes();
        assert!((900..=1000).contains(&bytes), "{bytes}");
    }
}
