//! The log of a job's events: one line for each, one message to each subscriber, one entry in a bounded history; and
//! what a job is doing, as the sum of them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;

use crate::contract::Clock;
use crate::control::escalation::EscalationDecision;
use crate::control::event::{JobEvent, JobEventKind};
use crate::control::event_subscribers::{EventSubscribers, Subscriber};
use crate::control::figures::{CompletedCheckpoint, FigureBoard, LastRestore};
#[cfg(feature = "tracing")]
use crate::control::metrics::Spans;
use crate::control::metrics::{Acknowledged, CheckpointLog, JobMetrics, RegionLog};
use crate::control::parked_region::ParkedRegion;
use crate::control::progress::{CheckpointProgress, SavepointBoard, SavepointProgress};
use crate::protocol::serialised;
use crate::protocol::{
    Attempt, CheckpointId, HeldBack, IntervalAdvice, IntervalPlan, RecoveryEstimate, RegionId, SubtaskId,
};

/// What a job is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum JobState {
    /// Not all regions have run yet.
    #[default]
    Starting,
    /// All regions run, but for those that are parked.
    Running,
    /// A region is being restarted.
    Restarting,
    /// All regions are parked.
    Parked,
    /// It has ended.
    Ended,
}

/// A job at a moment: the sum of its events.
///
/// Serialised under the names of its fields. Times are numbers of milliseconds with a fraction, in fields that end with `_ms`
/// (`interval_ms`, `took_ms`, `age_ms`); ids are numbers, the state is `"starting"`, `"running"`, `"restarting"`, `"parked"` or
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
    /// When it was started, Unix milliseconds of the job's clock; `None` if it could not be.
    pub started_unix_ms: Option<u64>,
    /// When it ended; `None` before.
    pub ended_unix_ms: Option<u64>,
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
    /// The checkpoint that is under way, if one is.
    pub checkpoint_in_progress: Option<CheckpointProgress>,
    /// The savepoints that are being written to their paths, each of a checkpoint that is complete.
    pub savepoints_in_progress: Vec<SavepointProgress>,
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
    /// Its parallelism: the number of subtasks of each operator that sets none of its own. [Rescaling](crate::JobHandle::rescale)
    /// changes it.
    pub parallelism: u32,
    /// Since when it is paused, Unix milliseconds of the job's clock; `None` if it is not. A job that ends paused is so when it starts
    /// again.
    pub paused_since_unix_ms: Option<u64>,
    /// The regions that are parked, and why.
    pub parked: BTreeMap<RegionId, ParkedRegion>,
    /// What holds the event time of each region back, if anything does.
    pub held_back: BTreeMap<RegionId, HeldBack>,
}

struct Log {
    history: VecDeque<JobEvent>,
    subscribers: EventSubscribers,
    /// Events so far.
    events: u64,
    status: JobStatus,
    regions: u32,
    /// Regions that do not run.
    down: BTreeSet<RegionId>,
    checkpoints: CheckpointLog,
    savepoints: SavepointBoard,
    region_log: RegionLog,
}

impl Log {
    fn count(&mut self, JobEvent { unix_ms, kind, .. }: &JobEvent) {
        let status = &mut self.status;
        match kind {
            JobEventKind::Started { restores, .. } => {
                status.started_unix_ms = Some(*unix_ms);
                status.newest_checkpoint = *restores;
            }
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
            JobEventKind::RegionRestarting { region, .. }
            | JobEventKind::RegionMoving { region, .. }
            | JobEventKind::RegionRestartsAlong { region, .. }
            | JobEventKind::EscalationAnswered { region, decision: EscalationDecision::Restart, .. } => {
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
                self.is_down_no_more(*region);
            }
            JobEventKind::Escalated { region, .. } => {
                status.state = JobState::Restarting;
                self.down.insert(*region);
            }
            JobEventKind::RegionParked { region, error, checkpoint } => {
                let (cause, since_unix_ms, checkpoint) = (error.to_string(), *unix_ms, *checkpoint);
                status.parked.insert(*region, ParkedRegion { cause, since_unix_ms, checkpoint });
                self.is_down_no_more(*region);
            }
            JobEventKind::RegionResumed { region, .. } => {
                status.parked.remove(region);
                status.state = JobState::Restarting;
                self.down.insert(*region);
            }
            JobEventKind::Rescaling { to, .. } => {
                status.state = JobState::Restarting;
                status.parallelism = *to;
                // One that is parked stays so.
                let (regions, parked) = ((0..self.regions).map(RegionId), &status.parked);
                self.down = regions.filter(|region| !parked.contains_key(region)).collect();
                self.check_down();
            }
            JobEventKind::Paused { since_unix_ms, .. } => status.paused_since_unix_ms = Some(*since_unix_ms),
            JobEventKind::Resumed { .. } => status.paused_since_unix_ms = None,
            JobEventKind::Ended { result } => {
                status.state = JobState::Ended;
                status.ended_unix_ms = Some(*unix_ms);
                if let Err(error) = result {
                    status.last_error = Some(error.to_string());
                }
            }
            _ => {}
        }
    }
}

impl Log {
    /// A region runs, or nobody waits for it to run.
    fn is_down_no_more(&mut self, region: RegionId) {
        self.down.remove(&region);
        self.check_down();
    }

    fn check_down(&mut self) {
        if self.down.is_empty() {
            let all_are_parked = self.status.parked.len() == self.regions as usize;
            self.status.state = if all_are_parked { JobState::Parked } else { JobState::Running };
        }
    }
}

/// The status tells of a savepoint that is being written for as long as this is there.
pub(crate) struct ExportUnderWay {
    log: Arc<EventLog>,
    number: u64,
    written: Arc<AtomicU64>,
}

impl ExportUnderWay {
    /// So many bytes of it are written.
    pub(crate) fn has_written(&self, bytes: u64) {
        self.written.store(bytes, Ordering::Relaxed);
    }
}

impl Drop for ExportUnderWay {
    fn drop(&mut self) {
        self.log.lock().savepoints.end(self.number);
    }
}

/// The events of one job.
pub(crate) struct EventLog {
    job: Arc<str>,
    clock: Arc<dyn Clock>,
    history_len: usize,
    log: Mutex<Log>,
    /// Locked before the log, and without it where a subscriber is called: that may ask for the job's status.
    #[cfg(feature = "tracing")]
    spans: Mutex<Spans>,
}

impl EventLog {
    /// An empty log of a job with `regions` regions and this parallelism, which keeps the newest `history_len` events and tells all of them
    /// to `subscribers`.
    pub(crate) fn new(
        job: Arc<str>,
        clock: Arc<dyn Clock>,
        history_len: usize,
        (regions, parallelism): (u32, u32),
        subscribers: EventSubscribers,
    ) -> Self {
        let log = Log {
            history: VecDeque::new(),
            subscribers,
            events: 0,
            status: JobStatus { parallelism, ..JobStatus::default() },
            regions,
            down: (0..regions).map(RegionId).collect(),
            checkpoints: CheckpointLog::default(),
            savepoints: SavepointBoard::default(),
            region_log: RegionLog::default(),
        };
        Self {
            #[cfg(feature = "tracing")]
            spans: Mutex::new(Spans::new(job.clone())),
            job,
            clock,
            history_len,
            log: Mutex::new(log),
        }
    }

    /// Records an event: the only place where the engine's steps are logged.
    pub(crate) fn emit(&self, kind: JobEventKind) {
        log::log!(target: kind.target(), kind.level(), "job={} {kind}", self.job);
        #[cfg(feature = "tracing")]
        let (mut spans, told) = (self.spans(), kind.clone());
        let mut log = self.lock();
        let unix_ms = self.clock.unix_ms();
        log.events += 1;
        let event = JobEvent { seq: log.events, unix_ms, job: self.job.clone(), kind };
        log.checkpoints.count(&event.kind, event.unix_ms, self.clock.now());
        log.region_log.count(&event.kind, event.unix_ms);
        log.count(&event);
        log.subscribers.tell(&event);
        if log.history.len() >= self.history_len {
            log.history.pop_front();
        }
        log.history.push_back(event);
        #[cfg(feature = "tracing")]
        {
            let newest = log.checkpoints.newest().filter(|newest| spans.awaits(newest)).cloned();
            drop(log);
            newest.into_iter().for_each(|newest| spans.settled(&newest));
            spans.event(&told);
        }
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
        self.status_of(&self.lock())
    }

    fn status_of(&self, log: &Log) -> JobStatus {
        let mut status = log.status.clone();
        status.checkpoint_in_progress = log.checkpoints.progress();
        status.savepoints_in_progress = log.savepoints.read();
        if let Some(newest) = &mut status.checkpoint {
            newest.age = Duration::from_millis(self.clock.unix_ms().saturating_sub(newest.completed_unix_ms));
        }
        status
    }

    /// A subtask has sent its snapshot of a checkpoint.
    pub(crate) fn acknowledged(&self, checkpoint: CheckpointId, of: (SubtaskId, Arc<str>), ack: &Acknowledged) {
        #[cfg(feature = "tracing")]
        let spans = self.spans();
        let _parts = self.lock().checkpoints.acknowledged(checkpoint, of, ack).cloned();
        #[cfg(feature = "tracing")]
        _parts.into_iter().for_each(|parts| spans.sent(&parts));
    }

    /// So many subtasks take part in the checkpoint that was triggered.
    pub(crate) fn expects(&self, participants: u32) {
        self.lock().checkpoints.expects(participants);
    }

    /// The store has taken so many more bytes of a checkpoint.
    pub(crate) fn stored(&self, checkpoint: CheckpointId, bytes: u64) {
        self.lock().checkpoints.stored(checkpoint, bytes);
    }

    /// How far the checkpoint is that is under way.
    pub(crate) fn checkpoint_in_progress(&self) -> Option<CheckpointProgress> {
        self.lock().checkpoints.progress()
    }

    /// A savepoint of so many bytes is being written, until what this gives is dropped.
    pub(crate) fn exports(self: &Arc<Self>, path: PathBuf, checkpoint: CheckpointId, of_bytes: u64) -> ExportUnderWay {
        let since_unix_ms = self.clock.unix_ms();
        let progress = SavepointProgress { path, checkpoint, since_unix_ms, bytes: 0, of_bytes };
        let (number, written) = self.lock().savepoints.begin(progress);
        ExportUnderWay { log: self.clone(), number, written }
    }

    /// All snapshots of a checkpoint are there: it is stored.
    pub(crate) fn stores(&self, _checkpoint: CheckpointId) {
        #[cfg(feature = "tracing")]
        self.spans().stores(_checkpoint);
    }

    /// The subtasks of a region are started.
    pub(crate) fn region_starts(&self, _region: RegionId) {
        #[cfg(feature = "tracing")]
        self.spans().region_starts(_region);
    }

    /// All figures of the job, with those of `board`, taken at the time `at` of the process.
    pub(crate) fn metrics(&self, board: &FigureBoard, at: Duration) -> JobMetrics {
        let (held_back, subtasks) = (board.held_back(self.clock.now()), board.read());
        // Status and counts of one moment.
        let log = self.lock();
        let status = JobStatus { held_back, ..self.status_of(&log) };
        JobMetrics {
            job: self.job.clone(),
            unix_ms: self.clock.unix_ms(),
            at,
            status,
            subtasks,
            regions: log.region_log.all().cloned().collect(),
            checkpoint_counts: log.checkpoints.counts(),
            checkpoints: log.checkpoints.records().cloned().collect(),
            store_bytes: board.store_bytes(),
            state_bytes: board.state_bytes(),
        }
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

    #[cfg(feature = "tracing")]
    fn spans(&self) -> MutexGuard<'_, Spans> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
