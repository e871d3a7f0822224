//! The engine room of Millstream: the actors that run a job, the messages between them, and the rules they follow.

pub mod checkpoint_coordinator;
pub mod contract;
pub mod guard;
pub mod protocol;
pub mod region_supervisor;
pub mod snapshot_writer;
pub mod task;
pub mod time;
