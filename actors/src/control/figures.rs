//! Figures of a job: of its checkpoints and restores, for its status, and of its subtasks while they work.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::Serialize;

use crate::contract::{Counters, EventTimes, Figures};
use crate::control::job_context::lock;
use crate::protocol::serialised;
use crate::protocol::{Attempt, CheckpointId, HeldBack, OperatorId, RegionId, Standing, SubtaskId};
use crate::task::TaskSpec;

/// The newest checkpoint that a run of a job completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CompletedCheckpoint {
    /// Its id.
    pub checkpoint: CheckpointId,
    /// From its trigger to its completion.
    #[serde(rename = "took_ms", serialize_with = "serialised::millis")]
    pub took: Duration,
    /// Bytes written for it.
    pub written_bytes: u64,
    /// Bytes of state in all.
    pub state_bytes: u64,
    /// When it was complete, Unix milliseconds of the job's clock.
    pub completed_unix_ms: u64,
    /// How long before the status that was.
    #[serde(rename = "age_ms", serialize_with = "serialised::millis")]
    pub age: Duration,
}

/// The newest restore of a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LastRestore {
    /// The region.
    pub region: RegionId,
    /// Its attempt that restored.
    pub attempt: Attempt,
    /// What was restored.
    pub checkpoint: CheckpointId,
    /// Bytes of state that were read.
    pub bytes: u64,
    /// How long loading took, of the subtask that took longest.
    #[serde(rename = "took_ms", serialize_with = "serialised::millis")]
    pub took: Duration,
    /// Records that the sources read again, of those read by this process; `None` in its first attempt.
    pub rewinds: Option<u64>,
    /// From the failure until the region ran again; `None` at the start of the job, and while it does not run yet.
    #[serde(rename = "downtime_ms", serialize_with = "serialised::optional_millis")]
    pub downtime: Option<Duration>,
}

/// Figures of one subtask.
///
/// ```
/// use millstream::prelude::*;
///
/// let env = StreamEnvironment::new("numbers");
/// env.source("numbers", SequenceSource::new(0..10)).sink("out", CollectSink::new());
/// let job = env.start()?;
/// job.wait()?;
/// for figures in job.figures() {
///     println!("{}: {:?}", figures.task, figures.of_run);
/// }
/// # assert!(!job.figures().is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SubtaskFigures {
    /// The subtask.
    pub subtask: SubtaskId,
    /// The name of its task.
    pub task: Arc<str>,
    /// The operators that run in it, in the order of their chain.
    pub operators: Vec<OperatorId>,
    /// Its newest attempt.
    pub attempt: Attempt,
    /// What that attempt has counted.
    pub of_attempt: Figures,
    /// What all attempts of this run have counted. What a failed attempt did is in it, also where it was done again.
    pub of_run: Figures,
}

/// The figures of a job's subtasks, for whoever asks.
#[derive(Debug, Default)]
pub(crate) struct FigureBoard(Mutex<BTreeMap<SubtaskId, Entry>>);

#[derive(Debug)]
struct Entry {
    task: Arc<str>,
    operators: Vec<OperatorId>,
    region: RegionId,
    attempt: Attempt,
    counters: Arc<Counters>,
    event_times: EventTimes,
    /// Of all attempts before.
    before: Figures,
}

impl FigureBoard {
    /// An attempt of a subtask starts: what it is to count with, and where it tells of event time.
    pub(crate) fn begin(&self, task: &TaskSpec, subtask: SubtaskId, attempt: Attempt) -> (Arc<Counters>, EventTimes) {
        let (counters, event_times) = (Arc::new(Counters::default()), EventTimes::default());
        let mut entries = lock(&self.0);
        let before = entries.get(&subtask).map(|entry| entry.before.and_then(entry.counters.read()));
        let entry = Entry {
            task: task.name.clone(),
            operators: task.operators.iter().map(|operator| operator.id().clone()).collect(),
            region: task.region,
            attempt,
            counters: counters.clone(),
            event_times: event_times.clone(),
            before: before.unwrap_or_default(),
        };
        entries.insert(subtask, entry);
        (counters, event_times)
    }

    /// What holds the event time of each region back at the time `now`, if anything does.
    pub(crate) fn held_back(&self, now: Duration) -> BTreeMap<RegionId, HeldBack> {
        let mut regions: BTreeMap<RegionId, Vec<Standing>> = BTreeMap::new();
        for entry in lock(&self.0).values() {
            regions.entry(entry.region).or_default().extend(entry.event_times.read());
        }
        regions.into_iter().filter_map(|(region, standings)| Some((region, HeldBack::of(&standings, now)?))).collect()
    }

    /// All of them, in the order of the graph.
    pub(crate) fn read(&self) -> Vec<SubtaskFigures> {
        let entries = lock(&self.0);
        let figures = entries.iter().map(|(subtask, entry)| {
            let of_attempt = entry.counters.read();
            SubtaskFigures {
                subtask: *subtask,
                task: entry.task.clone(),
                operators: entry.operators.clone(),
                attempt: entry.attempt,
                of_attempt,
                of_run: entry.before.and_then(of_attempt),
            }
        });
        figures.collect()
    }
}
