//! Where actors run: arbiters, the guard that turns a panic into a message, and threads of stores and connectors.

mod arbiter_handle;
pub(crate) mod arbiters;
pub mod block_on;
pub(crate) mod blocking_pool;
pub(crate) mod connector_thread;
pub(crate) mod engine_system;
pub mod guard;
pub(crate) mod order_queue;
pub mod stage;

pub use arbiter_handle::ArbiterHandle;
pub(crate) use arbiter_handle::{blocking, spawn_here, yield_now};
