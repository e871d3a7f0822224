//! What a metric is: its name, and how its samples are read from the figures of a job.

use std::fmt;

use millstream_actors::contract::{SourceBacklog, SplitBacklog};
use millstream_actors::protocol::{OperatorId, Standing};
use millstream_actors::{
    CheckpointOutcome, FiguresOfChannel, FiguresOfOperator, JobMetrics, RegionMetrics, SnapshotParts, SubtaskFigures,
};

/// Whether the samples of a metric ever go back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MetricKind {
    /// Never, as long as the process lives: also not over restarts of regions.
    Counter,
    /// It is of the present.
    Gauge,
}

/// Of what there is a sample each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MetricScope {
    /// Each job.
    Job,
    /// Each region of a job.
    Region,
    /// Each subtask.
    Subtask,
    /// Each operator, in each subtask.
    Operator,
    /// Each channel: from one subtask to one subtask.
    Channel,
    /// Each operator, of all its subtasks.
    State,
    /// Each subtask of a source, or of a strategy in mid-stream, that may hold event time back.
    EventTime,
    /// Each subtask of a source that knows what waits before it.
    Source,
    /// Each split of such a source.
    Split,
}

impl MetricScope {
    /// The names of the labels of each sample.
    pub const fn labels(self) -> &'static [&'static str] {
        match self {
            Self::Job => &["job"],
            Self::Region => &["job", "region"],
            Self::Subtask => &["job", "task_id", "task", "subtask"],
            Self::Operator => &["job", "task_id", "task", "subtask", "operator"],
            Self::Channel => &["job", "task_id", "task", "subtask", "output", "to_task_id", "to_subtask", "port"],
            Self::State => &["job", "operator"],
            Self::EventTime | Self::Source => &["job", "operator", "subtask"],
            Self::Split => &["job", "operator", "split"],
        }
    }
}

/// How the samples of a metric are read.
#[derive(Clone, Copy)]
pub(super) enum Read {
    Job(fn(&JobMetrics) -> Option<f64>),
    Region(fn(&RegionMetrics, &JobMetrics) -> Option<f64>),
    Subtask(fn(&SubtaskFigures) -> Option<f64>),
    Parts(fn(&SnapshotParts) -> Option<f64>),
    Operator(fn(&FiguresOfOperator, &JobMetrics) -> Option<f64>),
    Channel(fn(&FiguresOfChannel) -> Option<f64>),
    State(fn(u64) -> Option<f64>),
    EventTime(fn(&Standing, &JobMetrics) -> Option<f64>),
    Source(fn(&SourceBacklog) -> Option<f64>),
    Split(fn(&SplitBacklog) -> Option<f64>),
}

/// A figure of jobs, as other programs know it.
///
/// ```
/// use millstream::metrics::{METRICS, MetricKind};
///
/// let late = METRICS.iter().find(|metric| metric.name == "millstream_operator_late_records_total").unwrap();
/// assert_eq!((late.kind, late.flink), (MetricKind::Counter, "numLateRecordsDropped"));
/// assert!(late.labels().contains(&"operator"));
/// ```
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Metric {
    /// Its name, with the unit and, of a counter, `_total` at the end.
    pub name: &'static str,
    /// Whether it goes back.
    pub kind: MetricKind,
    /// What a sample is counted in: `seconds`, `bytes`, or what the name says.
    pub unit: &'static str,
    /// What it is called in Flink; empty if Flink has none.
    pub flink: &'static str,
    /// What it is, in a sentence.
    pub help: &'static str,
    pub(super) read: Read,
}

impl fmt::Debug for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metric").field("name", &self.name).field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl Metric {
    /// Of what there is a sample each.
    pub fn scope(&self) -> MetricScope {
        match self.read {
            Read::Job(_) => MetricScope::Job,
            Read::Region(_) => MetricScope::Region,
            Read::Subtask(_) | Read::Parts(_) => MetricScope::Subtask,
            Read::Operator(_) => MetricScope::Operator,
            Read::Channel(_) => MetricScope::Channel,
            Read::State(_) => MetricScope::State,
            Read::EventTime(_) => MetricScope::EventTime,
            Read::Source(_) => MetricScope::Source,
            Read::Split(_) => MetricScope::Split,
        }
    }

    /// The names of the labels of each sample.
    pub fn labels(&self) -> &'static [&'static str] {
        self.scope().labels()
    }

    /// Calls `each` with the values of the [labels](Self::labels) and the value of each sample in these figures. A subtask that is no
    /// more, or has not started again, has counters and no gauges.
    pub fn samples(&self, job: &JobMetrics, mut each: impl FnMut(&[&str], f64)) {
        let name = &*job.job;
        let mut sample = |labels: &[&str], value: Option<f64>| value.into_iter().for_each(|value| each(labels, value));
        let shown = |subtask: &&SubtaskFigures| self.kind == MetricKind::Counter || subtask.is_current;
        let subtasks = job.subtasks.iter().filter(shown);
        match self.read {
            Read::Job(read) => sample(&[name], read(job)),
            Read::Region(read) => {
                job.regions.iter().for_each(|of| sample(&[name, &of.region.to_string()], read(of, job)));
            }
            Read::Subtask(read) => {
                subtasks.for_each(|of| on_subtask(name, of, |labels| sample(labels, read(of))));
            }
            Read::Parts(read) => newest_parts(job).iter().for_each(|of| {
                let (task_id, subtask) = (of.subtask.task.to_string(), of.subtask.index.to_string());
                sample(&[name, &task_id, &of.task, &subtask], read(of));
            }),
            Read::Operator(read) => subtasks.for_each(|of| {
                for operator in &of.operators {
                    on_subtask(name, of, |labels| {
                        sample(&[labels, &[operator.operator.as_str()]].concat(), read(operator, job));
                    });
                }
            }),
            Read::Channel(read) => subtasks.for_each(|of| {
                for channel in &of.channels {
                    let FiguresOfChannel { output, to, port, .. } = channel;
                    let own = [output.to_string(), to.task.to_string(), to.index.to_string(), port.to_string()];
                    on_subtask(name, of, |labels| {
                        sample(&[labels, &own.each_ref().map(String::as_str)].concat(), read(channel));
                    });
                }
            }),
            Read::State(read) => {
                job.state_bytes.iter().for_each(|(of, bytes)| sample(&[name, of.as_str()], read(*bytes)));
            }
            Read::EventTime(read) => subtasks.flat_map(|of| &of.event_times).for_each(|of| {
                sample(&[name, of.operator.as_str(), &of.subtask.to_string()], read(of, job));
            }),
            Read::Source(read) => on_backlogs(subtasks, |operator, subtask, of| {
                sample(&[name, operator.as_str(), &subtask.to_string()], read(of));
            }),
            Read::Split(read) => on_backlogs(subtasks, |operator, _, of| {
                of.splits.iter().for_each(|split| sample(&[name, operator.as_str(), &split.split], read(split)));
            }),
        }
    }
}

fn on_subtask(job: &str, of: &SubtaskFigures, mut each: impl FnMut(&[&str])) {
    each(&[job, &of.subtask.task.to_string(), &of.task, &of.subtask.index.to_string()]);
}

fn on_backlogs<'a>(
    subtasks: impl Iterator<Item = &'a SubtaskFigures>,
    mut each: impl FnMut(&OperatorId, u32, &SourceBacklog),
) {
    for subtask in subtasks {
        subtask.backlogs.iter().for_each(|of| each(&of.operator, subtask.subtask.index, &of.backlog));
    }
}

/// The parts of the newest completed checkpoint.
fn newest_parts(job: &JobMetrics) -> &[SnapshotParts] {
    let is_complete = |outcome: &CheckpointOutcome| matches!(outcome, CheckpointOutcome::Completed { .. });
    let newest = job.checkpoints.iter().rev().find(|record| is_complete(&record.outcome));
    newest.map_or(&[], |record| &record.subtasks)
}
