//! The hash that decides which key group a key belongs to. It is written into snapshots by way of the groups, so it
//! never changes.
//!
//! std's `Hash` describes a value to a hasher piece by piece, and that description differs between platforms (the width
//! of lengths and discriminants). [`StableHasher`] normalises it: every integer up to 64 bits counts as a `u64`
//! (signed ones sign-extended), 128-bit ones as two, low half first, and byte strings by xxh3. Slices of integers wider
//! than a byte reach a hasher as bytes in the machine's order; such keys hash otherwise on a big-endian machine, and
//! their state is moved to its groups when it is loaded there.
//!
//! The combining step is the folded multiplication of wyhash and foldhash.

use std::hash::{Hash, Hasher};

use xxhash_rust::xxh3::xxh3_64;

/// Digits of pi, as in foldhash.
const SEED: u64 = 0x243f_6a88_85a3_08d3;
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
const FINISHER: u64 = 0xbf58_476d_1ce4_e5b9;

/// A [`Hasher`] with one result on every platform and for ever; see the module.
#[derive(Clone, Debug)]
pub(crate) struct StableHasher {
    state: u64,
}

impl Default for StableHasher {
    fn default() -> Self {
        Self { state: SEED }
    }
}

#[inline]
fn fold_multiply(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ ((product >> 64) as u64)
}

impl Hasher for StableHasher {
    #[inline]
    fn finish(&self) -> u64 {
        // A bijection: spreads the low bits, which choose the bucket, over the high ones, which choose the group.
        let mixed = (self.state ^ (self.state >> 32)).wrapping_mul(FINISHER);
        mixed ^ (mixed >> 32)
    }

    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        self.write_u64(xxh3_64(bytes));
    }

    #[inline]
    fn write_u8(&mut self, value: u8) {
        self.write_u64(u64::from(value));
    }

    #[inline]
    fn write_u16(&mut self, value: u16) {
        self.write_u64(u64::from(value));
    }

    #[inline]
    fn write_u32(&mut self, value: u32) {
        self.write_u64(u64::from(value));
    }

    #[inline]
    fn write_u64(&mut self, value: u64) {
        self.state = fold_multiply(self.state ^ value, MULTIPLIER);
    }

    #[inline]
    fn write_u128(&mut self, value: u128) {
        self.write_u64(value as u64);
        self.write_u64((value >> 64) as u64);
    }

    #[inline]
    fn write_usize(&mut self, value: usize) {
        self.write_u64(value as u64);
    }

    #[inline]
    fn write_i8(&mut self, value: i8) {
        self.write_u64(i64::from(value) as u64);
    }

    #[inline]
    fn write_i16(&mut self, value: i16) {
        self.write_u64(i64::from(value) as u64);
    }

    #[inline]
    fn write_i32(&mut self, value: i32) {
        self.write_u64(i64::from(value) as u64);
    }

    #[inline]
    fn write_i64(&mut self, value: i64) {
        self.write_u64(value as u64);
    }

    #[inline]
    fn write_i128(&mut self, value: i128) {
        self.write_u128(value as u128);
    }

    #[inline]
    fn write_isize(&mut self, value: isize) {
        self.write_u64(value as i64 as u64);
    }
}

/// The stable hash of a key. A key and what it borrows as (`String` and `str`) hash alike.
#[inline]
pub(crate) fn stable_hash<K: Hash + ?Sized>(key: &K) -> u64 {
    let mut hasher = StableHasher::default();
    key.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::group_of_hash;

    #[derive(Hash)]
    enum Kind {
        Plain,
        With(u16),
    }

    #[test]
    fn pinned_keys_hash_as_ever() {
        assert_eq!(stable_hash(&0u64), 0xe2f6_4f86_3baf_76a4);
        assert_eq!(stable_hash(&1u64), 0x9a92_e048_a03e_e83d);
        assert_eq!(stable_hash(&u64::MAX), 0xb00e_33f0_3652_8b1d);
        assert_eq!(stable_hash(&-1i8), stable_hash(&u64::MAX));
        assert_eq!(stable_hash(&(1u32, 2u64)), 0x47dc_3a53_b0f0_ffee);
        assert_eq!(stable_hash(""), 0x594e_2b77_5832_484d);
        assert_eq!(stable_hash("UA"), 0x5e04_1073_2c04_1f3f);
        assert_eq!(stable_hash(&("UA".to_owned(), "EWR".to_owned())), 0x239f_4d8b_739b_c8f9);
        assert_eq!(stable_hash(&Kind::Plain), 0xe2f6_4f86_3baf_76a4);
        assert_eq!(stable_hash(&Kind::With(7)), 0x811b_b183_49c3_95b9);
        assert_eq!(stable_hash(&vec![1u8, 2, 3]), 0x0064_885a_b37e_42ff);
        assert_eq!(stable_hash(&(1u128 << 64)), 0xac8a_f140_83a3_4fc5);
    }

    #[test]
    fn integers_of_every_width_hash_as_u64() {
        assert_eq!(stable_hash(&7usize), stable_hash(&7u64));
        assert_eq!(stable_hash(&7u8), stable_hash(&7u32));
        assert_eq!(stable_hash(&-7isize), stable_hash(&-7i64));
    }

    #[test]
    fn borrowed_forms_hash_as_their_owners() {
        for text in ["", "a", "twenty-four bytes of text", &"x".repeat(1000)] {
            assert_eq!(stable_hash(text), stable_hash(&text.to_owned()));
            assert_eq!(stable_hash(&text), stable_hash(text));
        }
        assert_eq!(stable_hash(&[1u8, 2][..]), stable_hash(&vec![1u8, 2]));
    }

    #[test]
    fn splitting_a_pair_of_strings_elsewhere_changes_the_hash() {
        assert_ne!(stable_hash(&("ab", "c")), stable_hash(&("a", "bc")));
    }

    #[test]
    fn regular_keys_spread_over_groups_and_buckets() {
        const KEYS: u64 = 1 << 16;
        for shift in [0, 1, 3, 8, 16, 20, 32, 40, 48] {
            let mut groups = [0u32; 128];
            let mut buckets = vec![0u32; 128];
            for i in 0..KEYS {
                let hash = stable_hash(&(i << shift));
                groups[group_of_hash(hash, 128) as usize] += 1;
                buckets[(hash.rotate_left(32) & 127) as usize] += 1;
            }
            let expected = (KEYS / 128) as u32;
            for count in groups.iter().chain(&buckets) {
                assert!(count.abs_diff(expected) < expected / 4, "shift {shift}: {count} of about {expected}");
            }
        }
    }
}
