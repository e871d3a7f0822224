//! The source that stands in for one of a job's in a [`TestDriver`](crate::testing::TestDriver): what is fed is kept, and read
//! from any position again.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use millstream_actors::contract::{
    Batch, ReadStatus, SideRecord, Source, SourceContext, SourceError, SourceReader, SourceWaker, SplitPosition,
    SplitRead, checksum,
};
use millstream_actors::protocol::{Mark, Timestamp};

use super::{Timed, decode_position, encode_position};
use crate::time::WatermarkStrategy;

/// Chooses one of so many, at least 1.
pub(crate) type Choose = Arc<dyn Fn(usize) -> usize + Send + Sync>;

/// Most that one read takes: few, so that there are many orders in which it can go on.
const READ_MAX: usize = 4;

/// All that a source was fed. Clones are one.
pub(crate) struct Feed<T>(Arc<Mutex<Fed<T>>>);

struct Fed<T> {
    splits: Vec<FedSplit<T>>,
    /// The split of the next record whose split is not said.
    next: usize,
}

struct FedSplit<T> {
    id: String,
    entries: Vec<FedEntry<T>>,
    has_ended: bool,
    /// Of whoever has opened it last.
    waker: Option<SourceWaker>,
}

/// Makes a record each time it is read.
type Makes<T> = Box<dyn Fn() -> T + Send>;

/// What a split was fed.
pub(crate) enum FedEntry<T> {
    /// A record, and its event time, unless a strategy gives it another.
    Record(Makes<T>, Option<Timestamp>),
    /// A record for a side output.
    Side(Arc<str>, Makes<Box<dyn Any + Send>>),
    Watermark(Timestamp),
    /// Event time does not wait for the split until it has more.
    Idle,
}

impl<T> Clone for Feed<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: 'static> Feed<T> {
    /// Of a source with so many subtasks, each of which reads one split.
    pub(crate) fn new(subtasks: u32) -> Self {
        let subtasks = u64::from(subtasks.max(1));
        let splits = (0..subtasks).map(|index| split_id(index, subtasks)).map(|id| FedSplit {
            id,
            entries: Vec::new(),
            has_ended: false,
            waker: None,
        });
        Self(Arc::new(Mutex::new(Fed { splits: splits.collect(), next: 0 })))
    }

    /// How many splits there are.
    pub(crate) fn splits(&self) -> usize {
        self.lock().splits.len()
    }

    /// The split of the next record: they take turns. `None` if all have ended.
    pub(crate) fn next_split(&self) -> Option<usize> {
        let mut fed = self.lock();
        let count = fed.splits.len();
        let open = (0..count).map(|offset| (fed.next + offset) % count).find(|&split| !fed.splits[split].has_ended)?;
        fed.next = open + 1;
        Some(open)
    }

    /// Those that have not ended.
    pub(crate) fn open_splits(&self) -> Vec<usize> {
        let fed = self.lock();
        (0..fed.splits.len()).filter(|&split| !fed.splits[split].has_ended).collect()
    }

    /// Adds to a split; false if it has ended.
    #[must_use]
    pub(crate) fn push(&self, split: usize, entry: FedEntry<T>) -> bool {
        let mut fed = self.lock();
        let split = &mut fed.splits[split];
        if split.has_ended {
            return false;
        }
        split.entries.push(entry);
        let waker = split.waker.clone();
        drop(fed);
        // After what it is to find.
        waker.iter().for_each(SourceWaker::wake);
        true
    }

    /// Ends a split, if it has not ended.
    pub(crate) fn end(&self, split: usize) {
        let mut fed = self.lock();
        fed.splits[split].has_ended = true;
        let waker = fed.splits[split].waker.clone();
        drop(fed);
        waker.iter().for_each(SourceWaker::wake);
    }

    fn lock(&self) -> MutexGuard<'_, Fed<T>> {
        // What makes records is the test's, and may panic: nothing is changed half-way then.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An id of a split that the subtask `index` of so many owns.
fn split_id(index: u64, subtasks: u64) -> String {
    let ids = (0_u64..).map(|salt| format!("fed-{index}#{salt}"));
    let mut owned = ids.filter(|id| checksum(id.as_bytes()) % subtasks == index);
    owned.next().expect("one in so many is")
}

/// A feed, whatever its records.
pub(crate) trait AnyFeed: Any + Send + Sync {
    /// Ends all splits.
    fn end_all(&self);
}

impl<T: Send + 'static> AnyFeed for Feed<T> {
    fn end_all(&self) {
        self.open_splits().into_iter().for_each(|split| self.end(split));
    }
}

/// Stands in for a source.
pub(crate) struct FedSource<T: Send + 'static> {
    timed: Timed<Splits<T>>,
    feed: Feed<T>,
}

impl<T: Send + 'static> FedSource<T> {
    /// Reads what is fed, with the strategy of the source that it stands in for, if that has one.
    pub(crate) fn new(feed: Feed<T>, strategy: Option<WatermarkStrategy<T>>, choose: Choose) -> Self {
        let strategy = strategy.unwrap_or_else(WatermarkStrategy::as_it_comes);
        Self { timed: Timed::new(Splits { feed: feed.clone(), choose }, strategy), feed }
    }
}

impl<T: Send + 'static> Source for FedSource<T> {
    type Item = T;

    fn job_ended(&self) {
        self.timed.job_ended();
    }

    /// A savepoint may have positions of the source that this one stands in for: none of its splits is here.
    fn open(
        &self,
        cx: &SourceContext,
        restored: Option<Vec<SplitPosition>>,
    ) -> Result<Box<dyn SourceReader<Item = T>>, SourceError> {
        let restored = restored.map(|mut positions| {
            let fed = self.feed.lock();
            positions.retain(|position| fed.splits.iter().any(|split| split.id == position.split));
            positions
        });
        self.timed.open(cx, restored)
    }
}

/// The splits of a feed.
struct Splits<T> {
    feed: Feed<T>,
    choose: Choose,
}

impl<T: Send + 'static> Source for Splits<T> {
    type Item = T;

    fn open(
        &self,
        cx: &SourceContext,
        restored: Option<Vec<SplitPosition>>,
    ) -> Result<Box<dyn SourceReader<Item = T>>, SourceError> {
        let mut positions = BTreeMap::new();
        for stored in restored.iter().flatten() {
            positions.insert(&stored.split, decode_position::<u64>(stored)? as usize);
        }
        let mut splits = Vec::new();
        for (index, split) in self.feed.lock().splits.iter_mut().enumerate().filter(|(_, split)| cx.owns(&split.id)) {
            split.waker = Some(cx.waker.clone());
            let at = positions.get(&split.id).copied().unwrap_or(0);
            if at > split.entries.len() {
                let (stored, fed) = (at, split.entries.len());
                let reason = format!("{stored} entries had been read of it, and it was fed {fed}");
                return Err(SourceError::position(&split.id, reason));
            }
            // That it is idle is in no position.
            let is_idle = at.checked_sub(1).is_some_and(|last| matches!(split.entries[last], FedEntry::Idle));
            let at = at - usize::from(is_idle);
            splits.push(ReadSplit { index, id: split.id.clone(), at, is_moved: true, is_done: false });
        }
        let (feed, choose, waker) = (self.feed.clone(), self.choose.clone(), cx.waker.clone());
        Ok(Box::new(FedReader { feed, choose, waker, splits, last: None, marks: Vec::new(), side: Vec::new() }))
    }
}

/// A split of one subtask.
struct ReadSplit {
    index: usize,
    id: String,
    /// How many entries are read.
    at: usize,
    is_moved: bool,
    /// Its end is told.
    is_done: bool,
}

struct FedReader<T> {
    feed: Feed<T>,
    choose: Choose,
    waker: SourceWaker,
    splits: Vec<ReadSplit>,
    /// Of the last read, among these.
    last: Option<usize>,
    marks: Vec<Mark>,
    side: Vec<SideRecord>,
}

impl<T: Send + 'static> FedReader<T> {
    /// Those that have something to read, or an end to tell.
    fn at_hand(&self) -> Vec<usize> {
        let fed = self.feed.lock();
        let has_more = |split: &ReadSplit| {
            let known = &fed.splits[split.index];
            split.at < known.entries.len() || (known.has_ended && !split.is_done)
        };
        let at_hand = self.splits.iter().enumerate().filter(|(_, split)| has_more(split));
        at_hand.map(|(place, _)| place).collect()
    }

    /// Reads a split up to the first thing that is said behind records, or `most` of them.
    fn read_split(&mut self, place: usize, most: usize, batch: &mut Batch<T>) {
        let fed = self.feed.lock();
        let split = &mut self.splits[place];
        let known = &fed.splits[split.index];
        for entry in known.entries[split.at..].iter().take(most) {
            split.at += 1;
            match entry {
                FedEntry::Record(make, None) => batch.push(make(), 0),
                FedEntry::Record(make, Some(time)) => batch.push_at(make(), 0, *time),
                FedEntry::Side(tag, make) => self.side.push(SideRecord { tag: tag.clone(), record: make() }),
                FedEntry::Watermark(at) => self.marks.push(Mark::Watermark(*at)),
                FedEntry::Idle => self.marks.push(Mark::Idle),
            }
            if !self.marks.is_empty() {
                break;
            }
        }
        split.is_moved = true;
        split.is_done = known.has_ended && split.at == known.entries.len();
    }
}

impl<T: Send + 'static> SourceReader for FedReader<T> {
    type Item = T;

    fn read(&mut self, batch: &mut Batch<T>) -> Result<ReadStatus, SourceError> {
        self.last = None;
        let at_hand = self.at_hand();
        if !at_hand.is_empty() {
            let place = at_hand[(self.choose)(at_hand.len())];
            let most = 1 + (self.choose)(batch.room().clamp(1, READ_MAX));
            self.read_split(place, most, batch);
            self.last = Some(place);
        }
        Ok(if self.splits.iter().all(|split| split.is_done) {
            ReadStatus::End
        } else if self.at_hand().is_empty() {
            ReadStatus::Idle { retry_after: None }
        } else if (self.choose)(2) == 0 {
            // As if the rest had not come yet: what was read goes on by itself.
            self.waker.wake();
            ReadStatus::Idle { retry_after: None }
        } else {
            ReadStatus::More
        })
    }

    fn report_positions(&mut self, moved: &mut Vec<SplitPosition>) {
        for split in self.splits.iter_mut().filter(|split| split.is_moved) {
            split.is_moved = false;
            moved.push(encode_position(&split.id, &(split.at as u64)));
        }
    }

    fn last_read(&self) -> Option<SplitRead<'_>> {
        let split = &self.splits[self.last?];
        Some(SplitRead { split: &split.id, at_end: split.is_done })
    }

    fn concurrent_splits(&self) -> Vec<String> {
        self.splits.iter().map(|split| split.id.clone()).collect()
    }

    fn take_marks(&mut self) -> Vec<Mark> {
        std::mem::take(&mut self.marks)
    }

    fn take_side_records(&mut self) -> Vec<SideRecord> {
        std::mem::take(&mut self.side)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::assert_resumes_anywhere;

    /// Reads at most as many as `most`, and the first split that has some.
    fn fed(most: usize) -> FedSource<u32> {
        let feed = Feed::new(3);
        for n in 0..40 {
            let split = feed.next_split().expect("none has ended");
            assert!(feed.push(split, FedEntry::Record(Box::new(move || n), None)));
            assert!(feed.push(n as usize % 3, FedEntry::Watermark(n.into())));
        }
        feed.end_all();
        assert!(!feed.push(0, FedEntry::Idle) && feed.next_split().is_none());
        FedSource::new(feed, None, Arc::new(move |bound| bound.min(most) - 1))
    }

    #[test]
    fn resumed_anywhere_at_any_parallelism_gives_the_straight_run() {
        for most in [1, 2, 5] {
            assert_resumes_anywhere(&fed(most), |read| assert_eq!(read.len(), 40));
        }
    }
}
