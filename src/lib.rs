//! Millstream: fault-tolerant stream processing as a library for actix services.

pub mod operator;
mod packed;
pub mod sink;
pub mod snapshot;
pub mod source;
pub mod state;
pub mod testing;
pub mod time;
