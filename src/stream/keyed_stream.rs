//! A stream grouped by key.

use std::fmt;
use std::marker::PhantomData;
use std::panic::Location;

use serde::Serialize;
use serde::de::DeserializeOwned;

use millstream_actors::data::edge::Routing;
use millstream_actors::data::pipeline::{Chain, PipelineBuilder};
use millstream_actors::protocol::OperatorId;

use super::kernels::{LinkOnKernel, link_on_kernel};
use super::{
    BroadcastConnectedStream, ConnectedKeyedStreams, DataStream, JoinedStreams, PatternStream, WindowedStream,
};
use crate::aggregates::TopN;
use crate::graph::{EdgeKind, GraphError, NodeContext, Prototype, StateNames};
use crate::keyed::{
    First, FirstSince, Fold, Kernel, KeyedInput, KeyedProcessFunction, OnKernel, Process, Reduce, Top, fold_pairs,
};
use crate::operator::{Emission, KeyGroupPartitioner, KeySelector};
use crate::pattern::Pattern;
use crate::state::{AggregateFunction, KeySchema, KeyedBackend, StateKey, StateRows, StateSet, StateTtl};
use crate::window::{CountEvictor, CountTrigger, GlobalWindows, PurgingTrigger, WindowAssigner};

/// A stream whose records are grouped by the key that `S` selects: the entry to keyed state.
///
/// Every operation takes the stable id under which its state is found again. Records of one key are worked on by one
/// subtask, in the order in which one upstream subtask sent them.
///
/// | operation | keeps for each key | gives with each record |
/// |---|---|---|
/// | [`reduce`](Self::reduce) | a record | the running one |
/// | [`fold`](Self::fold) | an accumulator of any type | the key and a clone of it |
/// | [`fold_map`](Self::fold_map) | the same | what a function makes of both |
/// | [`aggregate`](Self::aggregate) | what the aggregate needs | the key and the result |
/// | [`top_n`](Self::top_n) | the greatest records | the key and these, if they have changed |
/// | [`deduplicate`](Self::deduplicate), [`deduplicate_for`](Self::deduplicate_for) | that it was seen | the first one |
/// | [`process`](Self::process) | any number of declared states | what the function emits |
///
/// [`window`](Self::window) cuts the records of each key into windows, which give results of their own.
///
/// ```
/// use millstream::prelude::*;
///
/// # actix_rt::System::new().block_on(async {
/// let sink = CollectSink::new();
/// let totals = sink.handle();
///
/// let env = StreamEnvironment::new("sales");
/// let sales = [("tea", 2), ("milk", 1), ("tea", 5)].map(|(item, sold)| (item.to_owned(), sold));
/// env.source("sales", VecSource::new(sales.to_vec()))
///     .key_by_ref(|(item, _)| item.as_str())
///     .fold("sold", 0u64, |sum, (_, sold)| *sum += sold)
///     .sink("totals", sink);
/// env.start()?.await?;
///
/// let expected = [("tea", 2), ("milk", 1), ("tea", 7)].map(|(item, sum)| (item.to_owned(), sum));
/// assert_eq!(totals.snapshot(), expected, "the running sum of the record's key, with each record");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[must_use = "a keyed stream does nothing until an operation is called on it"]
pub struct KeyedStream<T, S: KeySelector<T>> {
    stream: DataStream<T>,
    selector: S,
    keys: KeySchema<S::Key>,
}

impl<T, S: KeySelector<T>> KeyedStream<T, S> {
    /// Adds a mistake to those of the graph.
    pub(super) fn mistake(&self, error: GraphError) {
        self.stream.graph.borrow_mut().errors.push(error);
    }
}

impl<T: Send + 'static, S: KeySelector<T>> KeyedStream<T, S> {
    pub(crate) fn new(stream: DataStream<T>, selector: S) -> Self {
        Self { stream, selector, keys: KeySchema::default() }
    }

    /// Sets the version of the keys' type, 1 by default and at most 64. It is stored with the keys: raise it when the type
    /// changes, and say by [`migrate_keys`](Self::migrate_keys) what becomes of the keys that are stored.
    ///
    /// ```
    /// use millstream::prelude::*;
    ///
    /// # let env = StreamEnvironment::new("visits");
    /// env.source("users", SequenceSource::new(0..10))
    ///     .key_by(|user| user.to_string())                    // version 1 was the number itself
    ///     .key_version(2)
    ///     .migrate_keys(1, |user: u64| user.to_string())
    ///     .fold("visits", 0u32, |visits, _| *visits += 1)
    ///     .sink("out", CollectSink::new());
    /// # env.explain().unwrap();
    /// ```
    pub fn key_version(mut self, version: u32) -> Self {
        self.keys.set_version(version);
        self
    }

    /// Sets how keys of version `from` become those of the next. One function for each step, which must give different keys
    /// for different keys: two that become one end the restore. The graph refuses steps that do not meet.
    ///
    /// A key that has changed may belong to another subtask, so each subtask reads the whole of the operator's state in a
    /// checkpoint with older keys, and the rows that change their key group are held in memory until all are read, also by
    /// [`StateBackend::redb`](crate::state::StateBackend::redb). The first checkpoint after that is written in full, with
    /// today's keys.
    pub fn migrate_keys<Old: StateKey, New: DeserializeOwned + 'static>(
        mut self,
        from: u32,
        migrate: impl Fn(Old) -> New + Send + Sync + 'static,
    ) -> Self {
        self.keys.add_migration(from, migrate);
        self
    }

    /// Combines the records of a key by `function` (the value so far, the record), and gives the running value with
    /// each record.
    #[track_caller]
    pub fn reduce(self, id: &str, function: impl Fn(T, T) -> T + Clone + Send + 'static) -> DataStream<T>
    where
        T: Clone + Serialize + DeserializeOwned,
    {
        self.process(id, Reduce::new(function))
    }

    /// Folds the records of a key into an accumulator that starts as a clone of `initial`, and gives key and
    /// accumulator with each record.
    #[track_caller]
    pub fn fold<A>(
        self,
        id: &str,
        initial: A,
        function: impl Fn(&mut A, T) + Clone + Send + 'static,
    ) -> DataStream<(S::Key, A)>
    where
        A: Clone + Serialize + DeserializeOwned + Send + 'static,
        S::Key: Clone,
    {
        self.process(id, fold_pairs(initial, function))
    }

    /// As [`fold`](Self::fold), but gives what `emit` makes of key and accumulator, which need not be cloned.
    #[track_caller]
    pub fn fold_map<A, U>(
        self,
        id: &str,
        initial: A,
        function: impl Fn(&mut A, T) + Clone + Send + 'static,
        emit: impl Fn(&S::Key, &A) -> U + Clone + Send + 'static,
    ) -> DataStream<U>
    where
        A: Clone + Serialize + DeserializeOwned + Send + 'static,
        U: Send + 'static,
    {
        self.process(id, Fold::emitting(initial, function, emit))
    }

    /// Gathers the records of a key in an accumulator, and gives key and result with each record: one of the
    /// [`aggregates`](crate::aggregates), or of your own.
    ///
    /// ```
    /// use millstream::aggregates::Max;
    /// use millstream::prelude::*;
    ///
    /// # actix_rt::System::new().block_on(async {
    /// # let (sink, env) = (CollectSink::new(), StreamEnvironment::new("sensors"));
    /// # let highest = sink.handle();
    /// env.source("readings", VecSource::new(vec![(1, 20), (1, 25), (1, 22)]))
    ///     .key_by(|(sensor, _)| *sensor)
    ///     .aggregate("highest", Max::of(|(_, reading): &(u32, i64)| *reading))
    ///     .sink("out", sink);
    /// # env.start()?.await?;
    /// # assert_eq!(highest.snapshot(), [(1, Some(20)), (1, Some(25)), (1, Some(25))]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    #[track_caller]
    pub fn aggregate<G>(self, id: &str, function: G) -> DataStream<(S::Key, G::Out)>
    where
        G: AggregateFunction<In = T> + Clone,
        G::Accumulator: Clone,
        G::Out: Send + 'static,
        S::Key: Clone,
    {
        self.check_aggregate(id, &function, Location::caller());
        let (initial, adding) = (function.create(), function.clone());
        let add = move |accumulator: &mut G::Accumulator, record| adding.add(accumulator, record);
        self.fold_map(id, initial, add, move |key, accumulator| (key.clone(), function.result(accumulator)))
    }

    /// Gives the first record of each key, and drops the others. Each key that was ever seen stays in the state; where keys come
    /// without end, see [`deduplicate_for`](Self::deduplicate_for).
    ///
    /// ```
    /// use millstream::prelude::*;
    ///
    /// # actix_rt::System::new().block_on(async {
    /// # let (sink, env) = (CollectSink::new(), StreamEnvironment::new("orders"));
    /// # let once = sink.handle();
    /// env.source("orders", VecSource::new(vec![(7, "tea"), (8, "milk"), (7, "tea again")]))
    ///     .key_by(|(order, _)| *order)
    ///     .deduplicate("orders-once")
    ///     .sink("out", sink);
    /// # env.start()?.await?;
    /// # assert_eq!(once.snapshot(), [(7, "tea"), (8, "milk")]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    #[track_caller]
    pub fn deduplicate(self, id: &str) -> DataStream<T>
    where
        S::Held: 'static,
    {
        self.process(id, First::new())
    }

    /// As [`deduplicate`](Self::deduplicate), but a key is forgotten when its time to live is over, and its next record is given
    /// again. The time counts from the record that was given, or, with
    /// [`refresh_on_read`](crate::state::StateTtl::refresh_on_read), from the last one.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use millstream::prelude::*;
    ///
    /// # actix_rt::System::new().block_on(async {
    /// # let (sink, env) = (CollectSink::new(), StreamEnvironment::new("alarms"));
    /// # let told = sink.handle();
    /// // What an alarm says is told again when it goes on for more than a minute.
    /// env.source("alarms", VecSource::new(vec![("fire", 1), ("smoke", 2), ("fire", 3)]))
    ///     .key_by(|(what, _)| what.to_string())
    ///     .deduplicate_for("once-a-minute", StateTtl::processing_time(Duration::from_secs(60)))
    ///     .sink("out", sink);
    /// # env.start()?.await?;
    /// # assert_eq!(told.snapshot(), [("fire", 1), ("smoke", 2)]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    #[track_caller]
    pub fn deduplicate_for(self, id: &str, ttl: StateTtl) -> DataStream<T>
    where
        S::Held: 'static,
    {
        self.process(id, FirstSince::new(ttl))
    }

    /// Gives a key and those `n` of its records of which what `of` gives is the greatest, the greatest first, whenever they change. One
    /// at least: the graph refuses none. For the top of each window, see [`TopN`].
    ///
    /// ```
    /// use millstream::prelude::*;
    ///
    /// # actix_rt::System::new().block_on(async {
    /// # let (sink, env) = (CollectSink::new(), StreamEnvironment::new("bids"));
    /// # let tops = sink.handle();
    /// env.source("bids", VecSource::new(vec![(7, 3), (7, 1), (7, 2), (7, 9)]))      // auction, bid
    ///     .key_by(|(auction, _)| *auction)
    ///     .top_n("two-highest", 2, |(_, bid)| *bid)
    ///     .map(|(_, bids)| bids.into_iter().map(|(_, bid)| bid).collect::<Vec<_>>())
    ///     .sink("out", sink);
    /// # env.start()?.await?;
    /// # assert_eq!(tops.snapshot(), [vec![3], vec![3, 1], vec![3, 2], vec![9, 3]]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    #[track_caller]
    pub fn top_n<V: PartialOrd + 'static>(
        self,
        id: &str,
        n: usize,
        of: impl Fn(&T) -> V + Clone + Send + 'static,
    ) -> DataStream<(S::Key, Vec<T>)>
    where
        T: Clone + Serialize + DeserializeOwned,
        S::Key: Clone,
        S::Held: 'static,
    {
        let top = TopN::of(n, of);
        self.check_aggregate(id, &top, Location::caller());
        self.process(id, Top::new(top))
    }

    /// Adds what is wrong with an aggregate to the mistakes of the graph.
    pub(super) fn check_aggregate(&self, id: &str, function: &impl AggregateFunction, at: &'static Location<'static>) {
        if let Err(reason) = function.check() {
            self.mistake(GraphError::InvalidAggregate { operator: id.into(), reason, at });
        }
    }

    /// Runs a function with states of its own for each key.
    #[track_caller]
    pub fn process<F: KeyedProcessFunction<S::Key, T>>(self, id: &str, function: F) -> DataStream<F::Out>
    where
        S::Held: 'static,
    {
        self.on_kernel(id, Process(function), Location::caller()).withholding_timers()
    }

    /// This stream and another one, whose records may be of another type and whose keys are of the same, as the two inputs of one
    /// operator.
    #[track_caller]
    pub fn connect<U: Send + 'static, R: KeySelector<U, Key = S::Key>>(
        self,
        mut other: KeyedStream<U, R>,
    ) -> ConnectedKeyedStreams<T, S, U, R> {
        self.stream.check_same_graph(&mut other.stream, Location::caller());
        ConnectedKeyedStreams::new(self, other)
    }

    /// This stream and another one, of which every subtask gets every record, as the two inputs of one operator: rules that come
    /// as a stream.
    #[track_caller]
    pub fn connect_broadcast<U: Clone + Send + 'static>(
        self,
        mut other: DataStream<U>,
    ) -> BroadcastConnectedStream<T, S, U>
    where
        S::Held: 'static,
    {
        self.stream.check_same_graph(&mut other, Location::caller());
        BroadcastConnectedStream::new(self, other)
    }

    /// This stream and another one, whose keys are of the same type, to be joined: what is called next says which records meet.
    #[track_caller]
    pub fn join<U: Send + 'static, R: KeySelector<U, Key = S::Key>>(
        self,
        other: KeyedStream<U, R>,
    ) -> JoinedStreams<T, S, U, R> {
        JoinedStreams::new(self.connect(other))
    }

    /// Looks for a pattern in the records of each key: what is called next says what is made of its matches.
    pub fn pattern(self, pattern: Pattern<T>) -> PatternStream<T, S> {
        PatternStream::new(self, pattern)
    }

    /// Cuts the records of each key into windows.
    pub fn window<A: WindowAssigner<T>>(self, assigner: A) -> WindowedStream<T, S, A, A::Trigger> {
        WindowedStream::new(self, assigner, false)
    }

    /// Cuts the records of each key into windows of so many, each of which gives a result when it is full: those of the last window
    /// do not. One at least: the graph refuses none. As [`GlobalWindows`] with a purging [`CountTrigger`].
    ///
    /// ```
    /// use millstream::prelude::*;
    ///
    /// # actix_rt::System::new().block_on(async {
    /// # let (sink, env) = (CollectSink::new(), StreamEnvironment::new("laps"));
    /// # let sums = sink.handle();
    /// env.source("laps", VecSource::new(vec![61, 60, 64, 59, 66]))      // seconds
    ///     .key_by(|_| ())
    ///     .count_window(2)
    ///     .reduce("two-laps", |one, other| one + other)
    ///     .sink("sums", sink);
    /// # env.start()?.await?;
    /// # assert_eq!(sums.snapshot(), [121, 123]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub fn count_window(self, records: u64) -> WindowedStream<T, S, GlobalWindows, PurgingTrigger<CountTrigger>>
    where
        T: Clone,
        S::Held: 'static,
    {
        self.window(GlobalWindows::new()).trigger(PurgingTrigger::of(CountTrigger::of(records)))
    }

    /// Gives a result of the last `records` records of a key with each `slide` records. Both are one at least: the graph refuses none. As
    /// [`GlobalWindows`] with a [`CountTrigger`] and a [`CountEvictor`].
    ///
    /// ```
    /// use millstream::prelude::*;
    ///
    /// # actix_rt::System::new().block_on(async {
    /// # let (sink, env) = (CollectSink::new(), StreamEnvironment::new("laps"));
    /// # let fastest = sink.handle();
    /// env.source("laps", VecSource::new(vec![61, 60, 64, 59, 66]))
    ///     .key_by(|_| ())
    ///     .sliding_count_window(3, 1)
    ///     .apply("fastest-of-three", |laps, _, out| out.emit(*laps.iter().min().expect("a window that fires has a record")))
    ///     .sink("fastest", sink);
    /// # env.start()?.await?;
    /// # assert_eq!(fastest.snapshot(), [61, 60, 60, 59, 59]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub fn sliding_count_window(
        self,
        records: usize,
        slide: u64,
    ) -> WindowedStream<T, S, GlobalWindows, CountTrigger, CountEvictor>
    where
        T: Clone,
        S::Held: 'static,
    {
        let windows = self.window(GlobalWindows::new()).trigger(CountTrigger::of(slide));
        windows.evictor(CountEvictor::of(records))
    }

    /// Adds a keyed operator that was made at `at`.
    pub(crate) fn on_kernel<O: OnKernel<T, S>>(
        self,
        id: &str,
        kind: O,
        at: &'static Location<'static>,
    ) -> DataStream<O::Out> {
        let names = self.declare(id, &kind.state(), at);
        let (routed, selector, keys) = self.partitioned();
        let (selector, kind) = (Prototype::new(selector), Prototype::new(kind));
        let link = move |builder: &mut PipelineBuilder<'_>, cx: NodeContext<'_>, next: Chain<O::Out>| {
            let (kind, selector) = (kind.fresh(), selector.fresh());
            let declaring = kind.clone();
            let operator = Linked { kind, selector, next, of: PhantomData };
            link_on_kernel(builder, cx, &keys, move || declaring.state(), operator)
        };
        routed.linked(id, Some(id), at, link).keyed().declaring(names)
    }

    /// What an operator that is made at `at` declares. What is wrong with that is added to the mistakes of the graph.
    pub(super) fn declare(&self, id: &str, states: &impl StateSet, at: &'static Location<'static>) -> StateNames {
        let mut graph = self.stream.graph.borrow_mut();
        graph.note_mistakes_of_states(id, states.mistakes(), at);
        let names = StateNames { names: states.names(), former: states.former_names() };
        graph.check_state_names(id, &names.names, at);
        if let Err(reason) = self.keys.check() {
            graph.errors.push(GraphError::InvalidKeys { operator: id.into(), reason, at });
        }
        names
    }

    /// Whether nothing was said of how its keys are stored.
    pub(super) fn has_plain_keys(&self) -> bool {
        self.keys.is_plain()
    }

    /// The stream on its way to the subtasks that have its keys, how these are selected, and how they are stored.
    pub(super) fn partitioned(self) -> (DataStream<T>, S, KeySchema<S::Key>) {
        let Self { stream, selector, keys } = self;
        let partitioning = Prototype::new(selector.clone());
        let routed = stream.routed(EdgeKind::KeyBy, move |cx| {
            Routing::Partitioned(Box::new(KeyGroupPartitioner::new(partitioning.fresh(), cx.max_parallelism)))
        });
        (routed, selector, keys)
    }
}

/// An operator in front of the rest of its pipeline.
struct Linked<T, S, O, Next> {
    kind: O,
    selector: S,
    next: Next,
    of: PhantomData<fn(T)>,
}

impl<T, S, O> LinkOnKernel<S::Key, O::State> for Linked<T, S, O, Chain<O::Out>>
where
    T: Send + 'static,
    S: KeySelector<T>,
    O: OnKernel<T, S>,
{
    type Head = Chain<T>;

    fn link<B: KeyedBackend<S::Key, O::State>>(
        self,
        builder: &mut PipelineBuilder<'_>,
        id: OperatorId,
        kernel: Kernel<S::Key, O::State, B>,
        emission: Emission,
    ) -> Chain<T> {
        let operator = self.kind.operator(kernel, KeyedInput::new(self.selector), emission);
        builder.link(id, operator, self.next)
    }
}

impl<T, S: KeySelector<T>> fmt::Debug for KeyedStream<T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KeyedStream").field(&self.stream).finish()
    }
}
