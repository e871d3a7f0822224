//! What a test feeds to a source.

use std::any::Any;
use std::fmt;

use millstream_actors::protocol::Timestamp;

use crate::operator::OutputTag;
use crate::source::fed::{FedEntry, Feed};

/// Feeds a source of the job that a [`TestDriver`](super::TestDriver) runs, in the place of the connector. Clones feed the same
/// source, in all lives of the job.
///
/// It has a split for each subtask that the source had at first. Records are dealt out to the splits in turn, unless a test says
/// which by [`split`](Self::split); each split keeps its order. Nothing is read before the driver takes steps.
///
/// ```
/// use millstream::prelude::*;
/// use millstream::testing::{TestDriver, TestSource};
///
/// let build = || {
///     let env = StreamEnvironment::new("totals").parallelism(2);
///     env.source("prices", VecSource::<u64>::new(Vec::new()))
///         .key_by(|price| price % 2)
///         .window(TumblingWindows::event_time(std::time::Duration::from_secs(1)))
///         .reduce("total", |a, b| a + b)
///         .sink("totals", CollectSink::new());
///     env
/// };
/// let mut driver = TestDriver::new(1, build)?;
/// let prices: TestSource<u64> = driver.source("prices")?;
/// prices.feed_at(4, 100).feed_at(6, 999).feed_at(8, 1_000).watermark(999);
/// driver.run_until_idle()?;
/// assert_eq!(driver.sink::<u64>("totals")?.written(), [10]);
/// # Ok::<(), millstream::testing::TestDriverError>(())
/// ```
pub struct TestSource<T> {
    pub(super) id: String,
    pub(super) feed: Feed<T>,
}

/// One split of a [`TestSource`].
///
/// ```
/// use millstream::prelude::*;
/// use millstream::testing::{TestDriver, TestSplit};
///
/// let build = || {
///     let env = StreamEnvironment::new("numbers").parallelism(2);
///     env.source("numbers", VecSource::<u64>::new(Vec::new())).sink("out", CollectSink::new());
///     env
/// };
/// let mut driver = TestDriver::new(1, build)?;
/// let numbers = driver.source::<u64>("numbers")?;
/// let second: TestSplit<u64> = numbers.split(1);
/// second.feed(1).feed(2).feed(3);
/// driver.run_until_idle()?;
/// assert_eq!(driver.sink::<u64>("out")?.written(), [1, 2, 3], "a split keeps its order");
/// # Ok::<(), millstream::testing::TestDriverError>(())
/// ```
pub struct TestSplit<T> {
    source: TestSource<T>,
    split: usize,
}

impl<T: Clone + Send + 'static> TestSource<T> {
    /// Feeds a record, to the split whose turn it is. It has the event time that the source's strategy gives it, or none.
    ///
    /// # Panics
    /// If the source has [ended](Self::end), as all that feeds it.
    pub fn feed(&self, record: T) -> &Self {
        self.next_split().feed(record);
        self
    }

    /// Feeds records, each to the split whose turn it is.
    ///
    /// # Panics
    /// As [`feed`](Self::feed).
    pub fn feed_all(&self, records: impl IntoIterator<Item = T>) -> &Self {
        for record in records {
            self.feed(record);
        }
        self
    }

    /// Feeds a record with this event time, in milliseconds, to the split whose turn it is. Where the source has a strategy,
    /// that gives it another.
    ///
    /// # Panics
    /// As [`feed`](Self::feed).
    pub fn feed_at(&self, record: T, time: Timestamp) -> &Self {
        self.next_split().feed_at(record, time);
        self
    }

    /// Feeds what the source has for a side output, such as a line that it cannot parse, to the split whose turn it is.
    ///
    /// # Panics
    /// As [`feed`](Self::feed).
    pub fn feed_side<S: Clone + Send + 'static>(&self, tag: &OutputTag<S>, record: S) -> &Self {
        self.next_split().feed_side(tag, record);
        self
    }

    fn next_split(&self) -> TestSplit<T> {
        let Some(split) = self.feed.next_split() else { panic!("source '{}' is fed after its end", self.id) };
        TestSplit { source: self.clone(), split }
    }
}

impl<T: Send + 'static> TestSource<T> {
    /// Says that no record before or at `time` follows, in no split that has not ended. Beside what the source's strategy
    /// says, if it has one; the greater counts.
    pub fn watermark(&self, time: Timestamp) -> &Self {
        for split in self.open_splits() {
            split.watermark(time);
        }
        self
    }

    /// Has event time not wait for this source until it is fed again: no split counts that has not ended.
    pub fn idle(&self) -> &Self {
        for split in self.open_splits() {
            split.idle();
        }
        self
    }

    /// Ends the input: nothing follows what was fed. Once all sources of a job have ended it works everything off, commits it,
    /// and ends.
    pub fn end(&self) {
        self.open_splits().for_each(|split| split.end());
    }

    /// How many splits it has: as many as the source had subtasks at the driver's start.
    pub fn splits(&self) -> usize {
        self.feed.splits()
    }

    /// One of its splits, from 0 on. Split `n` is read by the source's subtask `n`, as long as it has as many as there are
    /// splits; after [`restart_as`](super::TestDriver::restart_as) at another parallelism by any.
    ///
    /// # Panics
    /// If there is no such split.
    pub fn split(&self, split: usize) -> TestSplit<T> {
        let splits = self.splits();
        assert!(split < splits, "source '{}' has {splits} splits, and so none with number {split}", self.id);
        TestSplit { source: self.clone(), split }
    }

    fn open_splits(&self) -> impl Iterator<Item = TestSplit<T>> {
        let open = self.feed.open_splits().into_iter();
        open.map(|split| TestSplit { source: self.clone(), split })
    }
}

impl<T: Clone + Send + 'static> TestSplit<T> {
    /// Feeds a record. It has the event time that the source's strategy gives it, or none.
    ///
    /// # Panics
    /// If the split has [ended](Self::end), as all that feeds it.
    pub fn feed(&self, record: T) -> &Self {
        self.push(FedEntry::Record(Box::new(move || record.clone()), None))
    }

    /// Feeds a record with this event time, in milliseconds. Where the source has a strategy, that gives it another.
    ///
    /// # Panics
    /// As [`feed`](Self::feed).
    pub fn feed_at(&self, record: T, time: Timestamp) -> &Self {
        self.push(FedEntry::Record(Box::new(move || record.clone()), Some(time)))
    }

    /// Feeds what the source has for a side output.
    ///
    /// # Panics
    /// As [`feed`](Self::feed).
    pub fn feed_side<S: Clone + Send + 'static>(&self, tag: &OutputTag<S>, record: S) -> &Self {
        let make = move || -> Box<dyn Any + Send> { Box::new(record.clone()) };
        self.push(FedEntry::Side(tag.name().clone(), Box::new(make)))
    }
}

impl<T: Send + 'static> TestSplit<T> {
    /// Says that no record before or at `time` follows in this split.
    ///
    /// # Panics
    /// If the split has [ended](Self::end).
    pub fn watermark(&self, time: Timestamp) -> &Self {
        self.push(FedEntry::Watermark(time))
    }

    /// Has event time not wait for this split until it is fed again.
    ///
    /// # Panics
    /// If the split has [ended](Self::end).
    pub fn idle(&self) -> &Self {
        self.push(FedEntry::Idle)
    }

    /// Ends the split: nothing follows what it was fed, and event time does not wait for it.
    pub fn end(&self) {
        self.source.feed.end(self.split);
    }

    fn push(&self, entry: FedEntry<T>) -> &Self {
        let (id, split) = (&self.source.id, self.split);
        assert!(self.source.feed.push(split, entry), "split {split} of source '{id}' is fed after its end");
        self
    }
}

impl<T> Clone for TestSource<T> {
    fn clone(&self) -> Self {
        Self { id: self.id.clone(), feed: self.feed.clone() }
    }
}

impl<T> Clone for TestSplit<T> {
    fn clone(&self) -> Self {
        Self { source: self.source.clone(), split: self.split }
    }
}

impl<T> fmt::Debug for TestSource<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TestSource({})", self.id)
    }
}

impl<T> fmt::Debug for TestSplit<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TestSplit({}, {})", self.source.id, self.split)
    }
}
