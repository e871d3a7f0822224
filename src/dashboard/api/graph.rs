//! The graph of a job, with its figures.

use std::sync::Arc;

use millstream_actors::protocol::{Partitioning, TaskKind};
use serde::Serialize;

use super::job::WideNumber;

/// A task: operators that are chained to run together.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Vertex {
    /// Its id.
    pub id: u32,
    /// Its name.
    pub name: Arc<str>,
    /// The ids of its operators, in the order of their chain.
    pub operators: Vec<String>,
    /// What it is.
    pub kind: TaskKind,
    /// Its region.
    pub region: u32,
    /// Number of subtasks.
    pub parallelism: u32,
    /// Number of key groups of the job.
    pub max_parallelism: u32,
    /// Of all subtasks together: counts, rates and sizes are sums, `busy`, `waiting` and `backpressured` those of the subtask that is most so, `idle`
    /// of the one that is least so, the watermark the lowest.
    #[serde(flatten)]
    pub figures: WorkFigures,
    /// How unevenly records are spread over the subtasks: the mean distance from the mean, as a share of that, at most 1.
    pub skew: f64,
    /// Its subtasks that have started.
    pub subtasks: Vec<Subtask>,
}

/// A subtask.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Subtask {
    /// Its index.
    pub subtask: u32,
    /// Its newest attempt.
    pub attempt: u32,
    /// `running`, `restarting` or `ended`.
    pub state: &'static str,
    /// What it does.
    #[serde(flatten)]
    pub figures: WorkFigures,
}

/// What a task, or a subtask, has done in this run of the job, and does. Rates and shares are of the last seconds; null until there are
/// two looks to tell them from.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct WorkFigures {
    /// Records taken.
    pub records_in: u64,
    /// Records sent to other tasks, each as often as it was sent.
    pub records_out: u64,
    /// Payload bytes taken, where they are counted.
    pub bytes_in: u64,
    /// Payload bytes sent, where they are counted.
    pub bytes_out: u64,
    /// Records taken, a second.
    pub records_in_per_second: Option<f64>,
    /// Records sent, a second.
    pub records_out_per_second: Option<f64>,
    /// The share of the time in which it ran, or had work and waited for its turn.
    pub busy: Option<f64>,
    /// The part of that in which it waited: tasks share the engine's threads.
    pub waiting: Option<f64>,
    /// The share in which an output took nothing more.
    pub backpressured: Option<f64>,
    /// The share in which there was no input.
    pub idle: Option<f64>,
    /// How far event time has come in it.
    pub watermark: Option<WideNumber>,
    /// How far that is behind the present.
    pub watermark_lag_ms: Option<f64>,
    /// Records found late.
    pub late_records: u64,
    /// Keys with state, as of the newest checkpoint or restore; null for sources and sinks.
    pub state_entries: Option<u64>,
    /// Bytes of state in the newest checkpoint; null where it has none, and for one subtask.
    pub state_bytes: Option<u64>,
    /// Times at which timers wait; null for sources and sinks.
    pub timers: Option<u64>,
}

/// What goes from one task to another.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Edge {
    /// The task that it leaves.
    pub from: u32,
    /// The task that it enters.
    pub to: u32,
    /// Which input of that.
    pub port: u8,
    /// By what records are dealt out.
    pub partitioning: Partitioning,
    /// The tag of the side output that it takes.
    pub side_output: Option<Arc<str>>,
    /// Records sent.
    pub records: u64,
    /// Records sent, a second.
    pub records_per_second: Option<f64>,
    /// Batches that wait for credit, and those that are sent and not worked off.
    pub queued_batches: u64,
    /// Batches that may be sent before another credit comes.
    pub credits: u64,
}
