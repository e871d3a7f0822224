//! Operators.

mod side_output;

pub use side_output::{OutputTag, SideOutputs};
