//! Which tasks an attempt's sources and blocked tasks hold up, so that what counts time there knows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::contract::ReadingTime;
use crate::protocol::{TaskId, TaskKind};
use crate::task::TaskSpec;

/// The time of each task of an attempt in which records could have come to it: all sources are being started.
pub(super) struct ReadingTimes {
    of: BTreeMap<TaskId, ReadingTime>,
    /// With each task itself, in which operators may be chained to a source.
    behind: BTreeMap<TaskId, Arc<[ReadingTime]>>,
}

impl ReadingTimes {
    /// Of these tasks, in topological order.
    pub(super) fn new<'a>(tasks: impl Iterator<Item = &'a TaskSpec>) -> Self {
        let tasks: Vec<&TaskSpec> = tasks.collect();
        let mut reached: BTreeMap<TaskId, BTreeSet<TaskId>> = BTreeMap::new();
        for task in tasks.iter().rev() {
            let next = task.outputs.iter().filter_map(|edge| reached.get(&edge.to));
            let behind = next.flatten().copied().chain([task.id]).collect();
            reached.insert(task.id, behind);
        }
        let sources = |of: TaskId| {
            let before = tasks.iter().filter(|task| task.kind == TaskKind::Source && reached[&task.id].contains(&of));
            before.map(|task| task.parallelism).sum()
        };
        let of: BTreeMap<_, _> = tasks.iter().map(|task| (task.id, ReadingTime::held(sources(task.id)))).collect();
        let times = |behind: &BTreeSet<TaskId>| behind.iter().map(|task| of[task].clone()).collect();
        let behind = reached.iter().map(|(task, behind)| (*task, times(behind))).collect();
        Self { of, behind }
    }

    /// That of a task.
    pub(super) fn of(&self, task: TaskId) -> ReadingTime {
        self.of[&task].clone()
    }

    /// Those of the tasks that are held up with it.
    pub(super) fn behind(&self, task: TaskId) -> Arc<[ReadingTime]> {
        self.behind[&task].clone()
    }
}
