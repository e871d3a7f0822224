//! The figures of jobs for other programs: one table of metrics, and what is derived from it.
//!
//! [`JobHandle::metrics`](crate::JobHandle::metrics) gives all figures of a job as one typed value. [`METRICS`] says of each figure under
//! which name other programs know it, and where it stands in that value. [`prometheus`] writes them as text; with the feature `metrics`
//! `record` gives them to the recorder of the `metrics` facade. With the feature `tracing` the engine opens spans for checkpoints and
//! recoveries. Nothing here listens anywhere or starts a thread by itself. `docs/metrics.md` lists all of them, and shows how a service
//! offers them.

#[cfg(feature = "metrics")]
mod facade;
mod metric;
mod prometheus;
mod table;

#[cfg(feature = "metrics")]
pub use facade::{Recording, record, record_now};
pub use metric::{Metric, MetricKind, MetricScope};
pub use prometheus::{PROMETHEUS_CONTENT_TYPE, prometheus};
pub use table::METRICS;
