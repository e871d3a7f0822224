//! What the sink keeps in the service's database beside the table that it writes: rows that are prepared, and who has written
//! how many of them.
//!
//! | table | key | value |
//! |---|---|---|
//! | `millstream.sink.rows` | job, sink, incarnation, region, attempt, subtask, number of the piece from 0 | a [piece](super::piece) |
//! | `millstream.sink.marks` | job, sink, incarnation, region, attempt, subtask | newest checkpoint written, pieces written |
//!
//! The mark of a writer changes in the transaction that writes its pieces into the table and removes them. So a piece is there,
//! or its mark is above it, or it is lost; and a commit that is done again, by whomever, finds the mark and does nothing.

use millstream_actors::contract::{Fence, PendingCommit, SinkError};
use millstream_actors::protocol::CheckpointId;
use redb::{Database, Durability, ReadableTable, TableDefinition, WriteTransaction};

use super::error::RedbSinkError;
use super::piece::{Change, changes};
use crate::packed::packed;
use crate::sink::committed_blocks::{WriterId, is_same_execution};

type RowKey = (&'static str, &'static str, u64, u32, u32, u32, u64);
type MarkKey = (&'static str, &'static str, u64, u32, u32, u32);

pub(super) const ROWS: TableDefinition<'_, RowKey, &[u8]> = TableDefinition::new("millstream.sink.rows");
pub(super) const MARKS: TableDefinition<'_, MarkKey, (u64, u64)> = TableDefinition::new("millstream.sink.marks");

/// What names of tables begin with that are Millstream's own.
pub(super) const RESERVED: &str = "millstream.";
const VERSION: u8 = 1;

/// Pieces of a writer that are prepared: all below `pieces` that are not written yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Prepared {
    pub(super) checkpoint: CheckpointId,
    pub(super) writer: WriterId,
    pub(super) pieces: u64,
}

impl Prepared {
    pub(super) fn encode(self) -> PendingCommit {
        PendingCommit { checkpoint: self.checkpoint, data: packed(&(VERSION, self.writer, self.pieces)) }
    }

    /// # Errors
    /// [`SinkError::pending`] for what [`encode`](Self::encode) did not write.
    pub(super) fn decode(pending: &PendingCommit) -> Result<Self, SinkError> {
        let checkpoint = pending.checkpoint;
        let (version, writer, pieces): (u8, WriterId, u64) =
            rmp_serde::from_slice(&pending.data).map_err(|error| SinkError::pending(checkpoint, error))?;
        if version != VERSION {
            return Err(SinkError::pending(checkpoint, format!("version {version}, known is {VERSION}")));
        }
        Ok(Self { checkpoint, writer, pieces })
    }
}

/// The table that the sink writes, without its types.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) name: String,
    /// Makes the table where there is none.
    pub(super) create: fn(&WriteTransaction, &str) -> Result<(), redb::Error>,
    pub(super) apply: fn(&WriteTransaction, &str, &[Change<'_>]) -> Result<(), redb::Error>,
}

/// What of a mark is stored: the newest checkpoint whose rows are written, and how many pieces that are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Mark {
    checkpoint: u64,
    pieces: u64,
}

/// A transaction of a sink.
pub(super) struct Ledger<'a> {
    transaction: &'a WriteTransaction,
    job: &'a str,
    sink: &'a str,
}

/// Runs `change` in a transaction of the service's database, and makes it durable if `durability` says so. Waits while another
/// transaction writes.
///
/// # Errors
/// Those of `change`, [`RedbSinkError::Database`], and [`SinkError::fenced`] if the attempt was replaced meanwhile; the database is as it
/// was then, but after a failed commit, of which that is not known.
pub(super) fn in_transaction<T>(
    database: &Database,
    (job, sink): (&str, &str),
    fence: &Fence,
    durability: Durability,
    (table, action): (&str, &'static str),
    change: impl FnOnce(&Ledger<'_>) -> Result<T, SinkError>,
) -> Result<T, SinkError> {
    let failed = |error: redb::Error| RedbSinkError::of(action, error).at(table);
    let check = || if fence.is_raised() { Err(SinkError::fenced()) } else { Ok(()) };
    check()?;
    let mut transaction = database.begin_write().map_err(|error| failed(error.into()))?;
    check()?;
    match transaction.set_durability(durability) {
        // Where several processes share the database every commit is durable.
        Ok(()) | Err(redb::SetDurabilityError::NonDurableCommitUnsupported) => {}
        Err(error) => return Err(failed(error.into())),
    }
    let answer = change(&Ledger { transaction: &transaction, job, sink })?;
    check()?;
    transaction.commit().map_err(|error| failed(error.into()))?;
    Ok(answer)
}

impl Ledger<'_> {
    fn row_key(
        &self,
        (incarnation, region, attempt, subtask): WriterId,
        piece: u64,
    ) -> (&str, &str, u64, u32, u32, u32, u64) {
        (self.job, self.sink, incarnation, region, attempt, subtask, piece)
    }

    fn mark_key(&self, (incarnation, region, attempt, subtask): WriterId) -> (&str, &str, u64, u32, u32, u32) {
        (self.job, self.sink, incarnation, region, attempt, subtask)
    }

    /// Adds pieces of `writer`, the first of this number.
    pub(super) fn add(&self, writer: WriterId, first: u64, pieces: &[Vec<u8>]) -> Result<(), redb::Error> {
        let mut rows = self.transaction.open_table(ROWS)?;
        for (number, piece) in (first..).zip(pieces) {
            rows.insert(self.row_key(writer, number), piece.as_slice())?;
        }
        Ok(())
    }

    /// Makes the table where there is none.
    pub(super) fn create(&self, target: &Target) -> Result<(), redb::Error> {
        (target.create)(self.transaction, &target.name)
    }

    /// Writes what is prepared into the table, unless that is done.
    pub(super) fn write(&self, prepared: Prepared, target: &Target) -> Result<(), RedbSinkError> {
        let Prepared { checkpoint, writer, pieces } = prepared;
        let action = "write rows";
        let failed = |error: redb::Error| RedbSinkError::of(action, error);
        let mark = self.mark(writer).map_err(failed)?;
        for number in mark.pieces..pieces {
            let piece = self.take(writer, number).map_err(failed)?.ok_or(RedbSinkError::PendingLost { checkpoint })?;
            let changes = changes(&piece).map_err(|reason| RedbSinkError::PendingDamaged { checkpoint, reason })?;
            (target.apply)(self.transaction, &target.name, &changes).map_err(failed)?;
        }
        if mark.pieces < pieces {
            let checkpoint = checkpoint.0.max(mark.checkpoint);
            self.set_mark(writer, Mark { checkpoint, pieces }).map_err(failed)?;
        }
        Ok(())
    }

    fn take(&self, writer: WriterId, number: u64) -> Result<Option<Vec<u8>>, redb::Error> {
        let mut rows = self.transaction.open_table(ROWS)?;
        let piece = rows.remove(self.row_key(writer, number))?.map(|piece| piece.value().to_owned());
        Ok(piece)
    }

    fn mark(&self, writer: WriterId) -> Result<Mark, redb::Error> {
        let mark = self.transaction.open_table(MARKS)?.get(self.mark_key(writer))?.map(|mark| mark.value());
        let (checkpoint, pieces) = mark.unwrap_or_default();
        Ok(Mark { checkpoint, pieces })
    }

    fn set_mark(&self, writer: WriterId, Mark { checkpoint, pieces }: Mark) -> Result<(), redb::Error> {
        self.transaction.open_table(MARKS)?.insert(self.mark_key(writer), (checkpoint, pieces))?;
        Ok(())
    }

    fn marks(&self) -> Result<Vec<(WriterId, Mark)>, redb::Error> {
        let table = self.transaction.open_table(MARKS)?;
        let all = self.mark_key((0, 0, 0, 0))..=self.mark_key((u64::MAX, u32::MAX, u32::MAX, u32::MAX));
        let mut marks = Vec::new();
        for mark in table.range(all)? {
            let (key, value) = mark?;
            let (_, _, incarnation, region, attempt, subtask) = key.value();
            let (checkpoint, pieces) = value.value();
            marks.push(((incarnation, region, attempt, subtask), Mark { checkpoint, pieces }));
        }
        Ok(marks)
    }

    /// The numbers of all pieces, by writer.
    fn pieces(&self) -> Result<Vec<(WriterId, u64)>, redb::Error> {
        let table = self.transaction.open_table(ROWS)?;
        let last = (u64::MAX, u32::MAX, u32::MAX, u32::MAX);
        let all = self.row_key((0, 0, 0, 0), 0)..=self.row_key(last, u64::MAX);
        let mut pieces = Vec::new();
        for row in table.range(all)? {
            let (key, _) = row?;
            let (_, _, incarnation, region, attempt, subtask, number) = key.value();
            pieces.push(((incarnation, region, attempt, subtask), number));
        }
        Ok(pieces)
    }

    /// The newest checkpoint with which the sink has written rows.
    pub(super) fn newest(&self) -> Result<CheckpointId, redb::Error> {
        let newest = self.marks()?.into_iter().map(|(_, mark)| mark.checkpoint).max();
        Ok(CheckpointId(newest.unwrap_or_default()))
    }

    /// What was written after `checkpoint` is taken for no longer written.
    pub(super) fn go_back_to(&self, checkpoint: CheckpointId) -> Result<(), redb::Error> {
        for (writer, mark) in self.marks()? {
            self.set_mark(writer, Mark { checkpoint: mark.checkpoint.min(checkpoint.0), ..mark })?;
        }
        Ok(())
    }

    /// Takes over what the sink has left under a former id.
    pub(super) fn take_over(&self, former: &str) -> Result<(), redb::Error> {
        let old = Ledger { sink: former, ..*self };
        for (writer, number) in old.pieces()? {
            if let Some(piece) = old.take(writer, number)? {
                self.add(writer, number, &[piece])?;
            }
        }
        for (writer, mark) in old.marks()? {
            self.set_mark(writer, mark)?;
            self.transaction.open_table(MARKS)?.remove(old.mark_key(writer))?;
        }
        Ok(())
    }

    /// The number of the first piece that `writer` adds: above all that it has written or that are there. With a clock that was set
    /// back, beside a new store, an earlier writer may have had the same id, of which the mark is.
    pub(super) fn next_piece(&self, writer: WriterId) -> Result<u64, redb::Error> {
        let table = self.transaction.open_table(ROWS)?;
        let last = table.range(self.row_key(writer, 0)..=self.row_key(writer, u64::MAX))?.next_back().transpose()?;
        let above = last.map_or(0, |(key, _)| key.value().6 + 1);
        Ok(above.max(self.mark(writer)?.pieces))
    }

    /// Removes pieces of `me`, which has added none yet, and of other executions, which nobody is going to write.
    pub(super) fn clean(&self, me: WriterId, pending: &[Prepared]) -> Result<(), redb::Error> {
        let is_pending = |(writer, number): &(WriterId, u64)| {
            pending.iter().any(|other| other.writer == *writer && number < &other.pieces)
        };
        let pieces = self.pieces()?.into_iter();
        let is_over = |writer| writer == me || !is_same_execution(writer, me);
        for (writer, number) in pieces.filter(|piece| is_over(piece.0) && !is_pending(piece)) {
            self.take(writer, number)?;
        }
        Ok(())
    }

    /// Forgets the marks of other executions than that of `me`, whose pending commits are in no checkpoint that a job may restore.
    /// How far the sink has written is remembered in the mark of `me`.
    pub(super) fn forget_earlier(&self, me: WriterId) -> Result<(), redb::Error> {
        let mut mine = self.mark(me)?;
        for (writer, mark) in self.marks()? {
            if !is_same_execution(writer, me) {
                mine.checkpoint = mine.checkpoint.max(mark.checkpoint);
                self.transaction.open_table(MARKS)?.remove(self.mark_key(writer))?;
            }
        }
        if mine == Mark::default() { Ok(()) } else { self.set_mark(me, mine) }
    }
}
