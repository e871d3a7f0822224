//! Operators chained in one task: each hands its batches to the next by one virtual call, the last one to the edges.

use std::any::Any;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use actix::Recipient;

use crate::contract::{
    Batch, BatchOperator, GroupLoader, LoadedGroup, Output, Progress, RestoredState, RunBudget, SideRecord,
    SnapshotWriter, StateError, SubtaskInfo,
};
use crate::data::edge::{AnyOutlet, Outlet, ReturnCredit, Routing};
use crate::data::wiring::OutputWiring;
use crate::protocol::{Barrier, CheckpointId, OperatorId, TaskError, Timestamp};

/// A link of a chain, seen from the one before it: takes batches of `T`.
pub trait Chain<T> {
    /// Takes the records of `batch`, in order. [`Progress::Suspended`] means: call again with what is left in it.
    ///
    /// # Errors
    /// Any error fails the task.
    fn push(&mut self, batch: &mut Batch<T>, budget: &mut RunBudget) -> Result<Progress, TaskError>;

    /// Event time has come to `at`. [`Progress::Suspended`] means: call again with the same time.
    ///
    /// # Errors
    /// Any error fails the task.
    fn advance_watermark(&mut self, at: Timestamp, budget: &mut RunBudget) -> Result<Progress, TaskError>;

    /// Writes the state of this link and of all that follow, or begins to.
    ///
    /// # Errors
    /// The first error of an operator.
    fn snapshot(&mut self, writer: &mut SnapshotWriter) -> Result<Progress, StateError>;

    /// Goes on with it, until all links are done.
    ///
    /// # Errors
    /// The first error of an operator.
    fn continue_snapshot(
        &mut self,
        writer: &mut SnapshotWriter,
        budget: &mut RunBudget,
    ) -> Result<Progress, StateError>;

    /// Gives up what was begun.
    fn abandon_snapshot(&mut self);

    /// Adds the loaders of this link and of all that follow, by operator.
    fn group_loaders(&self, loaders: &mut GroupLoaders);

    /// Gives loaded key groups and all other state to this link and to all that follow.
    ///
    /// # Errors
    /// The first error of an operator.
    fn restore(&mut self, state: &mut LoadedState) -> Result<(), StateError>;
}

/// Loaders of keyed state, by operator.
pub(crate) type GroupLoaders = BTreeMap<OperatorId, Box<dyn GroupLoader>>;

/// The state of a checkpoint, as far as one subtask restores it.
#[derive(Debug, Default)]
pub struct LoadedState {
    pub(crate) checkpoint: CheckpointId,
    /// What no loader has taken.
    pub(crate) sections: RestoredState,
    pub(crate) groups: BTreeMap<OperatorId, Vec<LoadedGroup>>,
}

/// An operator in a chain.
struct Link<Op: BatchOperator> {
    id: OperatorId,
    operator: Op,
    out: Output<Op::Out>,
    next: Box<dyn Chain<Op::Out>>,
    /// Its snapshot has been begun and is not all written.
    captures: bool,
}

impl<Op: BatchOperator> Link<Op> {
    fn drain(&mut self, budget: &mut RunBudget) -> Result<Progress, TaskError> {
        let next = &mut self.next;
        self.out.drain(|batch| next.push(batch, budget))
    }
}

impl<Op: BatchOperator> Chain<Op::In> for Link<Op> {
    fn push(&mut self, batch: &mut Batch<Op::In>, budget: &mut RunBudget) -> Result<Progress, TaskError> {
        loop {
            if self.drain(budget)? == Progress::Suspended {
                return Ok(Progress::Suspended);
            }
            if batch.is_empty() {
                return Ok(Progress::Done);
            }
            let progress = self.operator.process(batch, &mut self.out, budget)?;
            if progress == Progress::Suspended && !self.out.is_full() {
                return Ok(Progress::Suspended);
            }
        }
    }

    fn advance_watermark(&mut self, at: Timestamp, budget: &mut RunBudget) -> Result<Progress, TaskError> {
        loop {
            if self.drain(budget)? == Progress::Suspended {
                return Ok(Progress::Suspended);
            }
            match self.operator.advance_watermark(at, &mut self.out, budget)? {
                Progress::Suspended if self.out.is_full() => {}
                Progress::Suspended => return Ok(Progress::Suspended),
                Progress::Done if self.out.is_empty() => return self.next.advance_watermark(at, budget),
                Progress::Done => {}
            }
        }
    }

    fn snapshot(&mut self, writer: &mut SnapshotWriter) -> Result<Progress, StateError> {
        assert!(self.out.is_empty(), "operator '{}' holds records at a barrier", self.id);
        writer.set_operator(&self.id);
        self.captures = self.operator.snapshot(writer)? == Progress::Suspended;
        let next = self.next.snapshot(writer)?;
        Ok(if self.captures { Progress::Suspended } else { next })
    }

    fn continue_snapshot(
        &mut self,
        writer: &mut SnapshotWriter,
        budget: &mut RunBudget,
    ) -> Result<Progress, StateError> {
        if self.captures {
            writer.set_operator(&self.id);
            self.captures = self.operator.continue_snapshot(writer, budget)? == Progress::Suspended;
            if self.captures {
                return Ok(Progress::Suspended);
            }
        }
        self.next.continue_snapshot(writer, budget)
    }

    fn abandon_snapshot(&mut self) {
        if std::mem::take(&mut self.captures) {
            self.operator.abandon_snapshot();
        }
        self.next.abandon_snapshot();
    }

    fn group_loaders(&self, loaders: &mut GroupLoaders) {
        if let Some(loader) = self.operator.group_loader() {
            loaders.insert(self.id.clone(), loader);
        }
        self.next.group_loaders(loaders);
    }

    fn restore(&mut self, state: &mut LoadedState) -> Result<(), StateError> {
        for group in state.groups.remove(&self.id).unwrap_or_default() {
            self.operator.restore_group(group)?;
        }
        let sections = state.sections.take(&self.id);
        if !sections.is_empty() {
            self.operator.restore(sections)?;
        }
        self.operator.restored(state.checkpoint);
        self.next.restore(state)
    }
}

/// The end of a chain: the edges that consume its last operator's output.
struct Terminal<T: Send + 'static> {
    outlets: Vec<Rc<RefCell<Outlet<T>>>>,
    copy: Option<fn(&T) -> T>,
}

impl<T: Send + 'static> Chain<T> for Terminal<T> {
    fn push(&mut self, batch: &mut Batch<T>, _: &mut RunBudget) -> Result<Progress, TaskError> {
        if self.outlets.iter().any(|outlet| outlet.borrow().is_blocked()) {
            return Ok(Progress::Suspended);
        }
        let Some((last, others)) = self.outlets.split_last() else {
            batch.clear();
            return Ok(Progress::Done);
        };
        for outlet in others {
            let copy = self.copy.expect("a stream with several consumers knows how to copy its records");
            let mut copied = Batch { records: batch.records.iter().map(copy).collect(), bytes: batch.bytes };
            outlet.borrow_mut().accept(&mut copied)?;
        }
        last.borrow_mut().accept(batch)?;
        Ok(Progress::Done)
    }

    fn advance_watermark(&mut self, at: Timestamp, _: &mut RunBudget) -> Result<Progress, TaskError> {
        self.outlets.iter().for_each(|outlet| outlet.borrow_mut().watermark(at));
        Ok(Progress::Done)
    }

    fn snapshot(&mut self, _: &mut SnapshotWriter) -> Result<Progress, StateError> {
        Ok(Progress::Done)
    }

    fn continue_snapshot(&mut self, _: &mut SnapshotWriter, _: &mut RunBudget) -> Result<Progress, StateError> {
        Ok(Progress::Done)
    }

    fn abandon_snapshot(&mut self) {}

    fn group_loaders(&self, _: &mut GroupLoaders) {}

    fn restore(&mut self, _: &mut LoadedState) -> Result<(), StateError> {
        Ok(())
    }
}

/// Records on their way to a side output, gathered during a step.
type SideBuffer<S> = Rc<RefCell<Batch<S>>>;

trait SideEdge {
    /// Hands on what was gathered. Side records never hold a step up: what one step emits waits at the outlet.
    fn drain(&mut self) -> Result<(), TaskError>;

    /// Event time has come to `at`.
    fn watermark(&mut self, at: Timestamp);
}

struct TypedSide<S: Send + 'static> {
    gathered: SideBuffer<S>,
    outlets: Vec<Rc<RefCell<Outlet<S>>>>,
    copy: Option<fn(&S) -> S>,
}

impl<S: Send + 'static> SideEdge for TypedSide<S> {
    fn drain(&mut self) -> Result<(), TaskError> {
        let mut gathered = self.gathered.borrow_mut();
        if gathered.is_empty() {
            return Ok(());
        }
        let (last, others) = self.outlets.split_last().expect("a side edge has a consumer");
        for outlet in others {
            let copy = self.copy.expect("a stream with several consumers knows how to copy its records");
            let mut copied = Batch { records: gathered.records.iter().map(copy).collect(), bytes: gathered.bytes };
            outlet.borrow_mut().accept(&mut copied)?;
        }
        last.borrow_mut().accept(&mut gathered)
    }

    fn watermark(&mut self, at: Timestamp) {
        self.outlets.iter().for_each(|outlet| outlet.borrow_mut().watermark(at));
    }
}

/// Builds the chain of one subtask, on its arbiter, from the last link to the first.
pub struct PipelineBuilder<'a> {
    subtask: &'a SubtaskInfo,
    wiring: Vec<OutputWiring>,
    credits: Recipient<ReturnCredit>,
    outlets: Vec<Option<Rc<RefCell<dyn AnyOutlet>>>>,
    sides: Vec<Box<dyn SideEdge>>,
    source_sides: BTreeMap<Arc<str>, SourceSide>,
}

/// Takes a boxed record of a source's side output.
type SourceSide = Box<dyn FnMut(Box<dyn Any + Send>)>;

/// The consumers of one stream: the task's edges with these numbers, and how each spreads records.
pub type Consumers<T> = Vec<(u32, Routing<T>)>;

impl<'a> PipelineBuilder<'a> {
    /// A builder for `subtask` with these edges, whose credits come back to `credits`.
    pub fn new(subtask: &'a SubtaskInfo, wiring: Vec<OutputWiring>, credits: Recipient<ReturnCredit>) -> Self {
        let outlets = wiring.iter().map(|_| None).collect();
        Self { subtask, wiring, credits, outlets, sides: Vec::new(), source_sides: BTreeMap::new() }
    }

    /// The subtask.
    pub fn subtask(&self) -> &SubtaskInfo {
        self.subtask
    }

    /// The end of a chain whose output has these consumers. `copy` is needed where there are several.
    pub fn terminal<T: Send + 'static>(
        &mut self,
        consumers: Consumers<T>,
        copy: Option<fn(&T) -> T>,
    ) -> Box<dyn Chain<T>> {
        let outlets = self.outlets_for(consumers);
        Box::new(Terminal { outlets, copy })
    }

    /// An operator before `next`.
    pub fn link<Op: BatchOperator>(
        &self,
        id: OperatorId,
        operator: Op,
        next: Box<dyn Chain<Op::Out>>,
    ) -> Box<dyn Chain<Op::In>> {
        Box::new(Link { id, operator, out: Output::new(), next, captures: false })
    }

    /// A side output with these consumers: call the result for each record.
    pub fn side<S: Send + 'static>(
        &mut self,
        consumers: Consumers<S>,
        copy: Option<fn(&S) -> S>,
    ) -> impl FnMut(S) + 'static + use<S> {
        let outlets = self.outlets_for(consumers);
        let gathered: SideBuffer<S> = Rc::default();
        self.sides.push(Box::new(TypedSide { gathered: gathered.clone(), outlets, copy }));
        move |record| gathered.borrow_mut().push(record, 0)
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
            Ok(record) => emit(*record),
            Err(_) => panic!("side output '{name}' is used with two record types"),
        };
        self.source_sides.insert(tag, Box::new(take));
    }

    /// The finished pipeline with `head` as its first link.
    pub fn finish<T>(self, head: Box<dyn Chain<T>>) -> Pipeline<T> {
        let outlets =
            self.outlets.into_iter().map(|outlet| outlet.expect("every edge of a task has a stream")).collect();
        Pipeline { head, outlets, sides: self.sides, source_sides: self.source_sides }
    }

    fn outlets_for<T: Send + 'static>(&mut self, consumers: Consumers<T>) -> Vec<Rc<RefCell<Outlet<T>>>> {
        let mut made = Vec::with_capacity(consumers.len());
        for (index, routing) in consumers {
            let outlet = Outlet::connect(routing, &self.wiring[index as usize], index, &self.credits);
            let outlet = Rc::new(RefCell::new(outlet));
            self.outlets[index as usize] = Some(outlet.clone());
            made.push(outlet);
        }
        made
    }
}

/// Builds the pipeline of a subtask; called on its arbiter, under its guard, once per attempt.
pub trait PipelineFactory<T>: Send + Sync + 'static {
    /// Builds the chain with fresh clones of all user functions.
    fn build(&self, builder: PipelineBuilder<'_>) -> Pipeline<T>;
}

impl<T, F> PipelineFactory<T> for F
where
    F: Fn(PipelineBuilder<'_>) -> Pipeline<T> + Send + Sync + 'static,
{
    fn build(&self, builder: PipelineBuilder<'_>) -> Pipeline<T> {
        self(builder)
    }
}

/// The operators of one subtask and the edges that leave it.
pub struct Pipeline<T> {
    head: Box<dyn Chain<T>>,
    outlets: Vec<Rc<RefCell<dyn AnyOutlet>>>,
    sides: Vec<Box<dyn SideEdge>>,
    source_sides: BTreeMap<Arc<str>, SourceSide>,
}

impl<T> Pipeline<T> {
    /// Takes the records of `batch`. [`Progress::Suspended`] means: call again with what is left in it, as soon as the
    /// edges have credit if [`is_blocked`](Self::is_blocked), else after others had their turn.
    ///
    /// # Errors
    /// Any error fails the task.
    pub fn push(&mut self, batch: &mut Batch<T>, budget: &mut RunBudget) -> Result<Progress, TaskError> {
        let progress = self.head.push(batch, budget)?;
        self.drain_sides()?;
        Ok(progress)
    }

    /// Event time has come to `at`; as [`push`](Self::push).
    ///
    /// # Errors
    /// Any error fails the task.
    pub fn advance_watermark(&mut self, at: Timestamp, budget: &mut RunBudget) -> Result<Progress, TaskError> {
        let progress = self.head.advance_watermark(at, budget)?;
        self.drain_sides()?;
        if progress == Progress::Done {
            self.sides.iter_mut().for_each(|side| side.watermark(at));
        }
        Ok(progress)
    }

    /// Hands side records of a source on.
    ///
    /// # Errors
    /// Any error fails the task.
    pub fn push_side_records(&mut self, records: Vec<SideRecord>) -> Result<(), TaskError> {
        for SideRecord { tag, record } in records {
            if let Some(take) = self.source_sides.get_mut(&tag) {
                take(record);
            }
        }
        self.drain_sides()
    }

    fn drain_sides(&mut self) -> Result<(), TaskError> {
        self.sides.iter_mut().try_for_each(|side| side.drain())
    }

    /// Whether an edge waits for credit.
    pub fn is_blocked(&self) -> bool {
        self.outlets.iter().any(|outlet| outlet.borrow().is_blocked())
    }

    /// Sends records that wait for a batch to fill.
    pub fn flush(&mut self) {
        self.on_outlets(|outlet| outlet.flush());
    }

    /// No records at present.
    pub fn idle(&mut self) {
        self.on_outlets(|outlet| outlet.idle());
    }

    /// Closes a checkpoint on every edge, in one step.
    pub fn barrier(&mut self, barrier: Barrier) {
        self.on_outlets(|outlet| outlet.barrier(barrier));
    }

    /// No more records.
    pub fn end(&mut self) {
        self.on_outlets(|outlet| outlet.end());
    }

    /// Credits came back.
    pub fn credit(&mut self, message: ReturnCredit) {
        self.outlets[message.output as usize].borrow_mut().credit(message.line, message.credits, message.batch);
    }

    /// Writes the state of all operators, or begins to.
    ///
    /// # Errors
    /// The first error of an operator.
    pub fn snapshot(&mut self, writer: &mut SnapshotWriter) -> Result<Progress, StateError> {
        self.head.snapshot(writer)
    }

    /// Goes on with it.
    ///
    /// # Errors
    /// The first error of an operator.
    pub fn continue_snapshot(
        &mut self,
        writer: &mut SnapshotWriter,
        budget: &mut RunBudget,
    ) -> Result<Progress, StateError> {
        self.head.continue_snapshot(writer, budget)
    }

    /// Gives up what was begun.
    pub fn abandon_snapshot(&mut self) {
        self.head.abandon_snapshot();
    }

    /// A set of loaders, for one thread.
    pub(crate) fn group_loaders(&self) -> GroupLoaders {
        let mut loaders = GroupLoaders::new();
        self.head.group_loaders(&mut loaders);
        loaders
    }

    /// Gives all operators their state.
    ///
    /// # Errors
    /// The first error of an operator.
    pub fn restore(&mut self, state: &mut LoadedState) -> Result<(), StateError> {
        self.head.restore(state)
    }

    fn on_outlets(&mut self, each: impl Fn(&mut dyn AnyOutlet)) {
        for outlet in &self.outlets {
            each(&mut *outlet.borrow_mut());
        }
    }
}
