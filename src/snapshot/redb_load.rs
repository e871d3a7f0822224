//! What is read from a redb store, and how each damage is noticed.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use millstream_actors::contract::{ChunkRef, Manifest, SnapshotError, checksum};
use millstream_actors::protocol::CheckpointId;
use redb::{ReadTransaction, ReadableTableMetadata, TableError, TableHandle};

use super::format::{ChunkKey, FORMAT, FormatError, checkpoint_of, chunk_key_bounds, decode_ledger, decode_manifest};
use super::ledger::{Ledger, Retained};
use super::redb_file::{CHUNKS, LEDGER, MANIFESTS};
use super::references::{Keys, Manifests, Taken, missing};

/// Errors of redb outside, of what it holds inside.
type Loaded<T> = Result<Result<T, SnapshotError>, redb::Error>;

/// Reads the ledger.
pub(super) fn load_ledger(store: &str, transaction: &ReadTransaction) -> Loaded<Ledger> {
    let damaged = |reason: String| SnapshotError::Damaged {
        store: store.to_owned(),
        what: "the ledger".to_owned(),
        reason,
        checkpoints: Vec::new(),
    };
    let table = match transaction.open_table(LEDGER) {
        Err(TableError::TableDoesNotExist(_)) => return ledger_is_missing(store, transaction).map(Err),
        table => table?,
    };
    let Some(row) = table.get(())? else { return Ok(Err(damaged("its row is missing".to_owned()))) };
    Ok(decode_ledger(row.value()).map_err(|error| match error {
        FormatError::Newer(found) => SnapshotError::NewerFormat { store: store.to_owned(), found, supported: FORMAT },
        error => damaged(error.to_string()),
    }))
}

/// A redb file without our ledger is another program's, unless other tables of ours are in it.
fn ledger_is_missing(store: &str, transaction: &ReadTransaction) -> Result<SnapshotError, redb::Error> {
    let ours = [MANIFESTS.name(), CHUNKS.name()];
    let tables: Vec<String> = transaction.list_tables()?.map(|table| table.name().to_owned()).collect();
    if tables.iter().any(|table| ours.contains(&table.as_str())) {
        return Ok(SnapshotError::Damaged {
            store: store.to_owned(),
            what: "the ledger".to_owned(),
            reason: "its table is missing".to_owned(),
            checkpoints: Vec::new(),
        });
    }
    let reason = format!("a redb file with the tables {tables:?}, which are of another program");
    Ok(SnapshotError::Foreign { store: store.to_owned(), reason })
}

/// Reads the manifests that the ledger names; each must be there, and be the one that was finalised.
pub(super) fn load_manifests(store: &str, transaction: &ReadTransaction, ledger: &Ledger) -> Loaded<Manifests> {
    let table = transaction.open_table(MANIFESTS)?;
    let mut manifests = Manifests::new();
    for entry in &ledger.retained {
        let row = table.get(entry.checkpoint.0)?;
        match decode_retained(entry, row.as_ref().map(|row| row.value())) {
            Ok(manifest) => manifests.insert(entry.checkpoint, Arc::new(manifest)),
            Err(reason) => {
                return Ok(Err(SnapshotError::Damaged {
                    store: store.to_owned(),
                    what: format!("the manifest of checkpoint {}", entry.checkpoint),
                    reason,
                    checkpoints: vec![entry.checkpoint],
                }));
            }
        };
    }
    if table.len()? != manifests.len() as u64 {
        return Ok(Err(SnapshotError::Damaged {
            store: store.to_owned(),
            what: "the table of manifests".to_owned(),
            reason: format!("{} rows for {} retained checkpoints", table.len()?, manifests.len()),
            checkpoints: ledger.retained_ids(),
        }));
    }
    Ok(Ok(manifests))
}

/// The manifest of a retained checkpoint, from its row; else how it is damaged.
pub(super) fn decode_retained(entry: &Retained, row: Option<&[u8]>) -> Result<Manifest, String> {
    let bytes = row.ok_or("it is missing")?;
    let computed = checksum(bytes);
    if computed != entry.checksum {
        return Err(format!("checksum {:016x} in the ledger, {computed:016x} computed", entry.checksum));
    }
    let manifest = decode_manifest(bytes).map_err(|error| error.to_string())?;
    if manifest.checkpoint != entry.checkpoint {
        return Err(format!("it is the manifest of checkpoint {}", manifest.checkpoint));
    }
    Ok(manifest)
}

/// The bytes stored under a chunk's key, if they are those that `reference` names.
pub(super) fn verify<'a>(
    store: &str,
    reference: &ChunkRef,
    found: Option<&'a [u8]>,
) -> Result<&'a [u8], SnapshotError> {
    let bytes = found.ok_or_else(|| missing(store, &reference.address))?;
    Taken::of(bytes).verify(store, reference)?;
    Ok(bytes)
}

/// The chunks in the table that are not in `named`, by checkpoint. Looks at one key of each checkpoint; only if the
/// number of chunks then still differs does it look at all keys.
pub(super) fn unnamed_chunks(transaction: &ReadTransaction, named: &HashSet<ChunkKey>) -> Result<Keys, redb::Error> {
    let mut named_of: HashMap<CheckpointId, u64> = HashMap::new();
    for key in named {
        *named_of.entry(checkpoint_of(key)).or_default() += 1;
    }
    let table = transaction.open_table(CHUNKS)?;
    let mut garbage = Keys::new();
    let mut from = Some(CheckpointId::NONE);
    while let Some(checkpoint) = from {
        let (first, _) = chunk_key_bounds(checkpoint);
        let Some(entry) = table.range::<&ChunkKey>(&first..)?.next() else { break };
        let found = checkpoint_of(entry?.0.value());
        if !named_of.contains_key(&found) {
            garbage.insert(found, HashSet::new());
        }
        from = found.0.checked_add(1).map(CheckpointId);
    }
    if garbage.is_empty() && table.len()? == named.len() as u64 {
        return Ok(garbage);
    }
    for checkpoint in named_of.keys() {
        let (first, last) = chunk_key_bounds(*checkpoint);
        for entry in table.range::<&ChunkKey>(&first..=&last)? {
            let (key, _) = entry?;
            if !named.contains(key.value()) {
                garbage.entry(*checkpoint).or_default().insert(*key.value());
            }
        }
    }
    Ok(garbage)
}
