//! Testing kit.

mod contexts;
mod decoders;
mod faulty_disk;
mod faulty_store;
mod operator_harness;
mod operator_run;
mod operator_snapshot;
mod side_records;
mod sink_harness;
mod sink_lives;
mod source_runs;
mod two_input_harness;

pub use contexts::{sink_context, source_context};
pub use decoders::decoders;
pub use faulty_disk::{DiskFault, DiskHandle, FaultyDisk};
pub use faulty_store::{FaultyStore, Gate, StoreCall, StoreFault};
pub use operator_harness::{BoxedOperator, OperatorHarness};
pub use operator_run::OperatorRun;
pub use operator_snapshot::OperatorSnapshot;
pub use sink_harness::SinkHarness;
pub use source_runs::{SourceRun, assert_resumes_anywhere, read_source};
pub use two_input_harness::Either;

pub use crate::decoder::Decoder;
