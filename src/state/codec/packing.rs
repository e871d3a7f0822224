//! Entries of fixed width, without the high bytes that none of them uses.
//!
//! Most counts, sums and ids are far smaller than their types. A block is a few thousand bytes of entries that are still
//! in the processor's cache: their number (`u16`), for each field of key and value the bytes that are kept of it, and the
//! entries. `docs/snapshot-format.md` has the layout.

use super::fixed::{self, Encoding, Field, FieldKind, Fields};

/// Bytes in which the number of a block's entries is stored.
const COUNT_BYTES: usize = 2;
/// A number is moved as so many bytes, of which the next one overwrites those that it does not have.
const WORD: usize = 8;

/// How the entries of a piece are packed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packing {
    fields: Fields,
    /// Bytes of a key, and of an entry, that is not packed.
    key_bytes: usize,
    entry_bytes: usize,
}

/// Calls `$of` with the fields as an array: its loops over them are unrolled.
macro_rules! by_number_of_fields {
    ($fields:expr, $of:ident($($argument:expr),*)) => {
        match $fields {
            [a, b] => $of(&[*a, *b], $($argument),*),
            [a, b, c] => $of(&[*a, *b, *c], $($argument),*),
            [a, b, c, d] => $of(&[*a, *b, *c, *d], $($argument),*),
            [a, b, c, d, e] => $of(&[*a, *b, *c, *d, *e], $($argument),*),
            [a, b, c, d, e, f] => $of(&[*a, *b, *c, *d, *e, *f], $($argument),*),
            fields => unreachable!("a key and a value of {} fields", fields.len()),
        }
    };
}

impl Packing {
    /// How entries of such keys and values are packed; `None` if they are not of fixed width.
    pub(crate) fn of(keys: Encoding, values: Encoding) -> Option<Self> {
        let (key_bytes, value_bytes) = (fixed::width(keys)?, fixed::width(values)?);
        let fields = fixed::fields(keys)?.and(fixed::fields(values)?);
        Some(Self { fields, key_bytes, entry_bytes: key_bytes + value_bytes })
    }

    /// Bytes of a key that is not packed.
    pub(super) fn key_bytes(&self) -> usize {
        self.key_bytes
    }

    /// Appends `entries` to `packed`, and leaves none.
    pub(super) fn pack(&self, entries: &mut Vec<u8>, packed: &mut Vec<u8>) {
        let end = entries.len();
        assert!(end.is_multiple_of(self.entry_bytes), "{end} bytes of entries of {}", self.entry_bytes);
        entries.resize(end + WORD, 0);
        let block_bytes = usize::from(u16::MAX) * self.entry_bytes;
        for start in (0..end).step_by(block_bytes) {
            let count = (end - start).min(block_bytes) / self.entry_bytes;
            by_number_of_fields!(self.fields.as_slice(), pack_block(&entries[start..], count, packed));
        }
        entries.clear();
    }

    /// Takes `count` entries off the front of `packed` and appends them to `entries`.
    ///
    /// # Errors
    /// What is wrong with a block. An entry takes two bytes at least, so what it is given bounds what it makes of it.
    pub(super) fn unpack(&self, count: u32, packed: &mut &[u8], entries: &mut Vec<u8>) -> Result<(), String> {
        let mut left = count as usize;
        while left > 0 {
            let fields = self.fields.as_slice();
            let (head, rest) = packed.split_at_checked(COUNT_BYTES + fields.len()).ok_or("a block is cut short")?;
            let in_block = usize::from(u16::from_le_bytes([head[0], head[1]]));
            if in_block == 0 || in_block > left {
                return Err(format!("a block of {in_block} entries where {left} are left"));
            }
            let widths = &head[COUNT_BYTES..];
            if let Some((width, field)) = widths.iter().zip(fields).find(|(width, field)| !field.can_be(**width)) {
                return Err(format!("{width} of {} bytes are kept of a number", field.bytes));
            }
            let bytes = in_block * widths.iter().map(|width| usize::from(*width)).sum::<usize>();
            let (block, rest) = rest.split_at_checked(bytes).ok_or("a block is cut short")?;
            let end = entries.len() + in_block * self.entry_bytes;
            entries.resize(end + WORD, 0);
            let to = &mut entries[end - in_block * self.entry_bytes..];
            by_number_of_fields!(fields, unpack_block(widths, block, in_block, to));
            entries.truncate(end);
            *packed = rest;
            left -= in_block;
        }
        Ok(())
    }
}

impl Field {
    /// The number at the front of these bytes; signed ones folded, so that small negative numbers are small.
    #[inline]
    fn folded(self, word: u64) -> u64 {
        let unused = u64::BITS - 8 * u32::from(self.bytes);
        let number = word << unused;
        let (plain, signed) = (number >> unused, (number as i64) >> unused);
        if self.kind == FieldKind::Signed { ((signed << 1) ^ (signed >> 63)) as u64 } else { plain }
    }

    /// The opposite of [`folded`](Self::folded).
    #[inline]
    fn unfolded(self, number: u64) -> u64 {
        if self.kind == FieldKind::Signed { (number >> 1) ^ (number & 1).wrapping_neg() } else { number }
    }

    /// The bytes to be kept of numbers that have no bit which is not in `all`.
    fn kept(self, all: u64) -> u8 {
        match self.kind {
            FieldKind::Other => self.bytes,
            _ => (u64::BITS - all.leading_zeros()).div_ceil(8).max(1) as u8,
        }
    }

    fn can_be(self, width: u8) -> bool {
        (1..=self.bytes).contains(&width)
    }
}

#[inline]
fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + WORD].try_into().expect("eight bytes"))
}

/// `entries` has a word more than `count` entries.
fn pack_block<const N: usize>(fields: &[Field; N], entries: &[u8], count: usize, packed: &mut Vec<u8>) {
    if fields.iter().all(|field| usize::from(field.bytes) == WORD) {
        let (words, _) = entries[..count * N * WORD].as_chunks::<WORD>();
        let entries = words.as_chunks::<N>().0;
        return match fields.iter().any(|field| field.kind == FieldKind::Signed) {
            false => pack_words(fields, entries, packed, |_, word| word),
            true => pack_words(fields, entries, packed, |field, word| field.folded(word)),
        };
    }
    let mut all = [0; N];
    let mut at = 0;
    for _ in 0..count {
        for (all, field) in all.iter_mut().zip(fields) {
            *all |= field.folded(word(entries, at));
            at += usize::from(field.bytes);
        }
    }
    let (widths, mut to, end) = begin_block(fields, all, count, packed);
    let mut at = 0;
    for _ in 0..count {
        for (width, field) in widths.iter().zip(fields) {
            packed[to..to + WORD].copy_from_slice(&field.folded(word(entries, at)).to_le_bytes());
            at += usize::from(field.bytes);
            to += *width;
        }
    }
    packed.truncate(end);
}

/// As [`pack_block`], of fields that are all words, which is most of them and faster.
#[inline]
fn pack_words<const N: usize>(
    fields: &[Field; N],
    entries: &[[[u8; WORD]; N]],
    packed: &mut Vec<u8>,
    folded: impl Fn(&Field, u64) -> u64,
) {
    let mut all = [0; N];
    for entry in entries {
        for ((all, field), word) in all.iter_mut().zip(fields).zip(entry) {
            *all |= folded(field, u64::from_le_bytes(*word));
        }
    }
    let (widths, start, end) = begin_block(fields, all, entries.len(), packed);
    let mut to = &mut packed[start..];
    for entry in entries {
        for ((width, field), word) in widths.iter().zip(fields).zip(entry) {
            to[..WORD].copy_from_slice(&folded(field, u64::from_le_bytes(*word)).to_le_bytes());
            to = &mut to[*width..];
        }
    }
    packed.truncate(end);
}

/// Appends the head of a block whose fields have no bit that is not in `all`, and room for its entries and a word.
/// Gives the bytes that are kept of each field, and where the entries begin and end.
fn begin_block<const N: usize>(
    fields: &[Field; N],
    all: [u64; N],
    count: usize,
    packed: &mut Vec<u8>,
) -> ([usize; N], usize, usize) {
    let mut widths = [0; N];
    widths.iter_mut().zip(fields).zip(all).for_each(|((width, field), all)| *width = field.kept(all));
    packed.extend_from_slice(&(count as u16).to_le_bytes());
    packed.extend_from_slice(&widths);
    let widths = widths.map(usize::from);
    let start = packed.len();
    let end = start + count * widths.iter().sum::<usize>();
    packed.resize(end + WORD, 0);
    (widths, start, end)
}

/// `entries` has a word more than room for `count` entries.
fn unpack_block<const N: usize>(fields: &[Field; N], widths: &[u8], block: &[u8], count: usize, entries: &mut [u8]) {
    let widths: &[u8; N] = widths.try_into().expect("a width for each field");
    let (mut at, mut to) = (0, 0);
    for _ in 0..count {
        for (width, field) in widths.iter().zip(fields) {
            let width = usize::from(*width);
            let stored = match block.get(at..at + WORD) {
                Some(word) => u64::from_le_bytes(word.try_into().expect("eight bytes")),
                None => last_word(&block[at..]),
            };
            let number = field.unfolded(stored & (u64::MAX >> (u64::BITS as usize - 8 * width)));
            entries[to..to + WORD].copy_from_slice(&number.to_le_bytes());
            at += width;
            to += usize::from(field.bytes);
        }
    }
}

/// What is left of a block, with zeros behind it.
#[cold]
fn last_word(bytes: &[u8]) -> u64 {
    let mut word = [0; WORD];
    word[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::test_kit::Random;

    const NUMBERS: [u8; 13] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13];
    const TUPLES: [u8; 8] = [20, 21, 22, 27, 31, 40, 43, 44];

    /// Entries of which each number keeps few bytes or many.
    fn entries(packing: &Packing, count: usize, random: &mut Random) -> Vec<u8> {
        let mut bytes = Vec::new();
        let bits: Vec<u64> = packing.fields.as_slice().iter().map(|_| random.below(65)).collect();
        for _ in 0..count {
            for (field, bits) in packing.fields.as_slice().iter().zip(&bits) {
                let number = random.next().checked_shr(64 - *bits as u32).unwrap_or(0);
                let number = if random.below(2) == 0 { number } else { number.wrapping_neg() };
                let number = if field.kind == FieldKind::Signed { number } else { number.min(number.wrapping_neg()) };
                bytes.extend(&number.to_le_bytes()[..usize::from(field.bytes)]);
            }
        }
        bytes
    }

    #[test]
    fn entries_of_every_type_come_back_from_no_more_bytes_than_before() {
        let mut random = Random(20_261_123);
        for (keys, values) in
            NUMBERS.into_iter().chain(TUPLES).flat_map(|key| [(key, 21), (key, 44), (9, key), (key, key)])
        {
            let packing = Packing::of(Encoding(keys), Encoding(values)).unwrap();
            for count in [0, 1, 2, 3, 170] {
                let before = entries(&packing, count, &mut random);
                let (mut packed, mut after) = (vec![7], vec![9]);
                packing.pack(&mut before.clone(), &mut packed);
                let heads = if count == 0 { 0 } else { COUNT_BYTES + packing.fields.as_slice().len() };
                assert!(packed.len() <= 1 + before.len() + heads);
                let mut rest = &packed[1..];
                packing.unpack(count as u32, &mut rest, &mut after).unwrap();
                assert_eq!((&after[1..], rest), (&*before, &[][..]), "{keys} -> {values}, {count} entries");
            }
        }
    }

    #[test]
    fn small_numbers_keep_few_bytes_of_either_sign() {
        let packing = Packing::of(Encoding(4), Encoding(22)).unwrap();
        let of = |key: u64, a: i64, b: i64| [key.to_le_bytes(), a.to_le_bytes(), b.to_le_bytes()].concat();
        let mut packed = Vec::new();
        packing.pack(&mut [of(1, -1, 300), of(256, 63, -300)].concat(), &mut packed);
        assert_eq!(packed, [2, 0, 2, 1, 2, 1, 0, 1, 0x58, 2, 0, 1, 126, 0x57, 2]);
    }

    #[test]
    fn more_entries_than_a_block_can_count_are_several_blocks() {
        let packing = Packing::of(Encoding(1), Encoding(13)).unwrap();
        let before: Vec<u8> = (0..140_000).map(|n| (n % 2) as u8).collect();
        let (mut packed, mut after) = (Vec::new(), Vec::new());
        packing.pack(&mut before.clone(), &mut packed);
        packing.unpack(70_000, &mut &*packed, &mut after).unwrap();
        assert!(before == after);
        assert_eq!(packed.len(), 140_000 + 2 * 4);
    }

    #[test]
    fn every_cut_and_every_false_number_is_an_error() {
        let packing = Packing::of(Encoding(4), Encoding(3)).unwrap();
        let mut packed = Vec::new();
        packing.pack(&mut [&300u64.to_le_bytes()[..], &7u32.to_le_bytes()].concat(), &mut packed);
        let unpack = |count, packed: &[u8]| packing.unpack(count, &mut &*packed, &mut Vec::new());
        unpack(1, &packed).unwrap();
        for len in 0..packed.len() {
            assert!(unpack(1, &packed[..len]).is_err(), "cut to {len}");
        }
        assert!(unpack(2, &packed).is_err(), "an entry is missing");
        for (at, wrong) in [(0, 0), (0, 2), (1, 1), (2, 0), (2, 9), (3, 0), (3, 5)] {
            let mut other = [&*packed, &[0; 1_000]].concat();
            other[at] = wrong;
            assert!(unpack(1, &other).is_err(), "{wrong} at {at}");
        }
    }
}
