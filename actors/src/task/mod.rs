//! What a subtask is: the orders it takes, the facts it reports, its snapshots, and one actor for each kind of task.

mod alarm;
mod blocked;
mod inputs;
mod lists;
mod loading;
mod milestones;
pub mod operator_task;
mod operators;
mod orders;
mod queries;
mod query_place;
mod reports;
pub mod sink_task;
mod sink_writing;
mod snapshots;
mod source_history;
mod source_reading;
pub mod source_task;
mod spec;
mod stepper;

pub(crate) use milestones::{AwaitedRead, Full, SourcePlace};
pub use orders::{
    BeginReading, CheckpointAborted, CheckpointComplete, ExpectBarrier, FinishInput, RequestBarrier, SetPaused,
    SourceAddress, StopReading, StopSubtask, SubtaskAddress,
};
pub use query_place::QueryPort;
pub(crate) use query_place::{QueryPlace, SentQuery, StoredReader, StoredReaders};
pub use reports::{
    AcknowledgeCheckpoint, ChunksStored, DeclineCheckpoint, RestoreFigures, RestoreProgress, SinkCommitted,
    SourceHalted, StoreChunks, SubtaskReady, TaskReports, WantCheckpoint,
};
pub use spec::{JobSpec, OperatorInfo, RestorePlan, SpecAt, StartedSubtask, SubtaskContext, TaskFactory, TaskSpec};
