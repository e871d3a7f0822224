//! Where the state of each operator can be asked for: its subtasks that are ready, and the newest checkpoint.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, OnceLock, Weak};

use crate::contract::Manifest;
use crate::control::job_context::{JobContext, lock};
use crate::protocol::{Execution, OperatorId, SubtaskId, TaskId};
use crate::task::{QueryPlace, QueryPort, StoredReaders, TaskSpec};

/// The board of one job. Outlives it.
#[derive(Debug, Default)]
pub(crate) struct QueryBoard {
    tasks: Mutex<BTreeMap<TaskId, Entry>>,
    newest: Mutex<Option<Arc<Manifest>>>,
    /// Queries that are reading a checkpoint.
    pub(crate) reading: Arc<AtomicUsize>,
    /// Not there if the job could not be started.
    job: OnceLock<Weak<JobContext>>,
}

/// The newest attempt of a task.
#[derive(Debug)]
struct Entry {
    execution: Execution,
    places: Vec<QueryPlace>,
    readers: StoredReaders,
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
            let readers = known.map(|entry| entry.readers.clone()).unwrap_or_default();
            let places = (0..task.parallelism).map(|_| QueryPlace::default()).collect();
            tasks.insert(task.id, Entry { execution, places, readers });
        }
        let Entry { places, readers, .. } = &tasks[&task.id];
        QueryPort { place: places[subtask.index as usize].clone(), readers: readers.clone() }
    }

    /// An attempt of a region ends: its subtasks are not asked any more, whether they end or are left behind.
    pub(crate) fn close(&self, execution: Execution) {
        let tasks = lock(&self.tasks);
        let ending = tasks.values().filter(|entry| entry.execution == execution);
        ending.flat_map(|entry| &entry.places).for_each(QueryPlace::close);
    }

    /// The subtasks of a task; none before its first attempt.
    pub(crate) fn places(&self, task: TaskId) -> Vec<QueryPlace> {
        lock(&self.tasks).get(&task).map(|entry| entry.places.clone()).unwrap_or_default()
    }

    /// What reads the state of a task's operators from checkpoints.
    pub(crate) fn readers(&self, task: TaskId) -> StoredReaders {
        lock(&self.tasks).get(&task).map(|entry| entry.readers.clone()).unwrap_or_default()
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
