//! Every step of a job, as data.

mod display;
mod line;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use actix::Message;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

pub(in crate::control) use display::Bytes;

use crate::control::escalation::EscalationDecision;
use crate::control::outcome::{JobError, JobOutcome, SavepointError};
use crate::control::rescale_error::RescaleError;
use crate::protocol::serialised;
use crate::protocol::{
    AbortReason, ActorName, Attempt, Cause, CheckpointId, FailedRecord, HeldBack, IntervalAdvice, OperatorId,
    PanicReport, RecoveryEstimate, RegionId, TaskError, TriggerReason,
};

/// Something happened in a job. Subscribers get events in the order in which they were recorded.
///
/// Serialised as one flat object: `seq`, `unix_ms`, `job`, `event` (the name of the [`JobEventKind`] in snake case) and the fields of
/// that. Times are numbers of milliseconds with a fraction, in fields that end with `_ms`; ids are numbers; an actor, a cause,
/// a reason or an error is its text; what has fields of its own (the `report` of a control actor's panic, `at` of a failure, an
/// `advice`, an estimate) is an object of them. The end of the job has either `outcome` or `error`.
///
/// ```json
/// {"seq":40,"unix_ms":1795915352050,"job":"delays","event":"checkpoint_completed","checkpoint":12,"took_ms":4.1,
///  "written_bytes":38912,"state_bytes":52224}
/// {"seq":41,"unix_ms":1795915352061,"job":"delays","event":"ended","error":"region 0 gave up after ..."}
/// ```
///
/// An actor that listens; [`JobEvents`](crate::JobEvents) is the same without actors:
///
/// ```
/// use actix::{Actor, Context, Handler, Message};
/// use millstream::JobEventKind;
/// use millstream::prelude::*;
///
/// /// Would page somebody.
/// #[derive(Default)]
/// struct Pager {
///     restarts: Vec<String>,
/// }
///
/// impl Actor for Pager {
///     type Context = Context<Self>;
/// }
///
/// impl Handler<JobEvent> for Pager {
///     type Result = ();
///
///     fn handle(&mut self, event: JobEvent, _: &mut Context<Self>) {
///         if let JobEventKind::RegionRestarting { .. } = event.kind {
///             self.restarts.push(event.kind.to_string());
///         }
///     }
/// }
/// #
/// # #[derive(Message)]
/// # #[rtype(usize)]
/// # struct Restarts;
/// # impl Handler<Restarts> for Pager {
/// #     type Result = usize;
/// #     fn handle(&mut self, _: Restarts, _: &mut Context<Self>) -> usize {
/// #         self.restarts.len()
/// #     }
/// # }
///
/// # actix_rt::System::new().block_on(async {
/// let pager = Pager::default().start();
/// let env = StreamEnvironment::new("numbers").tell_panic_hook(false);
/// # let fails = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
/// env.source("numbers", SequenceSource::new(0..10))
///     .inspect(move |n| {
/// #       if fails.swap(false, std::sync::atomic::Ordering::Relaxed) {
///         panic!("once, at {n}");
/// #       }
///     })
///     .sink("out", CollectSink::new());
/// env.subscribe(pager.clone().recipient());                   // from the start on
/// env.start()?.await?;
/// # assert_eq!(pager.send(Restarts).await?, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug, Message, Serialize)]
#[rtype(result = "()")]
#[non_exhaustive]
pub struct JobEvent {
    /// Its number among the events of the job in this run, from 1, without gaps: who has missed some can tell.
    pub seq: u64,
    /// When, Unix milliseconds of the job's clock.
    pub unix_ms: u64,
    /// The job.
    pub job: Arc<str>,
    /// What.
    #[serde(flatten)]
    pub kind: JobEventKind,
}

/// What happened.
///
/// ```
/// use millstream::JobEventKind;
/// use millstream::prelude::*;
///
/// # actix_rt::System::new().block_on(async {
/// let env = StreamEnvironment::new("numbers");
/// env.source("numbers", SequenceSource::new(0..10)).sink("out", CollectSink::new());
/// let mut events = env.events(100);
/// env.start()?.await?;
///
/// let mut completed = 0;
/// while let Some(event) = events.next().await {
///     match event.kind {
///         JobEventKind::CheckpointCompleted { .. } => completed += 1,
///         _ => {}
///     }
/// }
/// assert!(completed >= 1);                                    // one at the end at least
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields are named for what they hold, in units of their types")]
pub enum JobEventKind {
    /// The job starts.
    #[non_exhaustive]
    Started { tasks: usize, subtasks: u64, restores: Option<CheckpointId> },
    /// The sources were asked for barriers.
    #[non_exhaustive]
    CheckpointTriggered { checkpoint: CheckpointId, reason: TriggerReason },
    /// A checkpoint has been under way for [`Limits::checkpoint_progress_every`](crate::protocol::Limits::checkpoint_progress_every), or for
    /// that long since this was said last: so many subtasks `of` all have sent their snapshots, and the store has taken so many bytes.
    #[non_exhaustive]
    CheckpointInProgress {
        checkpoint: CheckpointId,
        reason: TriggerReason,
        acknowledged: u32,
        of: u32,
        bytes: u64,
        #[serde(rename = "elapsed_ms", serialize_with = "serialised::millis")]
        elapsed: Duration,
    },
    /// A checkpoint is durable. `written_bytes` of its `state_bytes` are new.
    #[non_exhaustive]
    CheckpointCompleted {
        checkpoint: CheckpointId,
        #[serde(rename = "took_ms", serialize_with = "serialised::millis")]
        took: Duration,
        written_bytes: u64,
        state_bytes: u64,
    },
    /// A checkpoint will not complete.
    #[non_exhaustive]
    CheckpointAborted {
        checkpoint: CheckpointId,
        #[serde(serialize_with = "serialised::text")]
        reason: AbortReason,
    },
    /// A checkpoint was due, and no ids could be reserved for it.
    #[non_exhaustive]
    CheckpointNotTriggered {
        #[serde(serialize_with = "serialised::text")]
        reason: AbortReason,
    },
    /// A task could not take its snapshot.
    #[non_exhaustive]
    CheckpointDeclined {
        checkpoint: CheckpointId,
        #[serde(serialize_with = "serialised::text")]
        actor: ActorName,
        #[serde(serialize_with = "serialised::text")]
        reason: TaskError,
    },
    /// A subtask came to an unwanted end, having taken `records_in` records in its attempt; `at` has what is known of the
    /// record that it failed at.
    #[non_exhaustive]
    SubtaskFailed {
        attempt: Attempt,
        #[serde(serialize_with = "serialised::text")]
        actor: ActorName,
        #[serde(serialize_with = "serialised::text")]
        cause: Cause,
        records_in: u64,
        at: Option<Box<FailedRecord>>,
    },
    /// A control actor panicked and was restarted behind its address.
    #[non_exhaustive]
    ActorRestarted {
        #[serde(serialize_with = "serialised::text")]
        actor: ActorName,
        report: PanicReport,
    },
    /// A region will be restarted. Where `failure` and `of` are 0, a record directive has answered the failure, which does not count.
    #[non_exhaustive]
    RegionRestarting {
        region: RegionId,
        #[serde(rename = "delay_ms", serialize_with = "serialised::millis")]
        delay: Duration,
        failure: u32,
        of: u32,
        since: Option<CheckpointId>,
    },
    /// A region restarts along with another one, `cause`, that has failed and restarts after the same delay, as the
    /// [`RegionStrategy`](crate::protocol::RegionStrategy) has it. It spends nothing of its own restart budget.
    #[non_exhaustive]
    RegionRestartsAlong {
        region: RegionId,
        cause: RegionId,
        #[serde(rename = "delay_ms", serialize_with = "serialised::millis")]
        delay: Duration,
    },
    /// A region gives up, with the `error` with which the job ends, if nothing else becomes of it, and after `failures` without progress.
    /// What follows is what the host says, if `asks_host`, else what its policy says.
    #[non_exhaustive]
    Escalated {
        region: RegionId,
        #[serde(serialize_with = "serialised::text")]
        error: JobError,
        failures: u32,
        checkpoint: Option<CheckpointId>,
        asks_host: bool,
    },
    /// What becomes of a region that has given up. Not `by_host`: nobody has answered in time.
    #[non_exhaustive]
    EscalationAnswered { region: RegionId, decision: EscalationDecision, by_host: bool },
    /// A region is parked: its tasks are stopped, and checkpoints go on without it. It stands at this checkpoint.
    #[non_exhaustive]
    RegionParked {
        region: RegionId,
        #[serde(serialize_with = "serialised::text")]
        error: JobError,
        checkpoint: Option<CheckpointId>,
    },
    /// A region cannot be parked, and the job ends: no checkpoint could hold what there is of it. It begins from a savepoint of which the job has
    /// made no checkpoint of its own, or has fallen back since the newest one.
    #[non_exhaustive]
    ParkingRefused { region: RegionId },
    /// A parked region starts again, with a fresh restart budget, as the host has asked for, or since the job finishes.
    #[non_exhaustive]
    RegionResumed { region: RegionId, parked_since_unix_ms: u64 },
    /// A function with a record directive has panicked. Its operator works carefully from the restart on, so that the next panic says at
    /// which record it was.
    #[non_exhaustive]
    CarefulWorkBegins { region: RegionId, operator: OperatorId },
    /// It has panicked at this record, or at this timer that fired, at careful work, for the `panics`th time of as many as the directive asks for.
    #[non_exhaustive]
    RecordPanicked {
        region: RegionId,
        operator: OperatorId,
        record: Option<String>,
        firing: Option<String>,
        key: Option<String>,
        panics: u32,
        of: u32,
    },
    /// That was often enough: the region restarts, and one record of these bytes, or this timer, is withheld. It goes to the side output `goes_to`, or
    /// is skipped.
    #[non_exhaustive]
    RecordWithheld {
        region: RegionId,
        operator: OperatorId,
        record: Option<String>,
        firing: Option<String>,
        key: Option<String>,
        panics: u32,
        message: String,
        goes_to: Option<Arc<str>>,
    },
    /// A checkpoint covers all that failed attempts had read: the operator goes on at full speed. `withheld` records were withheld for
    /// good; `not_met` more were to be, and have not come again.
    #[non_exhaustive]
    CarefulWorkEnded { region: RegionId, operator: OperatorId, checkpoint: CheckpointId, withheld: u32, not_met: u32 },
    /// A region's state is loaded.
    #[non_exhaustive]
    Restored {
        region: RegionId,
        attempt: Attempt,
        checkpoint: CheckpointId,
        #[serde(rename = "age_ms", serialize_with = "serialised::millis")]
        age: Duration,
        bytes: u64,
        /// Keys with state.
        entries: u64,
        #[serde(rename = "took_ms", serialize_with = "serialised::millis")]
        took: Duration,
        /// Records that the sources read again, of those read by this process; `None` in its first attempt, where only the
        /// process before would know.
        rewinds: Option<u64>,
    },
    /// A subtask has been loading a checkpoint for a second or more, and has come this far.
    #[non_exhaustive]
    Restoring {
        region: RegionId,
        attempt: Attempt,
        #[serde(serialize_with = "serialised::text")]
        actor: ActorName,
        checkpoint: CheckpointId,
        bytes: u64,
        bytes_total: u64,
        /// Keys with state.
        entries: u64,
        #[serde(rename = "elapsed_ms", serialize_with = "serialised::millis")]
        elapsed: Duration,
    },
    /// All subtasks of a region run; `downtime` since the failure, if there was one.
    #[non_exhaustive]
    RegionRunning {
        region: RegionId,
        attempt: Attempt,
        #[serde(rename = "downtime_ms", serialize_with = "serialised::optional_millis")]
        downtime: Option<Duration>,
    },
    /// The job was asked to end, by `drain`, `finish` or `stop_with_savepoint`, and a region has to run for that.
    #[non_exhaustive]
    EndAwaitsRegion { region: RegionId, awaits: RegionAwaited },
    /// A subtask has held its arbiter without a sign of life.
    #[non_exhaustive]
    SubtaskStuck {
        #[serde(serialize_with = "serialised::text")]
        actor: ActorName,
        #[serde(rename = "held_for_ms", serialize_with = "serialised::millis")]
        held_for: Duration,
    },
    /// The slowest split of a region has held its event time back for [`Limits::event_time_held_after`](crate::protocol::Limits::event_time_held_after),
    /// or for twice as long as was said before.
    #[non_exhaustive]
    EventTimeHeldBack { region: RegionId, held_back: HeldBack },
    /// A subtask did not stop in time, and is waited for no more. It is fenced, and its thread is lost until its call returns.
    #[non_exhaustive]
    SubtaskLeftBehind {
        attempt: Attempt,
        #[serde(serialize_with = "serialised::text")]
        actor: ActorName,
    },
    /// An arbiter was given up for a task of another region, or for one that was left behind, where `subtasks` of this region were: it
    /// starts again at once, which counts as no failure.
    #[non_exhaustive]
    RegionMoving { region: RegionId, subtasks: usize },
    /// An arbiter was given up since it is held: by a task that is stuck, or that did not stop.
    #[non_exhaustive]
    ArbiterCondemned { region: RegionId, subtasks: usize },
    /// A region falls back behind completed checkpoints, whose output sinks withdraw. `withdrawn` lists all that were
    /// abandoned since the last checkpoint completed, also by earlier falls.
    #[non_exhaustive]
    FellBack { region: RegionId, to: CheckpointId, withdrawn: Vec<CheckpointId> },
    /// A savepoint is durable. `took` counts from when it was asked for.
    #[non_exhaustive]
    SavepointWritten {
        #[serde(serialize_with = "serialised::path")]
        path: PathBuf,
        checkpoint: CheckpointId,
        bytes: u64,
        #[serde(rename = "took_ms", serialize_with = "serialised::millis")]
        took: Duration,
    },
    /// A savepoint was not written.
    #[non_exhaustive]
    SavepointFailed {
        #[serde(serialize_with = "serialised::path")]
        path: PathBuf,
        #[serde(serialize_with = "serialised::text")]
        error: SavepointError,
    },
    /// What was measured advises another interval than was told before, by more than a quarter; or the one in use,
    /// `interval`, differs from that told before as much. If one of them has become twice or half as long since that was so
    /// last, `is_news` is set, and the line in the log is INFO instead of DEBUG.
    #[non_exhaustive]
    IntervalAdvised {
        advice: IntervalAdvice,
        #[serde(rename = "interval_ms", serialize_with = "serialised::optional_millis")]
        interval: Option<Duration>,
        is_news: bool,
    },
    /// The first checkpoint of a process comes with a higher id than the one after the newest: earlier runs on the store had
    /// reserved the ids from `first` to `last`, and none is used twice.
    #[non_exhaustive]
    IdsPassedOver { first: CheckpointId, last: CheckpointId },
    /// Even with the shortest interval a recovery is expected to take longer than the objective.
    #[non_exhaustive]
    RecoveryObjectiveMissed {
        #[serde(rename = "objective_ms", serialize_with = "serialised::millis")]
        objective: Duration,
        expected: RecoveryEstimate,
        #[serde(rename = "interval_ms", serialize_with = "serialised::optional_millis")]
        interval: Option<Duration>,
    },
    /// The job is paused: no source reads until it is resumed. It has been since `since_unix_ms`, which may be before it started,
    /// `at_start`.
    #[non_exhaustive]
    Paused { since_unix_ms: u64, at_start: bool },
    /// The job is paused no more, or finishes: its sources read on. It had been since `since_unix_ms`.
    #[non_exhaustive]
    Resumed { since_unix_ms: u64 },
    /// The checkpoint is complete from which the job goes on at another parallelism: all regions stop, and start again with other
    /// tasks.
    #[non_exhaustive]
    Rescaling { from: u32, to: u32, checkpoint: CheckpointId },
    /// All regions run at the other parallelism. `took` counts from when it was the order's turn.
    #[non_exhaustive]
    Rescaled {
        from: u32,
        to: u32,
        checkpoint: CheckpointId,
        #[serde(rename = "took_ms", serialize_with = "serialised::millis")]
        took: Duration,
    },
    /// The job was to go on at another parallelism, and goes on at the one that it has.
    #[non_exhaustive]
    RescaleFailed {
        to: u32,
        #[serde(serialize_with = "serialised::text")]
        error: RescaleError,
    },
    /// The job has ended.
    #[non_exhaustive]
    Ended {
        #[serde(flatten, serialize_with = "ended")]
        result: Result<JobOutcome, JobError>,
    },
}

/// What a region does before it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RegionAwaited {
    /// It had a restart delay before it, which is cut short.
    Restarts,
    /// The tasks of its failed attempt end, within `Limits::stop_timeout`; a restart follows without delay.
    Stops,
    /// Its tasks load a checkpoint, or start.
    Restores,
    /// It has given up, and the host is asked what is to become of it.
    Decision,
}

/// One field, which says by its name how the job ended.
fn ended<S: Serializer>(result: &Result<JobOutcome, JobError>, serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(1))?;
    match result {
        Ok(outcome) => map.serialize_entry("outcome", outcome)?,
        Err(error) => map.serialize_entry("error", &error.to_string())?,
    }
    map.end()
}
