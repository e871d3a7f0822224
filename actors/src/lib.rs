//! The engine room of Millstream: the actors that run a job, the messages between them, and the rules they follow.
//!
//! | actor | takes | sends to |
//! |---|---|---|
//! | job supervisor (root) | ends of regions, the coordinator's verdict, the handle's wishes | all below it |
//! | region supervisor, one per region | ends and readiness of subtasks | subtasks, coordinator, root |
//! | checkpoint coordinator | acknowledgements, readiness of regions, the writer's answers | sources, tasks, writer, root |
//! | snapshot writer | chunks from tasks, the coordinator's requests | coordinator |
//! | source, operator and sink tasks | elements and credits; barriers, completions | each other; coordinator, writer, region supervisor |

mod arbiters;
pub mod chain;
pub mod checkpoint_coordinator;
mod connector_thread;
pub mod contract;
pub mod edge;
mod event;
mod figures;
pub mod guard;
mod job_context;
mod job_handle;
mod job_supervisor;
#[cfg(test)]
mod job_tests;
mod launch;
pub mod operator_task;
mod outcome;
mod pacing;
mod pins;
pub mod protocol;
pub mod region_supervisor;
mod restore;
pub mod sink_task;
mod sink_writing;
pub mod snapshot_writer;
mod source_reading;
pub mod source_task;
pub mod task;
mod task_state;
pub mod time;

pub use event::{JobEvent, JobEventKind, JobState, JobStatus};
pub use figures::{CompletedCheckpoint, LastRestore};
pub use job_handle::JobHandle;
pub use launch::{JobConfig, SavepointConfig, launch};
pub use outcome::{CheckpointError, FailureRecord, JobError, JobOutcome, OutcomeKind, SavepointError};
