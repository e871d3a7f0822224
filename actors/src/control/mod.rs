//! Who starts, watches and checkpoints the tasks of a job, one actor a file or folder.

pub(crate) mod checkpoint_coordinator;
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
pub(crate) mod outcome;
pub(crate) mod pause_error;
mod pins;
mod places;
mod query_board;
mod region_supervisor;
mod snapshot_writer;
pub(crate) mod state_queries;
