//! The working file: rows that are not in memory, in a redb table by the hash of their key.
//!
//! It is scratch space of one attempt. Nothing is ever synced, and nothing is read that this process has not written: a
//! checkpoint restores what a crash takes.

use std::error::Error as StdError;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};

use millstream_actors::contract::StateError;
use millstream_actors::protocol::OperatorId;
use redb::backends::FileBackend;
use redb::{
    BackendError, Builder, Database, ReadOnlyTable, ReadableDatabase, ReadableTable, StorageBackend, Table,
    TableDefinition,
};

use super::batch::Batch;
use super::place::SpillPlace;
use super::rows::{RowBytes, SameKey, rows};
use crate::claim;
use crate::state::{Due, TimeDomain};

/// Rows by hash; those of several keys with one hash follow each other.
const ROWS: TableDefinition<u64, &[u8]> = TableDefinition::new("rows");

/// Pages of large maps by their numbers.
const PAGES: TableDefinition<u64, &[u8]> = TableDefinition::new("pages");

/// Keys by the time of their timers, of event time and of processing time.
const TIMERS: [TableDefinition<Due, ()>; 2] = [TableDefinition::new("event-timers"), TableDefinition::new("timers")];

/// What can be read at a moment.
pub(super) type Rows = ReadOnlyTable<u64, &'static [u8]>;

/// The pages that can be read at a moment.
pub(super) type Pages = ReadOnlyTable<u64, &'static [u8]>;

type Trouble = Box<dyn StdError + Send + Sync>;

/// A working file. Dropping it removes it.
pub(super) struct WorkingFile {
    operator: OperatorId,
    path: PathBuf,
    /// `None` once it is closed.
    database: Option<Database>,
    pub(super) same_key: SameKey,
    /// Holds the lock by which others see that the file is in use: redb locks ranges of it, which is not seen by who locks
    /// all of it.
    _lock: Option<File>,
}

impl WorkingFile {
    /// Creates it, with redb's own cache of `cache_bytes`.
    pub(super) fn create(place: &SpillPlace, cache_bytes: usize, same_key: SameKey) -> Result<Self, StateError> {
        let operator = &place.operator;
        let failed = |file: &Path, action, source| StateError::WorkingFile {
            operator: operator.clone(),
            file: file.to_owned(),
            action,
            source,
        };
        let created = claim::create(|| place.fresh());
        let (path, file) = created.map_err(|error| failed(&place.dir, "create a file in", error.into()))?;
        let opened = file.try_clone().map_err(Trouble::from).and_then(|lock| Ok((open(file, cache_bytes)?, lock)));
        match opened {
            Ok((database, lock)) => {
                let database = Some(database);
                Ok(Self { operator: operator.clone(), path, database, same_key, _lock: Some(lock) })
            }
            Err(source) => {
                // What is left of it is of no use; the error that counts is the first.
                let _ = fs::remove_file(&path);
                Err(failed(&path, "create", source))
            }
        }
    }

    /// One on other storage than a file.
    #[cfg(test)]
    pub(super) fn on(operator: OperatorId, storage: impl StorageBackend, same_key: SameKey) -> Self {
        let database = Builder::new().create_with_backend(storage).expect("storage that works as yet");
        let transaction = database.begin_write().expect("a fresh database");
        transaction.open_table(ROWS).expect("a fresh database");
        transaction.open_table(PAGES).expect("a fresh database");
        transaction.commit().expect("storage that works as yet");
        Self { operator, path: PathBuf::new(), database: Some(database), same_key, _lock: None }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What can be read from now on, in all that was written before.
    pub(super) fn read(&self) -> Result<Rows, StateError> {
        let open = || -> Result<Rows, redb::Error> { Ok(self.database().begin_read()?.open_table(ROWS)?) };
        open().map_err(|error| self.error("read", error.into()))
    }

    /// The pages that can be read from now on.
    pub(super) fn read_pages(&self) -> Result<Pages, StateError> {
        let open = || -> Result<Pages, redb::Error> { Ok(self.database().begin_read()?.open_table(PAGES)?) };
        open().map_err(|error| self.error("read", error.into()))
    }

    /// Writes the rows of a batch, over older ones of the same keys, and its pages.
    pub(super) fn write(&self, batch: &Batch) -> Result<(), StateError> {
        self.write_rows(batch).map_err(|error| self.error("write to", error))
    }

    fn write_rows(&self, batch: &Batch) -> Result<(), Trouble> {
        let transaction = self.database().begin_write()?;
        let mut table = transaction.open_table(ROWS)?;
        for (hash, row) in batch.iter() {
            put(&mut table, hash, RowBytes::take(&mut &*row)?, self.same_key)?;
        }
        drop(table);
        if !batch.pages.is_empty() {
            let mut table = transaction.open_table(PAGES)?;
            for (page, bytes) in &batch.pages {
                match bytes {
                    Some(bytes) => drop(table.insert(page, bytes.as_slice())?),
                    None => drop(table.remove(page)?),
                }
            }
        }
        Ok(transaction.commit()?)
    }

    /// Adds timers of a domain.
    pub(super) fn put_timers(&self, domain: TimeDomain, timers: &[Due]) -> Result<(), StateError> {
        let put = || -> Result<(), Trouble> {
            if timers.is_empty() {
                return Ok(());
            }
            let transaction = self.database().begin_write()?;
            let mut table = transaction.open_table(TIMERS[domain as usize])?;
            for due in timers {
                table.insert(due, ())?;
            }
            drop(table);
            Ok(transaction.commit()?)
        };
        put().map_err(|error| self.error("write to", error))
    }

    /// The earliest timer of a domain.
    pub(super) fn first_timer(&self, domain: TimeDomain) -> Result<Option<Due>, StateError> {
        let first = || -> Result<Option<Due>, Trouble> {
            match self.database().begin_read()?.open_table(TIMERS[domain as usize]) {
                Ok(table) => Ok(table.first()?.map(|(due, _)| due.value())),
                Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
                Err(error) => Err(error.into()),
            }
        };
        first().map_err(|error| self.error("read", error))
    }

    /// Takes the earliest `most` timers of a domain out; gives the one that is the earliest then, too.
    pub(super) fn take_timers(&self, domain: TimeDomain, most: usize) -> Result<(Vec<Due>, Option<Due>), StateError> {
        let take = || -> Result<(Vec<Due>, Option<Due>), Trouble> {
            let transaction = self.database().begin_write()?;
            let mut table = transaction.open_table(TIMERS[domain as usize])?;
            let mut taken = Vec::new();
            while taken.len() < most
                && let Some((due, _)) = table.pop_first()?
            {
                taken.push(due.value());
            }
            let next = table.first()?.map(|(due, _)| due.value());
            drop(table);
            transaction.commit()?;
            Ok((taken, next))
        };
        take().map_err(|error| self.error("read", error))
    }

    fn database(&self) -> &Database {
        self.database.as_ref().expect("it is closed only when it is dropped")
    }

    /// An error in what was tried with the file.
    pub(super) fn error(&self, action: &'static str, source: Trouble) -> StateError {
        StateError::WorkingFile { operator: self.operator.clone(), file: self.path.clone(), action, source }
    }
}

impl Drop for WorkingFile {
    fn drop(&mut self) {
        self.database = None;
        if let Err(error) = fs::remove_file(&self.path) {
            let path = self.path.display();
            log::warn!(target: "millstream::state", "operator={}: cannot remove {path}: {error}", self.operator);
        }
    }
}

impl fmt::Debug for WorkingFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WorkingFile({})", self.path.display())
    }
}

fn open(file: File, cache_bytes: usize) -> Result<Database, Trouble> {
    let database = Builder::new().set_cache_size(cache_bytes).create_with_backend(Unsynced(FileBackend::new(file)?))?;
    let transaction = database.begin_write()?;
    transaction.open_table(ROWS)?;
    transaction.open_table(PAGES)?;
    transaction.commit()?;
    Ok(database)
}

/// Puts a row, or removes it if it says that its key is gone. Rows of other keys with the same hash stay.
fn put(
    table: &mut Table<'_, u64, &'static [u8]>,
    hash: u64,
    row: RowBytes<'_>,
    same_key: SameKey,
) -> Result<(), Trouble> {
    let others = match if row.is_gone() { table.remove(hash)? } else { table.insert(hash, row.whole)? } {
        None => return Ok(()),
        Some(old) => others(old.value(), row.key, same_key)?,
    };
    if let Some(mut merged) = others {
        if !row.is_gone() {
            merged.extend_from_slice(row.whole);
        }
        table.insert(hash, merged.as_slice())?;
    }
    Ok(())
}

/// The rows in `stored` of other keys; `None` if there is none, as almost always.
fn others(stored: &[u8], key: &[u8], same_key: SameKey) -> Result<Option<Vec<u8>>, String> {
    let mut others = Vec::new();
    for row in rows(stored) {
        let row = row?;
        if !same_key(row.key, key)? {
            others.extend_from_slice(row.whole);
        }
    }
    Ok((!others.is_empty()).then_some(others))
}

/// A file that is never synced: what a crash would lose is of no use after it.
#[derive(Debug)]
struct Unsynced(FileBackend);

impl StorageBackend for Unsynced {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.0.close()
    }

    fn try_lock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<bool, BackendError> {
        // The file is this process's, under a name that is used once.
        Ok(true)
    }

    fn unlock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<(), BackendError> {
        Ok(())
    }
}
