//! Where the state of each operator can be asked for: its subtasks that are ready, and the newest checkpoint.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};

use crate::contract::Manifest;
use crate::control::job_context::JobContext;
use crate::control::lock::lock;
use crate::protocol::{Attempt, Execution, Milestone, OperatorId, RegionId, SubtaskId, TaskId, TaskKind};
use crate::task::{QueryPlace, QueryPort, SourcePlace, StoredReaders, TaskSpec};

/// The board of one job. Outlives it.
#[derive(Debug, Default)]
pub(crate) struct QueryBoard {
    tasks: Mutex<BTreeMap<TaskId, Entry>>,
    /// What reads the state of operators from checkpoints.
    readers: StoredReaders,
    newest: Mutex<Option<Arc<Manifest>>>,
    /// Queries that are reading a checkpoint.
    pub(crate) reading: Arc<AtomicUsize>,
    /// The last milestone that was asked for.
    milestones: AtomicU64,
    /// Not there if the job could not be started.
    job: OnceLock<Weak<JobContext>>,
}

/// The newest attempt of a task.
#[derive(Debug)]
struct Entry {
    execution: Execution,
    /// Those of the task.
    operators: Vec<OperatorId>,
    places: Vec<QueryPlace>,
    sources: Vec<SourcePlace>,
}

impl QueryBoard {
    pub(crate) fn set_job(&self, job: &Arc<JobContext>) {
        self.job.get_or_init(|| Arc::downgrade(job));
    }

    /// The job, while it runs.
    pub(crate) fn job(&self) -> Option<Arc<JobContext>> {
        self.job.get()?.upgrade()
    }

    /// An attempt of a subtask starts: where it is to tell that it takes queries.
    pub(crate) fn begin(&self, task: &TaskSpec, subtask: SubtaskId, execution: Execution) -> QueryPort {
        let mut tasks = lock(&self.tasks);
        let known = tasks.get(&task.id);
        if known.is_none_or(|entry| entry.execution != execution) {
            let operators = task.operators.iter().map(|operator| operator.id().clone()).collect();
            let places = (0..task.parallelism).map(|_| QueryPlace::default()).collect();
            let sources = (0..task.parallelism).map(|_| SourcePlace::default()).collect();
            tasks.insert(task.id, Entry { execution, operators, places, sources });
        }
        let Entry { places, sources, .. } = &tasks[&task.id];
        let index = subtask.index as usize;
        QueryPort { place: places[index].clone(), readers: self.readers.clone(), source: sources[index].clone() }
    }

    /// An attempt of a region ends: its subtasks are not asked any more, whether they end or are left behind.
    pub(crate) fn close(&self, execution: Execution) {
        let tasks = lock(&self.tasks);
        for entry in tasks.values().filter(|entry| entry.execution == execution) {
            entry.places.iter().for_each(QueryPlace::close);
            entry.sources.iter().for_each(SourcePlace::close);
        }
    }

    /// Where the subtasks of a source are asked; none before its first attempt, or if it is another task by now.
    pub(crate) fn sources(&self, task: TaskId, source: &OperatorId) -> Vec<SourcePlace> {
        let tasks = lock(&self.tasks);
        let entry = tasks.get(&task).filter(|entry| entry.operators.first() == Some(source));
        entry.map(|entry| entry.sources.clone()).unwrap_or_default()
    }

    fn sources_of(&self, task: TaskId) -> Vec<SourcePlace> {
        lock(&self.tasks).get(&task).map(|entry| entry.sources.clone()).unwrap_or_default()
    }

    /// Has all sources of a region send a milestone behind what they have read. `None` if the attempt ends.
    pub(crate) fn emit_milestone(&self, tasks: &[TaskSpec], region: RegionId, attempt: Attempt) -> Option<Milestone> {
        let milestone = Milestone(self.milestones.fetch_add(1, Ordering::SeqCst) + 1);
        let sources = tasks.iter().filter(|task| task.region == region && task.kind == TaskKind::Source);
        let mut places = sources.flat_map(|task| self.sources_of(task.id));
        places.all(|place| place.emit(attempt, milestone)).then_some(milestone)
    }

    /// The job has other tasks from now on: none of those before is asked any more.
    pub(crate) fn forget_tasks(&self) {
        lock(&self.tasks).clear();
    }

    /// The subtasks of the task in which an operator runs; none before its first attempt, or if it runs in another one by now.
    pub(crate) fn places(&self, task: TaskId, operator: &OperatorId) -> Vec<QueryPlace> {
        let tasks = lock(&self.tasks);
        let entry = tasks.get(&task).filter(|entry| entry.operators.contains(operator));
        entry.map(|entry| entry.places.clone()).unwrap_or_default()
    }

    /// What reads the state of operators from checkpoints, of those that have been ready once.
    pub(crate) fn readers(&self) -> &StoredReaders {
        &self.readers
    }

    /// A checkpoint is complete, or the job goes on from this one, or from none.
    pub(crate) fn set_newest(&self, manifest: Option<Arc<Manifest>>) {
        *lock(&self.newest) = manifest;
    }

    /// The newest checkpoint.
    pub(crate) fn newest(&self) -> Option<Arc<Manifest>> {
        lock(&self.newest).clone()
    }
}

/// The task of an operator, by the operator's id or name.
pub(crate) fn task_of<'a>(tasks: &'a [TaskSpec], operator: &str) -> Option<(&'a TaskSpec, &'a OperatorId)> {
    let all = || tasks.iter().flat_map(|task| task.operators.iter().map(move |operator| (task, operator)));
    let by_id = all().find(|(_, info)| info.id().as_str() == operator);
    let found = by_id.or_else(|| all().find(|(_, info)| &*info.name == operator));
    found.map(|(task, info)| (task, info.id()))
}
