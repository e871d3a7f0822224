//! The bytes of keyed state in a snapshot: pieces, each with entries of one state of one key group, readable by itself.
//!
//! A section (one state of one key group in one checkpoint) is a sequence of pieces. `docs/snapshot-format.md` has the
//! layout.

use serde::de::DeserializeOwned;

use millstream_actors::contract::CHUNK_BYTES_MAX;
use millstream_actors::protocol::CheckpointId;

use super::fixed::{self, Encoding, check_known};
use super::message_pack;
use super::packing::Packing;
use super::unfit::{NEWER, Unfit};
use super::write::put_key;
use crate::state::StateKey;

/// The version of the layout.
pub(crate) const SECTION_VERSION: u8 = 1;

/// The bit beside a piece's kind that says that its entries are packed.
const PACKED: u8 = 2;

/// The bits above those count the versions of the keys' type, from the first.
const KEY_VERSION_SHIFT: u32 = 2;

/// The bits below those.
const KINDS: u8 = (1 << KEY_VERSION_SHIFT) - 1;

/// The highest version that the keys' type may have.
pub(crate) const KEY_VERSION_MAX: u32 = 1 << (8 - KEY_VERSION_SHIFT);

/// Bytes of a piece's header.
pub(crate) const HEADER_BYTES: usize = 24;

/// Above this a piece is closed, so that it fits into one chunk unless its last entry is larger than the difference.
const PIECE_BYTES: usize = CHUNK_BYTES_MAX - 1024;

/// As many bytes of the newest entries are worth moving to the others.
const RECENT_BYTES: usize = 4096;

/// How the values of a state are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateFormat {
    /// The values' encoding.
    pub(crate) values: Encoding,
    /// The version of the values' type, as the user counts it; from 1.
    pub(crate) version: u32,
}

impl StateFormat {
    /// Of the same values, each with a deadline before it.
    pub(crate) fn with_deadline(self) -> Self {
        Self { values: Encoding(self.values.0 | Encoding::DEADLINE), ..self }
    }

    /// Of the values alone.
    pub(crate) fn without_deadline(self) -> Self {
        Self { values: Encoding(self.values.0 & !Encoding::DEADLINE), ..self }
    }

    /// Whether what is written of a value that has changed may be a part of it.
    pub(crate) fn has_parts(self) -> bool {
        [Encoding::LIST, Encoding::MAP].contains(&self.without_deadline().values)
    }

    /// Whether each value has a deadline before it.
    #[inline]
    pub(crate) fn has_deadline(self) -> bool {
        self.values.0 & Encoding::DEADLINE != 0
    }
}

/// Why a section of a later layout is not read.
pub(super) fn newer_layout(version: u8) -> String {
    format!("it is stored in a layout that is newer than what this version knows (section version {version})")
}

/// What the header of a piece says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PieceHeader {
    /// The checkpoint over which this is a delta; none in a whole section.
    pub(crate) base: Option<CheckpointId>,
    pub(crate) keys: Encoding,
    /// The version of the keys' type, as the user counts it; from 1.
    pub(crate) key_version: u32,
    pub(crate) format: StateFormat,
    pub(crate) live: u32,
    pub(crate) dead: u32,
    /// The entries are in blocks: see [`Packing`].
    pub(super) is_packed: bool,
}

impl PieceHeader {
    pub(super) fn write(&self, to: &mut [u8]) {
        to[0] = SECTION_VERSION;
        let key_version = ((self.key_version - 1) as u8) << KEY_VERSION_SHIFT;
        to[1] = u8::from(self.base.is_some()) | if self.is_packed { PACKED } else { 0 } | key_version;
        to[2] = self.keys.0;
        to[3] = self.format.values.0;
        to[4..8].copy_from_slice(&self.format.version.to_le_bytes());
        to[8..16].copy_from_slice(&self.base.unwrap_or(CheckpointId::NONE).0.to_le_bytes());
        to[16..20].copy_from_slice(&self.live.to_le_bytes());
        to[20..24].copy_from_slice(&self.dead.to_le_bytes());
    }

    /// Takes the header at the front of `bytes`, which are those of a [plain](super::plain) section.
    pub(crate) fn read(bytes: &mut &[u8]) -> Result<Self, String> {
        let header = Self::read_any(bytes)?;
        if header.is_packed { Err("packed entries after others".to_owned()) } else { Ok(header) }
    }

    /// Whether this version knows the forms of keys and values.
    ///
    /// # Errors
    /// Which it does not know.
    pub(crate) fn check_known(&self) -> Result<(), String> {
        check_known("its keys", self.keys)?;
        if self.format.has_parts() { Ok(()) } else { check_known("its values", self.format.without_deadline().values) }
    }

    /// Its keys and values as people call them.
    pub(super) fn described(&self) -> String {
        format!("keys: {}, values: {}", fixed::described(self.keys), fixed::described(self.format.values))
    }

    /// Whether `piece` has packed entries.
    pub(super) fn is_of_packed(piece: &[u8]) -> bool {
        matches!(piece, [SECTION_VERSION, kind, ..] if kind & PACKED != 0)
    }

    /// Takes the header at the front of `bytes`.
    pub(super) fn read_any(bytes: &mut &[u8]) -> Result<Self, String> {
        let (head, rest) = bytes.split_at_checked(HEADER_BYTES).ok_or("a piece's header is cut short")?;
        if head[0] > SECTION_VERSION {
            return Err(format!("{}; {NEWER}", newer_layout(head[0])));
        }
        if head[0] != SECTION_VERSION {
            return Err(format!("there is no such layout (section version {})", head[0]));
        }
        let word = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().expect("four bytes"));
        let base = CheckpointId(u64::from_le_bytes(head[8..16].try_into().expect("eight bytes")));
        let is_packed = Self::is_of_packed(head);
        let (kind, key_version) = (head[1] & !PACKED & KINDS, u32::from(head[1] >> KEY_VERSION_SHIFT) + 1);
        let base = match (kind, base) {
            (0, CheckpointId::NONE) => None,
            (1, base) if base != CheckpointId::NONE => Some(base),
            (kind, base) => return Err(format!("a piece of kind {kind} over checkpoint {base}")),
        };
        let format = StateFormat { values: Encoding(head[3]), version: word(4) };
        let header =
            Self { base, keys: Encoding(head[2]), key_version, format, live: word(16), dead: word(20), is_packed };
        let entries = u64::from(header.live) + u64::from(header.dead);
        // A key that takes no byte (`()`) is one entry at most.
        if entries > rest.len() as u64 + 1 {
            return Err(format!("{entries} entries cannot be in {} bytes", rest.len()));
        }
        if header.base.is_none() && header.dead > 0 {
            return Err(format!("{} removed keys in a whole section", header.dead));
        }
        *bytes = rest;
        Ok(header)
    }
}

/// What of a value was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// The value, or what has changed in it.
    Live,
    /// That there is none any more.
    Dead,
    /// Nothing: it did not change, or it never was.
    Nothing,
}

/// A piece that is being written.
#[derive(Debug, Default)]
pub(crate) struct PieceBuffer {
    /// How entries are packed when they are moved to the others.
    packing: Option<Packing>,
    /// The header's place, and the entries: key, value, key, value, ... or blocks of them.
    bytes: Vec<u8>,
    /// The newest entries. Records write into the pieces of all groups in turns: these stay in the processor's cache
    /// until there are enough to be moved at once.
    recent: Vec<u8>,
    live: u32,
    /// Keys that are gone.
    dead_keys: Vec<u8>,
    dead: u32,
    /// An earlier piece was closed.
    has_closed: bool,
}

impl PieceBuffer {
    /// Of entries that are packed in this way; as the default, they are not.
    pub(crate) fn packed(packing: Option<Packing>) -> Self {
        Self { packing, ..Self::default() }
    }

    /// Whether something was ever written into it.
    pub(crate) fn was_used(&self) -> bool {
        self.has_closed || !self.is_empty()
    }

    /// Whether it has no entry.
    pub(crate) fn is_empty(&self) -> bool {
        self.live == 0 && self.dead == 0
    }

    /// Bytes written.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() + self.recent.len() + self.dead_keys.len()
    }

    /// Whether it is to be closed before more is written.
    pub(crate) fn is_full(&self) -> bool {
        self.len() >= PIECE_BYTES
    }

    /// Whether it is to be [settled](Self::settle) or closed before more is written.
    #[inline]
    pub(crate) fn is_ripe(&self) -> bool {
        self.recent.len() >= RECENT_BYTES || self.is_full()
    }

    /// Moves the newest entries to the others. If it has no memory for them yet it takes `buffer`; without one it has
    /// its own made, where that is sure to be filled.
    #[cold]
    pub(crate) fn settle(&mut self, buffer: impl FnOnce() -> Option<Vec<u8>>) {
        if self.bytes.capacity() == 0 {
            let own = || if self.has_closed { Vec::with_capacity(CHUNK_BYTES_MAX) } else { Vec::new() };
            self.bytes = buffer().unwrap_or_else(own);
            assert!(self.bytes.is_empty(), "a buffer that holds {} bytes", self.bytes.len());
        }
        if self.bytes.is_empty() {
            self.bytes.resize(HEADER_BYTES, 0);
        }
        match &self.packing {
            Some(packing) => packing.pack(&mut self.recent, &mut self.bytes),
            None => self.bytes.append(&mut self.recent),
        }
        if self.recent.capacity() > 4 * RECENT_BYTES {
            // A large value was among them.
            self.recent = Vec::new();
        }
    }

    /// Writes an entry: the key, and what `value` makes of its value. Gives the number of bytes that it takes.
    ///
    /// # Errors
    /// What a serializer says, or why key or value would not read back. Nothing is written then.
    #[inline]
    pub(crate) fn entry<K: StateKey>(
        &mut self,
        key: &K,
        value: impl FnOnce(&mut Vec<u8>) -> Result<Written, String>,
    ) -> Result<usize, String> {
        let start = self.recent.len();
        let written = put_key(key, &mut self.recent).and_then(|()| {
            let key_end = self.recent.len();
            value(&mut self.recent).map(|written| (written, key_end))
        });
        match written {
            Ok((written, key_end)) => Ok(self.end_entry(start, key_end, written)),
            Err(reason) => {
                self.recent.truncate(start);
                Err(reason)
            }
        }
    }

    #[inline]
    fn end_entry(&mut self, start: usize, key_end: usize, written: Written) -> usize {
        match written {
            Written::Live => {
                self.live += 1;
                self.recent.len() - start
            }
            Written::Dead => {
                self.dead_keys.extend_from_slice(&self.recent[start..key_end]);
                self.dead += 1;
                self.recent.truncate(start);
                key_end - start
            }
            Written::Nothing => {
                self.recent.truncate(start);
                0
            }
        }
    }

    /// Closes the piece and gives its bytes; what is written next begins a new one. `base` as in the section.
    pub(crate) fn close<K: 'static>(
        &mut self,
        key_version: u32,
        format: StateFormat,
        base: Option<CheckpointId>,
    ) -> Vec<u8> {
        let (keys, is_packed) = (fixed::encoding_of::<K>(), self.packing.is_some());
        let header = PieceHeader { base, keys, key_version, format, live: self.live, dead: self.dead, is_packed };
        self.settle(|| None);
        header.write(&mut self.bytes[..HEADER_BYTES]);
        self.bytes.append(&mut self.dead_keys);
        (self.live, self.dead, self.has_closed) = (0, 0, true);
        std::mem::take(&mut self.bytes)
    }
}

/// Takes a value of the encoding `stored` off the front of `bytes`. Structs are read with and without names.
#[inline]
pub(crate) fn take_as<T: DeserializeOwned + 'static>(stored: Encoding, bytes: &mut &[u8]) -> Result<T, Unfit> {
    let now = fixed::encoding_of::<T>();
    if stored != now && (stored != Encoding::COMPACT || now != Encoding::MESSAGE_PACK) {
        if [Encoding::LIST, Encoding::MAP].contains(&stored) {
            check_kind(stored, now)?;
        }
        check_encoding::<T>(stored).map_err(Unfit::Type)?;
    }
    take(bytes).map_err(Unfit::Type)
}

/// Takes a value that [`put`](super::put) wrote off the front of `bytes`.
#[inline]
pub(crate) fn take<T: DeserializeOwned + 'static>(bytes: &mut &[u8]) -> Result<T, String> {
    if let Some(width) = fixed::width_of::<T>() {
        let (value, rest) = bytes.split_at_checked(width).ok_or("a value is cut short")?;
        *bytes = rest;
        let name = std::any::type_name::<T>();
        return fixed::get(value).ok_or_else(|| format!("what was stored is no {name}"));
    }
    message_pack::take(bytes)
}

/// Whether values that were stored in this encoding can be read as `T`.
pub(crate) fn check_encoding<T: 'static>(stored: Encoding) -> Result<(), String> {
    let now = fixed::encoding_of::<T>();
    if stored == now {
        return Ok(());
    }
    Err(format!("{} was stored, the type is {} now", fixed::described(stored), std::any::type_name::<T>()))
}

/// Whether values that were stored in this encoding are those of a state whose values have the encoding `now`.
pub(crate) fn check_kind(stored: Encoding, now: Encoding) -> Result<(), Unfit> {
    if stored == now {
        return Ok(());
    }
    let (stored, now) = (fixed::described(stored), fixed::described(now));
    Err(Unfit::Other(format!(
        "{stored} was stored, the state is {now} now: a state stays of one kind; declare it as it was, or give the operator another id and start without its state"
    )))
}

/// Why a section could not be read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SectionError {
    /// The version of the values' type that it says it has; 0 if that is not known.
    pub version: u32,
    /// What is wrong.
    pub reason: String,
}
