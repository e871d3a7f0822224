//! The splits of one subtask.

use std::collections::VecDeque;

use millstream_actors::contract::{SourceContext, SourceError, SplitPosition};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{SplitRead, decode_position, encode_position};

/// One split, and how far it has been read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split<P> {
    /// Unique in the source, stable over restarts.
    pub id: String,
    /// Where the next record starts.
    pub position: P,
}

/// The splits that a subtask reads, one at a time, and which of them have moved since they were last reported: what a
/// [`SourceReader`](super::SourceReader) over several splits needs besides reading itself.
///
/// Positions are stored by [`encode_position`]. The queue keeps splits that are read to the end, since their positions
/// belong into every snapshot.
///
/// ```
/// use millstream::source::*;
///
/// /// Tables of a database, by name: here of words.
/// struct Tables(&'static [(&'static str, &'static [&'static str])]);
///
/// struct TablesReader { tables: &'static [(&'static str, &'static [&'static str])], splits: SplitQueue<u64> }
///
/// impl Source for Tables {
///     type Item = &'static str;
///
///     fn open(
///         &self,
///         cx: &SourceContext,
///         restored: Option<Vec<SplitPosition>>,
///     ) -> Result<Box<dyn SourceReader<Item = &'static str>>, SourceError> {
///         let list = || Ok(self.0.iter().map(|(name, _)| Split { id: name.to_string(), position: 0 }).collect());
///         Ok(Box::new(TablesReader { tables: self.0, splits: SplitQueue::open(cx, restored, list)? }))
///     }
/// }
///
/// impl SourceReader for TablesReader {
///     type Item = &'static str;
///
///     fn read(&mut self, batch: &mut Batch<&'static str>) -> Result<ReadStatus, SourceError> {
///         let Some(split) = self.splits.current() else { return Ok(ReadStatus::End) };
///         let (_, rows) = self.tables.iter().find(|(name, _)| *name == split.id)
///             .ok_or_else(|| SourceError::position(&split.id, "there is no such table"))?;
///         while let Some(row) = rows.get(split.position as usize).filter(|_| !batch.is_full()) {
///             batch.push(row, row.len());
///             split.position += 1;
///         }
///         if split.position == rows.len() as u64 {
///             self.splits.finish();
///         }
///         Ok(ReadStatus::More)
///     }
///
///     fn report_positions(&mut self, moved: &mut Vec<SplitPosition>) {
///         self.splits.report(moved);
///     }
///
///     fn last_read(&self) -> Option<SplitRead<'_>> {
///         self.splits.last_read()
///     }
/// }
///
/// millstream::testing::assert_resumes_anywhere(&Tables(&[("a", &["one", "two"]), ("b", &["three"])]), |words| {
///     assert_eq!(words, &["one", "two", "three"]);
/// });
/// ```
#[derive(Debug)]
pub struct SplitQueue<P> {
    splits: Vec<Entry<P>>,
    /// Those not read to the end, the current one first, as indices into `splits`.
    unread: VecDeque<usize>,
    /// Those to be reported, each once.
    moved: Vec<usize>,
    /// The one that was current last, and whether it was finished.
    last: Option<(usize, bool)>,
}

#[derive(Debug)]
struct Entry<P> {
    split: Split<P>,
    is_moved: bool,
}

impl<P> SplitQueue<P> {
    /// The splits that this subtask [owns](SourceContext::owns): of those restored if there are any, else of what `list`
    /// finds. A restored source does not list again.
    ///
    /// # Errors
    /// That of `list`; [`SourceError::position`] for a position that is not stored by [`encode_position`] as a `P`.
    pub fn open(
        cx: &SourceContext,
        restored: Option<Vec<SplitPosition>>,
        list: impl FnOnce() -> Result<Vec<Split<P>>, SourceError>,
    ) -> Result<Self, SourceError>
    where
        P: DeserializeOwned,
    {
        let all = match restored {
            Some(stored) => stored
                .into_iter()
                .map(|stored| Ok(Split { position: decode_position(&stored)?, id: stored.split }))
                .collect::<Result<_, SourceError>>()?,
            None => list()?,
        };
        Ok(Self::new(all.into_iter().filter(|split| cx.owns(&split.id)).collect()))
    }

    fn new(splits: Vec<Split<P>>) -> Self {
        let all = 0..splits.len();
        let splits = splits.into_iter().map(|split| Entry { split, is_moved: true }).collect();
        Self { splits, unread: all.clone().collect(), moved: all.collect(), last: None }
    }

    /// The same splits, to be read in the order of this key.
    pub fn sorted_by_key<K: Ord>(self, mut key: impl FnMut(&Split<P>) -> K) -> Self {
        let mut splits: Vec<_> = self.splits.into_iter().map(|entry| entry.split).collect();
        splits.sort_by_key(|split| key(split));
        Self::new(splits)
    }

    /// All splits of this subtask, those read to the end included.
    pub fn iter(&self) -> impl Iterator<Item = &Split<P>> {
        self.splits.iter().map(|entry| &entry.split)
    }

    /// The split whose turn it is, to be read on and moved; `None` when all are read to the end.
    pub fn current(&mut self) -> Option<&mut Split<P>> {
        let index = *self.unread.front()?;
        self.last = Some((index, false));
        let entry = &mut self.splits[index];
        if !std::mem::replace(&mut entry.is_moved, true) {
            self.moved.push(index);
        }
        Some(&mut entry.split)
    }

    /// The current split is read to its end: the next one's turn comes.
    pub fn finish(&mut self) {
        if let Some(index) = self.unread.pop_front() {
            self.last = Some((index, true));
        }
    }

    /// The split that was [current](Self::current) last, and whether it was [finished](Self::finish): what
    /// [`SourceReader::last_read`](super::SourceReader::last_read) asks for.
    pub fn last_read(&self) -> Option<SplitRead<'_>> {
        self.last.map(|(index, at_end)| SplitRead { split: &self.splits[index].split.id, at_end })
    }

    /// The next split's turn comes; the current one's again after all others.
    pub fn rotate(&mut self) {
        if !self.unread.is_empty() {
            self.unread.rotate_left(1);
        }
    }

    /// Whether all splits are read to the end.
    pub fn is_finished(&self) -> bool {
        self.unread.is_empty()
    }
}

impl<P: Serialize + DeserializeOwned + 'static> SplitQueue<P> {
    /// Appends the position of each split that was [current](Self::current) since the last call, and of all splits in
    /// the first: what [`SourceReader::report_positions`](super::SourceReader::report_positions) asks for.
    pub fn report(&mut self, moved: &mut Vec<SplitPosition>) {
        moved.extend(self.moved.drain(..).map(|index| {
            let Entry { split, is_moved } = &mut self.splits[index];
            *is_moved = false;
            encode_position(&split.id, &split.position)
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::source_context;

    fn queue() -> SplitQueue<u64> {
        let list = || Ok(["a", "b", "c"].map(|id| Split { id: id.to_owned(), position: 0 }).into());
        SplitQueue::open(&source_context(0, 1), None, list).unwrap()
    }

    fn reported(queue: &mut SplitQueue<u64>) -> Vec<String> {
        let mut moved = Vec::new();
        queue.report(&mut moved);
        moved.into_iter().map(|position| position.split).collect()
    }

    #[test]
    fn all_are_reported_at_first_and_then_those_whose_turn_it_was() {
        let mut queue = queue();
        assert_eq!(reported(&mut queue), ["a", "b", "c"]);
        assert!(reported(&mut queue).is_empty());
        queue.current().unwrap().position = 7;
        queue.current().unwrap().position = 8;
        assert_eq!(queue.last_read(), Some(SplitRead { split: "a", at_end: false }));
        queue.finish();
        assert_eq!(queue.last_read(), Some(SplitRead { split: "a", at_end: true }));
        queue.current().unwrap().position = 1;
        assert_eq!(reported(&mut queue), ["a", "b"]);
    }

    #[test]
    fn turns_go_round_until_all_are_finished() {
        let mut queue = queue();
        let mut turns = Vec::new();
        while let Some(split) = queue.current() {
            split.position += 1;
            turns.push(split.id.clone());
            if split.position == 2 {
                queue.finish();
            } else {
                queue.rotate();
            }
        }
        assert_eq!(turns, ["a", "b", "c", "a", "b", "c"]);
        assert!(queue.is_finished() && queue.iter().all(|split| split.position == 2));
    }

    #[test]
    fn restored_splits_are_not_listed_again_and_foreign_positions_are_refused() {
        let restored = vec![encode_position("z", &3_u64)];
        let list = || -> Result<Vec<Split<u64>>, SourceError> { panic!("listed") };
        let queue = SplitQueue::open(&source_context(0, 1), Some(restored), list).unwrap();
        assert_eq!(queue.iter().collect::<Vec<_>>(), [&Split { id: "z".to_owned(), position: 3 }]);
        let restored = vec![SplitPosition::new("z", *b"junk")];
        let error = SplitQueue::open(&source_context(0, 1), Some(restored), list).unwrap_err();
        assert!(error.location().contains("'z'"), "{error}");
    }
}
