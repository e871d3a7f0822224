//! Any number of records out for each record in, of two inputs.

use std::marker::PhantomData;

use millstream_actors::contract::{Batch, Output, Progress, RunBudget, TwoInputOperator};
use millstream_actors::protocol::{OperatorId, TaskError};

use super::emit_each::emit_each;
use super::slices::Slices;
use super::{Emission, Emitter, SideOutputs};

/// Calls a function for each input that may emit any number of records; keeps the order of each input. Both emit to the
/// same side outputs. Follows Flink's `CoStreamFlatMap`.
#[derive(Debug)]
pub struct CoFlatMap<A, B, U, F, G> {
    first: F,
    second: G,
    emission: Emission,
    /// For each input: one function may be slow and the other fast.
    slices: [Slices; 2],
    of: PhantomData<fn(A, B) -> U>,
}

impl<A, B, U, F, G> CoFlatMap<A, B, U, F, G>
where
    F: Fn(A, &mut Emitter<'_, U>),
    G: Fn(B, &mut Emitter<'_, U>),
{
    /// An operator that applies `first` to records of the first input, and `second` to those of the second. Each may emit
    /// at most `emit_per_call_max` records for one.
    pub fn new(operator: OperatorId, emit_per_call_max: usize, first: F, second: G) -> Self {
        let emission = Emission::new(operator, SideOutputs::default(), emit_per_call_max);
        Self { first, second, emission, slices: [Slices::new(), Slices::new()], of: PhantomData }
    }

    /// Connects the side outputs that the functions may emit to.
    pub fn side_outputs(mut self, side_outputs: SideOutputs) -> Self {
        self.emission.side_outputs(side_outputs);
        self
    }
}

impl<A, B, U, F, G> TwoInputOperator for CoFlatMap<A, B, U, F, G>
where
    A: Send + 'static,
    B: Send + 'static,
    U: Send + 'static,
    F: Fn(A, &mut Emitter<'_, U>) + 'static,
    G: Fn(B, &mut Emitter<'_, U>) + 'static,
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
        emit_each(&self.first, &mut self.slices[0], &mut self.emission, input, out, budget)
    }

    fn process_second(
        &mut self,
        input: &mut Batch<B>,
        out: &mut Output<U>,
        budget: &mut RunBudget,
    ) -> Result<Progress, TaskError> {
        emit_each(&self.second, &mut self.slices[1], &mut self.emission, input, out, budget)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;
    use crate::operator::Either::{First, Second};
    use crate::operator::OutputTag;
    use crate::testing::OperatorHarness;

    fn repeat(n: u64, out: &mut Emitter<'_, u64>) {
        (0..n % 5).for_each(|i| out.emit(n * 10 + i));
    }

    fn lengths(text: String, out: &mut Emitter<'_, u64>) {
        text.split(' ').for_each(|word| out.emit(word.len() as u64));
    }

    #[test]
    fn every_way_of_running_emits_the_same_records_of_both_inputs_in_order() {
        let inputs = |n: u64| if n % 11 < 6 { First(n) } else { Second("to be or".into()) };
        OperatorHarness::two_inputs(|| CoFlatMap::new("words".into(), 5, repeat, lengths))
            .batch((0..900).map(inputs))
            .batch((900..1800).map(inputs))
            .check((0..1800).flat_map(|n| match inputs(n) {
                First(n) => (0..n % 5).map(|i| n * 10 + i).collect(),
                Second(_) => vec![2, 2, 2],
            }));
    }

    #[test]
    fn full_output_suspends_either_input_and_leaves_the_rest_of_it() {
        let mut budget = RunBudget::start();
        let many = |record: u32, out: &mut Emitter<'_, u32>| (0..1_000_000).for_each(|_| out.emit(record));
        let mut operator = CoFlatMap::new("many".into(), 1 << 20, many, many);
        let (mut first, mut second) = (Batch::from_iter([1, 2]), Batch::from_iter([3, 4, 5]));
        let mut out = Output::new();
        assert_eq!(operator.process_first(&mut first, &mut out, &mut budget).unwrap(), Progress::Suspended);
        assert_eq!((out.len(), first.as_slice()), (1_000_000, &[2][..]));
        out.drain(|_| {});
        assert_eq!(operator.process_second(&mut second, &mut out, &mut budget).unwrap(), Progress::Suspended);
        assert_eq!((out.len(), second.as_slice()), (1_000_000, &[4, 5][..]));
    }

    #[test]
    fn both_functions_emit_to_one_side_output_and_are_held_to_one_limit() {
        let taken: Rc<RefCell<Vec<u8>>> = Rc::default();
        let side = taken.clone();
        let mut sides = SideOutputs::default();
        sides.connect("side".into(), move |record: u8, _| side.borrow_mut().push(record));
        let tag = OutputTag::new("side");
        let (to_side, again) = (tag.clone(), tag);
        let first = move |record: u8, out: &mut Emitter<'_, u8>| out.emit_to(&to_side, record);
        let second = move |times: u64, out: &mut Emitter<'_, u8>| (0..times).for_each(|_| out.emit_to(&again, 9));
        let mut operator = CoFlatMap::new("sides".into(), 2, first, second).side_outputs(sides);

        let mut budget = RunBudget::start();
        let mut out = Output::new();
        let progress = operator.process_first(&mut Batch::from_iter([1, 2]), &mut out, &mut budget);
        assert_eq!(progress.unwrap(), Progress::Done);
        let progress = operator.process_second(&mut Batch::from_iter([2]), &mut out, &mut budget);
        assert_eq!((progress.unwrap(), &*taken.borrow()), (Progress::Done, &vec![1, 2, 9, 9]));
        let error = operator.process_second(&mut Batch::from_iter([3]), &mut out, &mut budget).unwrap_err();
        assert!(matches!(error, TaskError::EmitLimit { limit: 2, .. }), "{error}");
    }
}
