//! Testing kit.

mod operator_harness;

pub use operator_harness::{BoxedOperator, OperatorHarness};
mod faulty_disk;
mod faulty_store;

pub use faulty_disk::{DiskFault, DiskHandle, FaultyDisk};
pub use faulty_store::{FaultyStore, Gate, StoreCall, StoreFault};
