//! The bytes of a snapshot store: the ledger and the manifests as sealed records, and the keys of chunks.
//!
//! A sealed record is `kind (4 bytes) | format (u32) | payload | xxh3-64 of all before (u64)`, little-endian, the payload
//! one MessagePack array. Kind, format and checksum stay where they are in every future format, so that a newer one is
//! told from a damaged one.

use std::cmp::Ordering;
use std::sync::Arc;

use millstream_actors::contract::{CheckpointDurations, ChunkAddress, ChunkRef, Manifest, StateScope, checksum};
use millstream_actors::protocol::{CheckpointId, Incarnation, OperatorId};
use serde::Serialize;
use serde::de::DeserializeOwned;
use xxhash_rust::xxh3::xxh3_128;

use super::ledger::{Ledger, Retained};

/// The format written and read by this version.
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

/// The same with since when the job is paused, which is there if it is.
type PausedLedgerPayload = (Option<String>, u64, u64, Vec<(u64, u64)>, Vec<u64>, u64);

/// `[checkpoint, job, incarnation, triggered, max parallelism, is final, [took, alignment, capture], [operator...]]`
type ManifestPayload = (u64, String, u64, u64, u32, bool, (u32, u32, u32), Vec<OperatorPayload>);

/// `[operator, [[state, [[scope tag, scope index, [chunk...]]...]]...]]`
type OperatorPayload = (String, Vec<(String, Vec<ScopePayload>)>);
type ScopePayload = (u8, u32, Vec<ChunkPayload>);

/// `[age, seq, len, checksum]`, where age is how far the chunk's checkpoint is below the manifest's.
type ChunkPayload = (u64, u32, u32, u64);

/// The ledger's bytes.
pub(super) fn encode_ledger(ledger: &Ledger) -> Vec<u8> {
    let payload: LedgerPayload = (
        ledger.job.clone(),
        ledger.incarnation.0,
        ledger.reserved_up_to.0,
        ledger.retained.iter().map(|entry| (entry.checkpoint.0, entry.checksum)).collect(),
        ledger.abandoned.iter().map(|checkpoint| checkpoint.0).collect(),
    );
    match ledger.paused_since {
        None => seal(LEDGER_KIND, FORMAT, &payload),
        Some(since) => {
            let (job, incarnation, reserved, retained, abandoned) = payload;
            let payload: PausedLedgerPayload = (job, incarnation, reserved, retained, abandoned, since);
            seal(LEDGER_KIND, FORMAT, &payload)
        }
    }
}

/// The ledger in `bytes`.
pub(super) fn decode_ledger(bytes: &[u8]) -> Result<Ledger, FormatError> {
    decode_ledger_payload(unseal(LEDGER_KIND, FORMAT, bytes)?)
}

fn decode_ledger_payload(payload: &[u8]) -> Result<Ledger, FormatError> {
    let ((job, incarnation, reserved, retained, abandoned), paused_since) = match decode::<PausedLedgerPayload>(payload)
    {
        Ok((job, incarnation, reserved, retained, abandoned, since)) => {
            ((job, incarnation, reserved, retained, abandoned), Some(since))
        }
        Err(_) => (decode::<LedgerPayload>(payload)?, None),
    };
    Ok(Ledger {
        job,
        incarnation: Incarnation(incarnation),
        reserved_up_to: CheckpointId(reserved),
        retained: retained
            .into_iter()
            .map(|(checkpoint, checksum)| Retained { checkpoint: CheckpointId(checkpoint), checksum })
            .collect(),
        abandoned: abandoned.into_iter().map(CheckpointId).collect(),
        paused_since,
    })
}

/// The manifest's bytes, and the checksum by which the ledger names them.
///
/// # Panics
/// If the chunks are not in ascending order of their addresses.
pub(super) fn encode_manifest(manifest: &Manifest) -> (Vec<u8>, u64) {
    for pair in manifest.chunks.windows(2) {
        let [before, after] = pair else { unreachable!("windows of two") };
        let (before, after) = (&before.address, &after.address);
        assert!(before < after, "chunks of a manifest out of order: {before:?}, then {after:?}");
    }
    let durations = manifest.durations;
    let payload: ManifestPayload = (
        manifest.checkpoint.0,
        manifest.job.clone(),
        manifest.incarnation.0,
        manifest.triggered_unix_ms,
        manifest.max_parallelism,
        manifest.is_final,
        (durations.took_ms, durations.alignment_ms, durations.capture_ms),
        nested(manifest),
    );
    let bytes = seal(MANIFEST_KIND, FORMAT, &payload);
    let sum = checksum(&bytes);
    (bytes, sum)
}

/// The chunks by operator, state and scope, each chain from its oldest chunk on.
fn nested(manifest: &Manifest) -> Vec<OperatorPayload> {
    let section = |chunk: &ChunkRef| chunk.address.scope;
    let mut chunks: Vec<&ChunkRef> = manifest.chunks.iter().collect();
    chunks.sort_by(|a, b| {
        let (a, b) = (&a.address, &b.address);
        (&a.operator, &a.state, a.scope).cmp(&(&b.operator, &b.state, b.scope))
    });
    let by_operator = chunks.chunk_by(|a, b| a.address.operator == b.address.operator);
    by_operator
        .map(|of_operator| {
            let by_state = of_operator.chunk_by(|a, b| a.address.state == b.address.state);
            let states = by_state.map(|of_state| {
                let by_scope = of_state.chunk_by(|a, b| section(a) == section(b));
                let scopes = by_scope.map(|chain| {
                    let (tag, index) = scope_parts(section(chain[0]));
                    (tag, index, chain.iter().map(|chunk| chunk_payload(manifest.checkpoint, chunk)).collect())
                });
                (of_state[0].address.state.as_ref().to_owned(), scopes.collect())
            });
            (of_operator[0].address.operator.as_str().to_owned(), states.collect())
        })
        .collect()
}

/// # Panics
/// If the chunk is of a later checkpoint than the manifest.
fn chunk_payload(manifest: CheckpointId, chunk: &ChunkRef) -> ChunkPayload {
    let address = &chunk.address;
    let age = manifest.0.checked_sub(address.checkpoint.0);
    let age = age.unwrap_or_else(|| panic!("manifest of checkpoint {manifest} names {address:?}"));
    (age, address.seq, chunk.len, chunk.checksum)
}

/// The manifest in `bytes`.
pub(super) fn decode_manifest(bytes: &[u8]) -> Result<Manifest, FormatError> {
    decode_manifest_payload(unseal(MANIFEST_KIND, FORMAT, bytes)?)
}

fn decode_manifest_payload(payload: &[u8]) -> Result<Manifest, FormatError> {
    let (checkpoint, job, incarnation, triggered_unix_ms, max_parallelism, is_final, durations, operators) =
        decode::<ManifestPayload>(payload)?;
    let (took_ms, alignment_ms, capture_ms) = durations;
    let mut chunks = Vec::new();
    for (operator, states) in operators {
        let operator = OperatorId::new(operator);
        for (state, scopes) in states {
            let state: Arc<str> = state.into();
            for (tag, index, chain) in scopes {
                let scope = scope_from_parts(tag, index)?;
                for (age, seq, len, checksum) in chain {
                    let of = checkpoint.checked_sub(age);
                    let of = of.ok_or_else(|| FormatError::Payload(format!("age {age} in checkpoint {checkpoint}")))?;
                    let (operator, state) = (operator.clone(), state.clone());
                    let address = ChunkAddress { checkpoint: CheckpointId(of), operator, state, scope, seq };
                    chunks.push(ChunkRef { address, len, checksum });
                }
            }
        }
    }
    chunks.sort_by(|a, b| a.address.cmp(&b.address));
    if let Some(pair) = chunks.windows(2).find(|pair| pair[0].address == pair[1].address) {
        return Err(FormatError::Payload(format!("{:?} twice", pair[0].address)));
    }
    Ok(Manifest {
        checkpoint: CheckpointId(checkpoint),
        job,
        incarnation: Incarnation(incarnation),
        triggered_unix_ms,
        max_parallelism,
        is_final,
        durations: CheckpointDurations { took_ms, alignment_ms, capture_ms },
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

pub(super) fn seal(kind: [u8; 4], format: u32, payload: &impl Serialize) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&kind);
    bytes.extend_from_slice(&format.to_le_bytes());
    rmp_serde::encode::write(&mut bytes, payload).expect("numbers, strings and arrays always encode into memory");
    let sum = checksum(&bytes);
    bytes.extend_from_slice(&sum.to_le_bytes());
    bytes
}

/// The payload of a record of this kind and format that is whole.
pub(super) fn unseal(kind: [u8; 4], format: u32, bytes: &[u8]) -> Result<&[u8], FormatError> {
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
    let found = u32::from_le_bytes(prefix[4..].try_into().expect("4 bytes"));
    match found.cmp(&format) {
        Ordering::Less => Err(FormatError::Payload(format!("format {found}"))),
        Ordering::Equal => Ok(payload),
        Ordering::Greater => Err(FormatError::Newer(found)),
    }
}

pub(super) fn decode<T: DeserializeOwned>(payload: &[u8]) -> Result<T, FormatError> {
    rmp_serde::from_slice(payload).map_err(|error| FormatError::Payload(error.to_string()))
}

/// The payload of a sealed record.
pub(super) fn payload_of(record: &[u8]) -> &[u8] {
    record.get(PREFIX_BYTES..record.len().saturating_sub(CHECKSUM_BYTES)).unwrap_or_default()
}

/// Decodes bytes as what each kind of record holds behind its checksum.
pub(super) fn decode_payloads(payload: &[u8]) -> Result<(), FormatError> {
    decode_manifest_payload(payload).map(drop).or_else(|_| decode_ledger_payload(payload).map(drop))
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
            durations: CheckpointDurations { took_ms: 70_000, alignment_ms: 3, capture_ms: 0 },
            chunks,
        }
    }

    #[test]
    fn manifest_comes_back_equal() {
        let (bytes, sum) = encode_manifest(&manifest());
        assert_eq!(sum, checksum(&bytes));
        assert_eq!(decode_manifest(&bytes).unwrap(), manifest());
    }

    fn head_of_manifest() -> Manifest {
        Manifest {
            checkpoint: CheckpointId(7),
            job: "flights".to_owned(),
            incarnation: Incarnation(5),
            triggered_unix_ms: 9,
            max_parallelism: 128,
            is_final: true,
            durations: CheckpointDurations::default(),
            chunks: Vec::new(),
        }
    }

    #[test]
    fn chains_of_deltas_take_less_than_25_bytes_a_chunk() {
        let mut chunks = Vec::new();
        for age in (0..60).rev() {
            for group in 0..128 {
                for state in ["totals", "timers"] {
                    let address = address(1_000_000 - age, "flights by carrier", state, StateScope::KeyGroup(group), 0);
                    let hash = checksum(&(age * 128 + u64::from(group)).to_le_bytes());
                    chunks.push(ChunkRef { address, len: 200_000 + group, checksum: hash });
                }
            }
        }
        chunks.sort_by(|a, b| a.address.cmp(&b.address));
        let count = chunks.len();
        let manifest = Manifest { checkpoint: CheckpointId(1_000_000), chunks, ..head_of_manifest() };
        let (bytes, _) = encode_manifest(&manifest);
        assert_eq!(count, 15_360);
        assert!(bytes.len() < 25 * count, "{} bytes for {count} chunks", bytes.len());
        assert_eq!(decode_manifest(&bytes).unwrap(), manifest);
    }

    #[test]
    fn manifest_that_contradicts_itself_is_refused() {
        let with = |chain: Vec<ChunkPayload>| {
            let operators: Vec<OperatorPayload> =
                vec![("count".to_owned(), vec![("totals".to_owned(), vec![(0, 0, chain)])])];
            let payload: ManifestPayload = (7, "flights".to_owned(), 5, 9, 128, true, (0, 0, 0), operators);
            decode_manifest(&seal(MANIFEST_KIND, FORMAT, &payload))
        };
        assert_eq!(with(vec![(7, 0, 1, 1), (0, 0, 1, 1)]).unwrap().chunks.len(), 2);
        for (chain, expected) in [(vec![(8, 0, 1, 1)], "age 8"), (vec![(1, 0, 1, 1), (1, 0, 1, 1)], "twice")] {
            let refused = with(chain);
            assert!(matches!(&refused, Err(FormatError::Payload(text)) if text.contains(expected)), "{refused:?}");
        }
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
    fn ledger_says_since_when_its_job_is_paused_if_it_is() {
        let ledger = Ledger { job: Some("job".to_owned()), incarnation: Incarnation(3), ..Ledger::default() };
        let paused = Ledger { paused_since: Some(1_795_915_352_050), ..ledger.clone() };
        let bytes = [&ledger, &paused].map(|ledger| {
            let bytes = encode_ledger(ledger);
            assert_eq!(decode_ledger(&bytes).as_ref(), Ok(ledger));
            bytes.len()
        });
        assert!(bytes[0] < bytes[1]);
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
