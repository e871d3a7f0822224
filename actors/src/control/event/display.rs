//! An event as the words of its log line.

mod giving_up;

use std::fmt;
use std::path::Path;
use std::time::Duration;

use super::{JobEventKind, RegionAwaited};
use crate::control::outcome::{JobError, JobOutcome, OutcomeKind};
use crate::protocol::{
    ActorName, Attempt, Cause, CheckpointId, FailedRecord, IntervalAdvice, RecoveryEstimate, RegionId,
};

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

pub(in crate::control) struct Bytes(pub(in crate::control) u64);

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
            Self::Started { tasks, subtasks, restores } => write_started(f, *tasks, *subtasks, *restores),
            Self::CheckpointTriggered { checkpoint, reason } => {
                write!(f, "checkpoint={checkpoint} triggered ({reason:?})")
            }
            Self::CheckpointInProgress { .. } | Self::CheckpointCompleted { .. } => write_checkpoint(f, self),
            Self::CheckpointAborted { checkpoint, reason } => write!(f, "checkpoint={checkpoint} aborted: {reason}"),
            Self::CheckpointNotTriggered { reason } => write!(f, "no checkpoint could be triggered: {reason}"),
            Self::CheckpointDeclined { checkpoint, actor, reason } => {
                write!(f, "checkpoint={checkpoint} {actor} declined: {reason}")
            }
            Self::SubtaskFailed { attempt, actor, cause, records_in, at } => {
                write_failed(f, (*attempt, actor), cause, *records_in, at.as_deref())
            }
            Self::ActorRestarted { actor, report } => write!(f, "{actor} panicked and was restarted: {report}"),
            Self::RegionRestarting { region, delay, failure, of, since } => {
                write_restarting(f, *region, *delay, (*failure, *of), *since)
            }
            Self::RegionRestartsAlong { .. } | Self::Escalated { .. } => giving_up::write(f, self),
            Self::EscalationAnswered { .. } | Self::RegionParked { .. } => giving_up::write(f, self),
            Self::ParkingRefused { .. } | Self::RegionResumed { .. } => giving_up::write(f, self),
            Self::CarefulWorkBegins { .. } | Self::RecordPanicked { .. } => write_directive(f, self),
            Self::RecordWithheld { .. } | Self::CarefulWorkEnded { .. } => write_directive(f, self),
            Self::Restored { region, attempt, checkpoint, age, bytes, entries, took, rewinds } => {
                write!(f, "region={region} attempt={attempt} restored checkpoint {checkpoint} ")?;
                write_restored(f, (*age, *took), *bytes, *entries, *rewinds)
            }
            Self::Restoring { region, attempt, actor, checkpoint, bytes, bytes_total, entries, elapsed } => {
                let (done, all, elapsed) = (Bytes(*bytes), Bytes(*bytes_total), Shown(*elapsed));
                write!(f, "region={region} attempt={attempt} {actor} restores checkpoint {checkpoint}: ")?;
                write!(f, "{done} of {all}, {entries} keys after {elapsed}")
            }
            Self::RegionRunning { region, attempt, downtime } => write_running(f, *region, *attempt, *downtime),
            Self::EndAwaitsRegion { region, awaits } => write_awaited(f, *region, *awaits),
            Self::SubtaskStuck { actor, held_for } => write_stuck(f, actor, *held_for),
            Self::EventTimeHeldBack { region, held_back } => write!(f, "region={region} {held_back}"),
            Self::SubtaskLeftBehind { attempt, actor } => write_left_behind(f, *attempt, actor),
            Self::RegionMoving { region, subtasks } => write_moving(f, *region, *subtasks),
            Self::ArbiterCondemned { region, subtasks } => write_condemned(f, *region, *subtasks),
            Self::FellBack { region, to, withdrawn } => write_fall(f, *region, *to, withdrawn),
            Self::SavepointWritten { path, checkpoint, bytes, took } => {
                write_saved(f, path, *checkpoint, *bytes, *took)
            }
            Self::SavepointFailed { path, error } => write!(f, "nothing written to {}: {error}", path.display()),
            Self::IntervalAdvised { advice, interval, .. } => write_advice(f, advice, *interval),
            Self::IdsPassedOver { first, last } => write_ids(f, *first, *last),
            Self::RecoveryObjectiveMissed { objective, expected, interval } => {
                write_missed(f, *objective, expected, *interval)
            }
            Self::Rescaling { .. } | Self::Rescaled { .. } | Self::RescaleFailed { .. } => write_rescale(f, self),
            Self::Paused { since_unix_ms, at_start } => write_paused(f, *since_unix_ms, *at_start),
            Self::Resumed { since_unix_ms } => write_resumed(f, *since_unix_ms),
            Self::Ended { result } => write_end(f, result),
        }
    }
}

/// What is told of a checkpoint that goes well; of other events nothing.
fn write_checkpoint(f: &mut fmt::Formatter<'_>, event: &JobEventKind) -> fmt::Result {
    match event {
        JobEventKind::CheckpointInProgress { checkpoint, reason, acknowledged, of, bytes, elapsed } => {
            let (bytes, elapsed) = (Bytes(*bytes), Shown(*elapsed));
            write!(f, "checkpoint={checkpoint} in progress ({reason:?}) for {elapsed}: ")?;
            write!(f, "{acknowledged} of {of} subtasks acknowledged, {bytes} stored")
        }
        JobEventKind::CheckpointCompleted { checkpoint, took, written_bytes, state_bytes } => {
            let (took, written, state) = (Shown(*took), Bytes(*written_bytes), Bytes(*state_bytes));
            write!(f, "checkpoint={checkpoint} completed in {took}: {written} written, {state} in all")
        }
        _ => Ok(()),
    }
}

fn write_condemned(f: &mut fmt::Formatter<'_>, region: RegionId, subtasks: usize) -> fmt::Result {
    write!(f, "region={region} gave up an arbiter that is held, where {subtasks} of its subtasks cannot go on")
}

/// What is told of a rescale; of other events nothing.
fn write_rescale(f: &mut fmt::Formatter<'_>, event: &JobEventKind) -> fmt::Result {
    match event {
        JobEventKind::Rescaling { from, to, checkpoint } => {
            write!(f, "goes on from checkpoint {checkpoint} at parallelism {to}, not {from}: all regions start again")
        }
        JobEventKind::Rescaled { from, to, checkpoint, took } => {
            write!(f, "rescaled from parallelism {from} to {to} at checkpoint {checkpoint} in {}", Shown(*took))
        }
        JobEventKind::RescaleFailed { to, error } => write!(f, "not rescaled to parallelism {to}: {error}"),
        _ => Ok(()),
    }
}

fn write_end(f: &mut fmt::Formatter<'_>, result: &Result<JobOutcome, JobError>) -> fmt::Result {
    match result {
        Ok(outcome) => write_outcome(f, outcome),
        Err(error) => write!(f, "failed: {error}"),
    }
}

/// What record directives tell; of other events nothing.
fn write_directive(f: &mut fmt::Formatter<'_>, event: &JobEventKind) -> fmt::Result {
    match event {
        JobEventKind::CarefulWorkBegins { region, operator } => {
            write!(
                f,
                "region={region} operator '{operator}' works carefully from the restart on, until a checkpoint "
            )?;
            f.write_str("covers what was read: its next panic will say at which record it is")
        }
        JobEventKind::RecordPanicked { region, operator, record, firing, key, panics, of } => {
            write!(f, "region={region} operator '{operator}' panicked at {}: ", ShownRecord(record, firing, key))?;
            write!(f, "{panics} of {of} times after which it is withheld")
        }
        JobEventKind::RecordWithheld { region, operator, record, firing, key, panics, message, goes_to } => {
            let (record, times) = (ShownRecord(record, firing, key), if *panics == 1 { "time" } else { "times" });
            write!(f, "region={region} operator '{operator}' does not get {record} any more, ")?;
            write!(f, "at which it panicked {panics} {times} ('{message}'): ")?;
            match goes_to {
                Some(tag) => write!(f, "it goes to side output '{tag}'"),
                None => f.write_str("it is skipped"),
            }
        }
        JobEventKind::CarefulWorkEnded { region, operator, checkpoint, withheld, not_met } => {
            write!(f, "region={region} operator '{operator}' goes on at full speed: checkpoint {checkpoint} covers ")?;
            write!(f, "the failures; records withheld: {withheld}")?;
            if *not_met > 0 { write!(f, ", not met again: {not_met}") } else { Ok(()) }
        }
        _ => Ok(()),
    }
}

/// A record, or a timer, of which the text, and the key, may be known.
struct ShownRecord<'a>(&'a Option<String>, &'a Option<String>, &'a Option<String>);

impl fmt::Display for ShownRecord<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1 {
            Some(firing) => write!(f, "the timer of {firing}")?,
            None => write!(f, "record {}", self.0.as_deref().unwrap_or("(not shown as JSON)"))?,
        }
        self.2.as_ref().map_or(Ok(()), |key| write!(f, " of key {key}"))
    }
}

impl fmt::Display for RegionAwaited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Restarts => "starts again now, without waiting for its restart delay",
            Self::Stops => "starts again as soon as the tasks of its failed attempt have ended",
            Self::Restores => "is starting",
            Self::Decision => "has given up: the host is asked what is to become of it",
        })
    }
}

fn write_running(
    f: &mut fmt::Formatter<'_>,
    region: RegionId,
    attempt: Attempt,
    downtime: Option<Duration>,
) -> fmt::Result {
    write!(f, "region={region} attempt={attempt} running")?;
    downtime.map_or(Ok(()), |downtime| write!(f, " again {} after the failure", Shown(downtime)))
}

fn write_saved(
    f: &mut fmt::Formatter<'_>,
    path: &Path,
    checkpoint: CheckpointId,
    bytes: u64,
    took: Duration,
) -> fmt::Result {
    let (path, took, bytes) = (path.display(), Shown(took), Bytes(bytes));
    write!(f, "savepoint of checkpoint={checkpoint} written to {path} in {took}: {bytes}")
}

fn write_started(
    f: &mut fmt::Formatter<'_>,
    tasks: usize,
    subtasks: u64,
    restores: Option<CheckpointId>,
) -> fmt::Result {
    write!(f, "attempt=1 started: {tasks} tasks, {subtasks} subtasks, ")?;
    match restores {
        Some(checkpoint) => write!(f, "restores checkpoint {checkpoint}"),
        None => f.write_str("no checkpoint to restore"),
    }
}

fn write_failed(
    f: &mut fmt::Formatter<'_>,
    (attempt, actor): (Attempt, &ActorName),
    cause: &Cause,
    records_in: u64,
    at: Option<&FailedRecord>,
) -> fmt::Result {
    write!(f, "attempt={attempt} {actor} {cause}")?;
    match at {
        Some(at) => write!(f, ", {at}"),
        None if records_in > 0 => write!(f, ", after {records_in} input records"),
        None => Ok(()),
    }
}

fn write_paused(f: &mut fmt::Formatter<'_>, since_unix_ms: u64, at_start: bool) -> fmt::Result {
    let starts = if at_start { "starts " } else { "" };
    write!(f, "{starts}paused since {since_unix_ms} (Unix ms): its sources read nothing until it is resumed")
}

fn write_resumed(f: &mut fmt::Formatter<'_>, since_unix_ms: u64) -> fmt::Result {
    write!(f, "resumed: its sources read on; it had been paused since {since_unix_ms} (Unix ms)")
}

fn write_awaited(f: &mut fmt::Formatter<'_>, region: RegionId, awaits: RegionAwaited) -> fmt::Result {
    write!(f, "region={region} the end that was asked for needs this region, which {awaits}")
}

fn write_stuck(f: &mut fmt::Formatter<'_>, actor: &ActorName, held_for: Duration) -> fmt::Result {
    write!(f, "{actor} has held its arbiter for {} without a sign of life", Shown(held_for))
}

fn write_left_behind(f: &mut fmt::Formatter<'_>, attempt: Attempt, actor: &ActorName) -> fmt::Result {
    write!(f, "attempt={attempt} {actor} did not stop in time and is left behind; ")?;
    f.write_str("its thread is lost until its call returns")
}

fn write_moving(f: &mut fmt::Formatter<'_>, region: RegionId, subtasks: usize) -> fmt::Result {
    write!(f, "region={region} restarts now: ")?;
    write!(f, "another task holds an arbiter on which {subtasks} of its subtasks were")
}

fn write_restarting(
    f: &mut fmt::Formatter<'_>,
    region: RegionId,
    delay: Duration,
    (failure, of): (u32, u32),
    since: Option<CheckpointId>,
) -> fmt::Result {
    write!(f, "region={region} restarts ")?;
    if delay.is_zero() {
        f.write_str("now")?
    } else {
        write!(f, "in {}", Shown(delay))?
    }
    if of == 0 {
        return f.write_str(" (a record directive has answered the failure, which does not count)");
    }
    write!(f, " (failure {failure} of {of} since ")?;
    match since {
        Some(checkpoint) => write!(f, "checkpoint {checkpoint})"),
        None => f.write_str("the start)"),
    }
}

fn write_restored(
    f: &mut fmt::Formatter<'_>,
    (age, took): (Duration, Duration),
    bytes: u64,
    entries: u64,
    rewinds: Option<u64>,
) -> fmt::Result {
    let (age, took, bytes) = (Shown(age), Shown(took), Bytes(bytes));
    write!(f, "({age} old, {bytes}, {entries} keys) in {took}; sources ")?;
    match rewinds {
        Some(records) => write!(f, "rewind {records} records that this process had read"),
        None => f.write_str("go back to its positions"),
    }
}

fn write_fall(
    f: &mut fmt::Formatter<'_>,
    region: RegionId,
    to: CheckpointId,
    withdrawn: &[CheckpointId],
) -> fmt::Result {
    let withdrawn: Vec<_> = withdrawn.iter().map(|id| id.0).collect();
    write!(f, "region={region} falls back to checkpoint {to}; sinks withdraw the output of {withdrawn:?}")
}

fn write_ids(f: &mut fmt::Formatter<'_>, first: CheckpointId, last: CheckpointId) -> fmt::Result {
    write!(
        f,
        "checkpoint ids {first} to {last} are passed over: earlier runs had reserved them, and none is used twice"
    )
}

fn write_advice(f: &mut fmt::Formatter<'_>, advice: &IntervalAdvice, interval: Option<Duration>) -> fmt::Result {
    let IntervalAdvice { cost, failure_spacing, failures, young, .. } = advice;
    write!(f, "advised interval {} (Daly; Young {}): ", Shown(advice.interval), Shown(*young))?;
    write!(f, "a checkpoint costs {}, a failure each {} ", Shown(*cost), Shown(*failure_spacing))?;
    write!(f, "({failures} seen{}); ", if *failures == 0 { ", so assumed" } else { "" })?;
    write_interval(f, interval)
}

fn write_missed(
    f: &mut fmt::Formatter<'_>,
    objective: Duration,
    expected: &RecoveryEstimate,
    interval: Option<Duration>,
) -> fmt::Result {
    let (objective, total, longest) = (Shown(objective), Shown(expected.total()), expected.longest());
    write!(f, "recovery within {objective} cannot be met: {total} expected, most of it for {longest} ")?;
    let (restart, restore) = (Shown(expected.restart), Shown(expected.restore));
    write!(f, "(restart {restart}, restore {restore}, reprocessing {}); ", Shown(expected.reprocessing))?;
    write_interval(f, interval)
}

fn write_outcome(f: &mut fmt::Formatter<'_>, outcome: &JobOutcome) -> fmt::Result {
    match outcome.kind {
        OutcomeKind::Finished if outcome.already_complete => f.write_str("was already complete")?,
        OutcomeKind::Finished => f.write_str("finished")?,
        OutcomeKind::Drained => f.write_str("drained")?,
        OutcomeKind::Cancelled => f.write_str("cancelled")?,
    }
    write!(f, ": {} checkpoints, {} restarts", outcome.checkpoints, outcome.restarts)
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
    use crate::protocol::{PanicReport, ReadRange, SubtaskId, TaskId};

    #[test]
    fn lines_tell_who_what_and_how_much() {
        let subtask = SubtaskId { task: TaskId(1), index: 0 };
        let actor = ActorName::Subtask { subtask, task: "delays".into(), parallelism: 2 };
        let report = PanicReport {
            message: "injected at record 15000".into(),
            location: Some("examples/flight_delays.rs:88".into()),
            thread: "t".into(),
            backtrace: None,
        };
        let read = ReadRange { source: "flights".into(), split: "a.txt".into(), from: None, to: "byte 90".into() };
        let at = FailedRecord {
            operator: Some("delays".into()),
            record: None,
            key: Some("\"ATL\"".into()),
            index: Some(7),
            input: Some((6145, 7168)),
            read: vec![read],
        };
        let attempt = Attempt(1);
        let cause = Cause::Panicked(report);
        let failed = JobEventKind::SubtaskFailed { attempt, actor, cause, records_in: 7168, at: Some(Box::new(at)) };
        assert_eq!(
            failed.to_string(),
            "attempt=1 task=delays subtask=1/2 panicked: 'injected at record 15000' \
             (examples/flight_delays.rs:88), in operator 'delays', at key \"ATL\", record 7 from 0 of its batch, among its \
             input records 6145 to 7168, source 'flights' split 'a.txt' from its beginning to byte 90"
        );
        let completed = JobEventKind::CheckpointCompleted {
            checkpoint: CheckpointId(12),
            took: Duration::from_micros(4100),
            written_bytes: 38 << 10,
            state_bytes: 51 << 10,
        };
        assert_eq!(completed.to_string(), "checkpoint=12 completed in 4.1 ms: 38 KiB written, 51 KiB in all");
        let advice = IntervalAdvice::new(Duration::from_millis(50), Duration::from_secs(86_400), 0);
        let advised = JobEventKind::IntervalAdvised { advice, interval: Some(Duration::from_secs(10)), is_news: true };
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
