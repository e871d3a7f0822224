//! Which keys are surely not in the working file: so that new keys cost no look-up there.

use std::sync::atomic::{AtomicU64, Ordering};

/// A Bloom filter in blocks of one cache line (Putze, Sanders, Singler: Cache-, Hash- and Space-Efficient Bloom Filters,
/// 2007), of a fixed size: with more keys it only errs more often. Keys are not taken out of it.
#[derive(Debug)]
pub(super) struct Filter {
    words: Vec<AtomicU64>,
}

impl Filter {
    const BLOCK_WORDS: usize = 8;
    const BITS_PER_KEY: u32 = 4;

    /// A filter of at most `bytes`, or one block.
    pub(super) fn new(bytes: usize) -> Self {
        let blocks = (bytes / (8 * Self::BLOCK_WORDS)).max(1);
        let mut words = Vec::new();
        words.resize_with(blocks * Self::BLOCK_WORDS, || AtomicU64::new(0));
        Self { words }
    }

    /// The word and bit of each of a key's marks.
    fn marks(&self, hash: u64) -> impl Iterator<Item = (&AtomicU64, u64)> {
        // Keys of one subtask share the top bits of their hash.
        let mixed = (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let blocks = (self.words.len() / Self::BLOCK_WORDS) as u64;
        let block = (((mixed >> 32) * blocks) >> 32) as usize * Self::BLOCK_WORDS;
        let bits = mixed.wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (0..Self::BITS_PER_KEY).map(move |mark| {
            let bit = (bits >> (64 - 9 * (mark + 1))) as usize % 512;
            (&self.words[block + bit / 64], 1 << (bit % 64))
        })
    }

    /// The key with this hash is in the file from now on.
    pub(super) fn insert(&self, hash: u64) {
        for (word, bit) in self.marks(hash) {
            word.fetch_or(bit, Ordering::Relaxed);
        }
    }

    /// False: no key with this hash was ever inserted.
    #[inline]
    pub(super) fn may_contain(&self, hash: u64) -> bool {
        self.marks(hash).all(|(word, bit)| word.load(Ordering::Relaxed) & bit != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::stable_hash;

    #[test]
    fn keys_that_were_inserted_are_found_and_few_others() {
        let filter = Filter::new(100_000);
        let inserted = 0..100_000u64;
        inserted.clone().for_each(|key| filter.insert(stable_hash(&key)));
        assert!(inserted.clone().all(|key| filter.may_contain(stable_hash(&key))));
        let wrong = (1_000_000..1_100_000u64).filter(|key| filter.may_contain(stable_hash(key))).count();
        assert!(wrong < 5_000, "{wrong} of 100,000 at 8 bits a key");
    }
}
