//! Two streams as the inputs of one operator.

use std::fmt;
use std::panic::Location;

use millstream_actors::contract::TwoInputOperator;
use millstream_actors::data::pipeline::{Chain, PipelineBuilder};
use millstream_actors::protocol::PortId;

use super::DataStream;
use crate::graph::{NodeContext, Prototype, StateNames};
use crate::operator::{CoFlatMap, CoMap, CoProcessFunction, CoProcessOperator, Emitter};
use crate::state::{OperatorStateSet, Share};

/// Two streams, whose types may differ, as the two inputs of one operator. Follows Flink's `ConnectedStreams`.
///
/// The operator takes a function for each input, and makes one stream. Records of one input keep their order, as they do
/// on the way into any operator; between the two inputs there is none, so which comes first may differ from run to run
/// and after a restart. A watermark is the minimum over both inputs, as in a [`union`](DataStream::union), and the output
/// ends once both have ended. Delivery is that of all operators: a checkpoint has what came before its barrier on both
/// inputs (guarantee G1 in `docs/semantics.md`).
///
/// Each stream keeps its own way to the operator's subtasks: one may be [broadcast](DataStream::broadcast), another
/// [dealt out](DataStream::rebalance). The operator starts a task of its own.
///
/// Closures are `Fn + Clone + Send`, as those of a [`DataStream`]; what both are to know of the other's records has to be
/// kept in declared states, of a function in [`process`](Self::process) or, for each key, of two
/// [keyed streams](super::ConnectedKeyedStreams). A closure that panics fails its region, which restarts from the newest
/// checkpoint.
///
/// ```
/// use millstream::prelude::*;
///
/// # actix_rt::System::new().block_on(async {
/// let sink = CollectSink::new();
/// let collected = sink.handle();
///
/// let env = StreamEnvironment::new("readings");
/// let celsius = env.source("celsius", VecSource::new(vec![20.0, 21.5]));
/// let fahrenheit = env.source("fahrenheit", VecSource::new(vec!["68.0".to_owned(), "n/a".to_owned()]));
/// celsius
///     .connect(fahrenheit)
///     .flat_map(
///         |degrees: f64, out| out.emit(degrees),
///         |text: String, out| text.parse::<f64>().into_iter().for_each(|degrees| out.emit((degrees - 32.0) / 1.8)),
///     )
///     .sink("readings", sink);
/// env.start()?.await?;
///
/// let mut readings = collected.snapshot();
/// readings.sort_by(f64::total_cmp);
/// assert_eq!(readings, [20.0, 20.0, 21.5]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[must_use = "connected streams do nothing until an operation is called on them"]
pub struct ConnectedStreams<A, B> {
    first: DataStream<A>,
    second: DataStream<B>,
}

impl<A: Send + 'static, B: Send + 'static> ConnectedStreams<A, B> {
    /// Both are of one graph.
    pub(super) fn new(first: DataStream<A>, second: DataStream<B>) -> Self {
        Self { first, second }
    }

    /// Gives `first` of each record of the first stream and `second` of each of the second. Follows Flink's
    /// `CoMapFunction`.
    #[track_caller]
    pub fn map<U: Send + 'static>(
        self,
        first: impl Fn(A) -> U + Clone + Send + 'static,
        second: impl Fn(B) -> U + Clone + Send + 'static,
    ) -> DataStream<U> {
        let functions = Prototype::new((first, second));
        self.operator("co_map", None, Location::caller(), move |_| {
            let (first, second) = functions.fresh();
            CoMap::new(first, second)
        })
    }

    /// Gives all that `first` emits for each record of the first stream and `second` for each of the second, to the stream
    /// and to [side outputs](Emitter::emit_to), which both may use. Follows Flink's `CoFlatMapFunction`.
    ///
    /// What one call emits is held in memory until it returns; more than
    /// [`Limits::emit_per_call_max`](crate::Limits::emit_per_call_max) records fail the job.
    #[track_caller]
    pub fn flat_map<U: Send + 'static>(
        self,
        first: impl Fn(A, &mut Emitter<'_, U>) + Clone + Send + 'static,
        second: impl Fn(B, &mut Emitter<'_, U>) + Clone + Send + 'static,
    ) -> DataStream<U> {
        let functions = Prototype::new((first, second));
        self.operator("co_flat_map", None, Location::caller(), move |cx| {
            let (first, second) = functions.fresh();
            CoFlatMap::new(cx.id.clone(), cx.subtask.limits.emit_per_call_max, first, second).side_outputs(cx.sides)
        })
    }

    /// Runs a function with states of its own for each subtask, which the records of both streams share. `id` is the stable id
    /// under which the states are found again.
    #[track_caller]
    pub fn process<F: CoProcessFunction<A, B>>(self, id: &str, function: F) -> DataStream<F::Out> {
        let at = Location::caller();
        let states = function.state();
        let (names, former) = (states.names(), states.former_names());
        self.first.graph.borrow_mut().note_mistakes_of_states(id, states.mistakes(), at);
        self.first.graph.borrow_mut().check_state_names(id, &names, at);
        let function = Prototype::new(function);
        let stream = self.operator(id, Some(id), at, move |cx| {
            let share = Share { subtask: cx.subtask.subtask.index, parallelism: cx.subtask.parallelism };
            CoProcessOperator::new(cx.id.clone(), share, function.fresh(), cx.sides)
                .emit_per_call_max(cx.subtask.limits.emit_per_call_max)
                .clock(cx.subtask.clock.clone())
        });
        stream.declaring(StateNames { names, former })
    }

    /// Adds a stage of the user's own with two inputs. `id` is the stable id under which its state is found again;
    /// `operator` makes an instance for each subtask of each attempt.
    #[track_caller]
    pub fn transform<Op>(self, id: &str, operator: impl Fn() -> Op + Send + Sync + 'static) -> DataStream<Op::Out>
    where
        Op: TwoInputOperator<First = A, Second = B>,
    {
        self.operator(id, Some(id), Location::caller(), move |_| operator())
    }

    fn operator<Op: TwoInputOperator<First = A, Second = B>>(
        self,
        name: &str,
        id: Option<&str>,
        at: &'static Location<'static>,
        make: impl Fn(NodeContext<'_>) -> Op + Send + Sync + 'static,
    ) -> DataStream<Op::Out> {
        let link = move |builder: &mut PipelineBuilder<'_>, cx: NodeContext<'_>, next: Chain<Op::Out>| {
            let id = cx.id.clone();
            builder.link_two_inputs(id, make(cx), next)
        };
        let mut inputs = self.first.edges(PortId::FIRST);
        inputs.extend(self.second.edges(PortId::SECOND));
        DataStream::from_operator(&self.first.graph, name, id, at, inputs, link)
    }
}

impl<A, B> fmt::Debug for ConnectedStreams<A, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectedStreams").field("first", &self.first).field("second", &self.second).finish()
    }
}
