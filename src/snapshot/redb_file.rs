//! The redb database under a [`RedbStore`](super::RedbStore), or under something else that is kept in a file of its own: how it
//! is created and opened, and what its errors mean.

use std::any::Any;
use std::error::Error as StdError;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use millstream_actors::contract::SnapshotError;
use millstream_actors::protocol::CheckpointId;
use redb::{Builder, Database, StorageBackend, TableDefinition, WriteTransaction};

use super::format::{CHUNK_KEY_BYTES, encode_ledger};
use super::ledger::Ledger;
use super::unfinished::{Making, Unfinished, remove_left_overs};
use crate::file_identity::FileIdentity;

/// One row: the ledger.
pub(super) const LEDGER: TableDefinition<(), &[u8]> = TableDefinition::new("millstream.ledger");
/// Retained manifests by checkpoint id.
pub(super) const MANIFESTS: TableDefinition<u64, &[u8]> = TableDefinition::new("millstream.manifests");
/// Chunks by key.
pub(super) const CHUNKS: TableDefinition<&[u8; CHUNK_KEY_BYTES], &[u8]> = TableDefinition::new("millstream.chunks");

/// redb's own default is 1 GiB.
pub(super) const CACHE_BYTES: usize = 32 << 20;

/// What every redb file begins with.
const REDB_MAGIC: [u8; 9] = [b'r', b'e', b'd', b'b', 0x1A, 0x0A, 0xA9, 0x0D, 0x0A];

type OpenBackend = Box<dyn Fn(&Builder) -> Result<Database, redb::Error> + Send + Sync>;

/// What a database is for.
#[derive(Clone, Copy)]
pub(crate) struct Content {
    /// Makes a new database one of the kind.
    pub(crate) initialise: fn(&Database) -> Result<(), redb::Error>,
    /// Whether each commit notes which pages are free. Opening it after a crash is quick then, and need not walk the file;
    /// each commit costs a second sync.
    pub(crate) quick_repair: bool,
}

/// Where the database is, so that it can be opened again.
pub(crate) struct Origin {
    place: Place,
    content: Content,
}

enum Place {
    File(PathBuf),
    Backend { name: String, open: OpenBackend },
}

impl Origin {
    pub(crate) fn file(path: PathBuf, content: Content) -> Self {
        Self { place: Place::File(path), content }
    }

    pub(crate) fn backend<B: StorageBackend>(
        name: String,
        content: Content,
        open: impl Fn() -> io::Result<B> + Send + Sync + 'static,
    ) -> Self {
        let open: OpenBackend = Box::new(move |builder| {
            let backend = open()?;
            let is_new = backend.len()? == 0;
            let database = builder.create_with_backend(backend)?;
            if is_new {
                (content.initialise)(&database)?;
            }
            Ok(database)
        });
        Self { place: Place::Backend { name, open }, content }
    }

    pub(super) fn content(&self) -> Content {
        self.content
    }

    /// For messages.
    /// The length of the file, if it is one.
    pub(super) fn file_bytes(&self) -> Option<u64> {
        match &self.place {
            Place::File(path) => Some(fs::metadata(path).ok()?.len()),
            Place::Backend { .. } => None,
        }
    }

    pub(super) fn name(&self) -> String {
        match &self.place {
            Place::File(path) => path.display().to_string(),
            Place::Backend { name, .. } => name.clone(),
        }
    }

    /// Opens the database. A file that does not exist is created, unless it has been open before: then it must be the one
    /// that it was.
    pub(super) fn open(&self, before: Option<FileIdentity>) -> Result<(Database, FileIdentity), SnapshotError> {
        let mut builder = Builder::new();
        builder.set_cache_size(CACHE_BYTES);
        match &self.place {
            Place::File(path) => {
                if before.is_some_and(|before| !before.is_at(path)) {
                    return Err(self.gone());
                }
                let open = || guarded(|| builder.open(path).map_err(redb::Error::from));
                let opened = match open() {
                    Err(trouble) if trouble.is_not_found() && before.is_none() => {
                        create_file(&builder, path, self.content)?;
                        open()
                    }
                    opened => opened,
                };
                let database = opened.map_err(|trouble| trouble_at_open(trouble, path, &self.name()))?;
                let found =
                    FileIdentity::of(path).map_err(|error| io_error(&self.name(), "examine the file", error))?;
                if before.is_none() {
                    remove_left_overs(Making::Creating, path);
                    remove_left_overs(Making::Forking, path);
                }
                Ok((database, found))
            }
            Place::Backend { name, open } => {
                let opened = guarded(|| open(&builder));
                let database = opened.map_err(|trouble| trouble.into_error(name, "open the file", &[]))?;
                Ok((database, FileIdentity::default()))
            }
        }
    }

    /// Refuses what was written to a file that is not at its path any more.
    pub(super) fn check(&self, opened: FileIdentity) -> Result<(), SnapshotError> {
        match &self.place {
            Place::File(path) if !opened.is_at(path) => Err(self.gone()),
            _ => Ok(()),
        }
    }

    fn gone(&self) -> SnapshotError {
        SnapshotError::Gone { store: self.name() }
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

/// A call into redb that did not work.
#[derive(Debug)]
pub(super) enum Trouble {
    Redb(redb::Error),
    /// redb panics on some damaged pages.
    Panic(String),
}

impl Trouble {
    fn is_not_found(&self) -> bool {
        matches!(self, Self::Redb(redb::Error::Io(error)) if error.kind() == io::ErrorKind::NotFound)
    }

    /// What it means. `checkpoints` are those that need the store to be whole.
    pub(super) fn into_error(self, store: &str, action: &'static str, checkpoints: &[CheckpointId]) -> SnapshotError {
        let damaged = |reason: String| SnapshotError::Damaged {
            store: store.to_owned(),
            what: "the file".to_owned(),
            reason: format!("cannot {action}: {reason}"),
            checkpoints: checkpoints.to_vec(),
        };
        match self {
            Self::Panic(message) => damaged(message),
            Self::Redb(redb::Error::DatabaseAlreadyOpen) => SnapshotError::Locked { store: store.to_owned() },
            Self::Redb(error) if is_damage(&error) => damaged(error.to_string()),
            Self::Redb(redb::Error::Io(error)) => io_error(store, action, error),
            Self::Redb(error) => io_error(store, action, error),
        }
    }
}

impl From<redb::Error> for Trouble {
    fn from(error: redb::Error) -> Self {
        Self::Redb(error)
    }
}

/// Calls into redb, and takes its panics for what they are: damaged pages.
pub(super) fn guarded<T>(call: impl FnOnce() -> Result<T, redb::Error>) -> Result<T, Trouble> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(result) => result.map_err(Trouble::Redb),
        Err(payload) => Err(Trouble::Panic(panic_message(payload.as_ref()))),
    }
}

pub(super) fn io_error(
    store: &str,
    action: &'static str,
    source: impl Into<Box<dyn StdError + Send + Sync>>,
) -> SnapshotError {
    SnapshotError::Io { store: store.to_owned(), action, source: source.into() }
}

/// Makes `ledger` the store's, as part of `transaction`.
pub(super) fn put_ledger(transaction: &WriteTransaction, ledger: &Ledger) -> Result<(), redb::Error> {
    transaction.open_table(LEDGER)?.insert((), encode_ledger(ledger).as_slice())?;
    Ok(())
}

/// That of a store of snapshots.
pub(super) const STORE: Content = Content { initialise: write_empty_ledger, quick_repair: true };

fn write_empty_ledger(database: &Database) -> Result<(), redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_quick_repair(true);
    put_ledger(&transaction, &Ledger::default())?;
    transaction.open_table(MANIFESTS)?;
    transaction.open_table(CHUNKS)?;
    transaction.commit()?;
    Ok(())
}

/// Creates the file under another name and links it to its own once it is whole: after a crash there is one or none, never half
/// of one. If another process was faster, its file stays.
fn create_file(builder: &Builder, path: &Path, content: Content) -> Result<(), SnapshotError> {
    let name = path.display().to_string();
    let failed = |error| io_error(&name, "create the file", error);
    let unfinished = Unfinished::begin(Making::Creating, path).map_err(failed)?;
    let written = guarded(|| {
        let database = builder.create(unfinished.path())?;
        (content.initialise)(&database)?;
        database.close()?;
        Ok(())
    });
    let linked = match written {
        Ok(()) => link(unfinished.path(), path).map_err(failed),
        Err(trouble) => Err(trouble.into_error(&name, "create the file", &[])),
    };
    linked.and(unfinished.remove().map_err(failed))
}

fn link(unfinished: &Path, path: &Path) -> io::Result<()> {
    match fs::hard_link(unfinished, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        // Another was faster, and the unfinished file was removed by hand since.
        Err(error) if error.kind() == io::ErrorKind::NotFound && path.exists() => return Ok(()),
        // Not every file system has hard links; renaming replaces what appeared under the name in between.
        Err(_) => fs::rename(unfinished, path)?,
        Ok(()) => {}
    }
    sync_directory(path)
}

#[cfg(unix)]
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent)?.sync_all()
}

/// Directories cannot be synced here; the system orders its own metadata.
#[cfg(not(unix))]
pub(super) fn sync_directory(_path: &Path) -> io::Result<()> {
    Ok(())
}

/// A file that cannot be opened is damaged if it begins as a redb file does, and not ours if it does not. It is looked
/// at after redb gave up, never before: closing a second descriptor would release locks on some systems.
/// `shown` is what it is called in messages.
pub(super) fn trouble_at_open(trouble: Trouble, path: &Path, shown: &str) -> SnapshotError {
    let store = shown.to_owned();
    let error = trouble.into_error(&store, "open the file", &[]);
    if matches!(error, SnapshotError::Locked { .. }) {
        return error;
    }
    let mut head = Vec::new();
    let read = File::open(path).and_then(|file| file.take(REDB_MAGIC.len() as u64).read_to_end(&mut head));
    let reason = match read {
        Err(_) => return error,
        Ok(0) => "it is empty; if nothing was in it, remove it and it will be created".to_owned(),
        Ok(_) if head == REDB_MAGIC => return error,
        Ok(_) => format!("it begins with {head:02x?}, not as a redb file"),
    };
    SnapshotError::Foreign { store, reason }
}

fn is_damage(error: &redb::Error) -> bool {
    match error {
        redb::Error::Io(error) => {
            matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData)
        }
        redb::Error::Corrupted(_)
        | redb::Error::LockPoisoned(_)
        | redb::Error::RepairAborted
        | redb::Error::UpgradeRequired(_)
        | redb::Error::TableDoesNotExist(_)
        | redb::Error::TableTypeMismatch { .. }
        | redb::Error::TypeDefinitionChanged { .. }
        | redb::Error::TableIsMultimap(_)
        | redb::Error::TableIsNotMultimap(_) => true,
        _ => false,
    }
}

fn panic_message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    format!("redb panicked: {}", text.unwrap_or("no message"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_of_who_was_faster_stays_even_if_the_unfinished_one_is_lost() {
        let dir = tempfile::tempdir().unwrap();
        let (path, unfinished) = (dir.path().join("store.redb"), dir.path().join("unfinished"));
        assert_eq!(link(&unfinished, &path).unwrap_err().kind(), io::ErrorKind::NotFound);
        fs::write(&path, "theirs").unwrap();
        link(&unfinished, &path).unwrap();
        fs::write(&unfinished, "ours").unwrap();
        link(&unfinished, &path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"theirs");
    }
}
