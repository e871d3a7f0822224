//! What starts source tasks.

use std::any::Any;
use std::sync::Arc;

use actix::AsyncContext;

use super::SourceWork;
use crate::contract::{Batch, Located, Source};
use crate::data::pipeline::{PipelineBuilder, PipelineFactory};
use crate::data::wiring::{InputWiring, OutputWiring};
use crate::protocol::OperatorId;
use crate::runtime::ArbiterHandle;
use crate::runtime::guard::catch_panic;
use crate::task::operators::{Operators, waker_of};
use crate::task::stepper;
use crate::task::{SourceAddress, StartedSubtask, SubtaskContext, TaskFactory};

/// Starts source tasks.
pub struct SourceTaskFactory<S: Source> {
    source: Arc<S>,
    /// The source first, then the operators chained to it.
    operators: Vec<OperatorId>,
    pipeline: Arc<dyn PipelineFactory<Box<Batch<S::Item>>>>,
}

impl<S: Source> SourceTaskFactory<S> {
    /// A factory of tasks that read `source` and run the operators built by `pipeline`. `operators` names the source
    /// first.
    pub fn new(
        source: Arc<S>,
        operators: Vec<OperatorId>,
        pipeline: impl PipelineFactory<Box<Batch<S::Item>>>,
    ) -> Self {
        Self { source, operators, pipeline: Arc::new(pipeline) }
    }
}

impl<S: Source> TaskFactory for SourceTaskFactory<S> {
    fn start(
        &self,
        cx: SubtaskContext,
        arbiter: &ArbiterHandle,
        _: InputWiring,
        outputs: Vec<OutputWiring>,
    ) -> StartedSubtask {
        let subtask = cx.info.subtask;
        let (source, ids, factory) = (self.source.clone(), self.operators.clone(), self.pipeline.clone());
        let task = stepper::start(cx, arbiter, move |cx, ctx| {
            let builder = PipelineBuilder::new(&cx.info, outputs, ctx.address().recipient(), waker_of(ctx));
            SourceWork::new(source, ids, Operators::new(factory.build(builder)), cx)
        });
        let orders = SourceAddress {
            barrier: task.clone().recipient(),
            begin: task.clone().recipient(),
            pause: task.clone().recipient(),
            stop_reading: task.clone().recipient(),
            finish: task.clone().recipient(),
        };
        StartedSubtask { address: stepper::address_of(&task, subtask, Some(orders), false), ports: Vec::new() }
    }

    fn locate(&self, place: &dyn Any) -> Located {
        self.source.locate(place)
    }

    fn job_finished(&self) {
        self.tell(|source| source.job_finished());
    }

    fn job_ended(&self) {
        self.tell(|source| source.job_ended());
    }
}

impl<S: Source> SourceTaskFactory<S> {
    fn tell(&self, what: impl FnOnce(&S)) {
        if let Err(report) = catch_panic(|| what(&self.source)) {
            log::error!(target: "millstream::supervisor", "source '{}' at the job's end: {report}", self.operators[0]);
        }
    }
}
