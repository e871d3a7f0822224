//! A stream of records.

use std::fmt;
use std::panic::Location;
use std::rc::Rc;
use std::sync::Arc;

use millstream_actors::contract::{BatchOperator, Partitioner, Source};
use millstream_actors::data::edge::Routing;
use millstream_actors::data::pipeline::{Chain, Head, PipelineBuilder};
use millstream_actors::protocol::PortId;

use super::windowed_stream::AllWindows;
use super::{ConnectedStreams, DataStreamSink, KeyedStream, SinkOf, WindowedStream};
use crate::graph::{
    EdgeKind, GraphError, GraphHandle, InputEdge, NodeContext, NodeId, NodeKind, OperatorNode, Port, PortRef,
    Prototype, RouteContext, Routes, SinkNode, SourceNode, StateNames, StreamRef,
};
use crate::operator::{
    ByRef, ByValue, CustomPartitioner, Emitter, Filter, FilterMap, FlatMap, Inspect, Map, OutputTag, ProcessFunction,
    ProcessOperator, Rebalance,
};
use crate::sink::ForEachSink;
use crate::state::{OperatorStateSet, Share, StateKey};
use crate::window::WindowAssigner;

/// A stream of records of type `T`: what an operator takes and gives.
///
/// Records of one subtask stay in order as long as they are not redistributed; after a redistribution the records that
/// go from one subtask to another stay in order.
///
/// Closures are `Fn + Clone + Send` and not `async`, but for that of [`async_map`](Self::async_map): what one gives is a record, a
/// future too, and nothing awaits it. Each subtask and each attempt runs a fresh clone, and state hidden in a closure
/// would not be in a snapshot. A closure that panics fails its region, which restarts from the newest checkpoint.
///
/// A stream whose records are `Clone` may be cloned, and each clone consumed: every consumer gets every record.
///
/// ```
/// use millstream::prelude::*;
///
/// # actix_rt::System::new().block_on(async {
/// let (short, long) = (CollectSink::new(), CollectSink::new());
/// let (shorter, longer) = (short.handle(), long.handle());
///
/// let env = StreamEnvironment::new("words");
/// let words: DataStream<String> = env
///     .source("lines", VecSource::new(vec!["to be or".to_owned(), "not to be".to_owned()]))
///     .flat_map(|line: String, out| line.split(' ').for_each(|word| out.emit(word.to_owned())));
/// words.clone().filter(|word| word.len() < 3).sink("short", short);   // each consumer gets every record
/// words.filter(|word| word.len() >= 3).map(|word| word.to_uppercase()).sink("long", long);
/// env.start()?.await?;
///
/// assert_eq!(shorter.snapshot(), ["to", "be", "or", "to", "be"]);
/// assert_eq!(longer.snapshot(), ["NOT"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[must_use = "a stream leads nowhere until it ends in a sink or in for_each"]
pub struct DataStream<T> {
    pub(crate) graph: GraphHandle,
    pub(crate) inputs: Vec<Input<T>>,
}

/// A stream of the graph, and how its records will spread over the next operator's subtasks.
pub(crate) struct Input<T> {
    from: StreamRef,
    kind: EdgeKind,
    routes: Arc<Routes<T>>,
}

impl<T> Clone for Input<T> {
    fn clone(&self) -> Self {
        Self { from: self.from.clone(), kind: self.kind, routes: self.routes.clone() }
    }
}

impl<T: Clone + Send + 'static> Clone for DataStream<T> {
    fn clone(&self) -> Self {
        let copy: fn(&T) -> T = T::clone;
        for input in &self.inputs {
            self.graph.borrow_mut().set_copy(&input.from, Box::new(copy));
        }
        Self { graph: self.graph.clone(), inputs: self.inputs.clone() }
    }
}

impl<T: Send + 'static> DataStream<T> {
    #[track_caller]
    pub(crate) fn from_source<S: Source<Item = T>>(graph: &GraphHandle, id: &str, source: S) -> Self {
        let kind = NodeKind::Source(Arc::new(SourceNode(Arc::new(source))));
        let node = graph.borrow_mut().add(id, Some(id), Location::caller(), Vec::new(), Some(Port::<T>::boxed()), kind);
        Self::of(graph, node, PortRef::Main)
    }

    fn of(graph: &GraphHandle, node: NodeId, port: PortRef) -> Self {
        // Where the parallelism changes, records that go straight on are dealt out in turn.
        let routes = Routes::<T>(Box::new(|_| Routing::Partitioned(Box::new(Rebalance::starting_at(0)))));
        let from = StreamRef { node, port };
        Self { graph: graph.clone(), inputs: vec![Input { from, kind: EdgeKind::Forward, routes: Arc::new(routes) }] }
    }

    /// Gives `function` of each record. What it has to wait for is for [`async_map`](Self::async_map).
    #[track_caller]
    pub fn map<U: Send + 'static>(self, function: impl Fn(T) -> U + Clone + Send + 'static) -> DataStream<U> {
        let function = Prototype::new(function);
        self.operator("map", None, Location::caller(), move |_| Map::new(function.fresh()))
    }

    /// Keeps the records for which `predicate` holds.
    #[track_caller]
    pub fn filter(self, predicate: impl Fn(&T) -> bool + Clone + Send + 'static) -> Self {
        let predicate = Prototype::new(predicate);
        self.operator("filter", None, Location::caller(), move |_| Filter::new(predicate.fresh()))
    }

    /// Gives `function` of each record for which it gives something.
    #[track_caller]
    pub fn filter_map<U: Send + 'static>(
        self,
        function: impl Fn(T) -> Option<U> + Clone + Send + 'static,
    ) -> DataStream<U> {
        let function = Prototype::new(function);
        self.operator("filter_map", None, Location::caller(), move |_| FilterMap::new(function.fresh()))
    }

    /// Gives all that `function` emits for each record, in order, to the stream and to
    /// [side outputs](Emitter::emit_to).
    ///
    /// What one call emits is held in memory until it returns; more than
    /// [`Limits::emit_per_call_max`](crate::Limits::emit_per_call_max) records fail the job.
    #[track_caller]
    pub fn flat_map<U: Send + 'static>(
        self,
        function: impl Fn(T, &mut Emitter<'_, U>) + Clone + Send + 'static,
    ) -> DataStream<U> {
        let function = Prototype::new(function);
        self.operator("flat_map", None, Location::caller(), move |cx| {
            FlatMap::new(cx.id.clone(), cx.subtask.limits.emit_per_call_max, function.fresh()).side_outputs(cx.sides)
        })
    }

    /// Calls `function` with each record, which passes on unchanged.
    #[doc(alias = "peek")]
    #[track_caller]
    pub fn inspect(self, function: impl Fn(&T) + Clone + Send + 'static) -> Self {
        let function = Prototype::new(function);
        self.operator("inspect", None, Location::caller(), move |_| Inspect::new(function.fresh()))
    }

    /// Two streams: the records for which `predicate` holds, and the others, each in order.
    ///
    /// ```
    /// use millstream::prelude::*;
    ///
    /// # actix_rt::System::new().block_on(async {
    /// let (evens, odds) = (CollectSink::new(), CollectSink::new());
    /// let (even, odd) = (evens.handle(), odds.handle());
    /// let env = StreamEnvironment::new("parity");
    /// let (left, right) = env.source("numbers", SequenceSource::new(0..6)).split(|n| n % 2 == 0);
    /// left.sink("evens", evens);
    /// right.sink("odds", odds);
    /// env.start()?.await?;
    /// assert_eq!((even.snapshot(), odd.snapshot()), (vec![0, 2, 4], vec![1, 3, 5]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    #[track_caller]
    pub fn split(self, predicate: impl Fn(&T) -> bool + Clone + Send + 'static) -> (Self, Self) {
        let others = OutputTag::new("others");
        let (tag, predicate) = (others.clone(), Prototype::new(predicate));
        let matching = self.operator("split", None, Location::caller(), move |cx| {
            let (tag, predicate) = (tag.clone(), predicate.fresh());
            let function = move |record: T, out: &mut Emitter<'_, T>| {
                if predicate(&record) { out.emit(record) } else { out.emit_to(&tag, record) }
            };
            FlatMap::new(cx.id.clone(), 1, function).side_outputs(cx.sides)
        });
        let others = matching.side_output(&others);
        (matching, others)
    }

    /// The records of both streams, in no particular order between them. A stream may be united with a clone of
    /// itself.
    #[track_caller]
    pub fn union(mut self, other: Self) -> Self {
        if Rc::ptr_eq(&self.graph, &other.graph) {
            self.inputs.extend(other.inputs);
        } else {
            self.graph.borrow_mut().errors.push(GraphError::ForeignStream { at: Location::caller() });
        }
        self
    }

    /// This stream and another one, whose records may be of another type, as the two inputs of one operator. A stream may
    /// be connected with a clone of itself.
    #[track_caller]
    pub fn connect<U: Send + 'static>(self, mut other: DataStream<U>) -> ConnectedStreams<T, U> {
        self.check_same_graph(&mut other, Location::caller());
        ConnectedStreams::new(self, other)
    }

    /// Checks that a stream with which this one was brought together at `at` is of the same graph.
    pub(super) fn check_same_graph<U>(&self, other: &mut DataStream<U>, at: &'static Location<'static>) {
        if !Rc::ptr_eq(&self.graph, &other.graph) {
            self.graph.borrow_mut().errors.push(GraphError::ForeignStream { at });
            other.inputs.clear();
        }
    }

    /// Deals records out to the next operator's subtasks in turn.
    pub fn rebalance(self) -> Self {
        self.routed(EdgeKind::Rebalance, |_| Routing::Partitioned(Box::new(Rebalance::starting_at(0))))
    }

    /// Sends each record to every subtask of the next operator.
    pub fn broadcast(self) -> Self
    where
        T: Clone,
    {
        self.routed(EdgeKind::Broadcast, |_| Routing::Broadcast(T::clone))
    }

    /// Sends each record to the subtask that `function` names: below the number of subtasks, its second argument.
    /// Naming another one fails the job.
    pub fn partition_by(self, function: impl Fn(&T, u32) -> u32 + Clone + Send + 'static) -> Self {
        let function = Prototype::new(function);
        self.routed(EdgeKind::Custom, move |_| Routing::Partitioned(Box::new(CustomPartitioner::new(function.fresh()))))
    }

    /// Groups records by the key that `selector` gives. It must be pure: the same key for the same record every time.
    /// Records of one key go to one subtask, in order. A key that is borrowed from the record is for
    /// [`key_by_ref`](Self::key_by_ref): the compiler says of it here that "lifetime may not live long enough".
    ///
    /// A key is hashed, compared and stored, so a type of one's own derives what [`StateKey`] asks for:
    ///
    /// ```
    /// use millstream::prelude::*;
    ///
    /// #[derive(Clone, Hash, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
    /// struct Seat {
    ///     row: u32,
    /// }
    ///
    /// # let env = StreamEnvironment::new("seats");
    /// env.source("sold", SequenceSource::new(0..100))
    ///     .key_by(|n| Seat { row: (n / 10) as u32 })
    ///     .fold("sold-in-row", 0u32, |sold, _| *sold += 1)
    ///     .sink("out", CollectSink::new());
    /// # env.explain().unwrap();
    /// ```
    ///
    /// Without the derives it does not compile:
    ///
    /// ```compile_fail,E0277
    /// use millstream::prelude::*;
    ///
    /// #[derive(Clone)]
    /// struct Seat {
    ///     row: u32,
    /// }
    ///
    /// let env = StreamEnvironment::new("seats");
    /// let _ = env.source("sold", SequenceSource::new(0..100)).key_by(|n| Seat { row: (n / 10) as u32 });
    /// ```
    pub fn key_by<K, F>(self, selector: F) -> KeyedStream<T, ByValue<F>>
    where
        K: StateKey + Clone,
        F: Fn(&T) -> K + Clone + Send + 'static,
    {
        KeyedStream::new(self, ByValue::new(selector))
    }

    /// Groups records by a key inside the record, such as `&str` of a `String`: a key that is known costs no
    /// allocation. As [`key_by`](Self::key_by) otherwise.
    pub fn key_by_ref<Q, F>(self, selector: F) -> KeyedStream<T, ByRef<F, Q>>
    where
        F: Fn(&T) -> &Q + Clone + Send + 'static,
        Q: ToOwned + std::hash::Hash + Eq + ?Sized + 'static,
        Q::Owned: StateKey,
    {
        KeyedStream::new(self, ByRef::new(selector))
    }

    /// Spreads records over the next operator's subtasks by a partitioner of the user's own, for what
    /// [`partition_by`](Self::partition_by) cannot say.
    pub fn partition_with<P>(self, partitioner: impl Fn() -> P + Send + Sync + 'static) -> Self
    where
        P: Partitioner<T>,
    {
        self.routed(EdgeKind::Custom, move |_| Routing::Partitioned(Box::new(partitioner())))
    }

    /// Runs a function with states of its own for each subtask: [lists](crate::state::OperatorListState) that are dealt
    /// out anew when the parallelism changes, and [maps](crate::state::BroadcastState) that are the same everywhere. `id`
    /// is the stable id under which the states are found again. For states of each key, see
    /// [`key_by`](Self::key_by).
    ///
    /// In a [`union`](Self::union) of streams each keeps its own way to the function's subtasks: one may be
    /// [broadcast](Self::broadcast), another dealt out.
    #[track_caller]
    pub fn process<F: ProcessFunction<T>>(self, id: &str, function: F) -> DataStream<F::Out> {
        let at = Location::caller();
        let states = function.state();
        let (names, former) = (states.names(), states.former_names());
        self.graph.borrow_mut().note_mistakes_of_states(id, states.mistakes(), at);
        self.graph.borrow_mut().check_state_names(id, &names, at);
        let function = Prototype::new(function);
        let stream = self.operator(id, Some(id), at, move |cx| {
            let share = Share { subtask: cx.subtask.subtask.index, parallelism: cx.subtask.parallelism };
            ProcessOperator::new(cx.id.clone(), share, function.fresh(), cx.sides)
                .emit_per_call_max(cx.subtask.limits.emit_per_call_max)
                .clock(cx.subtask.clock.clone())
        });
        stream.declaring(StateNames { names, former })
    }

    /// Cuts all records into windows, whatever their keys. One subtask has them all, so this does not spread over cores: where
    /// records can be divided, aggregate them in [`window`](KeyedStream::window)s of keys first. Follows Flink's `windowAll`.
    pub fn window_all<A: WindowAssigner<T>>(self, assigner: A) -> AllWindows<T, A> {
        WindowedStream::new(self.key_by((|_| ()) as fn(&T)), assigner, true)
    }

    /// The side output `tag` of the operator that made this stream. Both streams can be used; a tag can be taken once
    /// for an operator.
    #[track_caller]
    pub fn side_output<S: Send + 'static>(&self, tag: &OutputTag<S>) -> DataStream<S> {
        let mut graph = self.graph.borrow_mut();
        let node = self.node();
        match node {
            Some(node) => graph.add_side(node, tag.name(), Port::<S>::boxed(), Location::caller()),
            None => {
                let setting = "side_output(..)";
                graph.errors.push(GraphError::NothingToSet { setting, at: Location::caller() });
            }
        }
        drop(graph);
        DataStream::of(&self.graph, node.unwrap_or(0), PortRef::Side(tag.name().clone()))
    }

    /// Adds a stage of the user's own. `id` is the stable id under which its state is found again; `operator` makes an
    /// instance for each subtask of each attempt. One that wants to be woken ([`BatchOperator::due`]) goes by a clone of the clock
    /// that the job is given ([`StreamEnvironment::clock`](crate::StreamEnvironment::clock)).
    #[track_caller]
    pub fn transform<Op>(self, id: &str, operator: impl Fn() -> Op + Send + Sync + 'static) -> DataStream<Op::Out>
    where
        Op: BatchOperator<In = T>,
    {
        self.operator(id, Some(id), Location::caller(), move |_| operator())
    }

    /// Ends the stream in a sink. `id` is the stable id under which its pending commits are found again.
    #[track_caller]
    pub fn sink<S: SinkOf<T>>(self, id: &str, sink: S) -> DataStreamSink {
        let kind = NodeKind::Sink(Arc::new(SinkNode(Arc::new(sink))));
        let inputs = self.edges(PortId::FIRST);
        let node = self.graph.borrow_mut().add(id, Some(id), Location::caller(), inputs, None, kind);
        DataStreamSink { graph: self.graph, node }
    }

    /// Ends the stream in `function`, which is called with each record. At least once: after a restart it sees records again.
    /// One that can fail or that blocks is for a [`ForEachSink`]. `id` names the sink.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use std::sync::atomic::{AtomicU64, Ordering};
    ///
    /// use millstream::prelude::*;
    ///
    /// # actix_rt::System::new().block_on(async {
    /// let sum = Arc::new(AtomicU64::new(0));
    /// let added = sum.clone();
    /// let env = StreamEnvironment::new("sum");
    /// env.source("numbers", SequenceSource::new(0..10))
    ///     .for_each("sum", move |n| {
    ///         added.fetch_add(n, Ordering::Relaxed);
    ///     });
    /// env.start()?.await?;
    /// assert_eq!(sum.load(Ordering::Relaxed), 45);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    #[track_caller]
    pub fn for_each(self, id: &str, function: impl Fn(T) + Clone + Send + 'static) -> DataStreamSink {
        self.sink(
            id,
            ForEachSink::new(move |record| {
                function(record);
                Ok(())
            }),
        )
    }

    /// The operator that made this stream, if it was one and records go straight on.
    pub(super) fn node(&self) -> Option<NodeId> {
        match self.inputs.as_slice() {
            [Input { from: StreamRef { node, port: PortRef::Main }, kind: EdgeKind::Forward, .. }] => Some(*node),
            _ => None,
        }
    }

    /// Its way into the next operator, as that one's input `port`.
    pub(super) fn edges(&self, port: PortId) -> Vec<InputEdge> {
        let edge = |Input { from, kind, routes }: Input<T>| InputEdge { from, port, kind, routes };
        self.inputs.iter().cloned().map(edge).collect()
    }

    pub(crate) fn routed(
        mut self,
        kind: EdgeKind,
        routes: impl Fn(&RouteContext) -> Routing<T> + Send + Sync + 'static,
    ) -> Self {
        let routes = Arc::new(Routes(Box::new(routes)));
        for input in &mut self.inputs {
            input.kind = kind;
            input.routes = routes.clone();
        }
        self
    }

    pub(crate) fn operator<Op: BatchOperator<In = T>>(
        self,
        name: &str,
        id: Option<&str>,
        at: &'static Location<'static>,
        make: impl Fn(NodeContext<'_>) -> Op + Send + Sync + 'static,
    ) -> DataStream<Op::Out> {
        let link = move |builder: &mut PipelineBuilder<'_>, cx: NodeContext<'_>, next: Chain<Op::Out>| {
            let id = cx.id.clone();
            builder.link(id, make(cx), next)
        };
        let stream = self.linked(name, id, at, link);
        if Op::may_hold_end()
            && let Some(node) = stream.node()
        {
            stream.graph.borrow_mut().holds_end(node);
        }
        stream
    }

    /// Adds the operator that `link` puts before the chain it is given.
    pub(crate) fn linked<U: Send + 'static>(
        self,
        name: &str,
        id: Option<&str>,
        at: &'static Location<'static>,
        link: impl Fn(&mut PipelineBuilder<'_>, NodeContext<'_>, Chain<U>) -> Chain<T> + Send + Sync + 'static,
    ) -> DataStream<U> {
        let inputs = self.edges(PortId::FIRST);
        DataStream::from_operator(&self.graph, name, id, at, inputs, link)
    }

    /// The output of a new operator that `link` puts before the chain it is given, and that has these inputs.
    pub(super) fn from_operator<H: Head>(
        graph: &GraphHandle,
        name: &str,
        id: Option<&str>,
        at: &'static Location<'static>,
        inputs: Vec<InputEdge>,
        link: impl Fn(&mut PipelineBuilder<'_>, NodeContext<'_>, Chain<T>) -> H + Send + Sync + 'static,
    ) -> Self {
        let kind = NodeKind::Operator(Arc::new(OperatorNode { link: Box::new(link) }));
        let node = graph.borrow_mut().add(name, id, at, inputs, Some(Port::<T>::boxed()), kind);
        Self::of(graph, node, PortRef::Main)
    }

    /// The operator that made this stream declares these states.
    pub(crate) fn declaring(self, states: StateNames) -> Self {
        if let Some(node) = self.node() {
            self.graph.borrow_mut().nodes[node].states = Some(states);
        }
        self
    }

    /// The operator that made this stream has keys of which timers can be withheld.
    pub(super) fn withholding_timers(self) -> Self {
        if let Some(node) = self.node() {
            self.graph.borrow_mut().nodes[node].withholds_timers = true;
        }
        self
    }

    /// The operator that made this stream keeps keyed state.
    pub(crate) fn keyed(self) -> Self {
        if let Some(node) = self.node() {
            self.graph.borrow_mut().nodes[node].is_keyed = true;
        }
        self
    }
}

impl<T> fmt::Debug for DataStream<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let graph = self.graph.borrow();
        let from = self.inputs.iter().map(|input| graph.nodes.get(input.from.node).map(|node| &node.id));
        f.debug_tuple("DataStream").field(&from.collect::<Vec<_>>()).finish()
    }
}
