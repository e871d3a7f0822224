//! Testing kit.

mod decoders;
mod faulty_disk;
mod faulty_store;
mod operator_harness;

pub use decoders::{Decoder, decoders};
pub use faulty_disk::{DiskFault, DiskHandle, FaultyDisk};
pub use faulty_store::{FaultyStore, Gate, StoreCall, StoreFault};
pub use operator_harness::{BoxedOperator, OperatorHarness};
