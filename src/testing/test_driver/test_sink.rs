//! What a test reads of a sink.

use std::fmt;

use crate::sink::shown::Shown;

/// Shows what a sink of the job that a [`TestDriver`](super::TestDriver) runs was given, in the place of the connector. Clones
/// show the same, over all lives of the job.
///
/// Exactly once, whatever the connector promises: what a life has written that was lost in a crash shows no more.
///
/// ```
/// use millstream::prelude::*;
/// use millstream::testing::{TestDriver, TestSink};
///
/// let build = || {
///     let env = StreamEnvironment::new("squares");
///     env.source("numbers", SequenceSource::new(0..10)).map(|n| n * n).sink("squares", PrintSink::new());
///     env
/// };
/// let mut driver = TestDriver::new(1, build)?;
/// let squares: TestSink<u64> = driver.sink("squares")?;
/// driver.source("numbers")?.feed_all([2_u64, 3]);
/// driver.run_until_idle()?;
/// assert_eq!((squares.written(), squares.committed()), (vec![4, 9], vec![]));
/// driver.checkpoint()?;
/// assert_eq!(squares.committed(), [4, 9]);
/// # Ok::<(), millstream::testing::TestDriverError>(())
/// ```
pub struct TestSink<T> {
    pub(super) id: String,
    pub(super) shown: Shown<T>,
}

impl<T: Clone> TestSink<T> {
    /// The records that a complete checkpoint covers, each once: checkpoint by checkpoint, and of one checkpoint in the order in
    /// which they came to the subtasks. As a reader of the job's output would see it.
    pub fn committed(&self) -> Vec<T> {
        self.shown.committed()
    }

    /// The committed records, and after them those that no complete checkpoint covers yet, in the order in which they came.
    pub fn written(&self) -> Vec<T> {
        self.shown.written()
    }
}

impl<T> Clone for TestSink<T> {
    fn clone(&self) -> Self {
        Self { id: self.id.clone(), shown: self.shown.clone() }
    }
}

impl<T> fmt::Debug for TestSink<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TestSink({})", self.id)
    }
}
