//! Testing kit.

mod operator_harness;

pub use operator_harness::{BoxedOperator, OperatorHarness};
