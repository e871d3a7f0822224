//! Runs an operator with two inputs in every way the engine may run it.

use std::borrow::Borrow;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use millstream_actors::contract::{Batch, BatchOperator, Output, Progress, RunBudget, Stateful, TwoInputOperator};
use millstream_actors::protocol::{Limits, Mark, OperatorId, TaskError};

use super::operator_run::{MAX_PARALLELISM, Place, Spread};
use super::operator_snapshot::OPERATOR;
use super::{BoxedOperator, OperatorHarness};
use crate::keyed::{KeyedBroadcastOperator, KeyedBroadcastProcessFunction, KeyedCoOperator, KeyedCoProcessFunction};
use crate::operator::{CoFlatMap, CoProcessFunction, CoProcessOperator, Either, Emitter, KeySelector};
use crate::state::{KeyedTable, group_of_hash, stable_hash};

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
    /// use millstream::operator::Either::{First, Second};
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
    /// use millstream::operator::Either::{First, Second};
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

    /// Runs a function on two keyed streams, in the order of the records as [`two_inputs`](Self::two_inputs) does.
    ///
    /// ```
    /// use millstream::operator::ByValue;
    /// use millstream::operator::Either::{First, Second};
    /// use millstream::prelude::*;
    /// use millstream::testing::OperatorHarness;
    ///
    /// /// Lets the numbers of open gates through. The second stream opens and closes them.
    /// #[derive(Clone)]
    /// struct Gates;
    ///
    /// impl KeyedCoProcessFunction<u32, (u32, u64), (u32, bool)> for Gates {
    ///     type Out = u64;
    ///     type State = ValueState<bool>;
    ///
    ///     fn state(&self) -> Self::State {
    ///         ValueState::new("is open")
    ///     }
    ///
    ///     fn process_first(
    ///         &mut self,
    ///         (_, number): (u32, u64),
    ///         is_open: CoRow<'_, Self, u32, (u32, u64), (u32, bool)>,
    ///         _: &mut KeyedContext<'_, u32>,
    ///         out: &mut Emitter<'_, u64>,
    ///     ) {
    ///         if is_open.get() == Some(&true) {
    ///             out.emit(number);
    ///         }
    ///     }
    ///
    ///     fn process_second(
    ///         &mut self,
    ///         (_, opens): (u32, bool),
    ///         mut is_open: CoRow<'_, Self, u32, (u32, u64), (u32, bool)>,
    ///         _: &mut KeyedContext<'_, u32>,
    ///         _: &mut Emitter<'_, u64>,
    ///     ) {
    ///         is_open.set(opens);
    ///     }
    /// }
    ///
    /// let (numbers, gates) = (|record: &(u32, u64)| record.0, |record: &(u32, bool)| record.0);
    /// OperatorHarness::keyed_two_inputs(ByValue::new(numbers), ByValue::new(gates), Gates)
    ///     .batch([First((1, 7)), Second((1, true)), First((1, 8)), First((2, 9))])
    ///     .check([8]);
    /// ```
    pub fn keyed_two_inputs<SA, SB, F>(first: SA, second: SB, function: F) -> Self
    where
        SA: KeySelector<A, Held: 'static>,
        SB: KeySelector<B, Key = SA::Key, Held: 'static>,
        SA::Key: Borrow<SB::Query>,
        F: KeyedCoProcessFunction<SA::Key, A, B, Out = Out>,
    {
        let of_record = (first.clone(), second.clone());
        let group_of = Box::new(move |record: &Either<A, B>| {
            let hash = match record {
                Either::First(record) => hash_of(&of_record.0, record),
                Either::Second(record) => hash_of(&of_record.1, record),
            };
            Some(group_of_hash(hash, MAX_PARALLELISM))
        });
        let factory = move |place: Place| -> BoxedOperator<Either<A, B>, Out> {
            let (id, range, share, clock) = (OperatorId::from(OPERATOR), place.range(), place.share, place.clock);
            let (selectors, sides) = ((first.clone(), second.clone()), place.side_outputs);
            let table = KeyedTable::new(function.state(), range, MAX_PARALLELISM);
            let operator = KeyedCoOperator::with_backend(id, table, selectors, function.clone(), sides);
            Box::new(Merged(operator.share(share).clock(Arc::new(clock))))
        };
        Self::of(factory, Spread::ByGroup(group_of))
    }

    /// Runs a function on a keyed stream, which is the first, and a broadcast stream, in the order of the records as
    /// [`two_inputs`](Self::two_inputs) does. [`KeyedBroadcastProcessFunction`] has an example of a function.
    pub fn keyed_broadcast<S, F>(selector: S, function: F) -> Self
    where
        S: KeySelector<A, Held: 'static>,
        F: KeyedBroadcastProcessFunction<S::Key, A, B, Out = Out>,
    {
        let of_record = selector.clone();
        let group_of = Box::new(move |record: &Either<A, B>| match record {
            Either::First(record) => Some(group_of_hash(hash_of(&of_record, record), MAX_PARALLELISM)),
            Either::Second(_) => None,
        });
        let factory = move |place: Place| -> BoxedOperator<Either<A, B>, Out> {
            let (id, range, share, clock) = (OperatorId::from(OPERATOR), place.range(), place.share, place.clock);
            let (selector, sides) = (selector.clone(), place.side_outputs);
            let table = KeyedTable::new(function.state(), range, MAX_PARALLELISM);
            let operator = KeyedBroadcastOperator::with_backend(id, table, selector, function.clone(), sides);
            Box::new(Merged(operator.share(share).clock(Arc::new(clock))))
        };
        Self::of(factory, Spread::ByGroup(group_of))
    }

    /// Runs a function on two streams that are not keyed, in the order of the records as [`two_inputs`](Self::two_inputs) does. At
    /// parallelisms above 1 records are dealt out in turn, unless they are [`broadcast`](Self::broadcast).
    /// [`CoProcessFunction`] has an example of a function.
    pub fn co_process<F: CoProcessFunction<A, B, Out = Out>>(function: F) -> Self {
        let factory = move |place: Place| -> BoxedOperator<Either<A, B>, Out> {
            let (id, clock) = (OperatorId::from(OPERATOR), Arc::new(place.clock));
            let operator = CoProcessOperator::new(id, place.share, function.clone(), place.side_outputs);
            Box::new(Merged(operator.clock(clock)))
        };
        Self::of(factory, Spread::InTurn(Box::new(|_| false)))
    }
}

pub(super) fn hash_of<T, S: KeySelector<T>>(selector: &S, record: &T) -> u64 {
    stable_hash(selector.query(record, &selector.hold(record)))
}

#[cfg(test)]
pub(crate) fn merged<Op: TwoInputOperator>(operator: Op) -> BoxedOperator<Either<Op::First, Op::Second>, Op::Out> {
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
        let of_first = |record: &Either<_, _>| matches!(record, Either::First(_));
        let is_first = input.as_slice().first().is_some_and(of_first);
        let run = input.iter().take_while(|record| of_first(record) == is_first).count();
        if is_first {
            let given = take_run(input, run, Either::first);
            give(given, input, Either::First, |given| self.0.process_first(given, out, budget))
        } else {
            let given = take_run(input, run, Either::second);
            give(given, input, Either::Second, |given| self.0.process_second(given, out, budget))
        }
    }
}

/// Takes records of one input off the front.
fn take_run<A, B, T>(input: &mut Batch<Either<A, B>>, run: usize, of: impl Fn(Either<A, B>) -> Option<T>) -> Batch<T> {
    let mut taken = Batch::new();
    input.filter_map_front(run, &mut taken, of);
    taken
}

/// Gives a batch to `process`, and puts what is left of it in front of `input`.
fn give<T, E>(
    mut given: Batch<T>,
    input: &mut Batch<E>,
    as_either: impl Fn(T) -> E,
    process: impl FnOnce(&mut Batch<T>) -> Result<Progress, TaskError>,
) -> Result<Progress, TaskError> {
    let before = given.bytes();
    let progress = process(&mut given)?;
    let left = given.len();
    assert!(progress == Progress::Suspended || left == 0, "done with {left} records left");
    assert!(given.bytes() <= before, "bytes of records that are gone");
    let mut all = Batch::new();
    given.map_front(left, &mut all, as_either);
    all.append(input);
    *input = all;
    Ok(progress)
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
