//! Testing kit: runs what users write without a job, in all the ways that a job may.
//!
//! | to test | use | which finds |
//! |---|---|---|
//! | a function, keyed or not, or a stage of one's own | [`OperatorHarness`]: [`check`](OperatorHarness::check) and its siblings | results that depend on where a job was interrupted, restored, rescaled or held up |
//! | what a function emits when, to which output | [`OperatorHarness::start`], which gives an [`OperatorRun`] | |
//! | values that expire, and what is done when a time has come | [`OperatorRun::advance`], or [`OperatorHarness::advance`] between batches; [`watermark`](OperatorHarness::watermark) for event time | results that depend on when it is restored, woken or held up |
//! | a new version of a function on state of the old one | [`OperatorRun::snapshot`] and [`OperatorHarness::restore`] | state that does not read back or migrate |
//! | a whole job, as the program builds it | [`TestDriver`], [`assert_survives_crashes`] | results that depend on the order of delivery, or on where the job crashed |
//! | a source | [`assert_resumes_anywhere`]; [`read_source`] for one run | records that are lost, repeated or out of order after a restart |
//! | a sink | [`SinkHarness`] | output that is lost, repeated, or visible too early, wherever a job fails |
//! | one call of a reader or writer | [`source_context`], [`sink_context`] | |
//! | a store | [`store_suite`](crate::snapshot::store_suite) | what the engine relies on |
//! | a job on a store or disk that fails | [`FaultyStore`], [`FaultyDisk`] | |
//! | a job in time that the test moves | [`ManualClock`](crate::time::ManualClock) as the [`clock`](crate::StreamEnvironment::clock) of its environment | |
//!
//! A keyed function, step by step:
//!
//! ```
//! use millstream::keyed::fold_pairs;
//! use millstream::operator::ByValue;
//! use millstream::testing::OperatorHarness;
//!
//! let sum = fold_pairs(0, |sum: &mut u64, number: u64| *sum += number);
//! let harness = OperatorHarness::keyed(ByValue::new(|number: &u64| number % 2), sum);
//!
//! let mut run = harness.start(1);
//! run.feed([2, 3, 4]);
//! assert_eq!(run.take_output(), [(0, 2), (1, 3), (0, 6)]);
//!
//! let mut rescaled = harness.restore(&run.snapshot(), 4);
//! rescaled.feed([6]);
//! assert_eq!(rescaled.take_output(), [(0, 12)]);
//! ```

/// A test for each flaw that `check` must find, with what it is to say.
#[cfg(test)]
macro_rules! flaws_are_found {
    ($($name:ident: $flaw:ident, $message:literal;)+) => {
        $(
            #[test]
            #[should_panic(expected = $message)]
            fn $name() {
                check(Flaw::$flaw);
            }
        )+
    };
}

mod async_harness;
mod clocked_harness;
mod contexts;
mod decoders;
mod faulty_disk;
mod faulty_store;
#[cfg(test)]
mod in_file_harness;
mod operator_harness;
mod operator_run;
mod operator_snapshot;
mod side_records;
mod sink_harness;
mod sink_lives;
mod source_runs;
mod test_driver;
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
pub use test_driver::{TestDriver, TestDriverError, TestSink, TestSource, TestSplit, assert_survives_crashes};

#[cfg(test)]
pub(crate) use two_input_harness::merged;

pub use crate::decoder::Decoder;
