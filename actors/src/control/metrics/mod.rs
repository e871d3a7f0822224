//! A job in figures: what its checkpoints and regions have come to, and all of it at a moment.

mod checkpoints;
mod job_metrics;
mod regions;
#[cfg(feature = "tracing")]
mod spans;

pub(crate) use checkpoints::{Acknowledged, CheckpointLog};
pub use checkpoints::{CheckpointCounts, CheckpointOutcome, CheckpointRecord, SnapshotParts};
pub use job_metrics::{JobMetrics, OperatorRates, SubtaskRates};
pub(crate) use regions::RegionLog;
pub use regions::RegionMetrics;
#[cfg(feature = "tracing")]
pub(crate) use spans::Spans;
