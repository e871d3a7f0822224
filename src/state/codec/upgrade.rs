//! Sections as the first release wrote them, made into pieces without knowing their types. They are read for ever.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | format version, 1 |
//! | 1 | how the keys are stored (`Encoding`) |
//! | 1 | how the values are stored |
//! | 8 | number of entries, little-endian |
//! | | all keys, then all values, in one order |

use std::borrow::Cow;

use rmp_serde::Deserializer;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::fixed::{self, Encoding};
use super::piece::{Captured, PieceBuffer, StateFormat};

const VERSION: u8 = 1;
const HEADER_BYTES: usize = 11;

/// The section as pieces of the current layout; unchanged if it is not of version 1.
pub(crate) fn upgraded(section: &[u8]) -> Result<Cow<'_, [u8]>, String> {
    if section.first() != Some(&VERSION) {
        return Ok(Cow::Borrowed(section));
    }
    let (head, body) = section.split_at_checked(HEADER_BYTES).ok_or("the header is cut short")?;
    let (keys, values) = (Encoding(head[1]), Encoding(head[2]));
    let count = u64::from_le_bytes(head[3..].try_into().expect("the header has eleven bytes"));
    let count = usize::try_from(count).ok().filter(|count| *count <= body.len());
    let count = count.ok_or_else(|| format!("more entries than there can be in {} bytes", body.len()))?;
    let (mut key_column, mut value_column) = (body, body);
    for _ in 0..count {
        item(keys, &mut value_column)?;
    }
    let mut piece = PieceBuffer::default();
    for _ in 0..count {
        let (key, value) = (item(keys, &mut key_column)?, item(values, &mut value_column)?);
        piece.raw_entry(key, |bytes| {
            bytes.extend_from_slice(value);
            Captured::Live
        });
    }
    if !value_column.is_empty() {
        return Err(format!("{} bytes follow the last value", value_column.len()));
    }
    Ok(Cow::Owned(piece.close_as(keys, StateFormat { values, version: 1 }, None)))
}

/// Takes one key or value off the front of `bytes`.
pub(super) fn item<'a>(encoding: Encoding, bytes: &mut &'a [u8]) -> Result<&'a [u8], String> {
    let len = match fixed::width(encoding) {
        Some(width) => width,
        None if [Encoding::MESSAGE_PACK, Encoding::COMPACT].contains(&encoding) => {
            let mut rest = *bytes;
            IgnoredAny::deserialize(&mut Deserializer::new(&mut rest)).map_err(|error| error.to_string())?;
            bytes.len() - rest.len()
        }
        None => return Err(format!("encoding {} is unknown", encoding.0)),
    };
    let (item, rest) = bytes.split_at_checked(len).ok_or("a value is cut short")?;
    *bytes = rest;
    Ok(item)
}
