//! Two keyed streams as the inputs of one operator.

use std::borrow::Borrow;
use std::fmt;
use std::marker::PhantomData;
use std::panic::Location;

use millstream_actors::data::pipeline::{Chain, PipelineBuilder, TwoInputChain};
use millstream_actors::protocol::{OperatorId, PortId};

use super::kernels::{LinkOnKernel, link_on_kernel};
use super::{DataStream, KeyedStream};
use crate::graph::{GraphError, NodeContext, Prototype};
use crate::keyed::{Kernel, KeyedCoOperator, KeyedCoProcessFunction};
use crate::operator::{Emission, KeySelector};
use crate::state::{KeyedBackend, StateKey};

/// Two keyed streams, whose records may differ in type and whose keys do not, as the two inputs of one operator. Follows Flink's
/// `ConnectedStreams` of keyed streams.
///
/// Records of one key come to one subtask, whichever stream they are of. Between the two streams there is no order; else all is as
/// said at [`ConnectedStreams`](super::ConnectedStreams).
///
/// A version of the keys and their migrations are given to the first stream, and hold for both.
///
/// [`KeyedCoProcessFunction`] has an example.
#[must_use = "connected streams do nothing until an operation is called on them"]
pub struct ConnectedKeyedStreams<A, SA: KeySelector<A>, B, SB: KeySelector<B, Key = SA::Key>> {
    first: KeyedStream<A, SA>,
    second: KeyedStream<B, SB>,
}

impl<A, SA: KeySelector<A>, B, SB: KeySelector<B, Key = SA::Key>> ConnectedKeyedStreams<A, SA, B, SB> {
    /// Both are of one graph.
    pub(super) fn new(first: KeyedStream<A, SA>, second: KeyedStream<B, SB>) -> Self {
        Self { first, second }
    }

    /// Adds a mistake to those of the graph.
    pub(super) fn mistake(&self, error: GraphError) {
        self.first.mistake(error);
    }
}

impl<A, SA, B, SB> ConnectedKeyedStreams<A, SA, B, SB>
where
    A: Send + 'static,
    B: Send + 'static,
    SA: KeySelector<A, Held: 'static>,
    SB: KeySelector<B, Key = SA::Key, Held: 'static>,
    SA::Key: Borrow<SB::Query>,
{
    /// Runs a function with states of its own for each key, which the records of both streams share.
    #[track_caller]
    pub fn process<F: KeyedCoProcessFunction<SA::Key, A, B>>(self, id: &str, function: F) -> DataStream<F::Out> {
        self.operator(id, function, Location::caller()).withholding_timers()
    }

    /// Adds an operator that was made at `at`.
    pub(super) fn operator<F: KeyedCoProcessFunction<SA::Key, A, B>>(
        self,
        id: &str,
        function: F,
        at: &'static Location<'static>,
    ) -> DataStream<F::Out> {
        let Self { first, second } = self;
        let names = first.declare(id, &function.state(), at);
        if !second.has_plain_keys() {
            let reason =
                "a version and migrations of keys are for the first of two streams, and hold for both".to_owned();
            first.mistake(GraphError::InvalidKeys { operator: id.into(), reason, at });
        }
        let (first, first_selector, keys) = first.partitioned();
        let (second, second_selector, _) = second.partitioned();
        let (selectors, function) = (Prototype::new((first_selector, second_selector)), Prototype::new(function));
        let link = move |builder: &mut PipelineBuilder<'_>, cx: NodeContext<'_>, next: Chain<F::Out>| {
            let (selectors, function) = (selectors.fresh(), function.fresh());
            let declaring = function.clone();
            let operator = Linked { function, selectors, next, of: PhantomData };
            link_on_kernel(builder, cx, &keys, move || declaring.state(), operator)
        };
        let mut inputs = first.edges(PortId::FIRST);
        inputs.extend(second.edges(PortId::SECOND));
        let stream = DataStream::from_operator(&first.graph, id, Some(id), at, inputs, link);
        stream.keyed().declaring(names)
    }
}

/// An operator with two inputs in front of the rest of its pipeline.
struct Linked<A, B, SA, SB, F, Next> {
    function: F,
    selectors: (SA, SB),
    next: Next,
    of: PhantomData<fn(A, B)>,
}

impl<K, A, B, SA, SB, F> LinkOnKernel<K, F::State> for Linked<A, B, SA, SB, F, Chain<F::Out>>
where
    K: StateKey + Borrow<SA::Query> + Borrow<SB::Query>,
    A: Send + 'static,
    B: Send + 'static,
    SA: KeySelector<A, Key = K, Held: 'static>,
    SB: KeySelector<B, Key = K, Held: 'static>,
    F: KeyedCoProcessFunction<K, A, B>,
{
    type Head = TwoInputChain<A, B>;

    fn link<Rows: KeyedBackend<K, F::State>>(
        self,
        builder: &mut PipelineBuilder<'_>,
        id: OperatorId,
        kernel: Kernel<K, F::State, Rows>,
        emission: Emission,
    ) -> Self::Head {
        let operator = KeyedCoOperator::on(kernel, self.selectors, self.function, emission);
        builder.link_two_inputs(id, operator, self.next)
    }
}

impl<A, SA, B, SB> fmt::Debug for ConnectedKeyedStreams<A, SA, B, SB>
where
    SA: KeySelector<A>,
    SB: KeySelector<B, Key = SA::Key>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectedKeyedStreams").field("first", &self.first).field("second", &self.second).finish()
    }
}
