//! Sections as plain pieces: header, entries one after the other, removed keys.

use std::borrow::Cow;

use super::packing::Packing;
use super::piece::{HEADER_BYTES, PieceHeader};
use super::unfit::NEWER;

/// The section with its entries unpacked; unchanged if they are plain.
pub(crate) fn plain(section: &[u8]) -> Result<Cow<'_, [u8]>, String> {
    if !PieceHeader::is_of_packed(section) {
        return Ok(Cow::Borrowed(section));
    }
    let mut left = section;
    let mut plain = Vec::new();
    while !left.is_empty() {
        let header = PieceHeader::read_any(&mut left)?;
        if !header.is_packed {
            return Err("entries that are not packed after others that are".to_owned());
        }
        header.check_known().map_err(|unknown| format!("{unknown}; {NEWER}"))?;
        let PieceHeader { keys, format, live, dead, .. } = header;
        let packing = Packing::of(keys, format.values)
            .ok_or_else(|| format!("entries that have no fixed width are packed: {}", header.described()))?;
        let head = plain.len();
        plain.resize(head + HEADER_BYTES, 0);
        PieceHeader { is_packed: false, ..header }.write(&mut plain[head..]);
        packing.unpack(live, &mut left, &mut plain)?;
        let (keys, rest) = left.split_at_checked(packing.key_bytes() * dead as usize).ok_or("a key is cut short")?;
        plain.extend_from_slice(keys);
        left = rest;
    }
    Ok(Cow::Owned(plain))
}
