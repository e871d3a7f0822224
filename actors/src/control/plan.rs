//! What a job consists of, as whoever shows it wants to know.

use std::sync::Arc;

use serde::Serialize;

use crate::protocol::{OperatorId, Partitioning, RegionId, TaskId, TaskKind};
use crate::task::{JobSpec, TaskSpec};

/// The tasks of a job and the edges between them, as they are at its parallelism: what [`JobHandle::plan`](crate::JobHandle::plan) gives.
///
/// Serialised under the names of its fields; ids are numbers.
///
/// ```
/// use millstream::Partitioning;
/// use millstream::prelude::*;
///
/// let env = StreamEnvironment::new("words").parallelism(2);
/// env.source("words", VecSource::new(vec!["to", "be", "or"].into_iter().map(str::to_owned).collect()))
///     .key_by_ref(String::as_str)
///     .fold("count", 0u64, |count, _| *count += 1)
///     .sink("out", CollectSink::new());
/// let job = env.start()?;
///
/// let plan = job.plan();
/// let names: Vec<_> = plan.tasks.iter().map(|task| &*task.name).collect();
/// assert_eq!(names, ["words", "count", "out"]);
/// assert_eq!(plan.edges[0].partitioning, Partitioning::Hash);
/// # job.wait()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct JobPlan {
    /// The job.
    pub job: Arc<str>,
    /// Number of key groups.
    pub max_parallelism: u32,
    /// Its tasks, in topological order: each has its place as its id.
    pub tasks: Vec<PlannedTask>,
    /// Its edges, in the order of the tasks that they leave.
    pub edges: Vec<PlannedEdge>,
}

/// A task of a job: operators that are chained to run together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PlannedTask {
    /// Its id.
    pub task: TaskId,
    /// Its name: its operators' names joined.
    pub name: Arc<str>,
    /// What it is.
    pub kind: TaskKind,
    /// The connected part of the graph that it belongs to.
    pub region: RegionId,
    /// Number of subtasks.
    pub parallelism: u32,
    /// Its operators, in the order of their chain.
    pub operators: Vec<OperatorId>,
}

/// An edge between two tasks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PlannedEdge {
    /// The task that it leaves.
    pub from: TaskId,
    /// The task that it enters.
    pub to: TaskId,
    /// Which input of that, from 0.
    pub port: u8,
    /// By what records are dealt out.
    pub partitioning: Partitioning,
    /// The tag of the side output whose records it takes; `None`: those of the main output.
    pub side_output: Option<Arc<str>>,
}

impl JobPlan {
    pub(crate) fn of(spec: &JobSpec) -> Self {
        let tasks = spec.tasks.iter().map(|task| PlannedTask {
            task: task.id,
            name: task.name.clone(),
            kind: task.kind,
            region: task.region,
            parallelism: task.parallelism,
            operators: task.operators.iter().map(|operator| operator.id().clone()).collect(),
        });
        Self {
            job: spec.name.clone(),
            max_parallelism: spec.max_parallelism,
            tasks: tasks.collect(),
            edges: spec.tasks.iter().flat_map(edges).collect(),
        }
    }
}

fn edges(task: &TaskSpec) -> impl Iterator<Item = PlannedEdge> {
    task.outputs.iter().map(|edge| PlannedEdge {
        from: task.id,
        to: edge.to,
        port: edge.port.0,
        partitioning: edge.partitioning,
        side_output: edge.side_output.clone(),
    })
}
