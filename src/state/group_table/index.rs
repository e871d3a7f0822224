//! Where the entry of a key is, by the key's hash.

use crate::state::prefetch::prefetch_line;

/// No entry was in sight.
pub(in crate::state) const NOWHERE: u32 = u32::MAX;

/// Nothing was ever here: whoever looks for a key need not look into another bucket.
const EMPTY: u32 = 0;
const BUCKETS_MIN: usize = 2;
/// So many buckets are fetched before the first of them is read, while an index is made.
const AHEAD: usize = 32;
/// A word has a place and at least one bit of a tag.
const WORDS_MAX: usize = 1 << 31;
/// Words to a bucket.
const WIDTH: usize = 4;

/// Words that are looked at together. None lies in two cache lines.
#[derive(Clone, Copy, Debug)]
#[repr(align(16))]
struct Bucket([u32; WIDTH]);

impl Bucket {
    const EMPTY: Self = Self([EMPTY; WIDTH]);

    /// A bit for each word that is this one in these bits. Without a branch: which word it is cannot be foretold.
    #[inline(always)]
    fn matches(&self, word: u32, bits: u32) -> u32 {
        let Self(words) = self;
        let is = |at: usize| u32::from((words[at] ^ word) & bits == 0) << at;
        is(0) | is(1) | is(2) | is(3)
    }

    /// A bit for each word in which nothing ever was.
    #[inline(always)]
    fn empty(&self) -> u32 {
        self.matches(EMPTY, u32::MAX)
    }
}

/// Places by hash: open addressing over buckets of four words of 32 bits, at most half of the words in use.
///
/// The low bits of the hash choose the first bucket; a key for which there is no room in it is in the next one. The low bits of
/// a word, as many as it takes to number all words, are one more than a place; the others are a tag, some bits of the hash
/// that neither choose the bucket nor the key group. So one look at a bucket says where a key probably is. A word whose place has
/// gone keeps a tag of ones and no place.
#[derive(Debug, Default)]
pub(super) struct HashIndex {
    /// None, or a power of two of them.
    buckets: Box<[Bucket]>,
    /// Words that are not empty.
    used: usize,
}

/// The bits of the hash from which a tag is taken.
#[inline]
fn tag_bits(hash: u64) -> u32 {
    (hash >> 16) as u32
}

impl HashIndex {
    /// The bits of a word that are a place. There must be buckets.
    #[inline]
    fn place_bits(&self) -> u32 {
        (self.buckets.len() * WIDTH - 1) as u32
    }

    /// Has the first bucket for this hash fetched.
    #[inline]
    pub(super) fn prefetch(&self, hash: u64) {
        let first = hash as u32 as usize & self.buckets.len().wrapping_sub(1);
        prefetch_line(self.buckets.as_ptr().wrapping_add(first));
    }

    /// The place that the first bucket names for the tag of this hash.
    #[inline]
    pub(super) fn probable(&self, hash: u64) -> u32 {
        let Some(bucket) = self.buckets.get(hash as u32 as usize & self.buckets.len().wrapping_sub(1)) else {
            return NOWHERE;
        };
        let place_bits = self.place_bits();
        let found = bucket.matches(tag_bits(hash), !place_bits);
        let word = bucket.0[found.trailing_zeros() as usize % WIDTH];
        // A mark with this tag has no place: the answer is NOWHERE then, even if the key's word is behind it.
        let word = if found == 0 { EMPTY } else { word };
        (word & place_bits).wrapping_sub(1)
    }

    /// The place of the key with this hash, among those that have its tag; `is_it` compares the key there.
    pub(super) fn find(&self, hash: u64, mut is_it: impl FnMut(usize) -> bool) -> Option<usize> {
        self.word_of(hash, &mut is_it).map(|(bucket, word)| self.place_in(bucket, word))
    }

    /// The word of the first place that has the tag of this hash and is the one.
    fn word_of(&self, hash: u64, mut is_it: impl FnMut(usize) -> bool) -> Option<(usize, usize)> {
        if self.buckets.is_empty() {
            return None;
        }
        let (place_bits, last) = (self.place_bits(), self.buckets.len() - 1);
        let mut at = hash as u32 as usize & last;
        loop {
            let bucket = &self.buckets[at];
            let mut found = bucket.matches(tag_bits(hash), !place_bits);
            while found != 0 {
                let word = found.trailing_zeros() as usize;
                if bucket.0[word] & place_bits != 0 && is_it(self.place_in(at, word)) {
                    return Some((at, word));
                }
                found &= found - 1;
            }
            if bucket.empty() != 0 {
                return None;
            }
            at = (at + 1) & last;
        }
    }

    #[inline]
    fn place_in(&self, bucket: usize, word: usize) -> usize {
        (self.buckets[bucket].0[word] & self.place_bits()) as usize - 1
    }

    /// Whether one more place can be added.
    #[inline]
    pub(super) fn has_room(&self) -> bool {
        self.used < self.capacity()
    }

    /// Adds a place that is not there, for which there must be room.
    pub(super) fn insert(&mut self, hash: u64, place: usize) {
        let (place_bits, last) = (self.place_bits(), self.buckets.len() - 1);
        let mut at = hash as u32 as usize & last;
        let word = loop {
            match self.buckets[at].matches(EMPTY, place_bits) {
                0 => at = (at + 1) & last,
                free => break &mut self.buckets[at].0[free.trailing_zeros() as usize],
            }
        };
        self.used += usize::from(*word == EMPTY);
        *word = (tag_bits(hash) & !place_bits) | (place as u32 + 1);
    }

    /// Removes a place that is there.
    pub(super) fn remove(&mut self, hash: u64, place: usize) {
        let Some((at, word)) = self.word_of(hash, |other| other == place) else { return };
        let place_bits = self.place_bits();
        let bucket = &mut self.buckets[at];
        // A look for another key goes on to the next bucket only if this one is full.
        let is_end = bucket.empty() != 0;
        bucket.0[word] = if is_end { EMPTY } else { !place_bits };
        self.used -= usize::from(is_end);
    }

    /// Makes buckets anew, for so many places, of which these are there, each with its hash. Gives the first whose key was
    /// there already, if `is_same` is true of the two places.
    ///
    /// # Panics
    /// If there would be more than 2^30 places.
    pub(super) fn rebuild(
        &mut self,
        places: usize,
        present: impl Iterator<Item = (u64, usize)>,
        mut is_same: impl FnMut(usize, usize) -> bool,
    ) -> Option<usize> {
        let words = (2 * places).next_power_of_two().max(BUCKETS_MIN * WIDTH);
        assert!(
            words <= WORDS_MAX,
            "more than {} keys in one key group: a larger max_parallelism makes smaller groups",
            WORDS_MAX / 2
        );
        *self = Self { buckets: vec![Bucket::EMPTY; words / WIDTH].into(), used: 0 };
        let mut present = present.fuse();
        let mut ahead = Vec::with_capacity(AHEAD);
        loop {
            ahead.extend(present.by_ref().take(AHEAD).inspect(|(hash, _)| self.prefetch(*hash)));
            if ahead.is_empty() {
                return None;
            }
            for (hash, place) in ahead.drain(..) {
                if self.find(hash, |other| is_same(other, place)).is_some() {
                    return Some(place);
                }
                self.insert(hash, place);
            }
        }
    }

    pub(super) fn allocated_bytes(&self) -> usize {
        size_of_val(&*self.buckets)
    }

    /// As many places as it has room for.
    pub(super) fn capacity(&self) -> usize {
        self.buckets.len() * WIDTH / 2
    }
}
