//! On which arbiters the tasks of a job are: those that all jobs share, the job's own, or a task's own.

use std::io;
use std::sync::Arc;

use crate::data::wiring::EdgePattern;
use crate::protocol::{PlacedTask, TaskId, placement};
use crate::runtime::arbiters::{ArbiterPool, ArbiterRing};
use crate::task::{JobSpec, TaskSpec};

/// Where the subtasks of a task are: one after the other from this place of a ring.
pub(crate) struct TaskPlace {
    pub(crate) ring: Arc<ArbiterRing>,
    pub(crate) first: u32,
}

/// Where a job is: the arbiters of all its tasks that have none of their own, and at which of these it begins.
pub(crate) struct JobPlace {
    ring: Arc<ArbiterRing>,
    first: u32,
}

impl JobPlace {
    /// The job has `own` arbiters for itself; without them it uses the shared ones.
    ///
    /// # Errors
    /// If the system refuses a thread.
    pub(crate) fn new(own: Option<u32>, pool: &ArbiterPool) -> io::Result<Self> {
        let (ring, first) = match own {
            Some(arbiters) => (pool.own_ring(arbiters)?, 0),
            None => (pool.shared().clone(), pool.next_job()),
        };
        Ok(Self { ring, first })
    }

    /// The places of all tasks, in their order.
    ///
    /// # Errors
    /// If the system refuses a thread.
    pub(crate) fn of_tasks(&self, spec: &JobSpec, pool: &ArbiterPool) -> io::Result<Vec<TaskPlace>> {
        let Self { ring, first } = self;
        let together: Vec<&TaskSpec> = spec.tasks.iter().filter(|task| !task.own_arbiters).collect();
        let mut firsts = placement(&placed_tasks(&together), ring.arbiters(), *first).into_iter();
        let places = spec.tasks.iter().map(|task| {
            if task.own_arbiters {
                return Ok(TaskPlace { ring: pool.own_ring(task.parallelism)?, first: 0 });
            }
            let first = firsts.next().expect("every other task is placed");
            Ok(TaskPlace { ring: ring.clone(), first })
        });
        places.collect()
    }
}

/// The tasks as their placement sees them.
fn placed_tasks(tasks: &[&TaskSpec]) -> Vec<PlacedTask> {
    let sends_straight = |before: &TaskSpec, to: TaskId| {
        before.outputs.iter().any(|edge| edge.to == to && edge.pattern == EdgePattern::Forward)
    };
    let placed = tasks.iter().map(|task| PlacedTask {
        parallelism: task.parallelism,
        follows: tasks.iter().position(|before| sends_straight(before, task.id)),
    });
    placed.collect()
}
