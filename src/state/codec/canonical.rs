//! Stored keys and values in one form, whatever order a hash map in them has had.

use std::borrow::Cow;

use serde::de::IgnoredAny;

use super::fixed::Encoding;
use super::message_pack;

/// The bytes with the entries of all maps in them by ascending bytes. What is no such value is as it is.
pub(super) fn canonical(encoding: Encoding, bytes: &[u8]) -> Cow<'_, [u8]> {
    if ![Encoding::MESSAGE_PACK, Encoding::COMPACT].contains(&encoding) {
        return Cow::Borrowed(bytes);
    }
    let (mut rest, mut sorted) = (bytes, Vec::with_capacity(bytes.len()));
    match sort(&mut rest, &mut sorted) {
        Some(()) if sorted != bytes => Cow::Owned(sorted),
        _ => Cow::Borrowed(bytes),
    }
}

/// Takes a value off the front of `bytes` and appends it with its maps sorted. It has been read before, so it is not nested
/// too deeply.
fn sort(bytes: &mut &[u8], sorted: &mut Vec<u8>) -> Option<()> {
    match *bytes {
        [first @ 0x90..=0x9f, ..] => sort_array(1, u32::from(first & 0x0f), bytes, sorted),
        [0xdc, a, b, ..] => sort_array(3, u16::from_be_bytes([*a, *b]).into(), bytes, sorted),
        [0xdd, a, b, c, d, ..] => sort_array(5, u32::from_be_bytes([*a, *b, *c, *d]), bytes, sorted),
        [first @ 0x80..=0x8f, ..] => sort_map(1, u32::from(first & 0x0f), bytes, sorted),
        [0xde, a, b, ..] => sort_map(3, u16::from_be_bytes([*a, *b]).into(), bytes, sorted),
        [0xdf, a, b, c, d, ..] => sort_map(5, u32::from_be_bytes([*a, *b, *c, *d]), bytes, sorted),
        all => {
            message_pack::take::<IgnoredAny>(bytes).ok()?;
            sorted.extend_from_slice(&all[..all.len() - bytes.len()]);
            Some(())
        }
    }
}

fn take_head(head: usize, bytes: &mut &[u8], sorted: &mut Vec<u8>) {
    let (taken, rest) = bytes.split_at(head);
    sorted.extend_from_slice(taken);
    *bytes = rest;
}

fn sort_array(head: usize, items: u32, bytes: &mut &[u8], sorted: &mut Vec<u8>) -> Option<()> {
    take_head(head, bytes, sorted);
    (0..items).try_for_each(|_| sort(bytes, sorted))
}

fn sort_map(head: usize, count: u32, bytes: &mut &[u8], sorted: &mut Vec<u8>) -> Option<()> {
    take_head(head, bytes, sorted);
    let mut entries = Vec::new();
    for _ in 0..count {
        let mut entry = Vec::new();
        sort(bytes, &mut entry)?;
        sort(bytes, &mut entry)?;
        entries.push(entry);
    }
    entries.sort_unstable();
    entries.iter().for_each(|entry| sorted.extend_from_slice(entry));
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_sorted_wherever_they_are_and_nothing_else_is() {
        // [3, {2: {b: 1, a: 2}, 1: [2, 1]}], and the same in order.
        let mixed = b"\x92\x03\x82\x02\x82\xa1b\x01\xa1a\x02\x01\x92\x02\x01";
        let sorted = b"\x92\x03\x82\x01\x92\x02\x01\x02\x82\xa1a\x02\xa1b\x01";
        for bytes in [mixed, sorted] {
            assert_eq!(canonical(Encoding::MESSAGE_PACK, bytes), &sorted[..]);
            assert_eq!(canonical(Encoding(4), bytes), &bytes[..], "of fixed width");
        }
        for len in 0..mixed.len() {
            assert_eq!(canonical(Encoding::COMPACT, &mixed[..len]), &mixed[..len], "no value");
        }
    }
}
