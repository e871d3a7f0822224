//! An event as the words of its log line.

use std::fmt;
use std::time::Duration;

use super::JobEventKind;
use crate::control::outcome::OutcomeKind;
use crate::protocol::IntervalAdvice;

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{ActorName, Attempt, Cause, CheckpointId, PanicReport, RegionId, SubtaskId, TaskId};

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
