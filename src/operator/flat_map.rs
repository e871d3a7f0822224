//! Any number of records out for each record in.

use std::marker::PhantomData;

use millstream_actors::contract::{Batch, BatchOperator, Output, Progress, RunBudget};
use millstream_actors::protocol::{OperatorId, TaskError};

use super::emit_each::emit_each;
use super::slices::Slices;
use super::{Emission, Emitter, SideOutputs};

/// Calls a function that may emit any number of records; keeps the order.
#[derive(Debug)]
pub struct FlatMap<T, U, F> {
    function: F,
    emission: Emission,
    slices: Slices,
    of: PhantomData<fn(T) -> U>,
}

impl<T, U, F: Fn(T, &mut Emitter<'_, U>)> FlatMap<T, U, F> {
    /// An operator that applies `function`, which may emit at most `emit_per_call_max` records for one.
    pub fn new(operator: OperatorId, emit_per_call_max: usize, function: F) -> Self {
        let emission = Emission::new(operator, SideOutputs::default(), emit_per_call_max);
        Self { function, emission, slices: Slices::new(), of: PhantomData }
    }

    /// Connects the side outputs that the function may emit to.
    pub fn side_outputs(mut self, side_outputs: SideOutputs) -> Self {
        self.emission.side_outputs(side_outputs);
        self
    }
}

impl<T, U, F> BatchOperator for FlatMap<T, U, F>
where
    T: Send + 'static,
    U: Send + 'static,
    F: Fn(T, &mut Emitter<'_, U>) + 'static,
{
    type In = T;
    type Out = U;

    fn process(
        &mut self,
        input: &mut Batch<T>,
        out: &mut Output<U>,
        budget: &mut RunBudget,
    ) -> Result<Progress, TaskError> {
        emit_each(&self.function, &mut self.slices, &mut self.emission, input, out, budget)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::OperatorHarness;

    fn budget() -> RunBudget {
        RunBudget::start()
    }

    #[test]
    fn every_way_of_running_emits_the_same_records_in_order() {
        let repeat = |x: u64, out: &mut Emitter<'_, u64>| (0..x % 5).for_each(|i| out.emit(x * 10 + i));
        OperatorHarness::stateless(move || FlatMap::new("words".into(), 5, repeat))
            .batch(0..1500)
            .batch(1500..3000)
            .check((0..3000).flat_map(|x| (0..x % 5).map(move |i| x * 10 + i)));
    }

    #[test]
    fn a_full_output_suspends_and_leaves_the_rest_of_the_input() {
        let mut flat_map = FlatMap::new("many".into(), 1 << 20, |x: u32, out: &mut Emitter<'_, u32>| {
            (0..1_000_000).for_each(|_| out.emit(x));
        });
        let (mut input, mut out) = (Batch::counted(vec![1, 2, 3], 30), Output::new());
        assert_eq!(flat_map.process(&mut input, &mut out, &mut budget()).unwrap(), Progress::Suspended);
        assert_eq!((out.len(), input.as_slice(), input.bytes()), (1_000_000, &[2, 3][..], 20));
        assert_eq!(flat_map.process(&mut input, &mut out, &mut budget()).unwrap(), Progress::Suspended);
        assert_eq!(input.len(), 2, "nothing is worked on while the output is full");
    }

    #[test]
    fn a_call_that_emits_above_the_limit_fails_and_stores_no_more_than_it() {
        let endless = |_: u32, out: &mut Emitter<'_, u32>| (0..5000).for_each(|i| out.emit(i));
        let mut flat_map = FlatMap::new("endless".into(), 4999, endless);
        let (mut input, mut out) = (Batch::from_iter([1]), Output::new());
        let error = flat_map.process(&mut input, &mut out, &mut budget()).unwrap_err();
        assert!(matches!(error, TaskError::EmitLimit { limit: 4999, .. }), "{error}");
        assert!(error.to_string().contains("endless"));
        assert_eq!(out.len(), 4999);
    }
}
