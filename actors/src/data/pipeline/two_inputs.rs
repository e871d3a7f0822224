//! What runs an operator with two inputs.

use std::time::Duration;

use super::careful::MaybeCareful;
use super::link::{Called, Intake, Queue, Said};
use crate::contract::{Demand, Emitted, Held, Output, Progress, RunBudget, Stateful, TwoInputOperator};
use crate::protocol::{Milestone, TaskError};

/// An operator with two inputs, which takes what is before it from whichever queue holds it.
pub(super) struct TwoInputs<Op: TwoInputOperator> {
    operator: Op,
    /// Also of the marks.
    first: Queue<Op::First>,
    second: Queue<Op::Second>,
    said: Said,
    /// Of each input, set if it works on that carefully.
    careful: (MaybeCareful<Op::First>, MaybeCareful<Op::Second>),
}

impl<Op: TwoInputOperator> TwoInputs<Op> {
    pub(super) fn new(
        operator: Op,
        first: Queue<Op::First>,
        second: Queue<Op::Second>,
        careful: (MaybeCareful<Op::First>, MaybeCareful<Op::Second>),
    ) -> Self {
        Self { operator, first, second, said: Said::default(), careful }
    }
}

impl<Op: TwoInputOperator> Intake for TwoInputs<Op> {
    type Out = Op::Out;

    fn may_hold_end() -> bool {
        false
    }

    fn is_empty(&self) -> bool {
        self.first.borrow().is_empty() && self.second.borrow().is_empty()
    }

    fn has_ended(&self) -> bool {
        self.first.borrow().has_ended()
    }

    fn call(&mut self, out: &mut Output<Op::Out>, budget: &mut RunBudget) -> Result<Called, TaskError> {
        let (mut first, mut second) = (self.first.borrow_mut(), self.second.borrow_mut());
        assert!(first.is_empty() || second.is_empty(), "one batch or mark is in hand at a time");
        match (first.first(), second.first()) {
            (Some(Emitted::Batch(batch)), _) => {
                self.said.is_idle = false;
                out.becomes_active();
                let operator = &mut self.operator;
                Called::with(batch, |batch| match &mut self.careful.0 {
                    None => operator.process_first(batch, out, budget),
                    Some(careful) => {
                        careful.process(batch, out, budget, |one, out, budget| operator.process_first(one, out, budget))
                    }
                })
            }
            (_, Some(Emitted::Batch(batch))) => {
                self.said.is_idle = false;
                out.becomes_active();
                let operator = &mut self.operator;
                Called::with(batch, |batch| match &mut self.careful.1 {
                    None => operator.process_second(batch, out, budget),
                    Some(careful) => careful
                        .process(batch, out, budget, |one, out, budget| operator.process_second(one, out, budget)),
                })
            }
            (Some(Emitted::Mark(mark)), _) => {
                self.said.mark(mark);
                Ok(Called::with_mark(self.operator.mark(mark, out, budget)?, mark))
            }
            (None, _) => Ok(Called::for_nothing()),
        }
    }

    fn remove_first(&mut self) {
        // One is empty already, and stays so.
        self.first.borrow_mut().remove_first();
        self.second.borrow_mut().remove_first();
    }

    fn is_idle(&self) -> bool {
        self.said.is_idle
    }

    fn demand(&self) -> Demand {
        Demand::Any
    }

    fn held(&self) -> Held {
        Held::default()
    }

    fn milestone(&self) -> Milestone {
        self.said.milestone
    }

    fn input_waits(&mut self) {}

    fn due(&self) -> Option<Duration> {
        self.operator.due()
    }

    fn wake(&mut self, out: &mut Output<Op::Out>, budget: &mut RunBudget) -> Result<Progress, TaskError> {
        self.operator.wake(out, budget)
    }

    fn stateful(&mut self) -> Option<&mut dyn Stateful> {
        self.operator.stateful()
    }
}
