//! A store in one file, kept by redb.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use millstream_actors::contract::{Chunk, ChunkRef, Finalised, Manifest, SnapshotError, SnapshotStore, StoreOpening};
use millstream_actors::protocol::{CheckpointId, Incarnation};
use redb::{Durability, StorageBackend, Table, WriteTransaction};

use super::format::{CHUNK_KEY_BYTES, ChunkKey, chunk_key, chunk_key_bounds, encode_manifest};
use super::ledger::Ledger;
use super::redb_file::{CHUNKS, MANIFESTS, Origin, STORE, put_ledger};
use super::redb_load::{load_ledger, load_manifests, unnamed_chunks, verify};
use super::redb_slot::DatabaseSlot;
use super::references::{
    Keys, Manifests, Taken, Unnamed, garbage, is_in_use, is_named, kept, named_chunks, no_longer_named, pin,
    unverified, users_of, verify_put,
};

/// Chunks are written in transactions of at most so many bytes (and at least one chunk).
const TRANSACTION_BYTES_MAX: usize = 16 << 20;

/// Keeps snapshots in one file, which outlives the process and the power.
///
/// The file is locked from [`open`](Self::open) until the store is closed or dropped. It grows to about twice the state
/// retained, and freed space is used again. `docs/snapshot-format.md` says what is in it and what each damage leads to.
///
/// ```
/// use millstream::prelude::*;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("numbers.redb");
/// for life in [1, 2] {
///     let env = StreamEnvironment::new("numbers").snapshot_store(RedbStore::open(&path)?);
///     env.source("numbers", SequenceSource::new(0..10)).sink("out", CollectSink::new());
///     let outcome = env.start()?.wait()?;
///     assert_eq!(outcome.already_complete, life == 2, "the second start finds that the job has finished");
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct RedbStore {
    /// Locked after `writer`.
    database: DatabaseSlot,
    writer: Mutex<Writer>,
}

/// What is durable, as far as is known: changed only after the commit.
#[derive(Debug, Default)]
struct Writer {
    claimed: bool,
    ledger: Ledger,
    manifests: Manifests,
    pinned: Manifests,
    /// All chunks in the table that no manifest names: others were removed when the job was opened, so the table need
    /// not be searched for them.
    unnamed: Unnamed,
}

impl Writer {
    fn kept(&self) -> Manifests {
        kept(&self.manifests, &self.pinned)
    }
}

impl RedbStore {
    /// Opens the store in the file at `path` and locks it, or creates it there if no file exists. The directory must
    /// exist. A file that exists is never overwritten: an empty one is refused as foreign, since it may be what is
    /// left of a store.
    ///
    /// # Errors
    /// [`SnapshotError::Locked`] if it is open elsewhere, in this process or another; [`SnapshotError::Foreign`] if the
    /// file is something else; [`SnapshotError::NewerFormat`], [`SnapshotError::Damaged`], [`SnapshotError::Io`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, SnapshotError> {
        Self::open_origin(Origin::file(path.as_ref().to_owned(), STORE))
    }

    /// Opens a store on storage other than a file: `backend` is called for each opening, `name` appears in messages.
    /// For tests that let the storage fail.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_on<B: StorageBackend>(
        name: impl Into<String>,
        backend: impl Fn() -> io::Result<B> + Send + Sync + 'static,
    ) -> Result<Self, SnapshotError> {
        Self::open_origin(Origin::backend(name.into(), STORE, backend))
    }

    fn open_origin(origin: Origin) -> Result<Self, SnapshotError> {
        let store = Self { database: DatabaseSlot::open(origin)?, writer: Mutex::default() };
        store.database.read("read the ledger", &[], |transaction| load_ledger(&store.describe(), transaction))?;
        Ok(store)
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn claimed(&self) -> Result<MutexGuard<'_, Writer>, SnapshotError> {
        let writer = self.writer();
        if writer.claimed { Ok(writer) } else { Err(SnapshotError::Closed { store: self.describe() }) }
    }

    /// Makes another ledger durable, with the same manifests.
    fn keep(&self, writer: &mut Writer, what: &'static str, ledger: Ledger) -> Result<(), SnapshotError> {
        let put = |transaction: &_| put_ledger(transaction, &ledger);
        self.database.write(what, &ledger.retained_ids(), Durability::Immediate, put)?;
        writer.ledger = ledger;
        Ok(())
    }

    /// The ledger and the retained manifests, as they are in the file.
    fn load(&self) -> Result<(Ledger, Manifests), SnapshotError> {
        let store = self.describe();
        self.database.read("read the manifests", &[], |transaction| {
            let ledger = match load_ledger(&store, transaction)? {
                Ok(ledger) => ledger,
                Err(error) => return Ok(Err(error)),
            };
            Ok(load_manifests(&store, transaction, &ledger)?.map(|manifests| (ledger, manifests)))
        })
    }

    fn claim(&self, writer: &mut Writer, job: &str, floor: Incarnation) -> Result<StoreOpening, SnapshotError> {
        let (mut ledger, manifests) = self.load()?;
        ledger.claim(job, floor).map_err(|owner| SnapshotError::OtherJob {
            store: self.describe(),
            owner,
            job: job.to_owned(),
        })?;
        let named = named_chunks(manifests.values().map(Arc::as_ref));
        let retained = ledger.retained_ids();
        let garbage = self
            .database
            .read("look for garbage", &retained, |transaction| unnamed_chunks(transaction, &named).map(Ok))?;
        self.database.write("claim the file", &retained, Durability::Immediate, |transaction| {
            remove_chunks(transaction, &garbage, &manifests)?;
            put_ledger(transaction, &ledger)
        })?;
        let opening = ledger.opening(manifests.values().cloned().collect());
        *writer = Writer { claimed: true, ledger, manifests, ..Writer::default() };
        Ok(opening)
    }

    fn read_back(&self, writer: &Writer, references: &[&ChunkRef]) -> Result<(), SnapshotError> {
        if references.is_empty() {
            return Ok(());
        }
        let store = self.describe();
        self.database.read("verify chunks", &writer.ledger.retained_ids(), |transaction| {
            let table = transaction.open_table(CHUNKS)?;
            for reference in references {
                let found = table.get(&chunk_key(&reference.address))?;
                let verified = verify(&store, reference, found.as_ref().map(|value| value.value()));
                if let Err(error) = verified {
                    return Ok(Err(error));
                }
            }
            Ok(Ok(()))
        })
    }
}

/// Removes `garbage`, by range where none of `manifests` names a chunk of the same checkpoint.
fn remove_chunks(transaction: &WriteTransaction, garbage: &Keys, manifests: &Manifests) -> Result<(), redb::Error> {
    if garbage.is_empty() {
        return Ok(());
    }
    let mut table: Table<'_, &[u8; CHUNK_KEY_BYTES], &[u8]> = transaction.open_table(CHUNKS)?;
    for (checkpoint, keys) in garbage {
        if is_in_use(*checkpoint, manifests) {
            for key in keys {
                table.remove(key)?;
            }
        } else {
            let (first, last) = chunk_key_bounds(*checkpoint);
            table.retain_in::<&ChunkKey, _>(&first..=&last, |_, _| false)?;
        }
    }
    Ok(())
}

impl SnapshotStore for RedbStore {
    fn open_job(&self, job: &str, incarnation_floor: Incarnation) -> Result<StoreOpening, SnapshotError> {
        let mut writer = self.writer();
        if writer.claimed {
            return Err(SnapshotError::Locked { store: self.describe() });
        }
        let was_open = self.database.is_open();
        if !was_open {
            self.database.reopen()?;
        }
        let claimed = self.claim(&mut writer, job, incarnation_floor);
        if claimed.is_err() && !was_open {
            self.database.close();
        }
        claimed
    }

    fn reserve_ids(&self, up_to: CheckpointId) -> Result<(), SnapshotError> {
        let mut writer = self.claimed()?;
        if up_to <= writer.ledger.reserved_up_to {
            return Ok(());
        }
        let ledger = Ledger { reserved_up_to: up_to, ..writer.ledger.clone() };
        self.keep(&mut writer, "reserve checkpoint ids", ledger)
    }

    fn put_chunks(&self, chunks: &[Chunk]) -> Result<(), SnapshotError> {
        let mut writer = self.claimed()?;
        let kept = writer.kept();
        let Writer { ledger, unnamed, .. } = &mut *writer;
        let retained = ledger.retained_ids();
        let mut rest = chunks.iter().filter(|chunk| !is_named(chunk, &kept)).peekable();
        let mut taken: Vec<(ChunkKey, Taken)> = Vec::new();
        let mut stored = Ok(());
        while stored.is_ok() && rest.peek().is_some() {
            let known = taken.len();
            stored = self.database.write("store chunks", &retained, Durability::None, |transaction| {
                let mut table = transaction.open_table(CHUNKS)?;
                let mut bytes = 0;
                while let Some(chunk) =
                    rest.next_if(|chunk| bytes == 0 || bytes + chunk.bytes.len() <= TRANSACTION_BYTES_MAX)
                {
                    let key = chunk_key(&chunk.reference.address);
                    taken.push((key, Taken::of(&chunk.bytes)));
                    table.insert(&key, chunk.bytes.as_slice())?;
                    bytes += chunk.bytes.len();
                }
                Ok(())
            });
            if stored.is_err() {
                unnamed.insert_all(taken.drain(known..).map(|(key, _)| key));
            }
        }
        for (key, taken) in taken {
            unnamed.insert(key, Some(taken));
        }
        stored
    }

    fn finalise(&self, manifest: &Manifest, retain: usize) -> Result<Finalised, SnapshotError> {
        let mut writer = self.claimed()?;
        let (bytes, sum) = encode_manifest(manifest);
        let unverified = unverified(&self.describe(), manifest, &writer.unnamed, &writer.manifests)?;
        self.read_back(&writer, &unverified)?;

        let mut ledger = writer.ledger.clone();
        let expired = ledger.complete(manifest.checkpoint, sum, retain);
        let mut manifests = writer.manifests.clone();
        manifests.insert(manifest.checkpoint, Arc::new(manifest.clone()));
        let dropped: Vec<Arc<Manifest>> = expired.iter().filter_map(|id| manifests.remove(id)).collect();
        let kept = kept(&manifests, &writer.pinned);
        let garbage = garbage(manifest.checkpoint, &writer.unnamed, &dropped, &kept);
        self.database.write(
            "complete a checkpoint",
            &writer.ledger.retained_ids(),
            Durability::Immediate,
            |transaction| {
                let mut table = transaction.open_table(MANIFESTS)?;
                table.insert(manifest.checkpoint.0, bytes.as_slice())?;
                for checkpoint in &expired {
                    table.remove(checkpoint.0)?;
                }
                remove_chunks(transaction, &garbage, &kept)?;
                put_ledger(transaction, &ledger)
            },
        )?;
        writer.ledger = ledger;
        writer.manifests = manifests;
        writer.unnamed.remove_up_to(manifest.checkpoint);
        Ok(Finalised { expired })
    }

    fn pin(&self, checkpoints: &[CheckpointId]) {
        if let Ok(mut writer) = self.claimed() {
            let Writer { manifests, pinned, unnamed, .. } = &mut *writer;
            pin(checkpoints, manifests, pinned, unnamed);
        }
    }

    fn import(&self, manifest: &Manifest, lost_up_to: CheckpointId) -> Result<(), SnapshotError> {
        let mut writer = self.claimed()?;
        let (bytes, sum) = encode_manifest(manifest);
        let unverified = verify_put(&self.describe(), &manifest.chunks, &writer.unnamed)?;
        self.read_back(&writer, &unverified)?;

        let mut ledger = writer.ledger.clone();
        ledger.import(manifest.checkpoint, sum, lost_up_to);
        let manifests = Manifests::from([(manifest.checkpoint, Arc::new(manifest.clone()))]);
        let garbage = garbage(manifest.checkpoint, &writer.unnamed, [], &manifests);
        self.database.write("import a checkpoint", &[], Durability::Immediate, |transaction| {
            transaction.open_table(MANIFESTS)?.insert(manifest.checkpoint.0, bytes.as_slice())?;
            remove_chunks(transaction, &garbage, &manifests)?;
            put_ledger(transaction, &ledger)
        })?;
        writer.ledger = ledger;
        writer.manifests = manifests;
        writer.unnamed.remove_up_to(manifest.checkpoint);
        Ok(())
    }

    fn discard(&self, checkpoint: CheckpointId) -> Result<(), SnapshotError> {
        let mut writer = self.claimed()?;
        let garbage = writer.unnamed.of(checkpoint);
        if garbage.is_empty() {
            return Ok(());
        }
        self.database.write(
            "discard a checkpoint",
            &writer.ledger.retained_ids(),
            Durability::None,
            |transaction| remove_chunks(transaction, &garbage, &writer.kept()),
        )?;
        writer.unnamed.remove(checkpoint);
        Ok(())
    }

    fn abandon_above(&self, checkpoint: CheckpointId) -> Result<Vec<CheckpointId>, SnapshotError> {
        let mut writer = self.claimed()?;
        let mut ledger = writer.ledger.clone();
        let abandoned = ledger.abandon_above(checkpoint);
        if abandoned.is_empty() {
            return Ok(abandoned);
        }
        self.database.write(
            "abandon checkpoints",
            &writer.ledger.retained_ids(),
            Durability::Immediate,
            |transaction| {
                let mut table = transaction.open_table(MANIFESTS)?;
                for checkpoint in &abandoned {
                    table.remove(checkpoint.0)?;
                }
                put_ledger(transaction, &ledger)
            },
        )?;
        let writer = &mut *writer;
        writer.ledger = ledger;
        let dropped: Vec<Arc<Manifest>> = abandoned.iter().filter_map(|id| writer.manifests.remove(id)).collect();
        let kept = writer.kept();
        for manifest in dropped.iter().filter(|manifest| !kept.contains_key(&manifest.checkpoint)) {
            writer.unnamed.insert_all(no_longer_named(manifest, &kept));
        }
        Ok(abandoned)
    }

    fn read_chunk(&self, reference: &ChunkRef) -> Result<Vec<u8>, SnapshotError> {
        let store = self.describe();
        let key = chunk_key(&reference.address);
        let read = self.database.read("read a chunk", &[], |transaction| {
            let table = transaction.open_table(CHUNKS)?;
            let found = table.get(&key)?;
            Ok(verify(&store, reference, found.as_ref().map(|value| value.value())).map(<[u8]>::to_vec))
        });
        read.map_err(|mut error| {
            if let SnapshotError::Damaged { checkpoints, .. } = &mut error {
                *checkpoints = users_of(reference, &self.writer().manifests);
            }
            error
        })
    }

    fn reopen(&self) -> Result<Vec<Arc<Manifest>>, SnapshotError> {
        let mut writer = self.claimed()?;
        self.database.reopen()?;
        let (ledger, manifests) = self.load()?;
        // The file was free for a moment.
        if ledger.job != writer.ledger.job || ledger.incarnation != writer.ledger.incarnation {
            self.database.close();
            writer.claimed = false;
            return Err(SnapshotError::Locked { store: self.describe() });
        }
        // A file that is mended may go back to an older commit, and with it to before what sinks have published.
        if let Some(lost) = writer.ledger.lost_in(&ledger) {
            self.database.close();
            return Err(SnapshotError::Damaged {
                store: self.describe(),
                what: format!("checkpoint {lost}"),
                reason: "it had been completed, and is gone".to_owned(),
                checkpoints: vec![lost],
            });
        }
        let before = std::mem::replace(&mut writer.manifests, manifests);
        let writer = &mut *writer;
        writer.unnamed.insert_all(named_chunks(before.values().map(Arc::as_ref)));
        writer.unnamed.settle(&writer.kept());
        writer.ledger = ledger;
        Ok(writer.manifests.values().cloned().collect())
    }

    fn keep_pause(&self, since_unix_ms: Option<u64>) -> Result<(), SnapshotError> {
        let mut writer = self.claimed()?;
        let ledger = Ledger { paused_since: since_unix_ms, ..writer.ledger.clone() };
        self.keep(&mut writer, "keep that the job is paused", ledger)
    }

    fn paused_since(&self) -> Option<u64> {
        self.writer().ledger.paused_since
    }

    fn close(&self) {
        let mut writer = self.writer();
        self.database.close();
        *writer = Writer::default();
    }

    fn describe(&self) -> String {
        self.database.name()
    }

    fn stored_bytes(&self) -> Option<u64> {
        self.database.file_bytes()
    }

    fn is_durable(&self) -> bool {
        true
    }
}

#[cfg(test)]
#[path = "redb_tests.rs"]
mod tests;
