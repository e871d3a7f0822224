//! The bytes of a snapshot store: the ledger and the manifests as sealed records, and the keys of chunks.
//!
//! A sealed record is `kind (4 bytes) | format (u32) | payload | xxh3-64 of all before (u64)`, little-endian, the payload
//! one MessagePack array. Kind, format and checksum stay where they are in every future format, so that a newer one is
//! told from a damaged one.

use std::sync::Arc;

use millstream_actors::contract::{ChunkAddress, ChunkRef, Manifest, StateScope, checksum};
use millstream_actors::protocol::{CheckpointId, Incarnation, OperatorId};
use serde::Serialize;
use serde::de::DeserializeOwned;
use xxhash_rust::xxh3::xxh3_128;

use super::ledger::{Ledger, Retained};

/// The format written by this version, and the newest it reads.
pub(super) const FORMAT: u32 = 1;

const LEDGER_KIND: [u8; 4] = *b"MSLG";
const MANIFEST_KIND: [u8; 4] = *b"MSMF";
const PREFIX_BYTES: usize = 8;
const CHECKSUM_BYTES: usize = 8;

/// Bytes of a chunk's key. With a leaf page's own overhead it fits into the 64 bytes that `CHUNK_BYTES_MAX` leaves free.
pub(super) const CHUNK_KEY_BYTES: usize = 33;

/// The key of a chunk in the chunk table.
pub(super) type ChunkKey = [u8; CHUNK_KEY_BYTES];

/// Why a record could not be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum FormatError {
    /// Fewer bytes than a record has.
    #[error("{0} bytes are too few for a record")]
    Short(usize),
    /// The checksum of the record is wrong.
    #[error("checksum {found:016x} stored, {computed:016x} computed")]
    Checksum { found: u64, computed: u64 },
    /// A record of another kind.
    #[error("record of kind {0:?}")]
    Kind([u8; 4]),
    /// Sound, but of a newer format.
    #[error("format {0}")]
    Newer(u32),
    /// Sound, but the payload is not what this format says.
    #[error("payload does not decode: {0}")]
    Payload(String),
}

/// `[job | nil, incarnation, reserved, [[checkpoint, checksum]...], [abandoned...]]`
type LedgerPayload = (Option<String>, u64, u64, Vec<(u64, u64)>, Vec<u64>);

/// `[checkpoint, job, incarnation, triggered, max parallelism, is final, [section...]]`
type ManifestPayload = (u64, String, u64, u64, u32, bool, Vec<StatePayload>);

/// Consecutive chunks of one state: `[checkpoint, operator, state, [[scope tag, scope index, seq, len, checksum]...]]`
type StatePayload = (u64, String, String, Vec<(u8, u32, u32, u32, u64)>);

/// The ledger's bytes.
pub(super) fn encode_ledger(ledger: &Ledger) -> Vec<u8> {
    let payload: LedgerPayload = (
        ledger.job.clone(),
        ledger.incarnation.0,
        ledger.reserved_up_to.0,
        ledger.retained.iter().map(|entry| (entry.checkpoint.0, entry.checksum)).collect(),
        ledger.abandoned.iter().map(|checkpoint| checkpoint.0).collect(),
    );
    seal(LEDGER_KIND, FORMAT, &payload)
}

/// The ledger in `bytes`.
pub(super) fn decode_ledger(bytes: &[u8]) -> Result<Ledger, FormatError> {
    let (job, incarnation, reserved, retained, abandoned): LedgerPayload = unseal(LEDGER_KIND, bytes)?;
    Ok(Ledger {
        job,
        incarnation: Incarnation(incarnation),
        reserved_up_to: CheckpointId(reserved),
        retained: retained
            .into_iter()
            .map(|(checkpoint, checksum)| Retained { checkpoint: CheckpointId(checkpoint), checksum })
            .collect(),
        abandoned: abandoned.into_iter().map(CheckpointId).collect(),
    })
}

/// The manifest's bytes, and the checksum by which the ledger names them.
///
/// # Panics
/// If the chunks are not in ascending order of their addresses.
pub(super) fn encode_manifest(manifest: &Manifest) -> (Vec<u8>, u64) {
    let mut states: Vec<StatePayload> = Vec::new();
    let mut last: Option<&ChunkAddress> = None;
    for chunk in &manifest.chunks {
        let address = &chunk.address;
        assert!(
            last.is_none_or(|last| last < address),
            "chunks of a manifest out of order: {last:?}, then {address:?}"
        );
        let continues = last.is_some_and(|last| (last.checkpoint, &last.operator, &last.state) == state_of(address));
        if !continues {
            let (checkpoint, operator, state) = state_of(address);
            states.push((checkpoint.0, operator.as_str().to_owned(), state.as_ref().to_owned(), Vec::new()));
        }
        let (tag, index) = scope_parts(address.scope);
        let (_, _, _, chunks) = states.last_mut().expect("pushed above for the first chunk");
        chunks.push((tag, index, address.seq, chunk.len, chunk.checksum));
        last = Some(address);
    }
    let payload: ManifestPayload = (
        manifest.checkpoint.0,
        manifest.job.clone(),
        manifest.incarnation.0,
        manifest.triggered_unix_ms,
        manifest.max_parallelism,
        manifest.is_final,
        states,
    );
    let bytes = seal(MANIFEST_KIND, FORMAT, &payload);
    let sum = checksum(&bytes);
    (bytes, sum)
}

/// The manifest in `bytes`.
pub(super) fn decode_manifest(bytes: &[u8]) -> Result<Manifest, FormatError> {
    let (checkpoint, job, incarnation, triggered_unix_ms, max_parallelism, is_final, states): ManifestPayload =
        unseal(MANIFEST_KIND, bytes)?;
    let mut chunks = Vec::with_capacity(states.iter().map(|(_, _, _, chunks)| chunks.len()).sum());
    for (checkpoint, operator, state, of_state) in states {
        let operator = OperatorId::new(operator);
        let state: Arc<str> = state.into();
        for (tag, index, seq, len, checksum) in of_state {
            let address = ChunkAddress {
                checkpoint: CheckpointId(checkpoint),
                operator: operator.clone(),
                state: state.clone(),
                scope: scope_from_parts(tag, index)?,
                seq,
            };
            chunks.push(ChunkRef { address, len, checksum });
        }
    }
    Ok(Manifest {
        checkpoint: CheckpointId(checkpoint),
        job,
        incarnation: Incarnation(incarnation),
        triggered_unix_ms,
        max_parallelism,
        is_final,
        chunks,
    })
}

/// The key under which the chunk at `address` is stored: the checkpoint first, so that the chunks of one are a range.
/// Operator and state enter as a 128-bit hash, which bounds the key whatever their names are.
pub(super) fn chunk_key(address: &ChunkAddress) -> ChunkKey {
    let operator = address.operator.as_str().as_bytes();
    let mut name = Vec::with_capacity(8 + operator.len() + address.state.len());
    name.extend_from_slice(&(operator.len() as u64).to_be_bytes());
    name.extend_from_slice(operator);
    name.extend_from_slice(address.state.as_bytes());
    let (tag, index) = scope_parts(address.scope);

    let mut key = [0; CHUNK_KEY_BYTES];
    key[..8].copy_from_slice(&address.checkpoint.0.to_be_bytes());
    key[8..24].copy_from_slice(&xxh3_128(&name).to_be_bytes());
    key[24] = tag;
    key[25..29].copy_from_slice(&index.to_be_bytes());
    key[29..].copy_from_slice(&address.seq.to_be_bytes());
    key
}

/// The checkpoint for which the chunk under `key` was written.
pub(super) fn checkpoint_of(key: &ChunkKey) -> CheckpointId {
    let mut id = [0; 8];
    id.copy_from_slice(&key[..8]);
    CheckpointId(u64::from_be_bytes(id))
}

/// The least and the greatest key a chunk of `checkpoint` may have.
pub(super) fn chunk_key_bounds(checkpoint: CheckpointId) -> (ChunkKey, ChunkKey) {
    let mut first = [0; CHUNK_KEY_BYTES];
    let mut last = [u8::MAX; CHUNK_KEY_BYTES];
    first[..8].copy_from_slice(&checkpoint.0.to_be_bytes());
    last[..8].copy_from_slice(&checkpoint.0.to_be_bytes());
    (first, last)
}

fn state_of(address: &ChunkAddress) -> (CheckpointId, &OperatorId, &Arc<str>) {
    (address.checkpoint, &address.operator, &address.state)
}

fn scope_parts(scope: StateScope) -> (u8, u32) {
    match scope {
        StateScope::KeyGroup(group) => (0, group),
        StateScope::Subtask(index) => (1, index),
    }
}

fn scope_from_parts(tag: u8, index: u32) -> Result<StateScope, FormatError> {
    match tag {
        0 => Ok(StateScope::KeyGroup(index)),
        1 => Ok(StateScope::Subtask(index)),
        _ => Err(FormatError::Payload(format!("scope tag {tag}"))),
    }
}

fn seal(kind: [u8; 4], format: u32, payload: &impl Serialize) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&kind);
    bytes.extend_from_slice(&format.to_le_bytes());
    rmp_serde::encode::write(&mut bytes, payload).expect("numbers, strings and arrays always encode into memory");
    let sum = checksum(&bytes);
    bytes.extend_from_slice(&sum.to_le_bytes());
    bytes
}

fn unseal<T: DeserializeOwned>(kind: [u8; 4], bytes: &[u8]) -> Result<T, FormatError> {
    if bytes.len() < PREFIX_BYTES + CHECKSUM_BYTES {
        return Err(FormatError::Short(bytes.len()));
    }
    let (body, sum) = bytes.split_at(bytes.len() - CHECKSUM_BYTES);
    let found = u64::from_le_bytes(sum.try_into().expect("split off 8 bytes"));
    let computed = checksum(body);
    if found != computed {
        return Err(FormatError::Checksum { found, computed });
    }
    let (prefix, payload) = body.split_at(PREFIX_BYTES);
    if prefix[..4] != kind {
        return Err(FormatError::Kind(prefix[..4].try_into().expect("4 bytes")));
    }
    let format = u32::from_le_bytes(prefix[4..].try_into().expect("4 bytes"));
    if format > FORMAT {
        return Err(FormatError::Newer(format));
    }
    rmp_serde::from_slice(payload).map_err(|error| FormatError::Payload(error.to_string()))
}

/// A ledger as a later format would seal it.
#[cfg(test)]
pub(super) fn encode_newer_ledger() -> Vec<u8> {
    seal(LEDGER_KIND, FORMAT + 1, &("fields", "of", "the", "future"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(checkpoint: u64, operator: &str, state: &str, scope: StateScope, seq: u32) -> ChunkAddress {
        ChunkAddress {
            checkpoint: CheckpointId(checkpoint),
            operator: operator.into(),
            state: state.into(),
            scope,
            seq,
        }
    }

    fn manifest() -> Manifest {
        let mut chunks = Vec::new();
        for (index, address) in [
            address(6, "count", "totals", StateScope::KeyGroup(0), 0),
            address(7, "count", "timers", StateScope::Subtask(1), 0),
            address(7, "count", "totals", StateScope::KeyGroup(0), 0),
            address(7, "count", "totals", StateScope::KeyGroup(0), 1),
            address(7, "count", "totals", StateScope::KeyGroup(127), 0),
            address(7, "source", "positions", StateScope::Subtask(0), 0),
        ]
        .into_iter()
        .enumerate()
        {
            chunks.push(ChunkRef { address, len: index as u32, checksum: u64::MAX - index as u64 });
        }
        Manifest {
            checkpoint: CheckpointId(7),
            job: "flights".to_owned(),
            incarnation: Incarnation(1_700_000_000_000),
            triggered_unix_ms: 1_700_000_000_123,
            max_parallelism: 128,
            is_final: true,
            chunks,
        }
    }

    #[test]
    fn manifest_comes_back_equal() {
        let (bytes, sum) = encode_manifest(&manifest());
        assert_eq!(sum, checksum(&bytes));
        assert_eq!(decode_manifest(&bytes).unwrap(), manifest());
    }

    #[test]
    fn every_flipped_bit_of_a_record_is_noticed() {
        let (bytes, _) = encode_manifest(&manifest());
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(decode_manifest(&flipped).is_err(), "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert!(decode_manifest(&bytes[..len]).is_err(), "cut to {len}");
        }
    }

    #[test]
    fn newer_format_is_told_from_damage() {
        assert_eq!(decode_ledger(&encode_newer_ledger()), Err(FormatError::Newer(FORMAT + 1)));
    }

    #[test]
    fn record_of_another_kind_is_refused() {
        let (bytes, _) = encode_manifest(&manifest());
        assert_eq!(decode_ledger(&bytes), Err(FormatError::Kind(MANIFEST_KIND)));
    }

    #[test]
    fn keys_of_a_checkpoint_are_within_its_bounds_and_differ() {
        let (first, last) = chunk_key_bounds(CheckpointId(7));
        let mut keys = Vec::new();
        for chunk in &manifest().chunks[1..] {
            let key = chunk_key(&chunk.address);
            assert!(first <= key && key <= last);
            assert_eq!(checkpoint_of(&key), CheckpointId(7));
            keys.push(key);
        }
        assert_ne!(
            chunk_key(&address(7, "ab", "c", StateScope::Subtask(0), 0)),
            chunk_key(&address(7, "a", "bc", StateScope::Subtask(0), 0))
        );
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), 5);
    }

    #[test]
    #[should_panic(expected = "out of order")]
    fn unsorted_manifest_is_refused() {
        let mut manifest = manifest();
        manifest.chunks.swap(1, 2);
        encode_manifest(&manifest);
    }
}
