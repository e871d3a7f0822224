//! A stage of a pipeline, and the one that runs an operator.

use std::cell::RefCell;
use std::rc::Rc;

use super::exit::SideExit;
use crate::contract::{BatchOperator, Emitted, Output, Progress, RunBudget, Stateful};
use crate::protocol::{OperatorId, TaskError};

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

    /// The state of its operator.
    fn stateful(&mut self) -> Option<&mut dyn Stateful> {
        None
    }
}

/// A stage that runs an operator.
pub(super) struct Link<Op: BatchOperator> {
    pub(super) id: OperatorId,
    pub(super) operator: Op,
    pub(super) input: Queue<Op::In>,
    pub(super) out: Queue<Op::Out>,
    /// The operator's side outputs.
    pub(super) sides: Vec<Box<dyn SideExit>>,
}

impl<Op: BatchOperator> Stage for Link<Op> {
    fn step(&mut self, budget: &mut RunBudget) -> Result<Step, TaskError> {
        let (input, out) = (&mut *self.input.borrow_mut(), &mut *self.out.borrow_mut());
        let Some(first) = input.first() else { return Ok(Step::Done) };
        if self.sides.iter().any(|side| side.is_blocked()) {
            return Ok(Step::Blocked);
        }
        let progress = match first {
            Emitted::Batch(batch) => {
                let progress = self.operator.process(batch, out, budget)?;
                let left = batch.len();
                assert!(progress == Progress::Suspended || left == 0, "'{}' is done with {left} records left", self.id);
                progress
            }
            Emitted::Mark(mark) => self.operator.mark(mark, out, budget)?,
        };
        self.sides.iter_mut().try_for_each(|side| side.drain())?;
        match progress {
            Progress::Suspended if out.is_full() => Ok(Step::Full),
            Progress::Suspended => Ok(Step::OutOfTime),
            Progress::Done => {
                input.remove_first();
                let left = !input.is_empty();
                let held_back = !left && input.has_ended() && !out.has_ended();
                assert!(!held_back, "'{}' is done with the end and has not passed it on", self.id);
                Ok(if left { Step::Full } else { Step::Done })
            }
        }
    }

    fn stateful(&mut self) -> Option<&mut dyn Stateful> {
        self.operator.stateful()
    }
}
