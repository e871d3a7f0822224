//! The engine room of Millstream: the actors that run a job, the messages between them, and the rules they follow.

pub mod chain;
mod arbiters;
pub mod checkpoint_coordinator;
mod connector_thread;
pub mod contract;
pub mod edge;
pub mod guard;
pub mod operator_task;
mod pacing;
pub mod protocol;
pub mod region_supervisor;
pub mod sink_task;
mod sink_writing;
pub mod snapshot_writer;
mod source_reading;
pub mod source_task;
pub mod task;
mod task_state;
pub mod time;
