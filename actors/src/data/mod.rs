//! How records move: the channels between subtasks, and the operators that run within one.

pub mod edge;
pub mod input_batch;
pub mod pipeline;
pub mod wiring;
