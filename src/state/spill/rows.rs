//! Rows as bytes, in the working file and on their way there. They never outlive the attempt, so the layout is free to
//! change.
//!
//! A row: `varint(len of key)`, `varint(len of slots * 2 + 1 if all are clear)`, stamp of the last change (u32), checksum
//! of key and slots (the low half of xxh3-64), key, slots. A row without slots says that its key is gone. Several rows follow each other without a mark between them.

use xxhash_rust::xxh3::xxh3_64;

use crate::state::codec::{put_key, take};
use crate::state::set::Paging;
use crate::state::{Stamp, StateKey, StateRows, StateSet};

/// A row, not decoded.
#[derive(Clone, Copy, Debug)]
pub(super) struct RowBytes<'a> {
    pub(super) key: &'a [u8],
    pub(super) stamp: Stamp,
    pub(super) is_clear: bool,
    pub(super) slots: &'a [u8],
    /// Of key and slots, as it was when they were written.
    checksum: u32,
    /// All of it.
    pub(super) whole: &'a [u8],
}

impl<'a> RowBytes<'a> {
    /// Takes a row off the front of `bytes`.
    pub(super) fn take(bytes: &mut &'a [u8]) -> Result<Self, String> {
        let all = *bytes;
        let key_len = take_varint(bytes)?;
        let slots_len = take_varint(bytes)?;
        let cut_short = || "a row is cut short".to_owned();
        let (stamp, rest) = bytes.split_first_chunk::<4>().ok_or_else(cut_short)?;
        let (sum, rest) = rest.split_first_chunk::<4>().ok_or_else(cut_short)?;
        let (key, rest) = rest.split_at_checked(key_len).ok_or_else(cut_short)?;
        let (slots, rest) = rest.split_at_checked(slots_len / 2).ok_or_else(cut_short)?;
        *bytes = rest;
        let whole = &all[..all.len() - rest.len()];
        let (stamp, checksum) = (Stamp::from_le_bytes(*stamp), u32::from_le_bytes(*sum));
        Ok(Self { key, stamp, is_clear: slots_len % 2 == 1, slots, checksum, whole })
    }

    /// Whether it only says that its key is gone.
    pub(super) fn is_gone(&self) -> bool {
        self.slots.is_empty()
    }

    /// The row of what was put by [`put_row`].
    ///
    /// # Errors
    /// If it is none.
    pub(super) fn read<S: StateSet>(&self, states: &S, paging: &Paging) -> Result<S::Row, String> {
        if S::HAS_PAGES && !self.is_sound() {
            // A damaged list of pages might decode, and name pages of another map.
            return Err("a row is damaged".to_owned());
        }
        let mut row = S::Row::default();
        states.unspill(&mut row, self.stamp, paging, &mut &*self.slots)?;
        Ok(row)
    }

    /// Whether key and slots are as they were written. It is looked at where they do not decode, or may have pages.
    pub(super) fn is_sound(&self) -> bool {
        // They are next to each other, at the end.
        checksum(&self.whole[self.whole.len() - self.key.len() - self.slots.len()..]) == self.checksum
    }
}

/// The rows in `bytes`, which end with the first that is damaged.
pub(super) fn rows(mut bytes: &[u8]) -> impl Iterator<Item = Result<RowBytes<'_>, String>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let row = RowBytes::take(&mut bytes);
        if row.is_err() {
            bytes = &[];
        }
        Some(row)
    })
}

/// Whether two keys, as they are stored, are one key.
pub(super) type SameKey = fn(&[u8], &[u8]) -> Result<bool, String>;

/// [`SameKey`] for keys of type `K`. A key may be stored in more than one way, as one with a hash map in it is: its entries
/// come in any order. So bytes that differ are compared as keys.
///
/// # Errors
/// If one of them is no key.
pub(super) fn same_key<K: StateKey>(one: &[u8], other: &[u8]) -> Result<bool, String> {
    Ok(one == other || take::<K>(&mut &*one)? == take::<K>(&mut &*other)?)
}

/// Appends a row, of which large maps go to the pager. `scratch` is overwritten.
///
/// # Errors
/// What a serializer says, and of which state; keys count as the first. Nothing is appended then.
pub(super) fn put_row<K: StateKey, S: StateSet>(
    states: &S,
    (key, row): (&K, &mut S::Row),
    paging: &Paging,
    scratch: &mut Vec<u8>,
    bytes: &mut Vec<u8>,
) -> Result<(), (usize, String)> {
    scratch.clear();
    put_key(key, scratch).map_err(|reason| (0, reason))?;
    let key_len = scratch.len();
    states.spill(row, S::stamp(row), paging, scratch)?;
    put_varint(key_len, bytes);
    put_varint((scratch.len() - key_len) * 2 + usize::from(S::is_clear(row)), bytes);
    bytes.extend_from_slice(&S::stamp(row).to_le_bytes());
    bytes.extend_from_slice(&checksum(scratch).to_le_bytes());
    bytes.extend_from_slice(scratch);
    Ok(())
}

/// Appends that a key, as it is stored, is gone.
pub(super) fn put_gone(key: &[u8], bytes: &mut Vec<u8>) {
    put_varint(key.len(), bytes);
    put_varint(1, bytes);
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&checksum(key).to_le_bytes());
    bytes.extend_from_slice(key);
}

fn checksum(bytes: &[u8]) -> u32 {
    xxh3_64(bytes) as u32
}

fn put_varint(mut number: usize, bytes: &mut Vec<u8>) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn take_varint(bytes: &mut &[u8]) -> Result<usize, String> {
    let mut number = 0;
    for shift in (0..usize::BITS).step_by(7) {
        let (byte, rest) = bytes.split_first().ok_or("a length is cut short")?;
        *bytes = rest;
        number |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err("a length is too long".to_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::state::spill::SpillPlace;
    use crate::state::spill::pages::PageStore;
    use crate::state::{Access, ValueState};

    type States = (ValueState<u64>, ValueState<String>);

    fn states() -> States {
        (ValueState::new("a"), ValueState::new("b"))
    }

    #[test]
    fn rows_come_back_with_their_stamps_one_after_the_other() {
        let states = states();
        let place = SpillPlace { dir: "dir".into(), job: "job".into(), operator: "op".into(), subtask: 0 };
        let [paging, _] = Arc::new(PageStore::new(place, 0)).paging();
        let (mut bytes, mut scratch, mut expected) = (Vec::new(), Vec::new(), Vec::new());
        for key in 0..300u64 {
            let mut row = Default::default();
            let at = |stamp| Access { stamp, processing_time: 0, watermark: 0 };
            if key % 3 > 0 {
                states.handles(&mut row, at(key as u32 + 1)).0.set(key);
            }
            if key % 4 > 0 {
                states.handles(&mut row, at(7)).1.set("x".repeat(key as usize));
            }
            if key % 8 > 3 {
                states.handles(&mut row, at(9)).1.clear();
            }
            put_row(&states, (&key, &mut row), &paging, &mut scratch, &mut bytes).unwrap();
            expected.push((key, row));
        }
        put_gone(&[1, 2, 3], &mut bytes);
        let mut read = rows(&bytes);
        for (key, row) in &expected {
            let found = read.next().unwrap().unwrap();
            assert_eq!(take::<u64>(&mut &*found.key), Ok(*key));
            assert_eq!((found.stamp, found.is_clear), (States::stamp(row), States::is_clear(row)));
            assert!(found.is_sound());
            let mut again = Default::default();
            states.unspill(&mut again, found.stamp, &paging, &mut &*found.slots).unwrap();
            assert_eq!(again, *row, "key {key}");
        }
        let gone = read.next().unwrap().unwrap();
        assert!(gone.is_gone() && gone.key == [1, 2, 3] && read.next().is_none());
        let row = RowBytes::take(&mut &*bytes).unwrap();
        for at in row.whole.len() - row.key.len() - row.slots.len()..row.whole.len() {
            let mut damaged = row.whole.to_vec();
            damaged[at] ^= 1;
            assert!(!RowBytes::take(&mut &*damaged).unwrap().is_sound(), "byte {at}");
        }
        for len in 1..12 {
            assert!(rows(&bytes[..len]).any(|row| row.is_err()), "{len} bytes");
        }
    }
}
