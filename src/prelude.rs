//! What most programs need: `use millstream::prelude::*;`.
//!
//! That is the environment and its settings, streams, the shipped sources, sinks and stores, the kinds of state with their
//! handles, and all that the signatures of process functions name. What is needed to write a connector, a store or a stage is in
//! the modules [`source`](crate::source), [`sink`](crate::sink), [`snapshot`](crate::snapshot) and
//! [`operator`](crate::operator).

pub use crate::async_io::{AsyncError, AsyncRetry, AsyncWait};
pub use crate::keyed::{
    BroadcastRow, CoRow, EveryKey, KeyedBroadcastProcessFunction, KeyedCoProcessFunction, KeyedContext,
    KeyedProcessFunction, KeyedRow, Row, Timer, Timers, TimersHandle, TryKeyedProcessFunction, TryRow,
};
pub use crate::operator::{
    CoProcessFunction, CoStates, DeadFiring, DeadLetter, Emitter, OnPanic, OutputTag, ProcessContext, ProcessFunction,
    States, TryProcessFunction, TryStates,
};
pub use crate::pattern::{AfterMatchSkip, Matched, Pattern};
pub use crate::query::QueryState as _;
pub use crate::request::{Answer, AnswerSink, AskError, Request, RequestSource, Requests};
pub use crate::sink::{
    CollectSink, Collected, CommittedStream, FileSink, ForEachSink, PrintSink, RecipientSink, RedbRows, RedbSink,
    StreamSink,
};
pub use crate::snapshot::{MemoryStore, RedbStore};
pub use crate::source::{
    FileSource, Follow, IngestSource, OnMalformed, SequenceSource, StreamSource, Throttled, VecSource,
};
pub use crate::state::State as _;
pub use crate::state::{
    AggregateFunction, AggregatingHandle, AggregatingState, BroadcastHandle, BroadcastState, Expiring, ExpiringHandle,
    ListHandle, ListState, MapHandle, MapState, OperatorListHandle, OperatorListState, ReducingHandle, ReducingState,
    StateBackend, StateTtl, ValueHandle, ValueState,
};
pub use crate::state_set;
pub use crate::stream::{ConnectedStreams, DataStream, KeyedStream, PatternStream, WindowedStream};
pub use crate::time::{WatermarkGenerator, WatermarkStrategy};
pub use crate::window::{SessionWindows, SlidingWindows, TumblingWindows, Window, WindowFunction};
#[doc(no_inline)]
pub use crate::{
    Checkpointing, JobError, JobEvent, JobEvents, JobHandle, JobOutcome, Limits, NO_TIME, OutcomeKind, RestartStrategy,
    StartError, StreamEnvironment, Timestamp,
};
