//! The bytes of one section: one state of one key group, keys and values, readable by itself.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | format version, [`SECTION_VERSION`] |
//! | 1 | how the keys are stored (`Encoding`) |
//! | 1 | how the values are stored |
//! | 8 | number of entries, little-endian |
//! | | all keys, then all values, in one order |
//!
//! A fixed-width column has exactly count times width bytes. A MessagePack column holds one value after the other.

use rmp_serde::Deserializer;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::fixed::{self, Encoding};

/// The version of the layout that this release writes.
pub const SECTION_VERSION: u8 = 1;

const HEADER_BYTES: usize = 11;

/// Writes one section at a time into buffers that it keeps.
#[derive(Debug, Default)]
pub struct SectionEncoder {
    head: [u8; HEADER_BYTES],
    keys: Vec<u8>,
    values: Vec<u8>,
    count: u64,
}

impl SectionEncoder {
    /// Writes a section of these entries; what was there is forgotten.
    pub(crate) fn encode<'a, K, V>(&mut self, entries: impl Iterator<Item = (&'a K, &'a V)>) -> Result<(), String>
    where
        K: Serialize + 'static,
        V: Serialize + 'static,
    {
        self.keys.clear();
        self.values.clear();
        self.count = 0;
        for (key, value) in entries {
            put(key, &mut self.keys)?;
            put(value, &mut self.values)?;
            self.count += 1;
        }
        self.head[0] = SECTION_VERSION;
        self.head[1] = fixed::encoding_of::<K>().0;
        self.head[2] = fixed::encoding_of::<V>().0;
        self.head[3..].copy_from_slice(&self.count.to_le_bytes());
        Ok(())
    }

    /// Whether the section has no entry.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The section's bytes, in three parts.
    pub fn parts(&self) -> [&[u8]; 3] {
        [&self.head, &self.keys, &self.values]
    }
}

#[inline]
fn put<T: Serialize + 'static>(value: &T, bytes: &mut Vec<u8>) -> Result<(), String> {
    if fixed::put(value, bytes) {
        return Ok(());
    }
    rmp_serde::encode::write_named(bytes, value).map_err(|error| error.to_string())
}

/// Why a section could not be read: the version it says it has, and the reason.
#[derive(Debug, PartialEq, Eq)]
pub struct SectionError {
    /// The version in its first byte; 0 if there is none.
    pub version: u32,
    /// What is wrong.
    pub reason: String,
}

/// The entries of a section, one after the other. Memory stays in proportion to `bytes`; serde's own collections may
/// reserve up to 1 MiB ahead of a length that turns out to be false.
pub(crate) struct SectionReader<'a, K, V> {
    version: u32,
    left: u64,
    keys: Column<'a, K>,
    values: Column<'a, V>,
}

impl<'a, K, V> SectionReader<'a, K, V>
where
    K: DeserializeOwned + 'static,
    V: DeserializeOwned + 'static,
{
    /// Reads the header and, where keys have no fixed width, all the keys, since the values come after them.
    pub(crate) fn open(bytes: &'a [u8]) -> Result<Self, SectionError> {
        let version = bytes.first().map_or(0, |version| u32::from(*version));
        Self::parse(bytes, version).map_err(|reason| SectionError { version, reason })
    }

    fn parse(bytes: &'a [u8], version: u32) -> Result<Self, String> {
        if version != u32::from(SECTION_VERSION) {
            return Err(format!("section version {version} is unknown, this release reads {SECTION_VERSION}"));
        }
        let (head, body) = bytes.split_at_checked(HEADER_BYTES).ok_or("the header is cut short")?;
        let (kinds, count) = head[1..].split_at(2);
        let count = u64::from_le_bytes(count.try_into().expect("the header has eleven bytes"));
        if count > body.len() as u64 {
            return Err(format!("{count} entries cannot be in {} bytes", body.len()));
        }
        let (keys, rest) = Column::open(Encoding(kinds[0]), count as usize, body, Part::Keys)?;
        let (values, _) = Column::open(Encoding(kinds[1]), count as usize, rest, Part::Values)?;
        Ok(Self { version, left: count, keys, values })
    }

    /// The version that the section says it has.
    pub(crate) fn version(&self) -> u32 {
        self.version
    }

    /// How many entries are left.
    pub(crate) fn remaining(&self) -> usize {
        self.left as usize
    }

    /// The next entry; `None` after the last.
    pub(crate) fn next(&mut self) -> Result<Option<(K, V)>, SectionError> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        self.read_entry().map(Some).map_err(|reason| SectionError { version: self.version, reason })
    }

    fn read_entry(&mut self) -> Result<(K, V), String> {
        let key = self.keys.next()?;
        let value = self.values.next()?;
        if self.left == 0 && self.values.trailing() > 0 {
            return Err(format!("{} bytes follow the last value", self.values.trailing()));
        }
        Ok((key, value))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Keys,
    Values,
}

enum Column<'a, T> {
    Fixed { width: usize, bytes: &'a [u8] },
    Packed(Deserializer<rmp_serde::decode::ReadReader<&'a [u8]>>),
    Read(std::vec::IntoIter<T>),
}

impl<'a, T: DeserializeOwned + 'static> Column<'a, T> {
    /// The column at the front of `bytes`, and what comes after it.
    fn open(encoding: Encoding, count: usize, bytes: &'a [u8], part: Part) -> Result<(Self, &'a [u8]), String> {
        if encoding != Encoding::MESSAGE_PACK {
            return Self::open_fixed(encoding, count, bytes, part);
        }
        let mut packed = Deserializer::new(bytes);
        if part == Part::Values {
            if count == 0 && !bytes.is_empty() {
                return Err(format!("{} bytes follow the last value", bytes.len()));
            }
            return Ok((Self::Packed(packed), &[]));
        }
        let mut keys = Vec::new();
        for _ in 0..count {
            keys.push(T::deserialize(&mut packed).map_err(|error| error.to_string())?);
        }
        Ok((Self::Read(keys.into_iter()), packed.into_inner()))
    }

    fn open_fixed(encoding: Encoding, count: usize, bytes: &'a [u8], part: Part) -> Result<(Self, &'a [u8]), String> {
        let expected = fixed::encoding_of::<T>();
        let width = fixed::width(encoding).ok_or_else(|| format!("encoding {} is unknown", encoding.0))?;
        if encoding != expected {
            let now = std::any::type_name::<T>();
            return Err(format!("a column of encoding {} was stored, {now} has encoding {}", encoding.0, expected.0));
        }
        let needed = count.checked_mul(width).filter(|needed| *needed <= bytes.len());
        let needed = needed.ok_or_else(|| format!("{count} values of {width} bytes are not in {}", bytes.len()))?;
        let (column, rest) = bytes.split_at(needed);
        if part == Part::Values && !rest.is_empty() {
            return Err(format!("{} bytes follow the last value", rest.len()));
        }
        Ok((Self::Fixed { width, bytes: column }, rest))
    }

    #[inline]
    fn next(&mut self) -> Result<T, String> {
        match self {
            Self::Fixed { width, bytes } => {
                let (value, rest) = bytes.split_at_checked(*width).ok_or("the column is cut short")?;
                *bytes = rest;
                fixed::get(value).ok_or_else(|| format!("{value:?} is no {}", std::any::type_name::<T>()))
            }
            Self::Packed(packed) => T::deserialize(packed).map_err(|error| error.to_string()),
            Self::Read(keys) => keys.next().ok_or_else(|| "a key is missing".to_owned()),
        }
    }

    fn trailing(&self) -> usize {
        match self {
            Self::Fixed { bytes, .. } => bytes.len(),
            Self::Packed(packed) => packed.get_ref().len(),
            Self::Read(keys) => keys.len(),
        }
    }
}
