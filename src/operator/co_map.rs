//! One record out for each record in, of two inputs.

use millstream_actors::contract::{Batch, BatchOperator, Output, Progress, RunBudget, TwoInputOperator};
use millstream_actors::protocol::TaskError;

use super::Map;

/// Makes one record of each, by a function for each input; keeps the order of each input. Follows Flink's `CoStreamMap`.
#[derive(Debug)]
pub struct CoMap<A, B, U, F, G> {
    first: Map<A, U, F>,
    second: Map<B, U, G>,
}

impl<A, B, U, F: Fn(A) -> U, G: Fn(B) -> U> CoMap<A, B, U, F, G> {
    /// An operator that applies `first` to records of the first input, and `second` to those of the second.
    pub fn new(first: F, second: G) -> Self {
        Self { first: Map::new(first), second: Map::new(second) }
    }
}

impl<A, B, U, F, G> TwoInputOperator for CoMap<A, B, U, F, G>
where
    A: Send + 'static,
    B: Send + 'static,
    U: Send + 'static,
    F: Fn(A) -> U + 'static,
    G: Fn(B) -> U + 'static,
{
    type First = A;
    type Second = B;
    type Out = U;

    fn process_first(
        &mut self,
        input: &mut Batch<A>,
        out: &mut Output<U>,
        budget: &mut RunBudget,
    ) -> Result<Progress, TaskError> {
        self.first.process(input, out, budget)
    }

    fn process_second(
        &mut self,
        input: &mut Batch<B>,
        out: &mut Output<U>,
        budget: &mut RunBudget,
    ) -> Result<Progress, TaskError> {
        self.second.process(input, out, budget)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operator::Either::{First, Second};
    use crate::testing::OperatorHarness;

    #[test]
    fn every_way_of_running_maps_the_records_of_both_inputs_in_their_order() {
        let inputs = |n: u64| if n % 7 < 3 { First(n) } else { Second(n.to_string()) };
        OperatorHarness::two_inputs(|| CoMap::new(|n: u64| n * 2, |text: String| text.len() as u64))
            .batch((0..1500).map(inputs))
            .batch([])
            .batch((1500..3000).map(First))
            .batch((3000..3500).map(inputs))
            .check((0..3500).map(|n: u64| match inputs(n) {
                First(n) => n * 2,
                Second(_) if (1500..3000).contains(&n) => n * 2,
                Second(text) => text.len() as u64,
            }));
    }
}
