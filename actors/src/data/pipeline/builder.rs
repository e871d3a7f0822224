//! How the pipeline of a subtask is put together.

use std::any::Any;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;

use actix::Recipient;

use super::careful::{At, Careful, CarefulBarriers, CarefulInputs, MaybeCareful};
use super::exit::{Exit, SideExit};
use super::head::{Chain, Head, TwoInputChain};
use super::link::{Intake, Link, OneInput, Queue};
use super::two_inputs::TwoInputs;
use super::walk::{Pipeline, SourceSide, StageSlot};
use crate::contract::{Batch, BatchOperator, Output, SubtaskInfo, TakesMarks, TwoInputOperator};
use crate::data::edge::{AnyOutlet, Outlet, ReturnCredit, Routing};
use crate::data::wiring::OutputWiring;
use crate::protocol::{NO_TIME, OperatorId, PortId, Timestamp};

/// The consumers of one stream: the task's edges with these numbers, and how each spreads records.
pub type Consumers<T> = Vec<(u32, Routing<T>)>;

/// Builds the chain of one subtask, on its arbiter, from the last stage to the first.
pub struct PipelineBuilder<'a> {
    subtask: &'a SubtaskInfo,
    wiring: Vec<OutputWiring>,
    credits: Recipient<ReturnCredit>,
    /// Has the operators asked when they are due.
    waker: Waker,
    outlets: Vec<Option<Rc<RefCell<dyn AnyOutlet>>>>,
    /// Last stage first.
    stages: Vec<StageSlot>,
    /// Those of the operator to be linked next, or of the source.
    sides: Vec<Side>,
    source_sides: BTreeMap<Arc<str>, SourceSide>,
    /// What the operator to be linked next has to know for careful work.
    careful: CarefulInputs,
    /// Set if one of the operators works carefully.
    careful_barriers: Option<CarefulBarriers>,
}

/// A side output that belongs to no stage yet.
struct Side {
    marks: Rc<dyn TakesMarks>,
    exit: Box<dyn SideExit>,
}

impl<'a> PipelineBuilder<'a> {
    /// A builder for `subtask` with these edges, whose credits come back to `credits`. `waker` has the operators asked when they are due.
    pub fn new(
        subtask: &'a SubtaskInfo,
        wiring: Vec<OutputWiring>,
        credits: Recipient<ReturnCredit>,
        waker: Waker,
    ) -> Self {
        let outlets = wiring.iter().map(|_| None).collect();
        let (stages, sides, source_sides) = (Vec::new(), Vec::new(), BTreeMap::new());
        let (careful, careful_barriers) = (Vec::new(), None);
        Self { subtask, wiring, credits, waker, outlets, stages, sides, source_sides, careful, careful_barriers }
    }

    /// The subtask.
    pub fn subtask(&self) -> &'a SubtaskInfo {
        self.subtask
    }

    /// The end of a chain whose output has these consumers. `copy` is needed where there are several.
    pub fn terminal<T: Send + 'static>(&mut self, consumers: Consumers<T>, copy: Option<fn(&T) -> T>) -> Chain<T> {
        let outlets = self.outlets_for(consumers);
        let input = Queue::default();
        self.stages.push(StageSlot::new(None, Box::new(Exit::new(input.clone(), outlets, copy))));
        Chain { input }
    }

    /// An operator before `next`, with the side outputs that were made since the operator before this one was linked.
    pub fn link<Op: BatchOperator>(&mut self, id: OperatorId, mut operator: Op, next: Chain<Op::Out>) -> Chain<Op::In> {
        operator.attach(self.waker.clone());
        let input = Queue::default();
        let careful = self.careful_input(&id, PortId::FIRST);
        self.link_intake(id, OneInput::new(operator, input.clone(), careful), next);
        Chain { input }
    }

    /// An operator with two inputs, as [`link`](Self::link). Nothing can be put before it: its inputs come over channels.
    pub fn link_two_inputs<Op: TwoInputOperator>(
        &mut self,
        id: OperatorId,
        operator: Op,
        next: Chain<Op::Out>,
    ) -> TwoInputChain<Op::First, Op::Second> {
        let (first, second) = (Queue::default(), Queue::default());
        let careful = (self.careful_input(&id, PortId::FIRST), self.careful_input(&id, PortId::SECOND));
        self.link_intake(id, TwoInputs::new(operator, first.clone(), second.clone(), careful), next);
        TwoInputChain { first, second }
    }

    /// The operator that is linked next works carefully, as [`SubtaskInfo::careful`] says: has it know these of its inputs.
    pub fn work_carefully(&mut self, inputs: CarefulInputs) {
        let SubtaskInfo { careful: work, subtask, clock, .. } = self.subtask;
        self.careful = inputs;
        let (work, clock) = (work.clone(), clock.clone());
        self.careful_barriers = Some(CarefulBarriers { work, subtask: *subtask, clock });
    }

    fn careful_input<T: 'static>(&mut self, operator: &OperatorId, port: PortId) -> MaybeCareful<T> {
        let SubtaskInfo { careful: work, subtask, .. } = self.subtask;
        let at = At { work: work.clone(), subtask: *subtask, operator: operator.clone(), port };
        Careful::take_from(&mut self.careful, at)
    }

    fn link_intake<I: Intake<Out: 'static> + 'static>(&mut self, id: OperatorId, intake: I, next: Chain<I::Out>) {
        assert!(self.careful.is_empty(), "'{id}' has an input of each type that it works on carefully");
        let sides = self.take_sides(&mut next.input.borrow_mut());
        let counters = self.subtask.counters.operator(&id);
        let link = Link { id: id.clone(), intake, out: next.input, holds_end: false, sides, counters };
        self.stages.push(StageSlot::new(Some(id), Box::new(link)));
    }

    /// A side output with these consumers, of the operator that is linked next: call the result for each record,
    /// with its event time or [`NO_TIME`].
    pub fn side<S: Send + 'static>(
        &mut self,
        consumers: Consumers<S>,
        copy: Option<fn(&S) -> S>,
    ) -> impl FnMut(S, Timestamp) + 'static + use<S> {
        let outlets = self.outlets_for(consumers);
        let queue: Queue<S> = Queue::default();
        self.sides.push(Side { marks: queue.clone(), exit: Box::new(Exit::new(queue.clone(), outlets, copy)) });
        move |record, time| queue.borrow_mut().emit_at(record, time)
    }

    /// Sends the source's side records called `tag` to a side output with these consumers.
    ///
    /// # Panics
    /// The pipeline does, when the source hands over a record of another type under this tag.
    pub fn source_side<S: Send + 'static>(
        &mut self,
        tag: Arc<str>,
        consumers: Consumers<S>,
        copy: Option<fn(&S) -> S>,
    ) {
        let mut emit = self.side(consumers, copy);
        let name = tag.clone();
        let take = move |record: Box<dyn Any + Send>| match record.downcast::<S>() {
            Ok(record) => emit(*record, NO_TIME),
            Err(_) => panic!("side output '{name}' is used with two record types"),
        };
        self.source_sides.insert(tag, Box::new(take));
    }

    /// The finished pipeline of an operator task, with `head` before its first stage.
    ///
    /// # Panics
    /// If a side output belongs to no operator.
    pub fn finish<H: Head>(self, head: H) -> Pipeline<H::Batch> {
        assert!(self.sides.is_empty(), "every side output belongs to an operator");
        self.finish_with(head, Vec::new())
    }

    /// The finished pipeline of a source task. Side outputs that no operator has are the source's.
    pub fn finish_source<T: Send + 'static>(mut self, head: Chain<T>) -> Pipeline<Box<Batch<T>>> {
        let sides = self.take_sides(&mut head.input.borrow_mut());
        self.finish_with(head, sides)
    }

    fn finish_with<H: Head>(mut self, head: H, sides: Vec<Box<dyn SideExit>>) -> Pipeline<H::Batch> {
        let outlets = self.outlets.into_iter();
        let outlets = outlets.map(|outlet| outlet.expect("every edge of a task has a stream")).collect();
        self.stages.reverse();
        Pipeline::new(Box::new(head), self.stages, outlets, (sides, self.source_sides), self.careful_barriers)
    }

    /// The side outputs made last, which get the marks of `out` from now on.
    fn take_sides<T>(&mut self, out: &mut Output<T>) -> Vec<Box<dyn SideExit>> {
        let sides = self.sides.drain(..).map(|side| {
            out.add_side(side.marks);
            side.exit
        });
        sides.collect()
    }

    fn outlets_for<T: Send + 'static>(&mut self, consumers: Consumers<T>) -> Vec<Rc<RefCell<Outlet<T>>>> {
        let mut made = Vec::with_capacity(consumers.len());
        for (index, routing) in consumers {
            let counters = &self.subtask.counters;
            let outlet = Outlet::connect(routing, &self.wiring[index as usize], index, &self.credits, counters);
            let outlet = Rc::new(RefCell::new(outlet));
            self.outlets[index as usize] = Some(outlet.clone());
            made.push(outlet);
        }
        made
    }
}

/// Builds the pipeline of a subtask; called on its arbiter, under its guard, once per attempt.
pub trait PipelineFactory<B>: Send + Sync + 'static {
    /// Builds the chain with fresh clones of all user functions.
    fn build(&self, builder: PipelineBuilder<'_>) -> Pipeline<B>;
}

impl<B, F> PipelineFactory<B> for F
where
    F: Fn(PipelineBuilder<'_>) -> Pipeline<B> + Send + Sync + 'static,
{
    fn build(&self, builder: PipelineBuilder<'_>) -> Pipeline<B> {
        self(builder)
    }
}
