//! Who starts, watches and checkpoints the tasks of a job, one actor a file or folder.

pub(crate) mod checkpoint_coordinator;
pub(crate) mod escalation;
pub(crate) mod event;
pub(crate) mod event_log;
pub(crate) mod event_subscribers;
pub(crate) mod figures;
mod job_context;
pub(crate) mod job_handle;
mod job_supervisor;
#[cfg(test)]
mod job_tests;
pub(crate) mod launch;
mod layout;
mod lock;
pub(crate) mod metrics;
pub(crate) mod outcome;
pub(crate) mod parked_region;
pub(crate) mod pause_error;
mod pins;
mod places;
pub(crate) mod plan;
pub(crate) mod progress;
mod query_board;
pub(crate) mod region_settings;
mod region_supervisor;
pub(crate) mod rescale_error;
mod snapshot_writer;
pub(crate) mod state_queries;
