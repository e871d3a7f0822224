//! Where the entry of a key is, by the key's hash.

use crate::state::prefetch::prefetch_at;

/// No entry was in sight.
pub(in crate::state) const NOWHERE: u32 = u32::MAX;

/// Nothing was ever here: whoever looks for a key may stop.
const EMPTY: u32 = 0;
const WORDS_MIN: usize = 8;
/// So many words are fetched before the first of them is read, while an index is made.
const AHEAD: usize = 32;
/// A word has a place and at least one bit of a tag.
const WORDS_MAX: usize = 1 << 31;

/// Places by hash: open addressing over words of 32 bits, at most half of them in use.
///
/// The low bits of the hash choose the first word. The low bits of a word, as many as it takes to number all words, are
/// one more than a place; the others are a tag, some bits of the hash that neither choose the word nor the key group. So
/// one word says where a key probably is, and sixteen words lie in a cache line. A word whose place has gone keeps a tag
/// of ones and no place.
#[derive(Debug, Default)]
pub(super) struct HashIndex {
    /// None, or a power of two of them.
    words: Box<[u32]>,
    /// Those that are not empty.
    used: usize,
}

/// The bits of the hash from which a tag is taken.
#[inline]
fn tag_bits(hash: u64) -> u32 {
    (hash >> 16) as u32
}

impl HashIndex {
    /// The bits of a word that are a place. There must be words.
    #[inline]
    fn place_bits(&self) -> u32 {
        (self.words.len() - 1) as u32
    }

    /// Has the first word for this hash fetched.
    #[inline]
    pub(super) fn prefetch(&self, hash: u64) {
        let first = hash as u32 as usize & self.words.len().wrapping_sub(1);
        prefetch_at(self.words.as_ptr().wrapping_add(first), size_of::<u32>());
    }

    /// The place that the first word with the tag of this hash names.
    #[inline]
    pub(super) fn probable(&self, hash: u64) -> u32 {
        let words = &*self.words;
        if words.is_empty() {
            return NOWHERE;
        }
        let (place_bits, tag, last) = (self.place_bits(), tag_bits(hash), words.len() - 1);
        let mut at = hash as u32 as usize & last;
        loop {
            let word = words[at];
            // The mark of a place that has gone may have this tag: it names none.
            if (word ^ tag) <= place_bits || word == EMPTY {
                return (word & place_bits).wrapping_sub(1);
            }
            at = (at + 1) & last;
        }
    }

    /// The place of the key with this hash, among those that have its tag; `is_it` compares the key there.
    pub(super) fn find(&self, hash: u64, mut is_it: impl FnMut(usize) -> bool) -> Option<usize> {
        self.word_of(hash, &mut is_it).map(|at| self.place_in(at))
    }

    /// The word of the first place that has the tag of this hash and is the one.
    fn word_of(&self, hash: u64, mut is_it: impl FnMut(usize) -> bool) -> Option<usize> {
        if self.words.is_empty() {
            return None;
        }
        let (place_bits, last) = (self.place_bits(), self.words.len() - 1);
        let mut at = hash as u32 as usize & last;
        loop {
            let word = self.words[at];
            if word == EMPTY {
                return None;
            }
            if (word ^ tag_bits(hash)) <= place_bits && word & place_bits != 0 && is_it(self.place_in(at)) {
                return Some(at);
            }
            at = (at + 1) & last;
        }
    }

    #[inline]
    fn place_in(&self, word: usize) -> usize {
        (self.words[word] & self.place_bits()) as usize - 1
    }

    /// Whether one more place can be added.
    #[inline]
    pub(super) fn has_room(&self) -> bool {
        self.used < self.words.len() / 2
    }

    /// Adds a place that is not there, for which there must be room.
    pub(super) fn insert(&mut self, hash: u64, place: usize) {
        let (place_bits, last) = (self.place_bits(), self.words.len() - 1);
        let mut at = hash as u32 as usize & last;
        while self.words[at] & place_bits != 0 {
            at = (at + 1) & last;
        }
        self.used += usize::from(self.words[at] == EMPTY);
        self.words[at] = (tag_bits(hash) & !place_bits) | (place as u32 + 1);
    }

    /// Removes a place that is there.
    pub(super) fn remove(&mut self, hash: u64, place: usize) {
        let Some(at) = self.word_of(hash, |other| other == place) else { return };
        let last = self.words.len() - 1;
        // A look for another key goes on here only if it would go on to the next word.
        let is_end = self.words[(at + 1) & last] == EMPTY;
        self.words[at] = if is_end { EMPTY } else { !self.place_bits() };
        self.used -= usize::from(is_end);
    }

    /// Makes words anew, for so many places, of which these are there, each with its hash. Gives the first whose key was
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
        let words = (2 * places).next_power_of_two().max(WORDS_MIN);
        assert!(
            words <= WORDS_MAX,
            "more than {} keys in one key group: a larger max_parallelism makes smaller groups",
            WORDS_MAX / 2
        );
        *self = Self { words: vec![EMPTY; words].into(), used: 0 };
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
        size_of_val(&*self.words)
    }

    /// As many places as it has room for.
    pub(super) fn capacity(&self) -> usize {
        self.words.len() / 2
    }
}
