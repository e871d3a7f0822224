//! The rules the actors follow, as pure state machines: event and `now` in, commands out. No actor, thread or clock
//! here, so that every rule is tested in every order without a runtime.

mod alignment;
mod checkpoint_schedule;
mod credit;
mod deadlines;
mod directives;
mod element;
mod failed_record;
mod failure;
mod fault;
mod held_back;
mod ids;
mod inlet;
mod interval_advice;
mod io_failure;
mod key_groups;
mod limits;
mod manifest;
mod milestones;
mod parking;
mod pausing;
mod pending_checkpoint;
mod placement;
mod query_error;
mod read_progress;
mod reading_clock;
mod region_lifecycle;
mod region_policy;
mod region_strategy;
mod rescaling;
mod restart_policy;
mod roles;
mod savepoints;
pub(crate) mod serialised;
mod setting_ranges;
mod sink_error;
mod snapshot_error;
mod source_error;
mod state_error;
mod succession;
mod watermarks;
mod work_rate;

pub use alignment::{Alignment, BarrierAligner};
pub use checkpoint_schedule::{AbortReason, NoRestore, TriggerReason};
pub(crate) use checkpoint_schedule::{
    CheckpointSchedule, NoCheckpoint, Now, Participant, RescaleStep, RestartWait, RestoreDecision, ScheduleCommand,
    ScheduleEvent, ScheduleSettings,
};
pub use credit::{Portion, ReceiveWindow, SendWindow};
pub use deadlines::Deadlines;
pub(crate) use directives::{Answer, CarefulWorkEnded, DirectiveLog, Panic, Withholding};
pub use directives::{FIRINGS, PanicFacts, PanicRule, PanickedCall, PanickedRecord, RecordIdentity};
pub use element::{Barrier, ChannelOrder, Element, Mark};
pub use failed_record::{FailedRecord, ReadRange};
pub use failure::{ActorName, Cause, PanicReport, TaskError};
pub use fault::Fault;
pub use held_back::{HeldBack, HeldBackNews, Standing};
pub use ids::{Attempt, CheckpointId, Execution, Incarnation, OperatorId, PortId, RegionId, SubtaskId, TaskId};
pub use inlet::{Inlet, Input};
pub use interval_advice::{IntervalAdvice, RecoveryEstimate, RecoveryPart};
pub(crate) use interval_advice::{IntervalAdvisor, IntervalPlan, Recovered};
pub use io_failure::may_pass;
pub use key_groups::{KeyGroupRange, subtask_of_group};
pub use limits::{BATCH_RECORDS_MAX, CheckpointMode, Checkpointing, Limits};
pub use manifest::{CarriedState, CheckpointDurations, ChunkAddress, ChunkRef, Contribution, Manifest, StateScope};
pub use milestones::{Milestone, MilestoneMerge};
pub(crate) use parking::{CarriedOver, ParkedSections, RegionOperators};
pub(crate) use pausing::{PauseCommand, PauseRefusal, PauseWish, Pausing};
pub use pending_checkpoint::AckFacts;
pub(crate) use placement::{PlacedTask, placement};
pub use query_error::QueryError;
pub(crate) use query_error::RETRY_AFTER;
pub(crate) use read_progress::{AtBarrier, ReadProgress};
pub(crate) use reading_clock::ReadingClock;
pub(crate) use region_lifecycle::{RegionEvent, RegionState};
pub use region_policy::{OnExhausted, RegionPolicy};
pub use region_strategy::RegionStrategy;
pub(crate) use rescaling::{Difference, RegionReached, RescaleCommand, Rescaling};
pub use restart_policy::RestartStrategy;
pub(crate) use restart_policy::{RESTART_DELAY_BORNE, RestartDecision, RestartPolicy};
pub use roles::{Partitioning, SourceState, TaskKind};
pub(crate) use savepoints::{SAVEPOINTS_MAX, SavepointCommand, Savepoints};
pub use sink_error::{Retry, SinkError};
pub use snapshot_error::SnapshotError;
pub use source_error::SourceError;
pub use state_error::StateError;
pub use succession::{Claim, Conflict, NameOf, Succession};
pub use watermarks::{EventTime, WatermarkMerge};
pub use work_rate::{Grant, ReadPortion, WorkRate};

/// Event time: milliseconds since the Unix epoch.
pub type Timestamp = i64;

/// The event time of a record that has none: the least [`Timestamp`], which no record can have.
pub const NO_TIME: Timestamp = Timestamp::MIN;
