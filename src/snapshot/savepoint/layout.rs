//! The bytes of a savepoint before its chunks: prefix, header, index. Pure.
//!
//! `prefix (28 bytes) | header | xxh3-64 of it | index | xxh3-64 of it | chunks`, little-endian. The prefix is `magic (8) |
//! format (u32) | length of the header (u32) | length of the index (u32) | xxh3-64 of all before (u64)`, in every format,
//! so that a newer format is told from a damaged file, and no damaged length is believed.

use std::sync::Arc;

use millstream_actors::contract::{Manifest, checksum};
use millstream_actors::protocol::{CheckpointId, Incarnation, OperatorId};
use serde::de::DeserializeOwned;

use crate::packed::packed;
use crate::snapshot::format::{FormatError, decode_manifest, encode_manifest};

/// What every savepoint begins with.
pub(super) const MAGIC: [u8; 8] = *b"MSSAVEPT";
/// The format written and read by this version.
pub(super) const FORMAT: u32 = 1;
/// Length of the prefix.
pub(super) const PREFIX_BYTES: usize = 28;
/// Length of each checksum.
const CHECKSUM_BYTES: usize = 8;
/// Version of the header's array.
const HEADER_VERSION: u8 = 1;

/// `[version, job, checkpoint, incarnation, triggered, max parallelism, is final, written by, [[operator, [[state, chunks,
/// bytes]...]]...]]`
type HeaderFields = (u8, String, u64, u64, u64, u32, bool, String, Vec<(String, Vec<(String, u64, u64)>)>);

/// A state in the header: its name, number of chunks, bytes.
type StateFields<'a> = (&'a str, u64, u64);

/// What a savepoint says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SavepointHeader {
    /// The job that took it.
    pub job: String,
    /// The checkpoint it holds.
    pub checkpoint: CheckpointId,
    /// The life of the job's process.
    pub incarnation: Incarnation,
    /// When the checkpoint was triggered, Unix milliseconds.
    pub triggered_unix_ms: u64,
    /// Key groups of the job.
    pub max_parallelism: u32,
    /// Whether the input had ended.
    pub is_final: bool,
    /// The version of Millstream that wrote it.
    pub written_by: String,
    /// Every state, sorted by operator and name.
    pub states: Vec<SavepointState>,
}

/// How much of one state a savepoint holds.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SavepointState {
    /// The operator.
    pub operator: OperatorId,
    /// The state's name.
    pub state: Arc<str>,
    /// Number of chunks.
    pub chunks: u64,
    /// Bytes in all.
    pub bytes: u64,
}

impl SavepointHeader {
    /// The header of a savepoint of this checkpoint, written now.
    pub(super) fn of(manifest: &Manifest) -> Self {
        let mut states: Vec<SavepointState> = Vec::new();
        for chunk in &manifest.chunks {
            let (operator, state) = (&chunk.address.operator, &chunk.address.state);
            let place = states.binary_search_by(|known| (&known.operator, &known.state).cmp(&(operator, state)));
            let place = place.unwrap_or_else(|place| {
                let (operator, state) = (operator.clone(), state.clone());
                states.insert(place, SavepointState { operator, state, chunks: 0, bytes: 0 });
                place
            });
            states[place].chunks += 1;
            states[place].bytes += u64::from(chunk.len);
        }
        Self {
            job: manifest.job.clone(),
            checkpoint: manifest.checkpoint,
            incarnation: manifest.incarnation,
            triggered_unix_ms: manifest.triggered_unix_ms,
            max_parallelism: manifest.max_parallelism,
            is_final: manifest.is_final,
            written_by: env!("CARGO_PKG_VERSION").to_owned(),
            states,
        }
    }

    fn encode(&self) -> Vec<u8> {
        let mut operators: Vec<(&str, Vec<StateFields<'_>>)> = Vec::new();
        for state in &self.states {
            if operators.last().is_none_or(|(operator, _)| *operator != state.operator.as_str()) {
                operators.push((state.operator.as_str(), Vec::new()));
            }
            let (_, states) = operators.last_mut().expect("pushed above for the first state");
            states.push((&state.state, state.chunks, state.bytes));
        }
        packed(&(
            HEADER_VERSION,
            &self.job,
            self.checkpoint.0,
            self.incarnation.0,
            self.triggered_unix_ms,
            self.max_parallelism,
            self.is_final,
            &self.written_by,
            operators,
        ))
    }

    fn decode(bytes: &[u8]) -> Result<Self, String> {
        let fields: HeaderFields = from_slice(bytes)?;
        let (
            version,
            job,
            checkpoint,
            incarnation,
            triggered_unix_ms,
            max_parallelism,
            is_final,
            written_by,
            operators,
        ) = fields;
        if version != HEADER_VERSION {
            return Err(format!("version {version}, known is {HEADER_VERSION}"));
        }
        let mut of_states = Vec::new();
        for (operator, states) in operators {
            let operator = OperatorId::new(operator);
            of_states.extend(states.into_iter().map(|(state, chunks, bytes)| SavepointState {
                operator: operator.clone(),
                state: state.into(),
                chunks,
                bytes,
            }));
        }
        Ok(Self {
            job,
            checkpoint: CheckpointId(checkpoint),
            incarnation: Incarnation(incarnation),
            triggered_unix_ms,
            max_parallelism,
            is_final,
            written_by,
            states: of_states,
        })
    }
}

fn from_slice<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    rmp_serde::from_slice(bytes).map_err(|error| error.to_string())
}

/// Why the part before the chunks could not be read.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::snapshot) enum LayoutError {
    /// It does not begin as a savepoint.
    Foreign(String),
    /// Sound, but of a newer format.
    Newer(u32),
    /// A part, and what is wrong with it.
    Damaged(&'static str, String),
}

/// Lengths of header and index, without their checksums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Prefix {
    header: u32,
    index: u32,
}

impl Prefix {
    /// Reads the first bytes of a file, at most [`PREFIX_BYTES`].
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, LayoutError> {
        if bytes.is_empty() {
            return Err(LayoutError::Foreign("it is empty".to_owned()));
        }
        let begin = &bytes[..bytes.len().min(MAGIC.len())];
        if *begin != MAGIC[..begin.len()] {
            return Err(LayoutError::Foreign(format!("it begins with {begin:02x?}")));
        }
        let Ok(bytes) = <&[u8; PREFIX_BYTES]>::try_from(bytes) else {
            return Err(LayoutError::Damaged("prefix", format!("{} of {PREFIX_BYTES} bytes", bytes.len())));
        };
        let (fields, sum) = bytes.split_at(PREFIX_BYTES - CHECKSUM_BYTES);
        compare_checksum("prefix", fields, sum)?;
        let number = |at: usize| u32::from_le_bytes(fields[at..at + 4].try_into().expect("4 bytes"));
        match number(8) {
            FORMAT => Ok(Self { header: number(12), index: number(16) }),
            0 => Err(LayoutError::Damaged("prefix", "format 0".to_owned())),
            newer => Err(LayoutError::Newer(newer)),
        }
    }

    /// Bytes of header and index, with their checksums.
    pub(super) fn table_bytes(self) -> u64 {
        u64::from(self.header) + u64::from(self.index) + 2 * CHECKSUM_BYTES as u64
    }

    /// Reads header and index, of [`table_bytes`](Self::table_bytes).
    pub(super) fn decode_tables(self, bytes: &[u8]) -> Result<(SavepointHeader, Manifest), LayoutError> {
        let (header, index) = bytes.split_at(self.header as usize + CHECKSUM_BYTES);
        let (header, sum) = header.split_at(self.header as usize);
        compare_checksum("header", header, sum)?;
        let (index, sum) = index.split_at(self.index as usize);
        compare_checksum("index", index, sum)?;
        let header = SavepointHeader::decode(header).map_err(|reason| LayoutError::Damaged("header", reason))?;
        let manifest = decode_manifest(index).map_err(|error| match error {
            FormatError::Newer(format) => LayoutError::Newer(format),
            error => LayoutError::Damaged("index", error.to_string()),
        })?;
        let expected = SavepointHeader { written_by: header.written_by.clone(), ..SavepointHeader::of(&manifest) };
        if header != expected {
            return Err(LayoutError::Damaged(
                "header",
                "it does not tell of the same checkpoint as the index".to_owned(),
            ));
        }
        Ok((header, manifest))
    }
}

/// Reads all bytes before the chunks, as [`encode_tables`] gives them.
pub(in crate::snapshot) fn decode_tables(bytes: &[u8]) -> Result<Manifest, LayoutError> {
    let (prefix, rest) = bytes.split_at(bytes.len().min(PREFIX_BYTES));
    let prefix = Prefix::decode(prefix)?;
    let tables = usize::try_from(prefix.table_bytes()).ok().and_then(|length| rest.get(..length));
    let tables = tables.ok_or_else(|| LayoutError::Damaged("index", "it is cut short".to_owned()))?;
    Ok(prefix.decode_tables(tables)?.1)
}

fn compare_checksum(part: &'static str, bytes: &[u8], sum: &[u8]) -> Result<(), LayoutError> {
    let found = u64::from_le_bytes(sum.try_into().expect("8 bytes were split off"));
    let computed = checksum(bytes);
    if found == computed {
        return Ok(());
    }
    Err(LayoutError::Damaged(part, format!("checksum {found:016x} stored, {computed:016x} computed")))
}

/// All bytes before the chunks; `None` if there are too many.
///
/// # Panics
/// If the manifest's chunks are not in ascending order of their addresses.
pub(in crate::snapshot) fn encode_tables(manifest: &Manifest) -> Option<Vec<u8>> {
    seal(FORMAT, &SavepointHeader::of(manifest).encode(), &encode_manifest(manifest).0)
}

fn seal(format: u32, header: &[u8], index: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(PREFIX_BYTES + header.len() + index.len() + 2 * CHECKSUM_BYTES);
    bytes.extend_from_slice(&MAGIC);
    for number in [format, u32::try_from(header.len()).ok()?, u32::try_from(index.len()).ok()?] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    let sum = checksum(&bytes);
    bytes.extend_from_slice(&sum.to_le_bytes());
    for part in [header, index] {
        bytes.extend_from_slice(part);
        bytes.extend_from_slice(&checksum(part).to_le_bytes());
    }
    Some(bytes)
}

/// A savepoint as a later format would begin.
#[cfg(test)]
pub(super) fn newer_format() -> Vec<u8> {
    seal(FORMAT + 1, b"of the", b"future").expect("short")
}
