//! The operator task: takes batches from its channels, runs a chain of operators, and sends what they emit.
//!
//! Receives [`Deliver`](crate::data::edge::Deliver) and [`ConnectChannel`](crate::data::edge::ConnectChannel) from the
//! tasks before it, [`ReturnCredit`](crate::data::edge::ReturnCredit) from those behind it, and what every task does
//! (`stepper.rs`). Sends batches, credits, snapshots and acknowledgements. A restart loses everything it holds: state, what
//! waits in its channels and what waits to be sent; the next attempt gets it again from the restored checkpoint.

use std::sync::Arc;

use actix::{AsyncContext, Context, Handler};

use crate::contract::{Demand, Held, Progress, RunBudget, SectionWriter, StateError, Step};
use crate::data::input_batch::InputBatch;
use crate::data::pipeline::{GroupLoaders, LoadedState, PipelineBuilder, PipelineFactory};
use crate::data::wiring::{InputWiring, OutputWiring};
use crate::protocol::{AckFacts, CheckpointId, Input, Mark, OperatorId, SourceState, TaskError};
use crate::runtime::ArbiterHandle;
use crate::task::alarm::{Alarm, Due};
use crate::task::inputs::{Inputs, WithInputs};
use crate::task::operators::{Given, Operators, Outcome, WithOperators, waker_of};
use crate::task::queries::Queried;
use crate::task::stepper::{self, Stepped, Stepper, Task, Work};
use crate::task::{ExpectBarrier, SourceHalted, StartedSubtask, SubtaskAddress, SubtaskContext, TaskFactory};

/// Starts operator tasks that take batches of kind `B`, by as many ports as that has.
pub struct OperatorTaskFactory<B> {
    operators: Vec<OperatorId>,
    pipeline: Arc<dyn PipelineFactory<B>>,
    holds_end: bool,
}

impl<B: InputBatch> OperatorTaskFactory<B> {
    /// A factory of tasks that run these operators, built by `pipeline`. The first of them may hold the end back, or not.
    pub fn new(operators: Vec<OperatorId>, pipeline: impl PipelineFactory<B>, holds_end: bool) -> Self {
        Self { operators, pipeline: Arc::new(pipeline), holds_end }
    }
}

impl<B: InputBatch> TaskFactory for OperatorTaskFactory<B> {
    fn start(
        &self,
        cx: SubtaskContext,
        arbiter: &ArbiterHandle,
        input: InputWiring,
        outputs: Vec<OutputWiring>,
    ) -> StartedSubtask {
        let (subtask, ids, factory) = (cx.info.subtask, self.operators.clone(), self.pipeline.clone());
        let holds_end = self.holds_end;
        let task = stepper::start(cx, arbiter, move |cx, ctx| {
            let builder = PipelineBuilder::new(&cx.info, outputs, ctx.address().recipient(), waker_of(ctx));
            let operators = Operators::new(factory.build(builder));
            OperatorWork { ids, operators, inputs: Inputs::new(cx, &input), end: End::of(holds_end) }
        });
        let expects = self.holds_end.then(|| task.clone().recipient());
        let address = SubtaskAddress { expects, ..stepper::address_of(&task, subtask, None, false) };
        StartedSubtask { address, ports: B::ports(&task) }
    }
}

/// See the module's documentation.
struct OperatorWork<B: InputBatch> {
    ids: Vec<OperatorId>,
    operators: Operators<B>,
    inputs: Inputs<B>,
    end: End,
}

/// How far the end of the input is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// It passes on when it comes, and the sources have told of it.
    NotHeld,
    /// An operator may hold it back: it has not come, or not passed on.
    Awaited,
    /// It has come, and may have passed on.
    Here,
    /// It has passed on, and that is told.
    Passed,
}

impl End {
    fn of(holds_end: bool) -> Self {
        if holds_end { Self::Awaited } else { Self::NotHeld }
    }

    /// What is said of it at a barrier. One that is held back does not keep a job from being drained.
    fn state(self) -> Option<SourceState> {
        match self {
            Self::NotHeld => None,
            Self::Awaited | Self::Here => Some(SourceState::Stopped),
            Self::Passed => Some(SourceState::Ended),
        }
    }
}

impl<B: InputBatch> OperatorWork<B> {
    #[inline]
    fn demand(&self) -> Demand {
        if self.end == End::NotHeld { Demand::Any } else { self.operators.pipeline.demand() }
    }

    fn give(&mut self, stepper: &mut Stepper, given: Given<B>) -> Result<Stepped, TaskError> {
        let outcome = self.operators.give(given, &mut stepper.budget)?;
        Ok(self.given(stepper, outcome))
    }

    fn given(&mut self, stepper: &Stepper, outcome: Outcome<B>) -> Stepped {
        let stepped = match outcome {
            Outcome::Taken(Given::Batch { channel, records, batch }) => {
                self.inputs.worked_off(channel, records, batch);
                return Stepped::On;
            }
            Outcome::Taken(Given::Mark(mark)) => {
                if mark == Mark::End && self.end == End::Awaited {
                    self.end = End::Here;
                }
                Stepped::On
            }
            Outcome::Taken(Given::WakeUp { .. }) => Stepped::OutOfTime,
            Outcome::Suspended(stepped) => return stepped,
        };
        if self.end == End::Here && !self.operators.pipeline.holds_end() {
            self.end = End::Passed;
            let (execution, subtask) = (stepper.cx.info.execution, stepper.cx.info.subtask);
            let state = SourceState::Ended;
            stepper.cx.reports.halted.do_send(SourceHalted { execution, subtask, state });
        }
        stepped
    }
}

impl<B: InputBatch> Work for OperatorWork<B> {
    fn operators(&self) -> Vec<OperatorId> {
        self.ids.clone()
    }

    fn group_loaders(&mut self) -> GroupLoaders {
        self.operators.pipeline.group_loaders()
    }

    fn open(
        &mut self,
        stepper: &mut Stepper,
        loaded: Option<LoadedState>,
        _: &mut Context<Task<Self>>,
    ) -> Result<bool, TaskError> {
        if let Some(mut state) = loaded {
            self.operators.pipeline.restore(&mut state)?;
            stepper.holds_records(self.operators.pipeline.held().of);
            stepper.cx.reached(Step::Restored);
        }
        Ok(true)
    }

    fn step(&mut self, stepper: &mut Stepper) -> Result<Stepped, TaskError> {
        if let Some(outcome) = self.operators.resume(&mut stepper.budget)? {
            return Ok(self.given(stepper, outcome));
        }
        if self.operators.pipeline.is_blocked() {
            return Ok(Stepped::Blocked);
        }
        let demand = self.demand();
        // One that takes no more is at work on what it has taken.
        if demand == Demand::Any
            && let Some((took, records)) = self.operators.gone_on(stepper.step_began())
        {
            self.inputs.measured(took, records);
        }
        if let Some(wake_up) = self.operators.wake_up(&stepper.cx) {
            if self.inputs.holds_back() {
                self.operators.pipeline.input_waits();
            }
            return self.give(stepper, wake_up);
        }
        let input = match demand {
            Demand::Any => self.inputs.take(),
            Demand::BeforeBarrier => self.inputs.take_awaited(),
            Demand::Nothing => None,
        };
        match input {
            Some(Input::Batch { channel, batch }) => {
                stepper.takes_batch(&batch);
                let records = batch.records();
                if self.end != End::NotHeld {
                    stepper.holds_records(self.operators.pipeline.held().of + records as u64);
                }
                self.operators.begin(stepper.step_began(), records);
                return self.give(stepper, Given::Batch { channel, records, batch });
            }
            Some(Input::Mark(mark)) => return self.give(stepper, Given::Mark(mark)),
            Some(Input::Barrier(barrier)) => {
                let (source, (barrier_at, alignment)) = (self.end.state(), self.inputs.alignment());
                let Held { done_in_a_row: records_in, done, .. } = self.operators.pipeline.held();
                let facts = AckFacts { source, records_in, done, barrier_at, alignment, ..AckFacts::default() };
                self.operators.barrier(stepper, barrier, facts, |_| Ok(()));
            }
            Some(Input::Credit { .. } | Input::AlignmentStarted(_)) => {}
            None => return Ok(Stepped::Starved),
        }
        Ok(Stepped::On)
    }

    fn drained(&mut self, _: &mut Stepper) -> Result<(), TaskError> {
        self.operators.drained();
        Ok(())
    }

    fn queried(&mut self) -> Option<&mut dyn Queried> {
        Some(&mut self.operators.pipeline)
    }

    fn write_slice(&mut self, writer: &mut SectionWriter, slice: &mut RunBudget) -> Result<Progress, StateError> {
        self.operators.pipeline.continue_snapshot(writer, slice)
    }

    fn give_up_snapshot(&mut self) {
        self.operators.pipeline.abandon_snapshot();
    }

    fn set_alarm(&self, alarm: &mut Alarm) {
        self.operators.set_alarm(alarm);
    }

    fn due(&mut self, _: &mut Stepper, _: Due) -> Result<(), TaskError> {
        self.operators.come_due();
        Ok(())
    }

    fn batches_sent(&self) -> u64 {
        self.operators.pipeline.batches_sent()
    }

    fn is_held_up(&self) -> bool {
        self.operators.pipeline.is_blocked() || self.inputs.holds_back()
    }

    fn aborted(&mut self, checkpoint: CheckpointId) {
        self.inputs.abort(checkpoint);
    }
}

impl<B: InputBatch> Handler<ExpectBarrier> for Task<OperatorWork<B>> {
    type Result = ();

    fn handle(&mut self, message: ExpectBarrier, ctx: &mut Context<Self>) {
        self.work.inputs.expect(message.checkpoint);
        self.run(ctx);
    }
}

impl<B: InputBatch> WithOperators for OperatorWork<B> {
    type Batch = B;

    fn operators_mut(&mut self) -> &mut Operators<B> {
        &mut self.operators
    }
}

impl<B: InputBatch> WithInputs for OperatorWork<B> {
    type Batch = B;

    fn inputs(&mut self) -> &mut Inputs<B> {
        &mut self.inputs
    }
}
