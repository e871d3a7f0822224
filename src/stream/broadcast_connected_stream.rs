//! A keyed stream and a broadcast stream as the inputs of one operator.

use std::fmt;
use std::marker::PhantomData;
use std::panic::Location;

use millstream_actors::data::pipeline::{Chain, PipelineBuilder, TwoInputChain};
use millstream_actors::protocol::{OperatorId, PortId};

use super::kernels::{LinkOnKernel, link_on_kernel};
use super::{DataStream, KeyedStream};
use crate::graph::{NodeContext, Prototype};
use crate::keyed::{Kernel, KeyedBroadcastOperator, KeyedBroadcastProcessFunction};
use crate::operator::{Emission, KeySelector};
use crate::state::{KeyedBackend, OperatorStateSet};

/// A keyed stream, and another one of which every subtask gets every record. Follows Flink's `BroadcastConnectedStream`.
/// [`KeyedBroadcastProcessFunction`] has an example.
#[must_use = "connected streams do nothing until an operation is called on them"]
pub struct BroadcastConnectedStream<A, S: KeySelector<A>, B> {
    keyed: KeyedStream<A, S>,
    broadcast: DataStream<B>,
}

impl<A, S, B> BroadcastConnectedStream<A, S, B>
where
    A: Send + 'static,
    B: Clone + Send + 'static,
    S: KeySelector<A, Held: 'static>,
{
    /// Both are of one graph.
    pub(super) fn new(keyed: KeyedStream<A, S>, broadcast: DataStream<B>) -> Self {
        Self { keyed, broadcast: broadcast.broadcast() }
    }

    /// Runs a function with states for each key, and others that are the same on every subtask. `id` is the stable id under which
    /// both are found again.
    #[track_caller]
    pub fn process<F: KeyedBroadcastProcessFunction<S::Key, A, B>>(self, id: &str, function: F) -> DataStream<F::Out> {
        let (Self { keyed, broadcast }, at) = (self, Location::caller());
        let mut names = keyed.declare(id, &function.state(), at);
        let of_broadcast = function.broadcast_state();
        names.names.extend(of_broadcast.names());
        names.former.extend(of_broadcast.former_names());
        broadcast.graph.borrow_mut().note_mistakes_of_states(id, of_broadcast.mistakes(), at);
        broadcast.graph.borrow_mut().check_state_names(id, &names.names, at);
        let (keyed, selector, keys) = keyed.partitioned();
        let (selector, function) = (Prototype::new(selector), Prototype::new(function));
        let link = move |builder: &mut PipelineBuilder<'_>, cx: NodeContext<'_>, next: Chain<F::Out>| {
            let (selector, function) = (selector.fresh(), function.fresh());
            let declaring = function.clone();
            let operator = Linked { function, selector, next, of: PhantomData };
            link_on_kernel(builder, cx, &keys, move || declaring.state(), operator)
        };
        let mut inputs = keyed.edges(PortId::FIRST);
        inputs.extend(broadcast.edges(PortId::SECOND));
        let stream = DataStream::from_operator(&keyed.graph, id, Some(id), at, inputs, link);
        stream.keyed().declaring(names).withholding_timers()
    }
}

/// An operator in front of the rest of its pipeline.
struct Linked<A, S, B, F, Next> {
    function: F,
    selector: S,
    next: Next,
    of: PhantomData<fn(A, B)>,
}

impl<A, S, B, F> LinkOnKernel<S::Key, F::State> for Linked<A, S, B, F, Chain<F::Out>>
where
    A: Send + 'static,
    B: Send + 'static,
    S: KeySelector<A, Held: 'static>,
    F: KeyedBroadcastProcessFunction<S::Key, A, B>,
{
    type Head = TwoInputChain<A, B>;

    fn link<Rows: KeyedBackend<S::Key, F::State>>(
        self,
        builder: &mut PipelineBuilder<'_>,
        id: OperatorId,
        kernel: Kernel<S::Key, F::State, Rows>,
        emission: Emission,
    ) -> Self::Head {
        let operator = KeyedBroadcastOperator::on(id.clone(), kernel, self.selector, self.function, emission);
        builder.link_two_inputs(id, operator, self.next)
    }
}

impl<A, S: KeySelector<A>, B> fmt::Debug for BroadcastConnectedStream<A, S, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("BroadcastConnectedStream").field(&self.keyed).field(&self.broadcast).finish()
    }
}
