//! What the addresses answer, version 1, as `docs/openapi.json` describes it: field names are stable, and fields are only added.
//!
//! Times are milliseconds (`_ms`, with fractions), instants Unix milliseconds of the job's clock (`_unix_ms`), shares 0 to 1. What is
//! not known is null.

mod checkpoints;
mod error;
mod exceptions;
mod from_checkpoints;
mod from_events;
mod from_metrics;
mod graph;
mod job;
mod log;
mod orders;
mod state;

pub use checkpoints::{
    Checkpoint, CheckpointCountsBody, CheckpointDetail, CheckpointSummary, Checkpoints, LatestCheckpoints,
    RestoredBody, SavepointBody, Spread, SubtaskCheckpoint, SubtaskRef,
};
pub(crate) use error::Refusal;
pub use error::{ErrorBody, ErrorDetail};
pub use exceptions::{Exceptions, Failure};
pub use graph::{Edge, Subtask, Vertex, WorkFigures};
pub use job::{HeldBackBody, JobDetail, JobSummary, Jobs, May, Overview, ParkedBody, Region, WideNumber};
pub use log::{LogBody, LogEvent};
pub use orders::{CheckpointTaken, Ordered, PausedBody, RegionResumed};
pub use state::{FoundState, OperatorState, StateBody};
