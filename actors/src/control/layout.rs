//! A job at one parallelism: its tasks, and on which arbiters they are. Another one takes its place when the job is rescaled.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use crate::control::places::{JobPlace, TaskPlace};
use crate::protocol::{ActorName, RegionId, RegionOperators, SubtaskId, Succession, TaskId, TaskKind};
use crate::runtime::arbiters::{ArbiterPool, Berth};
use crate::task::{JobSpec, SpecAt, TaskSpec};

/// See the module's documentation.
pub(crate) struct Layout {
    pub(crate) spec: JobSpec,
    places: Vec<TaskPlace>,
}

/// Plans one job at any parallelism.
pub(crate) struct LayoutPlanner {
    pub(crate) spec_at: SpecAt,
    pub(crate) place: JobPlace,
    pub(crate) pool: Arc<ArbiterPool>,
}

impl LayoutPlanner {
    /// The job at this parallelism, 1 to its max parallelism.
    ///
    /// # Errors
    /// If the system refuses a thread.
    pub(crate) fn plan_at(&self, parallelism: u32) -> io::Result<Layout> {
        self.plan((self.spec_at)(parallelism))
    }

    /// # Errors
    /// If the system refuses a thread.
    pub(crate) fn plan(&self, spec: JobSpec) -> io::Result<Layout> {
        let places = self.place.of_tasks(&spec, &self.pool)?;
        Ok(Layout { spec, places })
    }
}

impl Layout {
    /// Whether the other has the same operators in as many subtasks, so that it makes no difference.
    pub(crate) fn is_as_wide_as(&self, other: &Self) -> bool {
        let (tasks, others) = (&self.spec.tasks, &other.spec.tasks);
        let is_same = |(task, other): (&TaskSpec, &TaskSpec)| {
            task.parallelism == other.parallelism && task.operators == other.operators
        };
        tasks.len() == others.len() && tasks.iter().zip(others).all(is_same)
    }

    /// The tasks of a region, in topological order, or its sinks alone.
    pub(crate) fn tasks_of(&self, region: RegionId, only_sinks: bool) -> impl DoubleEndedIterator<Item = &TaskSpec> {
        self.spec.tasks.iter().filter(move |task| task.region == region && (!only_sinks || task.kind == TaskKind::Sink))
    }

    /// The operators of each region, under all ids that their state may have.
    pub(crate) fn operators_of_regions(&self) -> RegionOperators {
        let mut operators = RegionOperators::new();
        for task in &self.spec.tasks {
            let of_region = operators.entry(task.region).or_default();
            for Succession { id, former_ids, .. } in task.operators.iter().map(|operator| &operator.succession) {
                of_region.extend(former_ids.iter().chain([id]).cloned());
            }
        }
        operators
    }

    pub(crate) fn task(&self, id: TaskId) -> &TaskSpec {
        &self.spec.tasks[id.0 as usize]
    }

    /// The arbiters that the subtasks of a region run on.
    pub(crate) fn berths(&self, region: RegionId) -> BTreeMap<SubtaskId, Berth> {
        let berths = self.tasks_of(region, false).flat_map(|task| {
            let TaskPlace { ring, first } = &self.places[task.id.0 as usize];
            (0..task.parallelism).map(move |index| (SubtaskId { task: task.id, index }, ring.berth(first + index)))
        });
        berths.collect()
    }

    pub(crate) fn name_of(&self, subtask: SubtaskId) -> ActorName {
        let task = self.task(subtask.task);
        ActorName::Subtask { subtask, task: task.name.clone(), parallelism: task.parallelism }
    }
}
