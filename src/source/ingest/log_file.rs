//! The file of an ingest log: a redb database of its own.
//!
//! | table | key | value |
//! |---|---|---|
//! | `millstream.ingest.log` | - | its format, and its id, which no other log has |
//! | `millstream.ingest.splits` | split | offset of the first record that is kept, that of the next record, bytes kept |
//! | `millstream.ingest.records` | split, offset of the first record | a [`RecordBatch`] |
//! | `millstream.ingest.keys` | number, ascending | idempotency keys that became durable together |
//! | `millstream.ingest.lineage` | - | a [`Lineage`] |
//! | `millstream.ingest.answers` | split, offset | only in a log of requests: the answer to the record there, behind its checksum |
//!
//! A commit is durable when it returns. It costs one sync: that a crash makes redb walk the file at the next opening is
//! cheaper than a second one for each commit.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use millstream_actors::contract::SnapshotError;
use redb::{
    Database, Durability, ReadTransaction, ReadableTable, StorageBackend, TableDefinition, TableHandle,
    WriteTransaction,
};

use super::IngestLogError;
use super::answers::{self, ANSWERS};
use super::batch::RecordBatch;
use super::keys::Place;
use super::lineage::Lineage;
use crate::snapshot::{Content, DatabaseSlot, Origin};
use crate::unique::unique;

const LOG: TableDefinition<'_, (), (u32, u64)> = TableDefinition::new("millstream.ingest.log");
const SPLITS: TableDefinition<'_, u32, (u64, u64, u64)> = TableDefinition::new("millstream.ingest.splits");
const RECORDS: TableDefinition<'_, (u32, u64), &[u8]> = TableDefinition::new("millstream.ingest.records");
const KEYS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("millstream.ingest.keys");
const LINEAGE: TableDefinition<'_, (), &[u8]> = TableDefinition::new("millstream.ingest.lineage");

const FORMAT: u32 = 1;
const CONTENT: Content = Content { initialise, quick_repair: false };

fn initialise(database: &Database) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    transaction.open_table(LOG)?.insert((), (FORMAT, unique_id()))?;
    transaction.open_table(SPLITS)?;
    transaction.open_table(RECORDS)?;
    transaction.open_table(KEYS)?;
    transaction.open_table(LINEAGE)?;
    transaction.commit()?;
    Ok(())
}

/// One that nothing else has.
pub(super) fn unique_id() -> u64 {
    u64::from_str_radix(&unique(), 16).expect("sixteen digits")
}

/// What is in a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Records,
    /// Each of which gets an answer.
    Requests,
}

/// What is kept of a split.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SplitRow {
    /// Offset of the first record that is kept.
    pub(super) start: u64,
    /// Offset of the next record.
    pub(super) end: u64,
    /// Bytes of what is kept.
    pub(super) bytes: u64,
}

/// What a log held when it was opened.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) id: u64,
    pub(super) splits: Vec<SplitRow>,
    /// Idempotency keys, by number.
    pub(super) keys: Vec<(u64, Vec<u8>)>,
    pub(super) lineage: Lineage,
}

/// What becomes durable together.
#[derive(Debug, Default)]
pub(super) struct Change {
    /// By split; in each they follow what is there.
    pub(super) appended: Vec<(u32, Arc<RecordBatch>)>,
    /// Idempotency keys, and their number.
    pub(super) keys: Option<(u64, Vec<u8>)>,
    /// The lineage, with the first records of a life.
    pub(super) lineage: Option<Vec<u8>>,
    /// Keys up to this number are forgotten.
    pub(super) forgotten: Option<u64>,
    /// Splits, and the offset up to which none of their records is needed.
    pub(super) trimmed: Vec<(u32, u64)>,
    /// Answers to records. One that is there already stays.
    pub(super) answers: Vec<(Place, Arc<[u8]>)>,
    /// Records whose answers are forgotten, with their keys.
    pub(super) unanswered: Vec<Place>,
}

impl Change {
    /// Whether there is nothing to write. That keys are forgotten can wait.
    pub(super) fn is_empty(&self) -> bool {
        self.appended.is_empty() && self.keys.is_none() && self.trimmed.is_empty() && self.answers.is_empty()
    }
}

pub(super) struct LogFile {
    log: Arc<str>,
    slot: DatabaseSlot,
}

impl LogFile {
    /// Opens the log in the file at `path`, or makes one of so many splits.
    pub(super) fn open(
        log: &Arc<str>,
        path: PathBuf,
        (splits, kind): (u32, Kind),
    ) -> Result<(Self, Found), IngestLogError> {
        Self::open_origin(log, Origin::file(path, CONTENT), splits, kind)
    }

    /// The same on other storage.
    pub(super) fn open_on<B: StorageBackend>(
        log: &Arc<str>,
        backend: impl Fn() -> io::Result<B> + Send + Sync + 'static,
        (splits, kind): (u32, Kind),
    ) -> Result<(Self, Found), IngestLogError> {
        Self::open_origin(log, Origin::backend(log.to_string(), CONTENT, backend), splits, kind)
    }

    fn open_origin(log: &Arc<str>, origin: Origin, splits: u32, kind: Kind) -> Result<(Self, Found), IngestLogError> {
        let slot = DatabaseSlot::open(origin).map_err(|error| IngestLogError::of(log, error))?;
        let file = Self { log: log.clone(), slot };
        let mut found = file.find()?;
        file.check_kind(kind, &found.splits)?;
        if found.splits.is_empty() {
            found.splits = vec![SplitRow::default(); splits as usize];
            file.write("make the splits", |transaction| put_rows(transaction, &[], &found.splits))?;
        }
        Ok((file, found))
    }

    fn error(&self, error: SnapshotError) -> IngestLogError {
        IngestLogError::of(&self.log, error)
    }

    fn damaged(&self, what: &str, reason: impl Into<String>) -> IngestLogError {
        IngestLogError::Damaged { log: self.log.clone(), what: what.to_owned(), reason: reason.into() }
    }

    fn read<T>(
        &self,
        action: &'static str,
        read: impl FnOnce(&ReadTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, IngestLogError> {
        self.slot.read(action, &[], |transaction| read(transaction).map(Ok)).map_err(|error| self.error(error))
    }

    fn write(
        &self,
        action: &'static str,
        write: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error>,
    ) -> Result<(), IngestLogError> {
        self.slot.write(action, &[], Durability::Immediate, write).map_err(|error| self.error(error))
    }

    /// What is there.
    fn find(&self) -> Result<Found, IngestLogError> {
        let (format, id) = self.read("read the log's format", format_and_id)?.map_err(|tables| {
            let reason = format!("a redb file with the tables {tables:?}, which are of another program");
            IngestLogError::Foreign { log: self.log.clone(), reason }
        })?;
        if format > FORMAT {
            return Err(IngestLogError::NewerFormat { log: self.log.clone(), found: format, supported: FORMAT });
        }
        let (splits, keys, lineage) = self.read("read the log's splits", |transaction| {
            let mut splits = Vec::new();
            for row in transaction.open_table(SPLITS)?.iter()? {
                let (split, row) = row?;
                let (start, end, bytes) = row.value();
                splits.push((split.value(), SplitRow { start, end, bytes }));
            }
            let mut keys = Vec::new();
            for row in transaction.open_table(KEYS)?.iter()? {
                let (number, value) = row?;
                keys.push((number.value(), value.value().to_owned()));
            }
            let lineage = transaction.open_table(LINEAGE)?.get(())?.map(|lineage| lineage.value().to_owned());
            Ok((splits, keys, lineage))
        })?;
        let lineage = lineage.map_or(Ok(Lineage::default()), |stored| Lineage::load(&stored, splits.len()));
        let lineage = lineage.map_err(|reason| self.damaged("its lineage", reason))?;
        for (number, (split, row)) in (0..).zip(&splits) {
            if *split != number || row.start > row.end {
                return Err(self.damaged("its splits", format!("row {number} is {row:?} of split {split}")));
            }
            self.check_beginning(*split, *row)?;
        }
        Ok(Found { id, splits: splits.into_iter().map(|(_, row)| row).collect(), keys, lineage })
    }

    /// A log of requests is one from when it is made.
    fn check_kind(&self, kind: Kind, splits: &[SplitRow]) -> Result<(), IngestLogError> {
        let has_answers = self.read("look for answers", |transaction| {
            Ok(transaction.list_tables()?.any(|table| table.name() == ANSWERS.name()))
        })?;
        let reason = match kind {
            Kind::Records if has_answers => "it holds requests: open it as a RequestSource",
            Kind::Requests if !has_answers && splits.iter().any(|row| row.end > 0) => {
                "it holds records that nobody answers: open it as an IngestSource"
            }
            Kind::Requests if !has_answers => {
                return self.write("make the answers", |transaction| {
                    transaction.open_table(ANSWERS)?;
                    Ok(())
                });
            }
            _ => return Ok(()),
        };
        Err(IngestLogError::Foreign { log: self.log.clone(), reason: reason.to_owned() })
    }

    /// The records that a split begins with must be there.
    fn check_beginning(&self, split: u32, row: SplitRow) -> Result<(), IngestLogError> {
        let first = self.read("look for the first records", |transaction| {
            let table = transaction.open_table(RECORDS)?;
            let first = table.range((split, 0)..=(split, u64::MAX))?.next().transpose()?;
            Ok(first.map(|(key, _)| key.value().1))
        })?;
        let expected = (row.start < row.end).then_some(row.start);
        if first == expected {
            return Ok(());
        }
        let reason = format!("its first batch is at {first:?} instead of {expected:?}");
        Err(self.damaged(&format!("split {split}"), reason))
    }

    /// Makes a change durable. `rows` are how splits stand, and are then as they stand after it; they are as they were if it
    /// fails. Then the file has to be [reopened](Self::reopen) before the next change. Answers what stands of each answer.
    pub(super) fn commit(&self, change: &Change, rows: &mut [SplitRow]) -> Result<Vec<Arc<[u8]>>, IngestLogError> {
        let mut after = rows.to_vec();
        let mut standing = Vec::new();
        self.write("write records", |transaction| {
            let mut table = transaction.open_table(RECORDS)?;
            for (split, needed_from) in &change.trimmed {
                trim(&mut table, *split, *needed_from, &mut after[*split as usize])?;
            }
            for (split, batch) in &change.appended {
                table.insert((*split, batch.first()), batch.bytes())?;
                let row = &mut after[*split as usize];
                row.end = batch.end();
                row.bytes += batch.bytes().len() as u64;
            }
            drop(table);
            put_keys(transaction, change)?;
            if let Some(lineage) = &change.lineage {
                transaction.open_table(LINEAGE)?.insert((), lineage.as_slice())?;
            }
            standing = answers::put(transaction, change)?;
            put_rows(transaction, rows, &after)
        })?;
        rows.copy_from_slice(&after);
        Ok(standing)
    }

    /// The answer to the record at a place, if there is one.
    pub(super) fn answer(&self, place: Place) -> Result<Option<Arc<[u8]>>, IngestLogError> {
        let stored = self.read("read an answer", |transaction| answers::get(transaction, place))?;
        let Place { split, offset } = place;
        stored.map_err(|reason| self.damaged(&format!("the answer to split {split}, offset {offset}"), reason))
    }

    /// Opens the file again after a change that failed, which may be in it all the same, and takes that back: `rows` are how
    /// splits stood before, and keys from the number `next_keys` on are not known.
    pub(super) fn reopen(&self, rows: &mut [SplitRow], next_keys: u64) -> Result<(), IngestLogError> {
        self.slot.reopen().map_err(|error| self.error(error))?;
        let found = self.find()?;
        for (number, (known, found)) in rows.iter().zip(&found.splits).enumerate() {
            if found.end < known.end {
                let reason = format!("it had been durable up to offset {}, and ends at {}", known.end, found.end);
                return Err(self.damaged(&format!("split {number}"), reason));
            }
        }
        let as_known = rows.iter().zip(&found.splits).all(|(known, found)| known.end == found.end);
        if as_known && found.splits.len() == rows.len() && found.keys.iter().all(|(number, _)| *number < next_keys) {
            rows.copy_from_slice(&found.splits);
            return Ok(());
        }
        if found.splits.len() != rows.len() {
            return Err(self.damaged("its splits", format!("{} instead of {}", found.splits.len(), rows.len())));
        }
        let mut after = found.splits;
        self.write("take back what has failed", |transaction| {
            let mut table = transaction.open_table(RECORDS)?;
            for (number, (row, known)) in (0..).zip(after.iter_mut().zip(&*rows)) {
                table.retain_in((number, known.end)..=(number, u64::MAX), |_, batch| {
                    row.bytes = row.bytes.saturating_sub(batch.len() as u64);
                    false
                })?;
                row.end = known.end;
                row.start = row.start.min(known.end);
            }
            transaction.open_table(KEYS)?.retain_in(next_keys.., |_, _| false)?;
            drop(table);
            put_rows(transaction, &[], &after)
        })?;
        rows.copy_from_slice(&after);
        Ok(())
    }

    /// The batches of a split from the one with the record `from` on, which is there: as many as are together at most
    /// `bytes_max` bytes, and one at least. Those that begin at `end` or behind it do not count.
    pub(super) fn batches(
        &self,
        split: u32,
        (from, end): (u64, u64),
        bytes_max: usize,
    ) -> Result<Vec<Arc<RecordBatch>>, IngestLogError> {
        let stored = self.read("read records", |transaction| {
            let table = transaction.open_table(RECORDS)?;
            let first = table.range((split, 0)..=(split, from))?.next_back().transpose()?;
            let first = first.map_or(from, |(key, _)| key.value().1);
            let (mut stored, mut bytes) = (Vec::new(), 0);
            for row in table.range((split, first)..(split, end))? {
                let (key, batch) = row?;
                bytes += batch.value().len();
                if bytes > bytes_max && !stored.is_empty() {
                    break;
                }
                stored.push((key.value().1, batch.value().to_owned()));
            }
            Ok(stored)
        })?;
        let mut next = None;
        let mut batches = Vec::with_capacity(stored.len());
        for (first, bytes) in stored {
            let what = || format!("split {split}, batch at {first}");
            let batch = RecordBatch::read(first, &bytes).map_err(|reason| self.damaged(&what(), reason))?;
            if next.map_or(!(first..batch.end()).contains(&from), |next| next != first) {
                return Err(self.damaged(&what(), "batches before it are missing"));
            }
            next = Some(batch.end());
            batches.push(Arc::new(batch));
        }
        if batches.is_empty() {
            return Err(self.damaged(&format!("split {split}, offset {from}"), "its batch is missing"));
        }
        Ok(batches)
    }

    /// Lets go of the file.
    pub(super) fn close(&self) {
        self.slot.close();
    }
}

/// The format of the log and its id, or the tables of a file that is none.
fn format_and_id(transaction: &ReadTransaction) -> Result<Result<(u32, u64), Vec<String>>, redb::Error> {
    let tables: Vec<String> = transaction.list_tables()?.map(|table| table.name().to_owned()).collect();
    if !tables.iter().any(|table| table == LOG.name()) {
        return Ok(Err(tables));
    }
    let found = transaction.open_table(LOG)?.get(())?.map(|row| row.value());
    Ok(found.ok_or(tables))
}

/// Removes the batches of which no record is needed.
fn trim(
    table: &mut redb::Table<'_, (u32, u64), &[u8]>,
    split: u32,
    needed_from: u64,
    row: &mut SplitRow,
) -> Result<(), redb::Error> {
    let needed_from = needed_from.min(row.end);
    let next = table.range((split, needed_from)..=(split, u64::MAX))?.next().transpose()?;
    let is_boundary = next.map_or(needed_from == row.end, |(key, _)| key.value().1 == needed_from);
    let start = if is_boundary {
        needed_from
    } else {
        let last = table.range((split, 0)..(split, needed_from))?.next_back().transpose()?;
        last.map_or(row.start, |(key, _)| key.value().1)
    };
    if start > row.start {
        table.retain_in((split, 0)..(split, start), |_, batch| {
            row.bytes = row.bytes.saturating_sub(batch.len() as u64);
            false
        })?;
        row.start = start;
    }
    Ok(())
}

fn put_keys(transaction: &WriteTransaction, change: &Change) -> Result<(), redb::Error> {
    if change.keys.is_none() && change.forgotten.is_none() {
        return Ok(());
    }
    let mut table = transaction.open_table(KEYS)?;
    if let Some(forgotten) = change.forgotten {
        table.retain_in(..=forgotten, |_, _| false)?;
    }
    if let Some((number, keys)) = &change.keys {
        table.insert(number, keys.as_slice())?;
    }
    Ok(())
}

/// Writes the rows that are not as they were.
fn put_rows(transaction: &WriteTransaction, before: &[SplitRow], rows: &[SplitRow]) -> Result<(), redb::Error> {
    let mut table = transaction.open_table(SPLITS)?;
    let changed = (0..).zip(rows).filter(|(split, row)| before.get(*split as usize) != Some(row));
    for (split, row) in changed {
        table.insert(split, (row.start, row.end, row.bytes))?;
    }
    Ok(())
}
