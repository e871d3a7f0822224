//! The operator task: takes batches from its channels, runs a chain of operators, and sends what they emit.
//!
//! Receives [`Deliver`](crate::data::edge::Deliver) and [`ConnectChannel`](crate::data::edge::ConnectChannel) from the
//! tasks before it, [`ReturnCredit`](crate::data::edge::ReturnCredit) from those behind it, and what every task does
//! (`stepper.rs`). Sends batches, credits, snapshots and acknowledgements. A restart loses everything it holds: state, what
//! waits in its channels and what waits to be sent; the next attempt gets it again from the restored checkpoint.

use std::sync::Arc;

use actix::{AsyncContext, Context};
use actix_rt::ArbiterHandle;

use crate::contract::{Progress, RunBudget, SnapshotWriter, StateError, Step};
use crate::data::edge::Sent;
use crate::data::input_batch::InputBatch;
use crate::data::pipeline::{GroupLoaders, LoadedState, PipelineBuilder, PipelineFactory};
use crate::data::wiring::{InputWiring, OutputWiring};
use crate::protocol::{AckFacts, CheckpointId, Input, OperatorId, TaskError};
use crate::runtime::time::monotonic;
use crate::task::alarm::{Alarm, Due};
use crate::task::inputs::{Inputs, WithInputs};
use crate::task::operators::{Given, Operators, Outcome, WithOperators};
use crate::task::stepper::{self, Stepped, Stepper, Task, Work};
use crate::task::{StartedSubtask, SubtaskContext, TaskFactory};

/// Starts operator tasks that take batches of kind `B`, by as many ports as that has.
pub struct OperatorTaskFactory<B> {
    operators: Vec<OperatorId>,
    pipeline: Arc<dyn PipelineFactory<B>>,
}

impl<B: InputBatch> OperatorTaskFactory<B> {
    /// A factory of tasks that run these operators, built by `pipeline`.
    pub fn new(operators: Vec<OperatorId>, pipeline: impl PipelineFactory<B>) -> Self {
        Self { operators, pipeline: Arc::new(pipeline) }
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
        let task = stepper::start(cx, arbiter, move |cx, ctx| {
            let builder = PipelineBuilder::new(&cx.info, outputs, ctx.address().recipient());
            let operators = Operators::new(factory.build(builder));
            OperatorWork { ids, operators, inputs: Inputs::new(cx, &input) }
        });
        let address = stepper::address_of(&task, subtask, None, false);
        StartedSubtask { address, ports: B::ports(&task) }
    }
}

/// See the module's documentation.
struct OperatorWork<B: InputBatch> {
    ids: Vec<OperatorId>,
    operators: Operators<B>,
    inputs: Inputs<B>,
}

impl<B: InputBatch> OperatorWork<B> {
    fn give(&mut self, stepper: &mut Stepper, given: Given<B>) -> Result<Stepped, TaskError> {
        let outcome = self.operators.give(given, &mut stepper.budget)?;
        Ok(self.given(outcome))
    }

    fn given(&mut self, outcome: Outcome<B>) -> Stepped {
        match outcome {
            Outcome::Taken(Given::Batch { channel, records, batch }) => {
                self.inputs.worked_off(channel, records, batch);
                Stepped::On
            }
            Outcome::Taken(Given::Mark(_)) => Stepped::On,
            Outcome::Taken(Given::WakeUp { .. }) => Stepped::OutOfTime,
            Outcome::Suspended(stepped) => stepped,
        }
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
            stepper.cx.reached(Step::Restored);
        }
        Ok(true)
    }

    fn step(&mut self, stepper: &mut Stepper) -> Result<Stepped, TaskError> {
        if let Some(outcome) = self.operators.resume(&mut stepper.budget)? {
            return Ok(self.given(outcome));
        }
        if self.operators.pipeline.is_blocked() {
            return Ok(Stepped::Blocked);
        }
        if let Some((took, records)) = self.operators.gone_on() {
            self.inputs.measured(took, records);
        }
        if let Some(wake_up) = self.operators.wake_up(&stepper.cx) {
            return self.give(stepper, wake_up);
        }
        match self.inputs.take() {
            Some(Input::Batch { channel, batch }) => {
                stepper.takes_batch(&batch);
                let records = batch.records();
                self.operators.begin(monotonic(), records);
                return self.give(stepper, Given::Batch { channel, records, batch });
            }
            Some(Input::Mark(mark)) => return self.give(stepper, Given::Mark(mark)),
            Some(Input::Barrier(barrier)) => {
                let facts = AckFacts { alignment: self.inputs.alignment(), ..AckFacts::default() };
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

    fn write_slice(&mut self, writer: &mut SnapshotWriter, slice: &mut RunBudget) -> Result<Progress, StateError> {
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

    fn sent(&self) -> Sent {
        self.operators.pipeline.sent()
    }

    fn aborted(&mut self, checkpoint: CheckpointId) {
        self.inputs.abort(checkpoint);
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
