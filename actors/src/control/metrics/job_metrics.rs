//! All figures of a job at a moment, and rates between two of these.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::{CheckpointCounts, CheckpointRecord, RegionMetrics};
use crate::contract::{Figures, OperatorFigures};
use crate::control::event_log::JobStatus;
use crate::control::figures::SubtaskFigures;
use crate::protocol::serialised;
use crate::protocol::{OperatorId, SubtaskId};

/// All figures of a job at a moment: what [`JobHandle::metrics`](crate::JobHandle::metrics) gives.
///
/// Counts are those of this run: from the start of the job in this process, over all restarts of its regions. They never go back while
/// the process lives. What a failed attempt has done is in them, and what was done again is in them again. What is said of the present
/// (credits, watermarks, entries of state) is that of the newest attempt.
///
/// It is serialised under the names of its fields, as [`JobStatus`] is.
///
/// ```
/// use millstream::prelude::*;
///
/// let env = StreamEnvironment::new("evens");
/// env.source("numbers", SequenceSource::new(0..10)).filter(|n| n % 2 == 0).sink("out", CollectSink::new());
/// let job = env.start()?;
/// job.wait()?;
///
/// let metrics = job.metrics();
/// let operators: Vec<_> = metrics.subtasks.iter().flat_map(|subtask| &subtask.operators).collect();
/// let sink = operators.last().unwrap();
/// assert_eq!((sink.operator.as_str(), sink.of_run.records_in), ("out", 5));
/// assert_eq!(metrics.status.restarts, 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct JobMetrics {
    /// The job.
    pub job: Arc<str>,
    /// When, Unix milliseconds of the job's clock.
    pub unix_ms: u64,
    /// When, by the clock that measures what tasks do: the time since some moment in the life of the process.
    #[serde(rename = "at_ms", serialize_with = "serialised::millis")]
    pub at: Duration,
    /// What the job is doing, with its restarts and checkpoints.
    pub status: JobStatus,
    /// Each subtask that has started, in the order of the graph.
    pub subtasks: Vec<SubtaskFigures>,
    /// Each region that has run or restarted.
    pub regions: Vec<RegionMetrics>,
    /// What became of the checkpoints of this run.
    pub checkpoint_counts: CheckpointCounts,
    /// The newest checkpoints of this run, at most 16, oldest first.
    pub checkpoints: Vec<CheckpointRecord>,
    /// Bytes that the store takes, as of the newest checkpoint; `None` if it does not tell.
    pub store_bytes: Option<u64>,
    /// Bytes of state of each operator in the newest checkpoint of this run, where it has any.
    pub state_bytes: BTreeMap<OperatorId, u64>,
}

/// What one subtask did between two snapshots of a job's figures.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct SubtaskRates {
    /// The subtask.
    pub subtask: SubtaskId,
    /// The name of its task.
    pub task: Arc<str>,
    /// Records taken, a second.
    pub records_in_per_second: f64,
    /// Records sent, a second.
    pub records_out_per_second: f64,
    /// Bytes taken, a second.
    pub bytes_in_per_second: f64,
    /// Bytes sent, a second.
    pub bytes_out_per_second: f64,
    /// The share of the time in which it ran, 0 to 1.
    pub busy: f64,
    /// The share in which an output, or the thread of its sink, took nothing more.
    pub back_pressured: f64,
    /// The share in which there was no input.
    pub idle: f64,
    /// The share in which it had work, and other tasks of its arbiter had their turn.
    pub waiting: f64,
    /// Of its operators, in the order of their chain.
    pub operators: Vec<OperatorRates>,
}

/// What one operator of a subtask did between two snapshots of a job's figures.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct OperatorRates {
    /// The operator.
    pub operator: OperatorId,
    /// Records taken, a second.
    pub records_in_per_second: f64,
    /// Records emitted to the main output, a second.
    pub records_out_per_second: f64,
}

impl JobMetrics {
    /// What each subtask did since `earlier` figures of the same job were taken: counts by the time between the two snapshots, and
    /// shares of that time. A subtask that `earlier` does not have has done nothing before. Empty if no time has passed.
    ///
    /// ```
    /// use millstream::prelude::*;
    ///
    /// let env = StreamEnvironment::new("numbers");
    /// env.source("numbers", SequenceSource::new(0..1_000)).sink("out", CollectSink::new());
    /// let job = env.start()?;
    /// let before = job.metrics();
    /// job.wait()?;
    /// for rates in job.metrics().rates_since(&before) {
    ///     assert!(rates.records_in_per_second >= 0.0 && rates.busy <= 1.0);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn rates_since(&self, earlier: &Self) -> Vec<SubtaskRates> {
        let over = self.at.saturating_sub(earlier.at);
        if over.is_zero() {
            return Vec::new();
        }
        let rates = self.subtasks.iter().map(|now| {
            let before = earlier.subtasks.iter().find(|before| before.subtask == now.subtask);
            SubtaskRates::between(before, now, over)
        });
        rates.collect()
    }
}

impl SubtaskRates {
    fn between(before: Option<&SubtaskFigures>, now: &SubtaskFigures, over: Duration) -> Self {
        let then = before.map_or(Figures::default(), |before| before.of_run);
        let rate = |of: fn(&Figures) -> u64| per_second(of(&then), of(&now.of_run), over);
        let share = |of: fn(&Figures) -> u64| (rate(of) / 1e9).clamp(0.0, 1.0);
        let operators = now.operators.iter().map(|operator| {
            let known = before.into_iter().flat_map(|before| &before.operators);
            let then = known.clone().find(|known| known.operator == operator.operator).map(|known| known.of_run);
            let then = then.unwrap_or_default();
            let rate = |of: fn(&OperatorFigures) -> u64| per_second(of(&then), of(&operator.of_run), over);
            OperatorRates {
                operator: operator.operator.clone(),
                records_in_per_second: rate(|figures| figures.records_in),
                records_out_per_second: rate(|figures| figures.records_out),
            }
        });
        Self {
            subtask: now.subtask,
            task: now.task.clone(),
            records_in_per_second: rate(|figures| figures.records_in),
            records_out_per_second: rate(|figures| figures.records_out),
            bytes_in_per_second: rate(|figures| figures.bytes_in),
            bytes_out_per_second: rate(|figures| figures.bytes_out),
            busy: share(|figures| figures.busy_ns),
            back_pressured: share(|figures| figures.blocked_ns),
            idle: share(|figures| figures.idle_ns),
            waiting: share(|figures| figures.waiting_ns),
            operators: operators.collect(),
        }
    }
}

fn per_second(before: u64, now: u64, over: Duration) -> f64 {
    now.saturating_sub(before) as f64 / over.as_secs_f64()
}
