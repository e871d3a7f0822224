//! The database under a [`RedbStore`](super::RedbStore), or in another file of its own, while it is open: transactions on it,
//! and how it is let go of and opened again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};

use millstream_actors::contract::SnapshotError;
use millstream_actors::protocol::CheckpointId;
use redb::{Database, Durability, ReadTransaction, ReadableDatabase, WriteTransaction};

use super::redb_file::{Origin, guarded, io_error};
use crate::file_identity::FileIdentity;

#[derive(Debug)]
pub(crate) struct DatabaseSlot {
    origin: Origin,
    /// Readers hold it shared while they read; to close, one waits until they have let go.
    slot: RwLock<Slot>,
    /// Whether a write has met damage: the file is checked, and mended where it can be, when it is opened next.
    is_suspect: AtomicBool,
}

#[derive(Debug)]
enum Slot {
    Open(Database, FileIdentity),
    /// Let go of, on request.
    Closed,
    /// It could not be opened again.
    Broken(FileIdentity),
}

impl Slot {
    /// What redb says to that does not matter: all that must be durable has been committed.
    ///
    /// Which file it is remains known until the store is closed: it may not be another one meanwhile.
    fn let_go(&mut self) -> Option<FileIdentity> {
        let known = match self {
            Self::Open(_, file) | Self::Broken(file) => Some(*file),
            Self::Closed => None,
        };
        let old = std::mem::replace(self, Self::Closed);
        let _ = guarded(|| {
            drop(old);
            Ok(())
        });
        known
    }
}

impl DatabaseSlot {
    /// Opens the database, or creates it where nothing exists.
    pub(crate) fn open(origin: Origin) -> Result<Self, SnapshotError> {
        let slot = Self { origin, slot: RwLock::new(Slot::Closed), is_suspect: AtomicBool::new(false) };
        slot.reopen()?;
        Ok(slot)
    }

    /// The length of the file, if it is one.
    pub(crate) fn file_bytes(&self) -> Option<u64> {
        self.origin.file_bytes()
    }

    /// For messages.
    pub(crate) fn name(&self) -> String {
        self.origin.name()
    }

    pub(crate) fn is_open(&self) -> bool {
        matches!(&*self.slot.read().unwrap_or_else(PoisonError::into_inner), Slot::Open(..))
    }

    /// Opens the file, after letting go of it where it was open. Readers are waited for, and wait until it is open.
    pub(crate) fn reopen(&self) -> Result<(), SnapshotError> {
        let mut slot = self.slot.write().unwrap_or_else(PoisonError::into_inner);
        let before = slot.let_go();
        let opened = self.origin.open(before);
        match opened.and_then(|(database, file)| Ok((self.mended(database)?, file))) {
            Ok((database, file)) => {
                *slot = Slot::Open(database, file);
                Ok(())
            }
            Err(error) => {
                if let Some(file) = before {
                    *slot = Slot::Broken(file);
                }
                Err(error)
            }
        }
    }

    /// What redb notes of free pages is trusted when a file is opened. If it was damaged, writes fail every time, until
    /// redb works it out anew from the tables.
    fn mended(&self, mut database: Database) -> Result<Database, SnapshotError> {
        if !self.is_suspect.swap(false, Ordering::Relaxed) {
            return Ok(database);
        }
        match guarded(|| database.check_integrity().map_err(redb::Error::from)) {
            Ok(was_whole) => {
                log::warn!(
                    target: "millstream::checkpoint",
                    "{} was opened again after damage and checked: {}",
                    self.name(),
                    if was_whole { "it is whole now" } else { "it has been mended" }
                );
                Ok(database)
            }
            Err(trouble) => {
                Slot::Open(database, FileIdentity::default()).let_go();
                Err(trouble.into_error(&self.name(), "check the file", &[]))
            }
        }
    }

    /// Waits for readers, then lets go of the file.
    pub(crate) fn close(&self) {
        self.slot.write().unwrap_or_else(PoisonError::into_inner).let_go();
    }

    /// Calls redb while the file is open, and answers which file that was. `checkpoints` are named if it turns out to be
    /// damaged.
    fn with_database<T>(
        &self,
        action: &'static str,
        checkpoints: &[CheckpointId],
        call: impl FnOnce(&Database) -> Result<T, redb::Error>,
    ) -> Result<(T, FileIdentity), SnapshotError> {
        let slot = self.slot.read().unwrap_or_else(PoisonError::into_inner);
        match &*slot {
            Slot::Open(database, file) => guarded(|| call(database))
                .map(|answer| (answer, *file))
                .map_err(|trouble| trouble.into_error(&self.name(), action, checkpoints)),
            Slot::Closed => Err(SnapshotError::Closed { store: self.name() }),
            Slot::Broken(_) => Err(io_error(&self.name(), action, "it could not be opened again after a failure")),
        }
    }

    /// Reads in one transaction.
    pub(crate) fn read<T>(
        &self,
        action: &'static str,
        checkpoints: &[CheckpointId],
        read: impl FnOnce(&ReadTransaction) -> Result<Result<T, SnapshotError>, redb::Error>,
    ) -> Result<T, SnapshotError> {
        self.with_database(action, checkpoints, |database| read(&database.begin_read()?))?.0
    }

    /// Writes in one transaction. It is durable when this returns if `durability` says so, and else with the next
    /// that is. Durable means that a start finds it: if the file is not at its path any more, that is an error.
    pub(crate) fn write(
        &self,
        action: &'static str,
        checkpoints: &[CheckpointId],
        durability: Durability,
        write: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error>,
    ) -> Result<(), SnapshotError> {
        self.with_database(action, checkpoints, |database| {
            let mut transaction = database.begin_write()?;
            transaction.set_durability(durability)?;
            transaction.set_quick_repair(self.origin.content().quick_repair);
            write(&transaction)?;
            transaction.commit()?;
            Ok(())
        })
        .and_then(|((), file)| match durability {
            Durability::None => Ok(()),
            _ => self.origin.check(file),
        })
        .inspect_err(|error| {
            if error.is_damage() {
                self.is_suspect.store(true, Ordering::Relaxed);
            }
        })
    }
}

impl Drop for DatabaseSlot {
    /// redb panics where it finds a page damaged, also while it closes the file; dropping a store must not panic.
    fn drop(&mut self) {
        self.close();
    }
}
