//! A crash everywhere.

use std::fmt::Debug;

use super::{TestDriver, TestDriverError};
use crate::StreamEnvironment;

/// Runs `scenario` once straight through, and then again and again with a crash before each of the steps that it took. Answers
/// what all runs have given.
///
/// `scenario` feeds the driver and gives what it has committed, in an order that does not depend on that in which records of
/// different splits come: sorted, as a rule. A run of `n` steps is repeated `n` times, so a small scenario is the better
/// test: a few records to each operator, a checkpoint or two in their midst.
///
/// ```
/// use millstream::prelude::*;
/// use millstream::testing::{TestDriver, TestDriverError, assert_survives_crashes};
///
/// fn sums() -> StreamEnvironment {
///     let env = StreamEnvironment::new("sums");
///     env.source("numbers", SequenceSource::new(0..100))
///         .key_by(|n| n % 2)
///         .fold("sum", 0, |sum: &mut u64, n| *sum += n)
///         .sink("sums", CollectSink::new());
///     env
/// }
///
/// let sums = assert_survives_crashes(7, sums, |driver: &mut TestDriver| {
///     let numbers = driver.source("numbers")?;
///     numbers.feed_all([1_u64, 2, 3]);
///     driver.checkpoint()?;
///     numbers.feed_all([4, 5]);
///     driver.finish()?;
///     let mut sums = driver.sink::<(u64, u64)>("sums")?.committed();
///     sums.sort();
///     Ok(sums)
/// })?;
/// assert_eq!(sums, [(0, 2), (0, 6), (1, 1), (1, 4), (1, 9)]);
/// # Ok::<(), TestDriverError>(())
/// ```
///
/// # Errors
/// Those of the run that goes straight through.
///
/// # Panics
/// If a run with a crash fails, or gives something else: it says before which step the crash was, to be looked at with
/// [`crash_at`](TestDriver::crash_at).
pub fn assert_survives_crashes<R: PartialEq + Debug>(
    seed: u64,
    build: impl Fn() -> StreamEnvironment + Clone + 'static,
    scenario: impl Fn(&mut TestDriver) -> Result<R, TestDriverError>,
) -> Result<R, TestDriverError> {
    let mut driver = TestDriver::new(seed, build.clone())?;
    let straight = scenario(&mut driver)?;
    for step in 0..driver.steps() {
        let crashed = TestDriver::new(seed, build.clone()).and_then(|mut driver| {
            driver.crash_at(step);
            scenario(&mut driver)
        });
        match crashed {
            Ok(given) => assert_eq!(given, straight, "with seed {seed} and a crash before step {step}"),
            Err(error) => panic!("with seed {seed} and a crash before step {step}: {error}"),
        }
    }
    Ok(straight)
}
