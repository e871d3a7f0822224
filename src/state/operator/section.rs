//! How operator state is stored: each subtask writes one section for each state, a MessagePack array
//! `[version, items]`, where the version is that of the items' type, which the user counts from 1, the items of a list are an
//! array, those of a broadcast state a map, and structs have named fields. An empty state is stored too, so that the number
//! of sections is the parallelism it was stored at.

use std::io::Write;

use serde::de::DeserializeOwned;

use millstream_actors::contract::SectionWriter;

use crate::state::codec::{self, Unfit};

/// How the MessagePack array of version and items begins.
const ARRAY_OF_TWO: u8 = 0x92;

/// What one subtask had stored of a state.
#[derive(Clone, Copy, Debug)]
pub struct StoredCopy<'a> {
    /// The subtask.
    pub subtask: u32,
    /// Its section.
    pub bytes: &'a [u8],
}

/// Why a copy could not be read.
#[derive(Debug, PartialEq, Eq)]
pub struct CopyError {
    /// The subtask that had stored it.
    pub subtask: u32,
    /// The version that the section says it has; 0 if that is not known.
    pub version: u32,
    /// What is wrong.
    pub reason: String,
}

/// The kinds of collection that a section holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    List,
    Map,
}

impl Shape {
    fn name(self) -> &'static str {
        match self {
            Self::List => "a list (OperatorListState)",
            Self::Map => "a map (BroadcastState)",
        }
    }
}

/// Appends a section's content: a collection of these items of this version, each of which `put` appends to what it is given.
pub(super) fn write<T>(
    shape: Shape,
    version: u32,
    items: impl ExactSizeIterator<Item = T>,
    section: &mut SectionWriter,
    put: impl Fn(T, &mut Vec<u8>) -> Result<(), String>,
) -> Result<(), String> {
    let mut bytes = vec![ARRAY_OF_TWO];
    codec::put_packed(&version, &mut bytes)?;
    let head = match shape {
        Shape::List => codec::ARRAY,
        Shape::Map => codec::MAP,
    };
    head.put(items.len(), &mut bytes)?;
    for item in items {
        put(item, &mut bytes)?;
        section.write_all(&bytes).map_err(|error| error.to_string())?;
        bytes.clear();
    }
    section.write_all(&bytes).map_err(|error| error.to_string())
}

/// A section whose head has been read, and some of its items perhaps.
pub(super) struct Items<'a> {
    subtask: u32,
    /// The version of their type.
    pub(super) version: u32,
    /// How many are left; no more than bytes.
    pub(super) left: u64,
    rest: &'a [u8],
}

impl<'a> Items<'a> {
    /// Reads the head of a section that is to hold items of this shape.
    pub(super) fn open(copy: StoredCopy<'a>, shape: Shape) -> Result<Self, CopyError> {
        let failed = |version, reason: String| CopyError { subtask: copy.subtask, version, reason };
        let versioned = copy.bytes.strip_prefix(&[ARRAY_OF_TWO]).and_then(|mut rest| {
            let version = codec::take_packed::<u32>(&mut rest).ok()?;
            Some((version, rest))
        });
        let (version, rest) =
            versioned.ok_or_else(|| failed(0, "it does not begin as an array of version and items".to_owned()))?;
        let (stored, left, rest) =
            collection(rest).ok_or_else(|| failed(version, "it is no list and no map".to_owned()))?;
        if stored != shape {
            return Err(failed(
                version,
                format!(
                    "{} was stored, the state is {} now: declare it as it was, or start without this checkpoint",
                    stored.name(),
                    shape.name()
                ),
            ));
        }
        let bytes_min = if shape == Shape::Map { left.saturating_mul(2) } else { left };
        if bytes_min > rest.len() as u64 {
            return Err(failed(version, format!("more items than there can be in {} bytes", rest.len())));
        }
        Ok(Self { subtask: copy.subtask, version, left, rest })
    }

    /// Reads the next item, of which there must be one, by what takes it off the front of the bytes.
    pub(super) fn next<T>(&mut self, take: impl FnOnce(&mut &'a [u8]) -> Result<T, Unfit>) -> Result<T, CopyError> {
        let item = take(&mut self.rest).map_err(|unfit| self.failed(unfit.with_remedy()))?;
        self.left -= 1;
        Ok(item)
    }

    /// After the last item.
    pub(super) fn close(self) -> Result<(), CopyError> {
        match self.rest.len() {
            0 => Ok(()),
            bytes => Err(self.failed(format!("{bytes} bytes follow the last item"))),
        }
    }

    pub(super) fn failed(&self, reason: String) -> CopyError {
        CopyError { subtask: self.subtask, version: self.version, reason }
    }
}

/// Takes an item as it is written today off the front of `bytes`.
///
/// # Errors
/// If its type does not read it.
pub(super) fn take<T: DeserializeOwned>(bytes: &mut &[u8]) -> Result<T, Unfit> {
    codec::take_packed(bytes).map_err(Unfit::Type)
}

/// Takes the head of a MessagePack array or map off the front: shape, number of items, what follows.
fn collection(bytes: &[u8]) -> Option<(Shape, u64, &[u8])> {
    let (&head, rest) = bytes.split_first()?;
    let (shape, wide) = match head {
        0x90..=0x9f => return Some((Shape::List, u64::from(head & 0x0f), rest)),
        0x80..=0x8f => return Some((Shape::Map, u64::from(head & 0x0f), rest)),
        0xdc => (Shape::List, false),
        0xdd => (Shape::List, true),
        0xde => (Shape::Map, false),
        0xdf => (Shape::Map, true),
        _ => return None,
    };
    if wide {
        let (count, rest) = rest.split_first_chunk()?;
        Some((shape, u64::from(u32::from_be_bytes(*count)), rest))
    } else {
        let (count, rest) = rest.split_first_chunk()?;
        Some((shape, u64::from(u16::from_be_bytes(*count)), rest))
    }
}
