//! Every step of a job, as data: one log line, one message to each subscriber, one entry in a bounded history.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actix::{Message, Recipient};
use log::Level;

use crate::contract::Clock;
use crate::control::figures::{CompletedCheckpoint, LastRestore};
use crate::control::outcome::{JobError, JobOutcome, OutcomeKind, SavepointError};
use crate::protocol::{
    AbortReason, ActorName, Attempt, Cause, CheckpointId, IntervalAdvice, IntervalPlan, PanicReport, RecoveryEstimate,
    RegionId, TaskError, TriggerReason,
};

/// Something happened in a job. Subscribers get events in the order in which they were recorded.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct JobEvent {
    /// When, Unix milliseconds of the job's clock.
    pub unix_ms: u64,
    /// The job.
    pub job: Arc<str>,
    /// What.
    pub kind: JobEventKind,
}

/// What happened.
#[derive(Clone, Debug)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields are named for what they hold, in units of their types")]
pub enum JobEventKind {
    /// The job starts.
    Started { tasks: usize, subtasks: u64, restores: Option<CheckpointId> },
    /// The sources were asked for barriers.
    CheckpointTriggered { checkpoint: CheckpointId, reason: TriggerReason },
    /// A checkpoint is durable. `written_bytes` of its `state_bytes` are new.
    CheckpointCompleted { checkpoint: CheckpointId, took: Duration, written_bytes: u64, state_bytes: u64 },
    /// A checkpoint will not complete.
    CheckpointAborted { checkpoint: CheckpointId, reason: AbortReason },
    /// A task could not take its snapshot.
    CheckpointDeclined { checkpoint: CheckpointId, actor: ActorName, reason: TaskError },
    /// A subtask came to an unwanted end, having taken `records_in` records in its attempt.
    SubtaskFailed { attempt: Attempt, actor: ActorName, cause: Cause, records_in: u64 },
    /// A control actor panicked and was restarted behind its address.
    ActorRestarted { actor: ActorName, report: PanicReport },
    /// A region will be restarted.
    RegionRestarting { region: RegionId, delay: Duration, failure: u32, of: u32, since: Option<CheckpointId> },
    /// A region's state is loaded.
    Restored {
        region: RegionId,
        attempt: Attempt,
        checkpoint: CheckpointId,
        age: Duration,
        bytes: u64,
        /// Keys with state.
        entries: u64,
        took: Duration,
        /// Records that the sources read again, of those read by this process.
        rewinds: u64,
    },
    /// A subtask has been loading a checkpoint for a second or more, and has come this far.
    Restoring {
        region: RegionId,
        attempt: Attempt,
        actor: ActorName,
        checkpoint: CheckpointId,
        bytes: u64,
        bytes_total: u64,
        /// Keys with state.
        entries: u64,
        elapsed: Duration,
    },
    /// All subtasks of a region run; `downtime` since the failure, if there was one.
    RegionRunning { region: RegionId, attempt: Attempt, downtime: Option<Duration> },
    /// A subtask has held its arbiter without a sign of life.
    SubtaskStuck { actor: ActorName, held_for: Duration },
    /// The arbiter of tasks that did not stop was given up.
    ArbiterCondemned { region: RegionId, subtasks: usize },
    /// A region falls back behind completed checkpoints, whose output sinks withdraw. `withdrawn` lists all that were
    /// abandoned since the last checkpoint completed, also by earlier falls.
    FellBack { region: RegionId, to: CheckpointId, withdrawn: Vec<CheckpointId> },
    /// A savepoint is durable. `took` counts from when it was asked for.
    SavepointWritten { path: PathBuf, checkpoint: CheckpointId, bytes: u64, took: Duration },
    /// A savepoint was not written.
    SavepointFailed { path: PathBuf, error: SavepointError },
    /// What was measured advises another interval than was told before, by more than a quarter; or the one in use,
    /// `interval`, differs from that told before as much.
    IntervalAdvised { advice: IntervalAdvice, interval: Option<Duration> },
    /// Even with the shortest interval a recovery is expected to take longer than the objective.
    RecoveryObjectiveMissed { objective: Duration, expected: RecoveryEstimate, interval: Option<Duration> },
    /// The job has ended.
    Ended { result: Result<JobOutcome, JobError> },
}

/// A time in the unit that shows it best.
struct Shown(Duration);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0.as_secs_f64() * 1_000.0;
        match ms {
            ms if ms > 0.0 && ms < 0.1 => write!(f, "{:.0} us", ms * 1_000.0),
            ms if ms < 10.0 => write!(f, "{ms:.1} ms"),
            ms if ms < 10_000.0 => write!(f, "{ms:.0} ms"),
            ms if ms < 600_000.0 => write!(f, "{:.1} s", ms / 1_000.0),
            ms if ms < 7_200_000.0 => write!(f, "{:.0} min", ms / 60_000.0),
            ms => write!(f, "{:.1} h", ms / 3_600_000.0),
        }
    }
}

struct Bytes(u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bytes if bytes < 1 << 10 => write!(f, "{bytes} B"),
            bytes if bytes < 1 << 20 => write!(f, "{} KiB", bytes >> 10),
            bytes => write!(f, "{} MiB", bytes >> 20),
        }
    }
}

impl fmt::Display for JobEventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started { tasks, subtasks, restores } => {
                write!(f, "attempt=1 started: {tasks} tasks, {subtasks} subtasks, ")?;
                match restores {
                    Some(checkpoint) => write!(f, "restores checkpoint {checkpoint}"),
                    None => f.write_str("no checkpoint to restore"),
                }
            }
            Self::CheckpointTriggered { checkpoint, reason } => {
                write!(f, "checkpoint={checkpoint} triggered ({reason:?})")
            }
            Self::CheckpointCompleted { checkpoint, took, written_bytes, state_bytes } => write!(
                f,
                "checkpoint={checkpoint} completed in {}: {} written, {} in all",
                Shown(*took),
                Bytes(*written_bytes),
                Bytes(*state_bytes)
            ),
            Self::CheckpointAborted { checkpoint, reason } => write!(f, "checkpoint={checkpoint} aborted: {reason}"),
            Self::CheckpointDeclined { checkpoint, actor, reason } => {
                write!(f, "checkpoint={checkpoint} {actor} declined: {reason}")
            }
            Self::SubtaskFailed { attempt, actor, cause, records_in } => {
                write!(f, "attempt={attempt} {actor} {cause}")?;
                if *records_in > 0 { write!(f, ", its input record {records_in}") } else { Ok(()) }
            }
            Self::ActorRestarted { actor, report } => write!(f, "{actor} panicked and was restarted: {report}"),
            Self::RegionRestarting { region, delay, failure, of, since } => {
                match delay.is_zero() {
                    true => write!(f, "region={region} restarts now (failure {failure} of {of} since ")?,
                    false => {
                        write!(f, "region={region} restarts in {} (failure {failure} of {of} since ", Shown(*delay))?;
                    }
                }
                match since {
                    Some(checkpoint) => write!(f, "checkpoint {checkpoint})"),
                    None => f.write_str("the start)"),
                }
            }
            Self::Restored { region, attempt, checkpoint, age, bytes, entries, took, rewinds } => write!(
                f,
                "region={region} attempt={attempt} restored checkpoint {checkpoint} ({} old, {}, {entries} keys) in {}; sources rewind {rewinds} records",
                Shown(*age),
                Bytes(*bytes),
                Shown(*took)
            ),
            Self::Restoring { region, attempt, actor, checkpoint, bytes, bytes_total, entries, elapsed } => write!(
                f,
                "region={region} attempt={attempt} {actor} restores checkpoint {checkpoint}: {} of {}, {entries} keys after {}",
                Bytes(*bytes),
                Bytes(*bytes_total),
                Shown(*elapsed)
            ),
            Self::RegionRunning { region, attempt, downtime: None } => {
                write!(f, "region={region} attempt={attempt} running")
            }
            Self::RegionRunning { region, attempt, downtime: Some(downtime) } => {
                write!(f, "region={region} attempt={attempt} running again {} after the failure", Shown(*downtime))
            }
            Self::SubtaskStuck { actor, held_for } => {
                write!(f, "{actor} has held its arbiter for {} without a sign of life", Shown(*held_for))
            }
            Self::ArbiterCondemned { region, subtasks } => {
                write!(f, "region={region} gave up an arbiter on which {subtasks} of its subtasks did not stop")
            }
            Self::FellBack { region, to, withdrawn } => {
                let withdrawn: Vec<_> = withdrawn.iter().map(|id| id.0).collect();
                write!(f, "region={region} falls back to checkpoint {to}; sinks withdraw the output of {withdrawn:?}")
            }
            Self::SavepointWritten { path, checkpoint, bytes, took } => write!(
                f,
                "savepoint of checkpoint={checkpoint} written to {} in {}: {}",
                path.display(),
                Shown(*took),
                Bytes(*bytes)
            ),
            Self::SavepointFailed { path, error } => write!(f, "nothing written to {}: {error}", path.display()),
            Self::IntervalAdvised { advice, interval } => {
                let IntervalAdvice { cost, failure_spacing, failures, young, .. } = advice;
                write!(
                    f,
                    "advised interval {} (Daly; Young {}): a checkpoint costs {}, a failure each {} ({failures} seen{}); ",
                    Shown(advice.interval),
                    Shown(*young),
                    Shown(*cost),
                    Shown(*failure_spacing),
                    if *failures == 0 { ", so assumed" } else { "" }
                )?;
                write_interval(f, *interval)
            }
            Self::RecoveryObjectiveMissed { objective, expected, interval } => {
                write!(
                    f,
                    "recovery within {} cannot be met: {} expected, most of it for {} (restart {}, restore {}, \
                     reprocessing {}); ",
                    Shown(*objective),
                    Shown(expected.total()),
                    expected.longest(),
                    Shown(expected.restart),
                    Shown(expected.restore),
                    Shown(expected.reprocessing)
                )?;
                write_interval(f, *interval)
            }
            Self::Ended { result: Ok(outcome) } => {
                match outcome.kind {
                    OutcomeKind::Finished if outcome.already_complete => f.write_str("was already complete")?,
                    OutcomeKind::Finished => f.write_str("finished")?,
                    OutcomeKind::Drained => f.write_str("drained")?,
                    OutcomeKind::Cancelled => f.write_str("cancelled")?,
                }
                write!(f, ": {} checkpoints, {} restarts", outcome.checkpoints, outcome.restarts)
            }
            Self::Ended { result: Err(error) } => write!(f, "failed: {error}"),
        }
    }
}

fn write_interval(f: &mut fmt::Formatter<'_>, interval: Option<Duration>) -> fmt::Result {
    match interval {
        Some(interval) => write!(f, "interval in use {}", Shown(interval)),
        None => f.write_str("no periodic checkpoints"),
    }
}

impl JobEventKind {
    fn level(&self) -> Level {
        match self {
            Self::CheckpointTriggered { .. } => Level::Debug,
            Self::Started { .. }
            | Self::CheckpointCompleted { .. }
            | Self::SavepointWritten { .. }
            | Self::Restored { .. }
            | Self::Restoring { .. }
            | Self::RegionRunning { .. }
            | Self::IntervalAdvised { .. }
            | Self::Ended { result: Ok(_) } => Level::Info,
            Self::SubtaskFailed { .. } | Self::ActorRestarted { .. } | Self::Ended { result: Err(_) } => Level::Error,
            _ => Level::Warn,
        }
    }

    fn target(&self) -> &'static str {
        match self {
            Self::CheckpointTriggered { .. }
            | Self::CheckpointCompleted { .. }
            | Self::CheckpointAborted { .. }
            | Self::CheckpointDeclined { .. }
            | Self::SavepointWritten { .. }
            | Self::SavepointFailed { .. }
            | Self::IntervalAdvised { .. }
            | Self::RecoveryObjectiveMissed { .. } => "millstream::checkpoint",
            _ => "millstream::supervisor",
        }
    }
}

/// What a job is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
    /// Figures of the newest checkpoint completed by this run; `None` after a fall behind it.
    pub checkpoint: Option<CompletedCheckpoint>,
    /// The newest restore by this run.
    pub restore: Option<LastRestore>,
    /// The interval in use; `None` without periodic checkpoints, and before the job's coordinator has started.
    pub interval: Option<Duration>,
    /// The interval that measurements advise; `None` before the first checkpoint.
    pub advice: Option<IntervalAdvice>,
    /// How long a recovery is expected to take with the interval in use; `None` before the first checkpoint, or without
    /// an interval.
    pub recovery: Option<RecoveryEstimate>,
}

struct Log {
    history: VecDeque<JobEvent>,
    subscribers: Vec<Recipient<JobEvent>>,
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
            JobEventKind::RegionRestarting { region, .. } => {
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
    /// An empty log of a job with `regions` regions, which keeps the newest `history_len` events.
    pub(crate) fn new(job: Arc<str>, clock: Arc<dyn Clock>, history_len: usize, regions: u32) -> Self {
        let log = Log {
            history: VecDeque::new(),
            subscribers: Vec::new(),
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
        log.subscribers.retain(Recipient::connected);
        for subscriber in &log.subscribers {
            subscriber.do_send(event.clone());
        }
        if log.history.len() >= self.history_len {
            log.history.pop_front();
        }
        log.history.push_back(event);
    }

    pub(crate) fn subscribe(&self, subscriber: Recipient<JobEvent>) {
        self.lock().subscribers.push(subscriber);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{SubtaskId, TaskId};

    #[test]
    fn lines_tell_who_what_and_how_much() {
        let subtask = SubtaskId { task: TaskId(1), index: 0 };
        let actor = ActorName::Subtask { subtask, task: "delays".into(), parallelism: 2 };
        let report = PanicReport {
            message: "injected at record 15000".into(),
            location: Some("examples/flight_delays.rs:88".into()),
            thread: "t".into(),
        };
        let attempt = Attempt(1);
        let failed = JobEventKind::SubtaskFailed { attempt, actor, cause: Cause::Panicked(report), records_in: 7512 };
        assert_eq!(
            failed.to_string(),
            "attempt=1 task=delays subtask=1/2 panicked: 'injected at record 15000' \
             (examples/flight_delays.rs:88), its input record 7512"
        );
        let completed = JobEventKind::CheckpointCompleted {
            checkpoint: CheckpointId(12),
            took: Duration::from_micros(4100),
            written_bytes: 38 << 10,
            state_bytes: 51 << 10,
        };
        assert_eq!(completed.to_string(), "checkpoint=12 completed in 4.1 ms: 38 KiB written, 51 KiB in all");
        let advice = IntervalAdvice::new(Duration::from_millis(50), Duration::from_secs(86_400), 0);
        let advised = JobEventKind::IntervalAdvised { advice, interval: Some(Duration::from_secs(10)) };
        assert_eq!(
            advised.to_string(),
            "advised interval 93.0 s (Daly; Young 93.0 s): a checkpoint costs 50 ms, a failure each 24.0 h (0 seen, so \
             assumed); interval in use 10.0 s"
        );
        let restarting = JobEventKind::RegionRestarting {
            region: RegionId(0),
            delay: Duration::ZERO,
            failure: 1,
            of: 16,
            since: Some(CheckpointId(12)),
        };
        assert_eq!(restarting.to_string(), "region=0 restarts now (failure 1 of 16 since checkpoint 12)");
    }
}
