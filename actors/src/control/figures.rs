//! Figures of a job: of its checkpoints and restores, for its status, and of its subtasks while they work.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::Serialize;

use crate::contract::{ChannelFigures, ChannelPlace, Counters, EventTimes, Figures, OperatorFigures, SourceBacklog};
use crate::control::lock::lock;
use crate::control::plan::JobPlan;
use crate::data::wiring::{EdgePattern, EdgeSpec};
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

/// Figures of one subtask: a part of [`JobMetrics`](crate::JobMetrics).
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SubtaskFigures {
    /// The subtask.
    pub subtask: SubtaskId,
    /// The name of its task.
    pub task: Arc<str>,
    /// Its region.
    pub region: RegionId,
    /// Its newest attempt.
    pub attempt: Attempt,
    /// Whether that is the newest attempt of its region. Else it has not been started again: what it has counted stays, and what it says
    /// of the present is of the past.
    pub is_current: bool,
    /// What that attempt has counted.
    pub of_attempt: Figures,
    /// What all attempts of this run have counted. What a failed attempt did is in it, also where it was done again. A subtask that
    /// [rescaling](crate::JobHandle::rescale) takes away is not listed; where a later one brings it back it goes on from what it had.
    pub of_run: Figures,
    /// The operators that run in it, in the order of their chain.
    pub operators: Vec<FiguresOfOperator>,
    /// The channels that leave it, by edge.
    pub channels: Vec<FiguresOfChannel>,
    /// How far event time has come in sources, and in strategies in mid-stream, that hold something back.
    pub event_times: Vec<Standing>,
    /// What waits before a source that knows it.
    pub backlogs: Vec<BacklogOfSource>,
}

/// Figures of one operator in one subtask.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct FiguresOfOperator {
    /// The operator.
    pub operator: OperatorId,
    /// What the newest attempt of the subtask has counted.
    pub of_attempt: OperatorFigures,
    /// What all attempts of this run have counted.
    pub of_run: OperatorFigures,
}

/// Figures of one channel, from the subtask that they are a part of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct FiguresOfChannel {
    /// The number of the edge among those that leave the task: two of them may go to the same port.
    pub output: u32,
    /// The subtask that it goes to.
    pub to: SubtaskId,
    /// Which of the receiving task's input ports it serves.
    pub port: u8,
    /// What all attempts of this run have counted.
    pub of_run: ChannelFigures,
}

/// What waits before a source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct BacklogOfSource {
    /// The source.
    pub operator: OperatorId,
    /// What waits.
    pub backlog: SourceBacklog,
}

/// The figures of a job's subtasks, for whoever asks.
#[derive(Debug)]
pub(crate) struct FigureBoard {
    /// What the subtasks are of.
    plan: Mutex<Arc<JobPlan>>,
    entries: Mutex<Entries>,
    /// The time by which tasks tell what they do.
    now: fn() -> Duration,
    /// Bytes of the store, and one more; 0 if that is not known.
    store_bytes: AtomicU64,
    /// Bytes of state of each operator in the newest checkpoint.
    state_bytes: Mutex<BTreeMap<OperatorId, u64>>,
}

#[derive(Debug, Default)]
struct Entries {
    /// Those of the tasks that the job has.
    present: BTreeMap<SubtaskId, Entry>,
    /// What subtasks had counted when the job was rescaled, with the names of their tasks: a task of the same number may be another one.
    past: BTreeMap<(SubtaskId, Arc<str>), Before>,
}

#[derive(Debug)]
struct Entry {
    task: Arc<str>,
    outputs: Vec<EdgeSpec>,
    region: RegionId,
    attempt: Attempt,
    counters: Arc<Counters>,
    event_times: EventTimes,
    /// Of all attempts before.
    before: Before,
}

/// What the attempts of a subtask before the newest have counted.
#[derive(Debug, Default)]
struct Before {
    subtask: Figures,
    operators: BTreeMap<OperatorId, OperatorFigures>,
    channels: BTreeMap<ChannelKey, ChannelFigures>,
}

/// A channel as others know it: the number of its edge, where it goes, and the port there. Under another plan its place may be that of another.
type ChannelKey = (u32, SubtaskId, u8);

impl Before {
    fn operator(&self, operator: &OperatorId) -> OperatorFigures {
        self.operators.get(operator).copied().unwrap_or_default()
    }

    fn channel(&self, key: ChannelKey) -> ChannelFigures {
        self.channels.get(&key).copied().unwrap_or_default()
    }
}

impl FigureBoard {
    /// An empty one of a job with these tasks, which go by the time `now`.
    pub(crate) fn new(plan: JobPlan, now: fn() -> Duration) -> Self {
        Self {
            plan: Mutex::new(Arc::new(plan)),
            entries: Mutex::default(),
            now,
            store_bytes: AtomicU64::new(0),
            state_bytes: Mutex::default(),
        }
    }

    /// An attempt of a subtask starts: what it is to count with, and where it tells of event time.
    pub(crate) fn begin(&self, task: &TaskSpec, subtask: SubtaskId, attempt: Attempt) -> (Arc<Counters>, EventTimes) {
        let (counters, event_times) = (Arc::new(Counters::default()), EventTimes::default());
        // In the order of the chain.
        task.operators.iter().for_each(|operator| drop(counters.operator(operator.id())));
        let mut entries = lock(&self.entries);
        let before = match entries.present.remove(&subtask) {
            Some(entry) => Some(entry.ends(subtask, (self.now)())),
            None => entries.past.remove(&(subtask, task.name.clone())),
        };
        let entry = Entry {
            task: task.name.clone(),
            outputs: task.outputs.clone(),
            region: task.region,
            attempt,
            counters: counters.clone(),
            event_times: event_times.clone(),
            before: before.unwrap_or_default(),
        };
        entries.present.insert(subtask, entry);
        (counters, event_times)
    }

    /// The tasks of the job.
    pub(crate) fn plan(&self) -> Arc<JobPlan> {
        lock(&self.plan).clone()
    }

    /// The job has other tasks from now on.
    pub(crate) fn begin_anew(&self, plan: JobPlan) {
        *lock(&self.plan) = Arc::new(plan);
        let (entries, now) = (&mut *lock(&self.entries), (self.now)());
        for (subtask, entry) in std::mem::take(&mut entries.present) {
            entries.past.insert((subtask, entry.task.clone()), entry.ends(subtask, now));
        }
    }

    /// The store has this size.
    pub(crate) fn store_has(&self, bytes: Option<u64>) {
        self.store_bytes.store(bytes.map_or(0, |bytes| bytes.saturating_add(1)), Ordering::Relaxed);
    }

    /// Bytes of the store, as it told them last.
    pub(crate) fn store_bytes(&self) -> Option<u64> {
        self.store_bytes.load(Ordering::Relaxed).checked_sub(1)
    }

    /// Operators have so many bytes of state in the newest checkpoint.
    pub(crate) fn state_has(&self, bytes: BTreeMap<OperatorId, u64>) {
        *lock(&self.state_bytes) = bytes;
    }

    /// Bytes of state of each operator in the newest checkpoint.
    pub(crate) fn state_bytes(&self) -> BTreeMap<OperatorId, u64> {
        lock(&self.state_bytes).clone()
    }

    /// What holds the event time of each region back at the time `now`, if anything does.
    pub(crate) fn held_back(&self, now: Duration) -> BTreeMap<RegionId, HeldBack> {
        let mut regions: BTreeMap<RegionId, Vec<Standing>> = BTreeMap::new();
        for entry in lock(&self.entries).present.values() {
            regions.entry(entry.region).or_default().extend(entry.event_times.read());
        }
        regions.into_iter().filter_map(|(region, standings)| Some((region, HeldBack::of(&standings, now)?))).collect()
    }

    /// All of them, in the order of the graph.
    pub(crate) fn read(&self) -> Vec<SubtaskFigures> {
        let (entries, now) = (lock(&self.entries), (self.now)());
        let mut newest: BTreeMap<RegionId, Attempt> = BTreeMap::new();
        for entry in entries.present.values() {
            let attempt = newest.entry(entry.region).or_default();
            *attempt = entry.attempt.max(*attempt);
        }
        let figures = entries.present.iter().map(|(subtask, entry)| {
            let is_current = newest.get(&entry.region) == Some(&entry.attempt);
            entry.read(*subtask, is_current, now)
        });
        figures.collect()
    }
}

impl Entry {
    /// What its attempts have counted, the newest one too, which is over.
    fn ends(self, subtask: SubtaskId, now: Duration) -> Before {
        let (channels, operators) = (self.channels(subtask), self.counters.read_operators());
        let Self { counters, mut before, .. } = self;
        before.subtask = before.subtask.and_then(counters.read(now));
        for (operator, newer) in operators {
            let sum = before.operator(&operator).and_then(newer);
            before.operators.insert(operator, sum);
        }
        for (key, newer) in channels {
            let sum = before.channel(key).and_then(newer);
            before.channels.insert(key, sum);
        }
        before
    }

    /// What the newest attempt has counted of its channels.
    fn channels(&self, subtask: SubtaskId) -> BTreeMap<ChannelKey, ChannelFigures> {
        let channels = self.counters.read_channels().into_iter().filter_map(|(place, figures)| {
            let ChannelPlace { output, channel } = place;
            let EdgeSpec { to, port, pattern, .. } = self.outputs.get(output as usize)?;
            let index = if *pattern == EdgePattern::Forward { subtask.index } else { channel };
            Some(((output, SubtaskId { task: *to, index }, port.0), figures))
        });
        channels.collect()
    }

    fn read(&self, subtask: SubtaskId, is_current: bool, now: Duration) -> SubtaskFigures {
        let (of_attempt, before) = (self.counters.read(now), &self.before);
        let operators = self.counters.read_operators().into_iter().map(|(operator, of_attempt)| {
            let of_run = before.operator(&operator).and_then(of_attempt);
            FiguresOfOperator { operator, of_attempt, of_run }
        });
        // The channels of an attempt that has just started are not there yet, or the receiving task has fewer subtasks now.
        let mut channels: BTreeMap<_, _> = before.channels.keys().map(|&key| (key, Default::default())).collect();
        channels.extend(self.channels(subtask));
        let channels = channels.into_iter().map(|(key, of_attempt)| {
            let ((output, to, port), of_run) = (key, before.channel(key).and_then(of_attempt));
            FiguresOfChannel { output, to, port, of_run }
        });
        let backlogs = self.counters.read_backlogs().into_iter();
        SubtaskFigures {
            subtask,
            task: self.task.clone(),
            region: self.region,
            attempt: self.attempt,
            is_current,
            of_attempt,
            of_run: before.subtask.and_then(of_attempt),
            operators: operators.collect(),
            channels: channels.collect(),
            event_times: self.event_times.read(),
            backlogs: backlogs.map(|(operator, backlog)| BacklogOfSource { operator, backlog }).collect(),
        }
    }
}
