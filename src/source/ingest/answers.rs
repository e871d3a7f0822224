//! Answers to the records of a log, in its file: one for each record whose idempotency key is known.

use std::sync::Arc;

use redb::{ReadTransaction, ReadableTable, TableDefinition, WriteTransaction};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::keys::Place;
use super::log_file::Change;

pub(super) const ANSWERS: TableDefinition<'_, (u32, u64), &[u8]> = TableDefinition::new("millstream.ingest.answers");

const SUM: usize = 8;

/// An answer if there is one, or what is wrong with it.
type Found = Result<Option<Arc<[u8]>>, String>;

fn sum(place: Place, body: &[u8]) -> [u8; SUM] {
    xxh3_64_with_seed(body, place.offset ^ u64::from(place.split).rotate_left(32)).to_le_bytes()
}

/// The answer that is stored, or what is wrong with it.
fn body(place: Place, stored: &[u8]) -> Result<Arc<[u8]>, String> {
    match stored.split_first_chunk::<SUM>() {
        Some((found, body)) if *found == sum(place, body) => Ok(body.into()),
        _ => Err("its checksum does not fit".to_owned()),
    }
}

/// The answer to the record at a place.
pub(super) fn get(transaction: &ReadTransaction, place: Place) -> Result<Found, redb::Error> {
    let stored = transaction.open_table(ANSWERS)?.get((place.split, place.offset))?;
    Ok(stored.map(|stored| body(place, stored.value())).transpose())
}

/// Stores the answers of a change, each unless there is one already, and removes those that are forgotten. Answers what stands of
/// each.
pub(super) fn put(transaction: &WriteTransaction, change: &Change) -> Result<Vec<Arc<[u8]>>, redb::Error> {
    if change.answers.is_empty() && change.unanswered.is_empty() {
        return Ok(Vec::new());
    }
    let mut table = transaction.open_table(ANSWERS)?;
    for place in &change.unanswered {
        table.remove((place.split, place.offset))?;
    }
    let mut standing = Vec::with_capacity(change.answers.len());
    for (place, given) in &change.answers {
        let key = (place.split, place.offset);
        // One that is damaged gives way: what is given is the answer of the same request.
        let stored = table.get(key)?.and_then(|stored| body(*place, stored.value()).ok());
        if let Some(stored) = stored {
            standing.push(stored);
            continue;
        }
        table.insert(key, [&sum(*place, given), &**given].concat().as_slice())?;
        standing.push(given.clone());
    }
    Ok(standing)
}
