//! Reads the files that a subtask follows.

use millstream_actors::contract::{
    Batch, ReadStatus, SideRecord, SourceContext, SourceError, SourceReader, SourceWaker, SplitPosition, SplitRead,
};

use super::Follow;
use super::disk::Key;
use super::files::Followed;
use super::turn::Turn;
use super::watch::Watch;
use crate::source::encode_position;
use crate::source::file::FileSource;
use crate::source::file::records::Records;

/// Reads its files in turn, and looks for what has come in a read of its own.
pub(in super::super) struct FollowReader<T, R> {
    watch: Watch,
    records: Records<T, R>,
    turn: Option<Turn<T>>,
    /// The file whose turn it was last.
    last_turn: Key,
    /// The file of the last read, and whether event time need not wait for it any more.
    last_read: Option<(Key, bool)>,
    /// The last read was a look.
    has_looked: bool,
    waker: SourceWaker,
    ending: Ending,
}

/// How far the order to finish is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// It has not come.
    Follows,
    /// It has come: there are last looks to take, until it is known of each file whether it is there.
    Told,
    /// What the last look has found is read.
    Reads,
}

impl<T: 'static, R> FollowReader<T, R> {
    pub(in super::super) fn open(
        source: &FileSource<T, R>,
        (pattern, follow): (&str, &Follow),
        cx: &SourceContext,
        restored: Option<Vec<SplitPosition>>,
    ) -> Result<Self, SourceError> {
        let watch = Watch::open(pattern, follow, cx, restored)?;
        let (records, waker) = (Records::of(source), cx.waker.clone());
        Ok(Self {
            watch,
            records,
            turn: None,
            last_turn: (0, 0),
            last_read: None,
            has_looked: false,
            waker,
            ending: Ending::Follows,
        })
    }

    /// A look is due. What one has found is gone on with before the next, however short the interval is.
    fn looks(&self) -> bool {
        let has_found = || self.watch.files.has_unread() || self.watch.has_ends_to_tell();
        match self.ending {
            Ending::Follows => self.watch.rests().is_none() && !(self.has_looked && has_found()),
            Ending::Told => true,
            Ending::Reads => false,
        }
    }

    fn look(&mut self) -> Result<(), SourceError> {
        self.watch.look()?;
        // What it has may have become another file's.
        self.turn = None;
        if self.ending == Ending::Told && self.watch.has_seen_all() {
            self.ending = Ending::Reads;
        }
        Ok(())
    }

    /// Begins the turn of the next file that has something to read.
    fn begin_turn(&mut self) -> Result<(), SourceError> {
        while let Some(key) = self.watch.files.unread_after(self.last_turn) {
            self.last_turn = key;
            let Some(open) = self.watch.opened(key)? else { continue };
            let records = &mut self.records;
            self.turn =
                self.watch.files.change(key, |file| Turn::begin(records, key, open, file)).transpose()?.flatten();
            if self.turn.is_some() {
                return Ok(());
            }
        }
        Ok(())
    }

    fn read_turn(&mut self, batch: &mut Batch<R>) -> Result<(), SourceError> {
        let Some(mut turn) = self.turn.take() else { return Ok(()) };
        let records = &mut self.records;
        let goes_on = self.watch.files.change(turn.key, |file| {
            file.end_is_told = false;
            turn.read(records, file, batch)
        });
        let Some(goes_on) = goes_on.transpose()? else { return Ok(()) };
        self.last_read = Some((turn.key, false));
        if goes_on {
            self.turn = Some(turn);
        }
        Ok(())
    }

    fn status(&mut self) -> ReadStatus {
        if self.turn.is_some() || self.watch.files.has_unread() {
            return ReadStatus::More;
        }
        if self.ending == Ending::Reads && !self.watch.has_seen_all() {
            self.ending = Ending::Told;
        }
        match (self.ending, self.watch.rests()) {
            (Ending::Reads, _) => {
                self.records.malformed.summarise();
                ReadStatus::End
            }
            (Ending::Follows, Some(rest)) if !self.watch.has_ends_to_tell() => {
                ReadStatus::Idle { retry_after: Some(rest) }
            }
            _ => ReadStatus::More,
        }
    }
}

impl<T: 'static, R: Send + 'static> SourceReader for FollowReader<T, R> {
    type Item = R;

    fn read(&mut self, batch: &mut Batch<R>) -> Result<ReadStatus, SourceError> {
        self.last_read = None;
        let looks = self.looks();
        if looks {
            self.look()?;
        } else {
            if self.turn.is_none() {
                self.begin_turn()?;
            }
            if self.turn.is_some() {
                self.read_turn(batch)?;
            } else if let Some(key) = self.watch.tell_end() {
                self.last_read = Some((key, true));
            }
        }
        self.has_looked = looks;
        Ok(self.status())
    }

    fn report_positions(&mut self, moved: &mut Vec<SplitPosition>) {
        self.watch.files.take_moved(|file| moved.push(encode_position(&file.id, &file.position)));
    }

    fn take_forgotten(&mut self) -> Vec<String> {
        self.watch.take_forgotten()
    }

    /// What is there now is read, and then the input ends.
    fn finish(&mut self) {
        if self.ending == Ending::Follows {
            self.ending = Ending::Told;
            self.watch.is_last();
            self.waker.wake();
        }
    }

    fn last_read(&self) -> Option<SplitRead<'_>> {
        let (key, at_end) = self.last_read?;
        let file = self.watch.files.get(key)?;
        Some(SplitRead { split: &file.id, at_end })
    }

    fn concurrent_splits(&self) -> Vec<String> {
        let counts = |file: &Followed| file.matches && !(file.is_searched() && file.is_settled());
        self.watch.files.iter().filter(|(_, file)| counts(file)).map(|(_, file)| file.id.clone()).collect()
    }

    fn awaits_splits(&self) -> bool {
        self.watch.files.iter().all(|(_, file)| file.end_is_told)
    }

    fn take_side_records(&mut self) -> Vec<SideRecord> {
        self.records.malformed.take_side_records()
    }
}
