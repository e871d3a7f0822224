//! Runs an operator with two inputs in every way the engine may run it.

use std::fmt::Debug;
use std::time::Duration;

use millstream_actors::contract::{Batch, BatchOperator, Output, Progress, RunBudget, Stateful, TwoInputOperator};
use millstream_actors::protocol::{Limits, Mark, OperatorId, TaskError};

use super::operator_run::{Place, Spread};
use super::operator_snapshot::OPERATOR;
use super::{BoxedOperator, OperatorHarness};
use crate::operator::{CoFlatMap, Emitter};

/// A record of one of two inputs, as [`OperatorHarness::two_inputs`] takes them.
///
/// ```
/// use millstream::testing::Either;
///
/// let inputs: [Either<u64, &str>; 2] = [Either::First(7), Either::Second("seven")];
/// assert_ne!(inputs[0], inputs[1]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Either<A, B> {
    /// Of the first input.
    First(A),
    /// Of the second input.
    Second(B),
}

impl<A, B, Out> OperatorHarness<Either<A, B>, Out>
where
    A: Clone + Send + 'static,
    B: Clone + Send + 'static,
    Out: Debug + PartialEq + Send + 'static,
{
    /// Runs an operator with two inputs. The order of the records given is that in which they reach it: those of one
    /// input that follow each other come as a batch.
    ///
    /// ```
    /// use millstream::operator::CoMap;
    /// use millstream::testing::Either::{First, Second};
    /// use millstream::testing::OperatorHarness;
    ///
    /// let lengths = || CoMap::new(|number: usize| number, |text: &str| text.len());
    /// OperatorHarness::two_inputs(lengths).batch([First(7), Second("seven"), First(8)]).check([7, 5, 8]);
    /// ```
    pub fn two_inputs<Op>(factory: impl Fn() -> Op + 'static) -> Self
    where
        Op: TwoInputOperator<First = A, Second = B, Out = Out>,
    {
        Self::new(move |_, _| Box::new(Merged(factory())), None)
    }

    /// Runs two functions as `flat_map` of connected streams does, in the order of the records as
    /// [`two_inputs`](Self::two_inputs) does.
    ///
    /// ```
    /// use millstream::prelude::*;
    /// use millstream::testing::Either::{First, Second};
    /// use millstream::testing::OperatorHarness;
    ///
    /// let refused = OutputTag::new("refused");
    /// let tag = refused.clone();
    /// let parse = move |text: &'static str, out: &mut Emitter<'_, u32>| match text.parse() {
    ///     Ok(number) => out.emit(number),
    ///     Err(_) => out.emit_to(&tag, text),
    /// };
    /// OperatorHarness::co_flat_map(|number, out| out.emit(number), parse)
    ///     .batch([First(1), Second("two"), Second("3")])
    ///     .side_output(&refused, ["two"])
    ///     .check([1, 3]);
    /// ```
    pub fn co_flat_map(
        first: impl Fn(A, &mut Emitter<'_, Out>) + Clone + 'static,
        second: impl Fn(B, &mut Emitter<'_, Out>) + Clone + 'static,
    ) -> Self {
        let emit_max = Limits::default().emit_per_call_max;
        let factory = move |place: Place| -> BoxedOperator<Either<A, B>, Out> {
            let operator = CoFlatMap::new(OperatorId::from(OPERATOR), emit_max, first.clone(), second.clone());
            Box::new(Merged(operator.side_outputs(place.side_outputs)))
        };
        Self::of(factory, Spread::Alone)
    }
}

#[cfg(test)]
pub(super) fn merged<Op: TwoInputOperator>(operator: Op) -> BoxedOperator<Either<Op::First, Op::Second>, Op::Out> {
    Box::new(Merged(operator))
}

/// Takes the records of both inputs in one batch, and gives each run of one input's as a batch of its own.
struct Merged<Op>(Op);

impl<Op: TwoInputOperator> Merged<Op> {
    /// Gives the first run of records, and puts back what is left of it.
    fn process_run(
        &mut self,
        input: &mut Batch<Either<Op::First, Op::Second>>,
        out: &mut Output<Op::Out>,
        budget: &mut RunBudget,
    ) -> Result<Progress, TaskError> {
        let (mut first, mut second, mut behind) = (Batch::new(), Batch::new(), Vec::new());
        for record in input.drain() {
            match record {
                Either::First(record) if second.is_empty() && behind.is_empty() => first.push(record, 1),
                Either::Second(record) if first.is_empty() && behind.is_empty() => second.push(record, 1),
                record => behind.push(record),
            }
        }
        let progress = if second.is_empty() {
            self.0.process_first(&mut first, out, budget)?
        } else {
            self.0.process_second(&mut second, out, budget)?
        };
        let left = first.len() + second.len();
        assert!(progress == Progress::Suspended || left == 0, "done with {left} records left");
        assert!(first.bytes() + second.bytes() <= left, "bytes of records that are gone");
        let left = first.drain().map(Either::First).chain(second.drain().map(Either::Second));
        left.chain(behind).for_each(|record| input.push(record, 1));
        Ok(progress)
    }
}

impl<Op: TwoInputOperator> BatchOperator for Merged<Op> {
    type In = Either<Op::First, Op::Second>;
    type Out = Op::Out;

    fn process(
        &mut self,
        input: &mut Batch<Self::In>,
        out: &mut Output<Op::Out>,
        budget: &mut RunBudget,
    ) -> Result<Progress, TaskError> {
        while !input.is_empty() {
            if self.process_run(input, out, budget)? == Progress::Suspended {
                return Ok(Progress::Suspended);
            }
        }
        Ok(Progress::Done)
    }

    fn mark(&mut self, mark: Mark, out: &mut Output<Op::Out>, budget: &mut RunBudget) -> Result<Progress, TaskError> {
        self.0.mark(mark, out, budget)
    }

    fn due(&self) -> Option<Duration> {
        self.0.due()
    }

    fn wake(&mut self, out: &mut Output<Op::Out>, budget: &mut RunBudget) -> Result<Progress, TaskError> {
        self.0.wake(out, budget)
    }

    fn stateful(&mut self) -> Option<&mut dyn Stateful> {
        self.0.stateful()
    }
}
