//! What most programs need: `use millstream::prelude::*;`.

pub use crate::keyed::{EveryKey, KeyedContext, KeyedProcessFunction, Row};
pub use crate::operator::{Emitter, OutputTag, ProcessContext, ProcessFunction, States};
pub use crate::sink::{CollectSink, Collected, FileSink, ForEachSink, PrintSink};
pub use crate::snapshot::{MemoryStore, RedbStore};
pub use crate::source::{FileSource, OnMalformed, SequenceSource, Throttled, VecSource};
pub use crate::state::State as _;
pub use crate::state::{
    AggregateFunction, AggregatingHandle, AggregatingState, BroadcastHandle, BroadcastState, Expiring, ExpiringHandle,
    ListHandle, ListState, MapHandle, MapState, OperatorListHandle, OperatorListState, ReducingHandle, ReducingState,
    StateBackend, StateTtl, ValueHandle, ValueState,
};
pub use crate::state_set;
pub use crate::stream::{ConnectedStreams, DataStream, KeyedStream};
pub use crate::time::{WatermarkGenerator, WatermarkStrategy};
pub use crate::{
    Checkpointing, JobError, JobEvent, JobEvents, JobHandle, JobOutcome, Limits, NO_TIME, OutcomeKind, RestartStrategy,
    StartError, StreamEnvironment, Timestamp,
};
