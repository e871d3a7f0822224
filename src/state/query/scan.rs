//! How far a scan is, and which rows of a group come next: by ascending hash, so that a page does not depend on where rows are.

use std::collections::{BinaryHeap, VecDeque};

/// How far a scan is.
#[derive(Debug)]
pub struct GroupScan {
    /// The next hash: all below have been shown.
    pub(crate) next: u64,
    /// The hashes that come next in a group, as far as they have been gathered.
    pub(crate) nearest: Option<Nearest>,
    /// The gathering that is under way.
    pub(super) gathering: Option<Gathering>,
}

/// The least hashes of some rows, ascending.
#[derive(Debug)]
pub(crate) struct Nearest {
    pub(crate) hashes: VecDeque<u64>,
    /// No others of these rows are up to here.
    pub(crate) up_to: u64,
}

/// A pass through the places of a table.
#[derive(Debug)]
pub(super) struct Gathering {
    pub(super) place: usize,
    /// How often the table's entries had been moved.
    pub(super) moves: u32,
    pub(super) least: Least,
}

/// Keeps the least of the hashes that it is given.
#[derive(Debug)]
pub(crate) struct Least {
    most: usize,
    hashes: BinaryHeap<u64>,
    /// Some were left out.
    is_cut: bool,
}

impl Least {
    /// At most so many of them.
    pub(crate) fn new(most: usize) -> Self {
        Self { most, hashes: BinaryHeap::new(), is_cut: false }
    }

    pub(crate) fn push(&mut self, hash: u64) {
        if self.hashes.len() < self.most {
            self.hashes.push(hash);
        } else if self.hashes.peek().is_some_and(|greatest| hash < *greatest) {
            self.hashes.pop();
            self.hashes.push(hash);
            self.is_cut = true;
        } else {
            self.is_cut = true;
        }
    }

    /// Those that it has, where all were given that are not above `last`.
    pub(crate) fn nearest(self, last: u64) -> Nearest {
        let mut hashes = self.hashes.into_sorted_vec();
        let up_to = hashes.last().copied().filter(|_| self.is_cut).unwrap_or(last);
        hashes.dedup();
        Nearest { hashes: hashes.into(), up_to }
    }
}

impl GroupScan {
    pub(crate) fn from(next: u64) -> Self {
        Self { next, nearest: None, gathering: None }
    }

    /// All up to this hash has been shown.
    pub(crate) fn shown_to(&mut self, hash: u64) {
        self.next = hash.saturating_add(1);
        (self.nearest, self.gathering) = (None, None);
    }
}
