//! Millstream: fault-tolerant stream processing as a library for actix services.

mod environment;
mod graph;
pub mod operator;
mod packed;
pub mod prelude;
pub mod sink;
pub mod snapshot;
pub mod source;
pub mod state;
pub mod stream;
pub mod testing;
pub mod time;

pub use environment::{StartError, StreamEnvironment};
pub use graph::{Explanation, GraphError, GraphErrors};
pub use millstream_actors::contract::{Clock, Probe, Step};
pub use millstream_actors::protocol::{
    ActorName, Attempt, Cause, CheckpointId, CheckpointMode, Checkpointing, Execution, Incarnation, Limits, OperatorId,
    PanicReport, RegionId, RestartStrategy, SubtaskId, TaskError, TaskId,
};
pub use millstream_actors::{
    CheckpointError, FailureRecord, JobError, JobEvent, JobEventKind, JobHandle, JobOutcome, JobState, JobStatus,
    OutcomeKind,
};
