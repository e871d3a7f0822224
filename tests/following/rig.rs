//! The readers of a source that follows files, by its contract alone.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use millstream::prelude::*;
use millstream::source::{
    Batch, FileSourceError, ReadStatus, Source, SourceContext, SourceError, SourceReader, SplitPosition,
};
use millstream::testing::source_context;
use millstream::time::ManualClock;
use tempfile::TempDir;

pub(crate) const EVERY: Duration = Duration::from_secs(1);
pub(crate) const SETTLED_AFTER: Duration = Duration::from_secs(60);

pub(crate) fn follow() -> Follow {
    Follow::every(EVERY).settled_after(SETTLED_AFTER)
}

/// A folder of logs.
pub(crate) struct Logs(pub(crate) TempDir);

impl Logs {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn pattern(&self, pattern: &str) -> String {
        self.path(pattern).to_str().unwrap().to_owned()
    }

    pub(crate) fn lines(&self, pattern: &str) -> FileSource<String> {
        FileSource::lines(self.pattern(pattern)).follow(follow())
    }

    pub(crate) fn append(&self, name: &str, text: &str) {
        let mut file = OpenOptions::new().append(true).create(true).open(self.path(name)).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    pub(crate) fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).unwrap();
    }

    pub(crate) fn remove(&self, name: &str) {
        fs::remove_file(self.path(name)).unwrap();
    }
}

/// The subtasks of a source, and where they are.
pub(crate) struct Followers<T> {
    readers: Vec<Box<dyn SourceReader<Item = T>>>,
    clock: ManualClock,
    positions: BTreeMap<String, SplitPosition>,
}

impl<T: Send + 'static> Followers<T> {
    pub(crate) fn open(source: &dyn Source<Item = T>, parallelism: u32) -> Self {
        Self::restore(source, parallelism, None).unwrap()
    }

    pub(crate) fn restore(
        source: &dyn Source<Item = T>,
        parallelism: u32,
        restored: Option<Vec<SplitPosition>>,
    ) -> Result<Self, SourceError> {
        Self::with_clock(source, parallelism, restored, ManualClock::new())
    }

    /// What the checkpoint of this moment is restored to, at the same time.
    pub(crate) fn restart(&self, source: &dyn Source<Item = T>, parallelism: u32) -> Result<Self, SourceError> {
        Self::with_clock(source, parallelism, Some(self.positions()), self.clock.clone())
    }

    fn with_clock(
        source: &dyn Source<Item = T>,
        parallelism: u32,
        restored: Option<Vec<SplitPosition>>,
        clock: ManualClock,
    ) -> Result<Self, SourceError> {
        let open = |subtask| {
            let cx = SourceContext { clock: Arc::new(clock.clone()), ..source_context(subtask, parallelism) };
            source.open(&cx, restored.clone())
        };
        let readers = (0..parallelism).map(open).collect::<Result<_, _>>()?;
        let mut followers = Self { readers, clock, positions: BTreeMap::new() };
        (0..parallelism as usize).for_each(|subtask| followers.report(subtask));
        Ok(followers)
    }

    fn report(&mut self, subtask: usize) {
        let mut moved = Vec::new();
        self.readers[subtask].report_positions(&mut moved);
        for forgotten in self.readers[subtask].take_forgotten() {
            self.positions.remove(&forgotten);
        }
        self.positions.extend(moved.into_iter().map(|position| (position.split.clone(), position)));
    }

    /// One read of a subtask, of at most so many records.
    pub(crate) fn read(&mut self, subtask: usize, records: usize) -> Result<(ReadStatus, Vec<T>), SourceError> {
        let mut batch = Batch::new();
        batch.limit_to(records);
        let status = self.readers[subtask].read(&mut batch)?;
        assert!(batch.is_empty() || self.readers[subtask].last_read().is_some());
        self.report(subtask);
        Ok((status, batch.drain().collect()))
    }

    /// What all subtasks have at hand.
    pub(crate) fn at_hand(&mut self) -> Result<Vec<T>, SourceError> {
        let mut all = Vec::new();
        for subtask in 0..self.readers.len() {
            loop {
                let (status, records) = self.read(subtask, 1_000)?;
                all.extend(records);
                if status != ReadStatus::More {
                    break;
                }
            }
        }
        Ok(all)
    }

    pub(crate) fn parallelism(&self) -> usize {
        self.readers.len()
    }

    pub(crate) fn wait(&self, time: Duration) {
        self.clock.advance(time);
    }

    /// What there is after the next look.
    pub(crate) fn next(&mut self) -> Result<Vec<T>, SourceError> {
        self.wait(EVERY);
        self.at_hand()
    }

    pub(crate) fn finish(&mut self) {
        self.readers.iter_mut().for_each(|reader| reader.finish());
    }

    pub(crate) fn positions(&self) -> Vec<SplitPosition> {
        self.positions.values().cloned().collect()
    }
}

pub(crate) fn of_file(error: &SourceError) -> &FileSourceError {
    error.reason().downcast_ref().unwrap_or_else(|| panic!("no error of a file: {error}"))
}
