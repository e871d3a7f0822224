//! Where actors run: arbiters, the guard that turns a panic into a message, and threads of stores and connectors.

pub(crate) mod arbiters;
pub(crate) mod block_on;
pub(crate) mod blocking_pool;
pub(crate) mod connector_thread;
pub(crate) mod engine_system;
pub mod guard;
pub(crate) mod order_queue;
pub mod time;
