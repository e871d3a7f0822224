//! What the engine runs: the contracts that sources, operators, partitioners, sinks, stores and clocks fulfil.

mod backlog;
mod batch;
mod budget;
mod careful_work;
mod clock;
mod event_times;
mod figures;
mod located;
mod monotonic;
mod operator;
mod output;
mod partitioner;
mod probe;
mod query;
mod reading_time;
mod savepoint;
mod sink;
mod snapshot;
mod source;
mod stateful;
mod store;
pub mod store_suite;
mod subtask;
mod time_use;
mod two_input_operator;

pub use crate::protocol::{
    CarriedState, CheckpointDurations, ChunkAddress, ChunkRef, Contribution, Manifest, Retry, SinkError, SnapshotError,
    SourceError, StateError, StateScope,
};
pub use backlog::{SourceBacklog, SplitBacklog};
pub use batch::{BATCH_BYTES_MAX, BATCH_RECORDS_MAX, Batch, Front};
pub use budget::{RunBudget, SliceClock};
pub use careful_work::CarefulWork;
pub use clock::{Clock, Sleep};
pub use event_times::EventTimes;
pub(crate) use figures::IS_COUNTED;
pub use figures::{
    ChannelCounters, ChannelFigures, ChannelPlace, Counter, Counters, EventTimeMark, Figures, OperatorCounters,
    OperatorFigures,
};
pub use located::Located;
pub(crate) use monotonic::StagedTime;
pub use monotonic::monotonic;
pub use operator::{BatchOperator, Demand, Held, Progress};
pub(crate) use output::TakesMarks;
pub use output::{Emitted, Output};
pub use partitioner::Partitioner;
pub use probe::{Probe, Step};
pub use query::{Asked, StoredGroup, StoredStates};
pub use reading_time::{Hold, ReadingTime, SourceTime};
pub use savepoint::{
    ChunkSource, Savepoint, SavepointExport, SavepointFileError, SavepointFormat, SavepointId, is_mark,
};
pub use sink::{CheckpointRequests, Fence, PendingCommit, Sink, SinkContext, SinkGuarantee, SinkRestore, SinkWriter};
pub(crate) use snapshot::SPARE_BUFFERS_MAX;
pub use snapshot::{RestoredChunk, RestoredSection, RestoredState, SectionWriter};
pub(crate) use source::owner_of;
pub use source::{
    Boundedness, CompletedPositions, ReadStatus, SideRecord, Source, SourceContext, SourceReader, SourceWaker,
    SplitPosition, SplitRead, StreamTime, Threading,
};
pub use stateful::{GroupLoader, LoadedGroup, Stateful};
pub use store::{CHUNK_BYTES_MAX, Chunk, Finalised, SnapshotStore, StoreOpening, checksum};
pub use subtask::SubtaskInfo;
pub use time_use::Doing;
pub use two_input_operator::TwoInputOperator;
