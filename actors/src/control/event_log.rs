//! The log of a job's events: one line for each, one message to each subscriber, one entry in a bounded history; and
//! what a job is doing, as the sum of them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;

use crate::contract::Clock;
use crate::control::event::{JobEvent, JobEventKind};
use crate::control::event_subscribers::{EventSubscribers, Subscriber};
use crate::control::figures::{CompletedCheckpoint, LastRestore};
use crate::protocol::serialised;
use crate::protocol::{Attempt, CheckpointId, HeldBack, IntervalAdvice, IntervalPlan, RecoveryEstimate, RegionId};

/// What a job is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum JobState {
    /// Not all regions have run yet.
    #[default]
    Starting,
    /// All regions run.
    Running,
    /// A region is being restarted.
    Restarting,
    /// It has ended.
    Ended,
}

/// A job at a moment: the sum of its events.
///
/// Serialised under the names of its fields. Times are numbers of milliseconds with a fraction, in fields that end with `_ms`
/// (`interval_ms`, `took_ms`, `age_ms`); ids are numbers, the state is `"starting"`, `"running"`, `"restarting"` or
/// `"ended"`, and what is `None` is null.
///
/// ```
/// use millstream::JobState;
/// use millstream::prelude::*;
///
/// # actix_rt::System::new().block_on(async {
/// let env = StreamEnvironment::new("ticks");
/// env.source("ticks", SequenceSource::unbounded().rate_per_second(1_000)).for_each("out", |_| {});
/// let job = env.start()?;
/// let checkpoint = job.checkpoint().await?;
///
/// let status = job.status();
/// assert_eq!(status.state, JobState::Running);
/// assert!(status.newest_checkpoint >= Some(checkpoint));
/// assert_eq!((status.restarts, status.last_error), (0, None));
/// job.cancel().await?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct JobStatus {
    /// What it is doing.
    pub state: JobState,
    /// The attempt of each region that has run.
    pub attempts: BTreeMap<RegionId, Attempt>,
    /// The newest completed checkpoint.
    pub newest_checkpoint: Option<CheckpointId>,
    /// Restarts of regions.
    pub restarts: u64,
    /// Checkpoints completed by this run.
    pub checkpoints: u64,
    /// The newest failure, in words.
    pub last_error: Option<String>,
    /// Checkpoints that failed in this run: a task declined, not all were done in time, or the store failed. Not among them are
    /// those that the failure or the stop of a region, or a restart of the engine's own actors, cut off.
    pub failed_checkpoints: u64,
    /// Why the newest of them failed, in the words of the log.
    pub last_failed_checkpoint: Option<String>,
    /// Figures of the newest checkpoint completed by this run; `None` after a fall behind it.
    pub checkpoint: Option<CompletedCheckpoint>,
    /// The newest restore by this run.
    pub restore: Option<LastRestore>,
    /// The interval in use; `None` without periodic checkpoints, and before the job's coordinator has started.
    #[serde(rename = "interval_ms", serialize_with = "serialised::optional_millis")]
    pub interval: Option<Duration>,
    /// The interval that measurements advise; `None` before the first checkpoint.
    pub advice: Option<IntervalAdvice>,
    /// How long a recovery is expected to take with the interval in use; `None` before the first checkpoint, or without
    /// an interval.
    pub recovery: Option<RecoveryEstimate>,
    /// Since when it is paused, Unix milliseconds of the job's clock; `None` if it is not. A job that ends paused is so when it starts
    /// again.
    pub paused_since_unix_ms: Option<u64>,
    /// What holds the event time of each region back, if anything does.
    pub held_back: BTreeMap<RegionId, HeldBack>,
}

struct Log {
    history: VecDeque<JobEvent>,
    subscribers: EventSubscribers,
    status: JobStatus,
    /// Regions that do not run.
    down: BTreeSet<RegionId>,
}

impl Log {
    fn count(&mut self, JobEvent { unix_ms, kind, .. }: &JobEvent) {
        let status = &mut self.status;
        match kind {
            JobEventKind::Started { restores, .. } => status.newest_checkpoint = *restores,
            JobEventKind::CheckpointCompleted { checkpoint, took, written_bytes, state_bytes } => {
                status.newest_checkpoint = Some(*checkpoint);
                status.checkpoints += 1;
                status.checkpoint = Some(CompletedCheckpoint {
                    checkpoint: *checkpoint,
                    took: *took,
                    written_bytes: *written_bytes,
                    state_bytes: *state_bytes,
                    completed_unix_ms: *unix_ms,
                    age: Duration::ZERO,
                });
            }
            JobEventKind::CheckpointAborted { reason, .. } | JobEventKind::CheckpointNotTriggered { reason }
                if reason.is_checkpoint_failure() =>
            {
                status.failed_checkpoints += 1;
                status.last_failed_checkpoint = Some(kind.to_string());
            }
            JobEventKind::FellBack { to, .. } => {
                status.newest_checkpoint = Some(*to);
                status.checkpoint.take_if(|newest| newest.checkpoint > *to);
            }
            JobEventKind::Restored { region, attempt, checkpoint, bytes, took, rewinds, .. } => {
                let (region, attempt, checkpoint) = (*region, *attempt, *checkpoint);
                let (bytes, took, rewinds, downtime) = (*bytes, *took, *rewinds, None);
                status.restore = Some(LastRestore { region, attempt, checkpoint, bytes, took, rewinds, downtime });
            }
            JobEventKind::SubtaskFailed { actor, cause, .. } => status.last_error = Some(format!("{actor} {cause}")),
            JobEventKind::ActorRestarted { actor, report } => {
                status.last_error = Some(format!("{actor} panicked: {report}"));
            }
            JobEventKind::RegionRestarting { region, .. } | JobEventKind::RegionMoving { region, .. } => {
                status.restarts += 1;
                status.state = JobState::Restarting;
                self.down.insert(*region);
            }
            JobEventKind::RegionRunning { region, attempt, downtime } => {
                status.attempts.insert(*region, *attempt);
                if let Some(restore) =
                    status.restore.as_mut().filter(|last| (last.region, last.attempt) == (*region, *attempt))
                {
                    restore.downtime = *downtime;
                }
                self.down.remove(region);
                if self.down.is_empty() {
                    status.state = JobState::Running;
                }
            }
            JobEventKind::Paused { since_unix_ms, .. } => status.paused_since_unix_ms = Some(*since_unix_ms),
            JobEventKind::Resumed { .. } => status.paused_since_unix_ms = None,
            JobEventKind::Ended { result } => {
                status.state = JobState::Ended;
                if let Err(error) = result {
                    status.last_error = Some(error.to_string());
                }
            }
            _ => {}
        }
    }
}

/// The events of one job.
pub(crate) struct EventLog {
    job: Arc<str>,
    clock: Arc<dyn Clock>,
    history_len: usize,
    log: Mutex<Log>,
}

impl EventLog {
    /// An empty log of a job with `regions` regions, which keeps the newest `history_len` events and tells all of them
    /// to `subscribers`.
    pub(crate) fn new(
        job: Arc<str>,
        clock: Arc<dyn Clock>,
        history_len: usize,
        regions: u32,
        subscribers: EventSubscribers,
    ) -> Self {
        let log = Log {
            history: VecDeque::new(),
            subscribers,
            status: JobStatus::default(),
            down: (0..regions).map(RegionId).collect(),
        };
        Self { job, clock, history_len, log: Mutex::new(log) }
    }

    /// Records an event: the only place where the engine's steps are logged.
    pub(crate) fn emit(&self, kind: JobEventKind) {
        log::log!(target: kind.target(), kind.level(), "job={} {kind}", self.job);
        let event = JobEvent { unix_ms: self.clock.unix_ms(), job: self.job.clone(), kind };
        let mut log = self.lock();
        log.count(&event);
        log.subscribers.tell(&event);
        if log.history.len() >= self.history_len {
            log.history.pop_front();
        }
        log.history.push_back(event);
    }

    /// Tells `subscriber` all later events. One that comes after the end is let go of at once.
    pub(crate) fn subscribe(&self, subscriber: Subscriber) {
        let mut log = self.lock();
        if log.status.state != JobState::Ended {
            log.subscribers.add(subscriber);
        }
    }

    pub(crate) fn history(&self) -> Vec<JobEvent> {
        self.lock().history.iter().cloned().collect()
    }

    pub(crate) fn status(&self) -> JobStatus {
        let mut status = self.lock().status.clone();
        if let Some(newest) = &mut status.checkpoint {
            newest.age = Duration::from_millis(self.clock.unix_ms().saturating_sub(newest.completed_unix_ms));
        }
        status
    }

    /// The time of the job's clock.
    pub(crate) fn now(&self) -> Duration {
        self.clock.now()
    }

    /// Keeps what the coordinator goes by now.
    pub(crate) fn planned(&self, plan: &IntervalPlan) {
        let status = &mut self.lock().status;
        status.interval = plan.interval;
        status.advice = plan.advice;
        status.recovery = plan.recovery;
    }

    fn lock(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
