//! The nodes of a logical graph. Types are known where a node is made and erased here; they meet again when a subtask's
//! chain is built, never per record.

use std::any::{Any, type_name};
use std::collections::BTreeMap;
use std::sync::Arc;

use millstream_actors::contract::{Boundedness, Sink, SinkGuarantee, Source, SubtaskInfo, Threading};
use millstream_actors::data::edge::Routing;
use millstream_actors::data::pipeline::{Chain, Consumers, Head, PipelineBuilder, RecordType};
use millstream_actors::protocol::{OperatorId, PortId, RegionPolicy};
use millstream_actors::task::TaskFactory;
use millstream_actors::task::operator_task::OperatorTaskFactory;
use millstream_actors::task::sink_task::SinkTaskFactory;
use millstream_actors::task::source_task::SourceTaskFactory;

use super::StateNames;
use super::directives::PlacedDirective;
use super::error::At;
use super::settings::Placed;
use crate::keyed::CarefulTimers;
use crate::operator::SideOutputs;
use crate::sink::shown::{AnyShown, Shown, ShownSink};
use crate::source::fed::{AnyFeed, Choose, FedSource, Feed};
use crate::state::StateBackend;
use crate::time::WatermarkStrategy;

/// A node's index in its graph; nodes come after their inputs.
pub(crate) type NodeId = usize;

/// A `Chain<T>`, or the [`Head`] of a task whose first operator takes something else.
pub(crate) type AnyChain = Box<dyn Any>;

/// An `Arc<Routes<T>>`.
pub(crate) type AnyRouting = Arc<dyn Any + Send + Sync>;

/// Makes the routing of one edge of one subtask.
pub(crate) struct Routes<T>(pub(crate) Box<RouteFn<T>>);

type RouteFn<T> = dyn Fn(&RouteContext) -> Routing<T> + Send + Sync;

/// What a routing may need to know.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RouteContext {
    pub(crate) max_parallelism: u32,
}

/// How records spread over the subtasks of the consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EdgeKind {
    /// Subtask i to subtask i where both have one parallelism, else in turn.
    Forward,
    Rebalance,
    Broadcast,
    KeyBy,
    Custom,
}

/// Which output of a node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum PortRef {
    Main,
    Side(Arc<str>),
}

/// An output of a node of the graph.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct StreamRef {
    pub(crate) node: NodeId,
    pub(crate) port: PortRef,
}

/// An edge, seen from its consumer.
#[derive(Clone)]
pub(crate) struct InputEdge {
    pub(crate) from: StreamRef,
    /// The consumer's input that it serves.
    pub(crate) port: PortId,
    pub(crate) kind: EdgeKind,
    pub(crate) routes: AnyRouting,
}

/// An operator of the logical graph.
pub(crate) struct Node {
    pub(crate) id: OperatorId,
    pub(crate) name: Arc<str>,
    pub(crate) at: At,
    /// The ids that it had in older checkpoints.
    pub(crate) former_ids: Vec<OperatorId>,
    /// The names of its states, where they are known.
    pub(crate) states: Option<StateNames>,
    /// States that it had in older checkpoints, to be left out.
    pub(crate) dropped_states: Vec<Arc<str>>,
    /// `None`: the job's.
    pub(crate) parallelism: Option<u32>,
    /// Whether it keeps keyed state.
    pub(crate) is_keyed: bool,
    /// What keeps its keyed state; `None`: the job's.
    pub(crate) state_backend: Option<StateBackend>,
    /// Whether it may run in one task with its input.
    pub(crate) chains: bool,
    /// Whether it may hold the end back.
    pub(crate) holds_end: bool,
    /// Whether the subtasks of its task have arbiters of their own.
    pub(crate) own_arbiters: bool,
    /// What is said of the supervision of its region.
    pub(crate) region_policies: Vec<Placed<RegionPolicy>>,
    /// Whether timers of its keys can be withheld.
    pub(crate) withholds_timers: bool,
    /// What becomes of records at which it panics.
    pub(crate) on_panic: Vec<PlacedDirective>,
    pub(crate) inputs: Vec<InputEdge>,
    pub(crate) main: Option<Box<dyn AnyPort>>,
    pub(crate) sides: BTreeMap<Arc<str>, Box<dyn AnyPort>>,
    pub(crate) kind: NodeKind,
}

/// What a node is.
pub(crate) enum NodeKind {
    Source(Arc<dyn AnySource>),
    Operator(Arc<dyn AnyOperator>),
    Sink(Arc<dyn AnySink>),
}

/// An output, whatever its records.
pub(crate) trait AnyPort: Send + Sync {
    fn records(&self) -> RecordType;
    /// Sets how records are copied: a `fn(&T) -> T`.
    fn set_copy(&mut self, copy: Box<dyn Any>);
    fn terminal(&self, builder: &mut PipelineBuilder<'_>, consumers: &[(u32, AnyRouting)]) -> AnyChain;
    fn connect_side(
        &self,
        builder: &mut PipelineBuilder<'_>,
        tag: &Arc<str>,
        consumers: &[(u32, AnyRouting)],
        sides: &mut SideOutputs,
    );
    fn connect_source_side(&self, builder: &mut PipelineBuilder<'_>, tag: &Arc<str>, consumers: &[(u32, AnyRouting)]);
}

/// An output of records of type `T`.
pub(crate) struct Port<T> {
    pub(crate) copy: Option<fn(&T) -> T>,
}

impl<T: Send + 'static> Port<T> {
    pub(crate) fn boxed() -> Box<dyn AnyPort> {
        Box::new(Self { copy: None })
    }

    fn consumers(builder: &PipelineBuilder<'_>, consumers: &[(u32, AnyRouting)]) -> Consumers<T> {
        let cx = RouteContext { max_parallelism: builder.subtask().max_parallelism };
        let typed = consumers.iter().map(|(output, routes)| {
            let routes = routes.downcast_ref::<Routes<T>>().expect("an edge has the type of its stream");
            (*output, (routes.0)(&cx))
        });
        typed.collect()
    }
}

impl<T: Send + 'static> AnyPort for Port<T> {
    fn records(&self) -> RecordType {
        RecordType::of::<T>()
    }

    fn set_copy(&mut self, copy: Box<dyn Any>) {
        self.copy = Some(*copy.downcast::<fn(&T) -> T>().expect("a stream's copy has the stream's type"));
    }

    fn terminal(&self, builder: &mut PipelineBuilder<'_>, consumers: &[(u32, AnyRouting)]) -> AnyChain {
        let consumers = Self::consumers(builder, consumers);
        Box::new(builder.terminal(consumers, self.copy))
    }

    fn connect_side(
        &self,
        builder: &mut PipelineBuilder<'_>,
        tag: &Arc<str>,
        consumers: &[(u32, AnyRouting)],
        sides: &mut SideOutputs,
    ) {
        let consumers = Self::consumers(builder, consumers);
        sides.connect::<T>(tag.clone(), builder.side(consumers, self.copy));
    }

    fn connect_source_side(&self, builder: &mut PipelineBuilder<'_>, tag: &Arc<str>, consumers: &[(u32, AnyRouting)]) {
        let consumers = Self::consumers(builder, consumers);
        builder.source_side::<T>(tag.clone(), consumers, self.copy);
    }
}

/// Builds the pipeline of a task's subtask and gives back its head.
pub(crate) type Recipe = Arc<dyn Fn(&mut PipelineBuilder<'_>) -> AnyChain + Send + Sync>;

/// What an operator gets when its instance is made.
pub(crate) struct NodeContext<'a> {
    pub(crate) id: &'a OperatorId,
    pub(crate) subtask: &'a SubtaskInfo,
    pub(crate) sides: SideOutputs,
    pub(crate) state_backend: &'a StateBackend,
    /// Set if it fires timers carefully.
    pub(crate) careful_timers: Option<Box<CarefulTimers>>,
}

/// What an operator is given besides what its subtask is.
pub(crate) struct Given<'a> {
    pub(crate) sides: SideOutputs,
    pub(crate) state_backend: &'a StateBackend,
    pub(crate) careful_timers: Option<Box<CarefulTimers>>,
}

/// An operator, whatever its types.
pub(crate) trait AnyOperator: Send + Sync {
    /// What it takes, port by port.
    fn records(&self) -> Vec<RecordType>;
    fn link(&self, builder: &mut PipelineBuilder<'_>, id: &OperatorId, given: Given<'_>, next: AnyChain) -> AnyChain;
    fn task_factory(&self, operators: Vec<OperatorId>, recipe: Recipe, holds_end: bool) -> Arc<dyn TaskFactory>;
}

/// Makes the links of an operator that takes what `H` does and emits `Out`.
pub(crate) struct OperatorNode<H, Out> {
    pub(crate) link: Box<LinkFn<H, Out>>,
}

/// Puts a fresh instance before the chain it is given.
type LinkFn<H, Out> = dyn Fn(&mut PipelineBuilder<'_>, NodeContext<'_>, Chain<Out>) -> H + Send + Sync;

impl<H: Head, Out: Send + 'static> AnyOperator for OperatorNode<H, Out> {
    fn records(&self) -> Vec<RecordType> {
        H::records()
    }

    fn link(&self, builder: &mut PipelineBuilder<'_>, id: &OperatorId, given: Given<'_>, next: AnyChain) -> AnyChain {
        let next = *next.downcast::<Chain<Out>>().expect("an operator is followed by its output's type");
        let Given { sides, state_backend, careful_timers } = given;
        let cx = NodeContext { id, subtask: builder.subtask(), sides, state_backend, careful_timers };
        Box::new((self.link)(builder, cx, next))
    }

    fn task_factory(&self, operators: Vec<OperatorId>, recipe: Recipe, holds_end: bool) -> Arc<dyn TaskFactory> {
        let pipeline = move |mut builder: PipelineBuilder<'_>| {
            let head = head_of::<H>(&mut builder, &recipe);
            builder.finish(head)
        };
        Arc::new(OperatorTaskFactory::<H::Batch>::new(operators, pipeline, holds_end))
    }
}

fn head_of<H: Head>(builder: &mut PipelineBuilder<'_>, recipe: &Recipe) -> H {
    *recipe(builder).downcast::<H>().expect("a task's head has the task's input type")
}

/// A source, whatever its records.
pub(crate) trait AnySource: Send + Sync {
    fn boundedness(&self) -> Boundedness;
    fn mistake(&self) -> Option<String>;
    fn task_factory(&self, operators: Vec<OperatorId>, recipe: Recipe) -> Arc<dyn TaskFactory>;
    /// The type of its records.
    fn item(&self) -> &'static str;
    /// All that one with so many subtasks is to be fed.
    fn new_feed(&self, subtasks: u32) -> Arc<dyn AnyFeed>;
    /// What reads this feed in its place; `None` if it has other records.
    fn fed(&self, feed: &Arc<dyn AnyFeed>, choose: &Choose) -> Option<Arc<dyn AnySource>>;
}

/// A source of the graph.
pub(crate) struct SourceNode<S>(pub(crate) Arc<S>);

impl<S: Source> AnySource for SourceNode<S> {
    fn boundedness(&self) -> Boundedness {
        self.0.boundedness()
    }

    fn mistake(&self) -> Option<String> {
        self.0.mistake()
    }

    fn task_factory(&self, operators: Vec<OperatorId>, recipe: Recipe) -> Arc<dyn TaskFactory> {
        let build = move |mut builder: PipelineBuilder<'_>| {
            let head = head_of::<Chain<S::Item>>(&mut builder, &recipe);
            builder.finish_source(head)
        };
        Arc::new(SourceTaskFactory::new(self.0.clone(), operators, build))
    }

    fn item(&self) -> &'static str {
        type_name::<S::Item>()
    }

    fn new_feed(&self, subtasks: u32) -> Arc<dyn AnyFeed> {
        Arc::new(Feed::<S::Item>::new(subtasks))
    }

    fn fed(&self, feed: &Arc<dyn AnyFeed>, choose: &Choose) -> Option<Arc<dyn AnySource>> {
        let feed: Arc<dyn Any + Send + Sync> = feed.clone();
        let strategy = self.0.strategy().and_then(|strategy| strategy.downcast::<WatermarkStrategy<S::Item>>().ok());
        let feed = feed.downcast_ref::<Feed<S::Item>>()?.clone();
        let source = FedSource::new(feed, strategy.map(|strategy| *strategy), choose.clone());
        Some(Arc::new(SourceNode(Arc::new(source))))
    }
}

/// A sink, whatever its records.
pub(crate) trait AnySink: Send + Sync {
    fn guarantee(&self) -> SinkGuarantee;
    fn can_withdraw(&self) -> bool;
    fn mistake(&self) -> Option<String>;
    fn exclusive_output(&self) -> Option<String>;
    fn task_factory(&self, operator: OperatorId, former: Vec<OperatorId>) -> Arc<dyn TaskFactory>;
    /// The type of its records.
    fn item(&self) -> &'static str;
    /// All that it will be given.
    fn new_shown(&self) -> Arc<dyn AnyShown>;
    /// What shows its records so in its place; `None` if it has other records.
    fn shown(&self, shown: &Arc<dyn AnyShown>) -> Option<Arc<dyn AnySink>>;
}

/// A sink of the graph.
pub(crate) struct SinkNode<S>(pub(crate) Arc<S>);

impl<S: Sink> AnySink for SinkNode<S> {
    fn guarantee(&self) -> SinkGuarantee {
        self.0.guarantee()
    }

    fn can_withdraw(&self) -> bool {
        self.0.can_withdraw()
    }

    fn exclusive_output(&self) -> Option<String> {
        self.0.exclusive_output()
    }

    fn mistake(&self) -> Option<String> {
        // Its writers' demand is asked where their calls are made by the task itself.
        let misfit = self.0.may_hold_back() && self.0.threading() == Threading::Blocking;
        let reason = "Sink::may_hold_back with Threading::Blocking: a blocking writer holds back by waiting in its calls; leave one out";
        self.0.mistake().or_else(|| misfit.then(|| reason.to_owned()))
    }

    fn task_factory(&self, operator: OperatorId, former: Vec<OperatorId>) -> Arc<dyn TaskFactory> {
        Arc::new(SinkTaskFactory::new(self.0.clone(), operator, former))
    }

    fn item(&self) -> &'static str {
        type_name::<S::Item>()
    }

    fn new_shown(&self) -> Arc<dyn AnyShown> {
        Arc::new(Shown::<S::Item>::new())
    }

    fn shown(&self, shown: &Arc<dyn AnyShown>) -> Option<Arc<dyn AnySink>> {
        let shown: Arc<dyn Any + Send + Sync> = shown.clone();
        let shown = shown.downcast_ref::<Shown<S::Item>>()?.clone();
        Some(Arc::new(SinkNode(Arc::new(ShownSink(shown)))))
    }
}
