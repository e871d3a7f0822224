//! Which pages of a map are in memory, a bit for each.

use std::cell::Cell;

/// The pages in memory, by their places.
#[derive(Debug, Default)]
pub(super) struct Resident {
    words: Vec<Cell<u64>>,
    count: Cell<usize>,
}

impl Resident {
    const BITS: usize = u64::BITS as usize;

    /// Begins anew: for each place, whether its page is in memory.
    pub(super) fn reset(&mut self, pages: impl ExactSizeIterator<Item = bool>) {
        self.words.clear();
        self.words.resize(pages.len().div_ceil(Self::BITS), Cell::new(0));
        self.count.set(0);
        pages.enumerate().filter(|(_, is_in_memory)| *is_in_memory).for_each(|(place, _)| self.insert(place));
    }

    /// A page is added behind all others, in memory.
    pub(super) fn push(&mut self, place: usize) {
        if place / Self::BITS == self.words.len() {
            self.words.push(Cell::new(0));
        }
        self.insert(place);
    }

    /// A page that was not in memory is.
    pub(super) fn insert(&self, place: usize) {
        let word = &self.words[place / Self::BITS];
        word.set(word.get() | 1 << (place % Self::BITS));
        self.count.set(self.count.get() + 1);
    }

    /// A page that was in memory is not any more.
    pub(super) fn remove(&self, place: usize) {
        let word = &self.words[place / Self::BITS];
        word.set(word.get() & !(1 << (place % Self::BITS)));
        self.count.set(self.count.get() - 1);
    }

    /// How many are in memory.
    pub(super) fn len(&self) -> usize {
        self.count.get()
    }

    /// The first from this place on, or the first of all if there is none.
    pub(super) fn next(&self, from: usize) -> Option<usize> {
        let words = self.words.iter().enumerate().skip(from / Self::BITS);
        let not_before = |index: usize| if index == from / Self::BITS { !0 << (from % Self::BITS) } else { !0 };
        let behind = words.map(|(index, word)| (index, word.get() & not_before(index)));
        let all = self.words.iter().enumerate().map(|(index, word)| (index, word.get()));
        let found = behind.chain(all).find(|(_, word)| *word > 0)?;
        Some(found.0 * Self::BITS + found.1.trailing_zeros() as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_one_is_found_from_any_place_on() {
        let mut resident = Resident::default();
        assert_eq!((resident.next(0), resident.next(70)), (None, None));
        resident.reset((0..130).map(|place| place % 64 == 3));
        assert_eq!(resident.len(), 2);
        assert_eq!([0, 3, 4, 67, 68, 129, 500].map(|from| resident.next(from)), [3, 3, 67, 67, 3, 3, 3].map(Some));
        (130..200).for_each(|place| resident.push(place));
        (3..200).filter(|place| *place < 130 && place % 64 == 3).for_each(|place| resident.remove(place));
        assert_eq!(
            (resident.len(), resident.next(0), resident.next(199), resident.next(200)),
            (70, Some(130), Some(199), Some(130))
        );
    }
}
