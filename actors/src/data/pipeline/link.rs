//! A stage of a pipeline, and the one that runs an operator.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::careful::MaybeCareful;
use super::exit::SideExit;
use crate::contract::{
    Batch, BatchOperator, Demand, Emitted, Held, OperatorCounters, Output, Progress, RunBudget, Stateful,
};
use crate::protocol::{Mark, Milestone, OperatorId, TaskError};
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
    /// Those of its operator, and those of the edges that it hands records to, as [`Outlet::accept`](crate::data::edge::Outlet::accept).
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

    /// The last milestone that its operator was given, and so has all records before.
    fn milestone(&self) -> Milestone {
        Milestone::NONE
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
    /// As [`step`](Self::step).
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
    pub(super) counters: Arc<OperatorCounters>,
}

/// What a call of an operator for the first element before it has come to.
pub(super) struct Called {
    progress: Progress,
    /// Records of the element that are left.
    left: usize,
    /// Records that were taken, and their bytes.
    taken: (usize, usize),
    /// The element, if that is a mark.
    mark: Option<Mark>,
}

impl Called {
    /// Calls an operator for records.
    pub(super) fn with<T>(
        batch: &mut Batch<T>,
        call: impl FnOnce(&mut Batch<T>) -> Result<Progress, TaskError>,
    ) -> Result<Self, TaskError> {
        let (records, bytes) = (batch.len(), batch.bytes());
        let progress = noting(|| call(&mut *batch), note_with_records)?;
        let left = batch.len();
        // What is left of the bytes of a batch without records is nobody's.
        let bytes_left = if left == 0 { 0 } else { batch.bytes() };
        let taken = (records.saturating_sub(left), bytes.saturating_sub(bytes_left));
        Ok(Self { progress, left, taken, mark: None })
    }

    pub(super) fn with_mark(progress: Progress, mark: Mark) -> Self {
        Self { progress, left: 0, taken: (0, 0), mark: Some(mark) }
    }

    /// There was nothing to call it for.
    pub(super) fn for_nothing() -> Self {
        Self { progress: Progress::Done, left: 0, taken: (0, 0), mark: None }
    }
}

/// Counts what a call has emitted.
struct Emits<'a> {
    counters: &'a OperatorCounters,
    before: (usize, usize),
}

impl<'a> Emits<'a> {
    fn into<T>(out: &Output<T>, counters: &'a OperatorCounters) -> Self {
        Self { counters, before: (out.len(), out.bytes()) }
    }

    fn count<T>(self, out: &Output<T>) {
        let (records, bytes) = self.before;
        self.counters.records_out.add(out.len().saturating_sub(records) as u64);
        self.counters.bytes_out.add(out.bytes().saturating_sub(bytes) as u64);
        self.counters.watermark_out.set(out.watermark());
    }
}

impl<I: Intake> Link<I> {
    /// Hands on what was emitted to side outputs.
    fn drain_sides(&mut self) -> Result<(), TaskError> {
        for side in &mut self.sides {
            self.counters.side_records_out.add(side.drain()? as u64);
        }
        Ok(())
    }
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

    /// Calls the operator for the first element before it.
    ///
    /// # Errors
    /// Those of the operator's [`process`](BatchOperator::process) and [`mark`](BatchOperator::mark).
    fn call(&mut self, out: &mut Output<Self::Out>, budget: &mut RunBudget) -> Result<Called, TaskError>;

    /// Takes the first element off.
    fn remove_first(&mut self);

    /// Whether the last element that the operator was called for says that its input is idle.
    fn is_idle(&self) -> bool;

    /// What the operator takes now.
    fn demand(&self) -> Demand;

    /// How far the operator is with its records.
    fn held(&self) -> Held;

    /// The last milestone that the operator was given.
    fn milestone(&self) -> Milestone;

    /// There is input in front of the task that it may not take.
    fn input_waits(&mut self);

    /// When the operator is to be woken.
    fn due(&self) -> Option<Duration>;

    /// Wakes the operator.
    ///
    /// # Errors
    /// Those of the operator's [`wake`](BatchOperator::wake).
    fn wake(&mut self, out: &mut Output<Self::Out>, budget: &mut RunBudget) -> Result<Progress, TaskError>;

    /// The operator's state.
    fn stateful(&mut self) -> Option<&mut dyn Stateful>;
}

impl<I: Intake> Stage for Link<I> {
    fn step(&mut self, budget: &mut RunBudget) -> Result<Step, TaskError> {
        if self.intake.is_empty() {
            return Ok(Step::Done);
        }
        if self.sides.iter().any(|side| side.is_blocked()) {
            return Ok(Step::Blocked);
        }
        let out = self.out.clone();
        let out = &mut *out.borrow_mut();
        let emits = Emits::into(out, &self.counters);
        budget.works();
        let Called { progress, left, taken: (records, bytes), mark } = self.intake.call(out, budget)?;
        assert!(progress == Progress::Suspended || left == 0, "'{}' is done with {left} records left", self.id);
        emits.count(out);
        self.counters.records_in.add(records as u64);
        self.counters.bytes_in.add(bytes as u64);
        mark.into_iter().for_each(|mark| self.counters.watermark_in.follow(mark));
        self.drain_sides()?;
        let intake = &mut self.intake;
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

    fn milestone(&self) -> Milestone {
        self.intake.milestone()
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
        if self.sides.iter().any(|side| side.is_blocked()) {
            return Ok(Step::Blocked);
        }
        let out = self.out.clone();
        let out = &mut *out.borrow_mut();
        let emits = Emits::into(out, &self.counters);
        budget.works();
        let progress = self.intake.wake(out, budget)?;
        emits.count(out);
        assert!(self.holds_end || !out.has_ended(), "'{}' emits the end when it is woken", self.id);
        assert!(
            progress == Progress::Done || !out.has_ended(),
            "'{}' is not done when it has passed the end on",
            self.id
        );
        self.holds_end &= !out.has_ended();
        if progress == Progress::Done && self.intake.is_idle() && out.is_idle() {
            // Records make a channel active again, and nothing else would tell that the stream is idle still.
            out.mark(Mark::Idle);
        }
        self.drain_sides()?;
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

/// What the marks have said that an operator was given.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Said {
    /// No record has come since its input was said to be idle.
    pub(super) is_idle: bool,
    pub(super) milestone: Milestone,
}

impl Said {
    pub(super) fn mark(&mut self, mark: Mark) {
        match mark {
            Mark::Milestone(milestone) => self.milestone = milestone.max(self.milestone),
            Mark::End => *self = Self { is_idle: false, milestone: Milestone::END },
            Mark::Watermark(_) | Mark::Idle => self.is_idle = mark == Mark::Idle,
        }
    }
}

/// An operator with one input.
pub(super) struct OneInput<Op: BatchOperator> {
    operator: Op,
    input: Queue<Op::In>,
    said: Said,
    /// Set if it works carefully.
    careful: MaybeCareful<Op::In>,
}

impl<Op: BatchOperator> OneInput<Op> {
    pub(super) fn new(operator: Op, input: Queue<Op::In>, careful: MaybeCareful<Op::In>) -> Self {
        Self { operator, input, said: Said::default(), careful }
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

    fn call(&mut self, out: &mut Output<Op::Out>, budget: &mut RunBudget) -> Result<Called, TaskError> {
        match self.input.borrow_mut().first() {
            Some(Emitted::Batch(batch)) => {
                self.said.is_idle = false;
                out.becomes_active();
                let operator = &mut self.operator;
                Called::with(batch, |batch| match &mut self.careful {
                    None => operator.process(batch, out, budget),
                    Some(careful) => {
                        careful.process(batch, out, budget, |one, out, budget| operator.process(one, out, budget))
                    }
                })
            }
            Some(Emitted::Mark(mark)) => {
                self.said.mark(mark);
                Ok(Called::with_mark(self.operator.mark(mark, out, budget)?, mark))
            }
            None => Ok(Called::for_nothing()),
        }
    }

    fn remove_first(&mut self) {
        self.input.borrow_mut().remove_first();
    }

    fn is_idle(&self) -> bool {
        self.said.is_idle
    }

    fn demand(&self) -> Demand {
        self.operator.demand()
    }

    fn held(&self) -> Held {
        self.operator.held()
    }

    fn milestone(&self) -> Milestone {
        self.said.milestone
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
