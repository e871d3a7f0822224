//! What a subtask is told of itself and of its job.

use std::fmt;
use std::sync::Arc;

use super::{CarefulWork, Clock, Counters, EventTimes, ReadingTime};
use crate::protocol::{ActorName, Execution, KeyGroupRange, Limits, SubtaskId};

/// A subtask, its job and its share of the work.
#[derive(Clone)]
pub struct SubtaskInfo {
    /// The job.
    pub job: Arc<str>,
    /// The subtask.
    pub subtask: SubtaskId,
    /// Its name for probes, events and logs.
    pub name: ActorName,
    /// Its task's parallelism.
    pub parallelism: u32,
    /// Key groups of the job.
    pub max_parallelism: u32,
    /// Those of this subtask.
    pub key_groups: KeyGroupRange,
    /// Incarnation, region, attempt.
    pub execution: Execution,
    /// Bounds.
    pub limits: Arc<Limits>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// What it counts of its work in this attempt.
    pub counters: Arc<Counters>,
    /// Where its operators tell how far event time has come.
    pub event_times: EventTimes,
    /// The time in which records could have come to its task.
    pub reading: ReadingTime,
    /// Which of its region's operators work carefully in this attempt.
    pub careful: Arc<CarefulWork>,
}

impl fmt::Debug for SubtaskInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SubtaskInfo({} {} of {})", self.job, self.name, self.execution)
    }
}
