//! Which arbiter each subtask runs on.

/// A task, as far as its place depends on it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PlacedTask {
    /// Number of subtasks.
    pub(crate) parallelism: u32,
    /// An earlier task of the same parallelism, each subtask of which sends to the one here with the same index.
    pub(crate) follows: Option<usize>,
}

/// The arbiter of each task's first subtask, in the order of the tasks; the others are on those that follow it in a ring
/// of `arbiters`.
///
/// A task that has fewer subtasks than there are arbiters begins where the one before it ended, so that two sources with
/// one subtask each do not share an arbiter while another one has none. A task that follows another one stays with it:
/// what its subtasks get does not change threads. The first task begins at `first`, which differs between jobs.
pub(crate) fn placement(tasks: &[PlacedTask], arbiters: u32, first: u32) -> Vec<u32> {
    let mut next = first;
    let mut placed: Vec<u32> = Vec::with_capacity(tasks.len());
    for task in tasks {
        placed.push(match task.follows {
            Some(before) => placed[before],
            None if task.parallelism >= arbiters => first % arbiters,
            None => {
                let begins = next % arbiters;
                next = begins + task.parallelism;
                begins
            }
        });
    }
    placed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(parallelism: u32, follows: Option<usize>) -> PlacedTask {
        PlacedTask { parallelism, follows }
    }

    #[test]
    fn small_tasks_take_turns() {
        let tasks = [task(1, None), task(1, None), task(2, None), task(1, None)];
        assert_eq!(placement(&tasks, 2, 0), [0, 1, 0, 0]);
        assert_eq!(placement(&tasks, 3, 0), [0, 1, 2, 1]);
        assert_eq!(placement(&tasks, 4, 3), [3, 0, 1, 3]);
        assert_eq!(placement(&tasks, 1, 5), [0, 0, 0, 0]);
    }

    #[test]
    fn task_that_follows_another_stays_with_it() {
        let tasks = [task(1, None), task(1, Some(0)), task(1, None), task(1, Some(2)), task(1, Some(3))];
        assert_eq!(placement(&tasks, 2, 0), [0, 0, 1, 1, 1]);
    }

    #[test]
    fn jobs_of_one_small_task_spread_over_the_arbiters() {
        let places: Vec<u32> = (0..5).flat_map(|job| placement(&[task(1, None)], 2, job)).collect();
        assert_eq!(places, [0, 1, 0, 1, 0]);
    }
}
