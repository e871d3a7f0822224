//! A stage of a pipeline, and the one that runs an operator.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use super::careful::MaybeCareful;
use super::exit::SideExit;
use crate::contract::{BatchOperator, Demand, Emitted, Held, Output, Progress, RunBudget, Stateful, TwoInputOperator};
use crate::protocol::{Mark, OperatorId, TaskError};
use crate::runtime::guard::{note_with_records, noting};

/// What one stage has emitted and the next one takes.
pub(super) type Queue<T> = Rc<RefCell<Output<T>>>;

/// How a step of a stage ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// All its input is taken.
    Done,
    /// There is more input; what it has emitted goes on first.
    Full,
    /// Its time is up.
    OutOfTime,
    /// An edge waits for credit.
    Blocked,
}

/// A stage of a pipeline: takes from the queue before it and emits into the one behind it, an element at a time.
///
/// An element stays in the queue until the stage is done with it, and is taken off then: so whatever becomes of what it
/// has emitted, the stage does not see it again.
pub(super) trait Stage {
    /// Works on the first element before it.
    ///
    /// # Errors
    /// Any error fails the task.
    fn step(&mut self, budget: &mut RunBudget) -> Result<Step, TaskError>;

    /// What its operator takes now.
    fn demand(&self) -> Demand {
        Demand::Any
    }

    /// How far its operator is with its records.
    fn held(&self) -> Held {
        Held::default()
    }

    /// Whether its operator holds the end back.
    fn holds_end(&self) -> bool {
        false
    }

    /// There is input in front of the task that it may not take.
    fn input_waits(&mut self) {}

    /// When its operator is to be woken, unless that has ended.
    fn due(&self) -> Option<Duration> {
        None
    }

    /// Wakes its operator, before which there is nothing. [`Step::Full`]: it is not done yet.
    ///
    /// # Errors
    /// Any error fails the task.
    fn wake(&mut self, budget: &mut RunBudget) -> Result<Step, TaskError> {
        let _ = budget;
        Ok(Step::Done)
    }

    /// The state of its operator.
    fn stateful(&mut self) -> Option<&mut dyn Stateful> {
        None
    }
}

/// A stage that runs an operator.
pub(super) struct Link<I: Intake> {
    pub(super) id: OperatorId,
    pub(super) intake: I,
    pub(super) out: Queue<I::Out>,
    /// The end has come, and the operator has not passed it on.
    pub(super) holds_end: bool,
    /// The operator's side outputs.
    pub(super) sides: Vec<Box<dyn SideExit>>,
}

/// An operator, and what it takes from. Of several queues one holds something at a time.
pub(super) trait Intake {
    /// What the operator emits.
    type Out;

    /// Whether the operator may hold the end back.
    fn may_hold_end() -> bool;

    /// Whether nothing is before the operator.
    fn is_empty(&self) -> bool;

    /// Whether the end was put before the operator.
    fn has_ended(&self) -> bool;

    /// Calls the operator for the first element before it. Gives how far it got, and how many records it has left.
    ///
    /// # Errors
    /// Any error fails the task.
    fn call(&mut self, out: &mut Output<Self::Out>, budget: &mut RunBudget) -> Result<(Progress, usize), TaskError>;

    /// Takes the first element off.
    fn remove_first(&mut self);

    /// Whether the last element that the operator was called for says that its input is idle.
    fn is_idle(&self) -> bool;

    /// What the operator takes now.
    fn demand(&self) -> Demand;

    /// How far the operator is with its records.
    fn held(&self) -> Held;

    /// There is input in front of the task that it may not take.
    fn input_waits(&mut self);

    /// When the operator is to be woken.
    fn due(&self) -> Option<Duration>;

    /// Wakes the operator.
    ///
    /// # Errors
    /// Any error fails the task.
    fn wake(&mut self, out: &mut Output<Self::Out>, budget: &mut RunBudget) -> Result<Progress, TaskError>;

    /// The operator's state.
    fn stateful(&mut self) -> Option<&mut dyn Stateful>;
}

impl<I: Intake> Stage for Link<I> {
    fn step(&mut self, budget: &mut RunBudget) -> Result<Step, TaskError> {
        let (intake, out) = (&mut self.intake, &mut *self.out.borrow_mut());
        if intake.is_empty() {
            return Ok(Step::Done);
        }
        if self.sides.iter().any(|side| side.is_blocked()) {
            return Ok(Step::Blocked);
        }
        let (progress, left) = intake.call(out, budget)?;
        assert!(progress == Progress::Suspended || left == 0, "'{}' is done with {left} records left", self.id);
        self.sides.iter_mut().try_for_each(|side| side.drain())?;
        match progress {
            Progress::Suspended if out.is_full() => Ok(Step::Full),
            Progress::Suspended => Ok(Step::OutOfTime),
            Progress::Done => {
                intake.remove_first();
                let left = !intake.is_empty();
                self.holds_end = !left && intake.has_ended() && !out.has_ended();
                assert!(
                    !self.holds_end || I::may_hold_end(),
                    "'{}' is done with the end and has not passed it on",
                    self.id
                );
                Ok(if left { Step::Full } else { Step::Done })
            }
        }
    }

    fn demand(&self) -> Demand {
        self.intake.demand()
    }

    fn held(&self) -> Held {
        self.intake.held()
    }

    fn input_waits(&mut self) {
        self.intake.input_waits();
    }

    fn holds_end(&self) -> bool {
        self.holds_end
    }

    fn due(&self) -> Option<Duration> {
        if self.out.borrow().has_ended() { None } else { self.intake.due() }
    }

    fn wake(&mut self, budget: &mut RunBudget) -> Result<Step, TaskError> {
        let (intake, out) = (&mut self.intake, &mut *self.out.borrow_mut());
        if self.sides.iter().any(|side| side.is_blocked()) {
            return Ok(Step::Blocked);
        }
        let progress = intake.wake(out, budget)?;
        assert!(self.holds_end || !out.has_ended(), "'{}' emits the end when it is woken", self.id);
        assert!(
            progress == Progress::Done || !out.has_ended(),
            "'{}' is not done when it has passed the end on",
            self.id
        );
        self.holds_end &= !out.has_ended();
        if progress == Progress::Done && intake.is_idle() && out.is_idle() {
            // Records make a channel active again, and nothing else would tell that the stream is idle still.
            out.mark(Mark::Idle);
        }
        self.sides.iter_mut().try_for_each(|side| side.drain())?;
        Ok(match progress {
            Progress::Done => Step::Done,
            Progress::Suspended if out.is_full() => Step::Full,
            Progress::Suspended => Step::OutOfTime,
        })
    }

    fn stateful(&mut self) -> Option<&mut dyn Stateful> {
        self.intake.stateful()
    }
}

/// An operator with one input.
pub(super) struct OneInput<Op: BatchOperator> {
    operator: Op,
    input: Queue<Op::In>,
    is_idle: bool,
    /// Set if it works carefully.
    careful: MaybeCareful<Op::In>,
}

impl<Op: BatchOperator> OneInput<Op> {
    pub(super) fn new(operator: Op, input: Queue<Op::In>, careful: MaybeCareful<Op::In>) -> Self {
        Self { operator, input, is_idle: false, careful }
    }
}

impl<Op: BatchOperator> Intake for OneInput<Op> {
    type Out = Op::Out;

    fn may_hold_end() -> bool {
        Op::may_hold_end()
    }

    fn is_empty(&self) -> bool {
        self.input.borrow().is_empty()
    }

    fn has_ended(&self) -> bool {
        self.input.borrow().has_ended()
    }

    fn call(&mut self, out: &mut Output<Op::Out>, budget: &mut RunBudget) -> Result<(Progress, usize), TaskError> {
        match self.input.borrow_mut().first() {
            Some(Emitted::Batch(batch)) => {
                self.is_idle = false;
                out.becomes_active();
                let operator = &mut self.operator;
                let call = || match &mut self.careful {
                    None => operator.process(batch, out, budget),
                    Some(careful) => {
                        careful.process(batch, out, budget, |one, out, budget| operator.process(one, out, budget))
                    }
                };
                let progress = noting(call, note_with_records)?;
                Ok((progress, batch.len()))
            }
            Some(Emitted::Mark(mark)) => {
                self.is_idle = mark == Mark::Idle;
                Ok((self.operator.mark(mark, out, budget)?, 0))
            }
            None => Ok((Progress::Done, 0)),
        }
    }

    fn remove_first(&mut self) {
        self.input.borrow_mut().remove_first();
    }

    fn is_idle(&self) -> bool {
        self.is_idle
    }

    fn demand(&self) -> Demand {
        self.operator.demand()
    }

    fn held(&self) -> Held {
        self.operator.held()
    }

    fn input_waits(&mut self) {
        self.operator.input_waits();
    }

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

/// An operator with two inputs, which takes what is before it from whichever queue holds it.
pub(super) struct TwoInputs<Op: TwoInputOperator> {
    operator: Op,
    /// Also of the marks.
    first: Queue<Op::First>,
    second: Queue<Op::Second>,
    is_idle: bool,
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
        Self { operator, first, second, is_idle: false, careful }
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

    fn call(&mut self, out: &mut Output<Op::Out>, budget: &mut RunBudget) -> Result<(Progress, usize), TaskError> {
        let (mut first, mut second) = (self.first.borrow_mut(), self.second.borrow_mut());
        assert!(first.is_empty() || second.is_empty(), "one batch or mark is in hand at a time");
        match (first.first(), second.first()) {
            (Some(Emitted::Batch(batch)), _) => {
                self.is_idle = false;
                out.becomes_active();
                let operator = &mut self.operator;
                let call = || match &mut self.careful.0 {
                    None => operator.process_first(batch, out, budget),
                    Some(careful) => {
                        careful.process(batch, out, budget, |one, out, budget| operator.process_first(one, out, budget))
                    }
                };
                let progress = noting(call, note_with_records)?;
                Ok((progress, batch.len()))
            }
            (_, Some(Emitted::Batch(batch))) => {
                self.is_idle = false;
                out.becomes_active();
                let operator = &mut self.operator;
                let call = || match &mut self.careful.1 {
                    None => operator.process_second(batch, out, budget),
                    Some(careful) => careful
                        .process(batch, out, budget, |one, out, budget| operator.process_second(one, out, budget)),
                };
                let progress = noting(call, note_with_records)?;
                Ok((progress, batch.len()))
            }
            (Some(Emitted::Mark(mark)), _) => {
                self.is_idle = mark == Mark::Idle;
                Ok((self.operator.mark(mark, out, budget)?, 0))
            }
            (None, _) => Ok((Progress::Done, 0)),
        }
    }

    fn remove_first(&mut self) {
        // One is empty already, and stays so.
        self.first.borrow_mut().remove_first();
        self.second.borrow_mut().remove_first();
    }

    fn is_idle(&self) -> bool {
        self.is_idle
    }

    fn demand(&self) -> Demand {
        Demand::Any
    }

    fn held(&self) -> Held {
        Held::default()
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
