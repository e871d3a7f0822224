//! Rows on their way from the cache to the working file.

use super::pages::ChangedPages;
use super::rows::{RowBytes, put_gone, rows};

/// Rows that leave the cache together, by hash, and pages of large maps. Until they are in the file they are read here.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// Hash, and where the row is in `bytes`.
    places: Vec<(u64, usize, usize)>,
    bytes: Vec<u8>,
    is_sorted: bool,
    /// Pages that rows of this batch or of others have.
    pub(super) pages: ChangedPages,
}

impl Batch {
    /// One without rows.
    pub(super) fn of_pages(pages: ChangedPages) -> Self {
        Self { pages, is_sorted: true, ..Self::default() }
    }

    /// Adds the row that `put` appends.
    pub(super) fn push<E>(&mut self, hash: u64, put: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Result<(), E> {
        let start = self.bytes.len();
        put(&mut self.bytes)?;
        self.places.push((hash, start, self.bytes.len()));
        self.is_sorted = false;
        Ok(())
    }

    /// Adds that a key, as it is stored, is gone.
    pub(super) fn push_gone(&mut self, hash: u64, key: &[u8]) {
        let start = self.bytes.len();
        put_gone(key, &mut self.bytes);
        self.places.push((hash, start, self.bytes.len()));
        self.is_sorted = false;
    }

    /// Number of rows.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there is no row.
    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Bytes of all rows.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// To be called before it is read.
    pub(super) fn sort(&mut self) {
        self.places.sort_unstable();
        self.is_sorted = true;
    }

    /// All rows by ascending hash, as they are stored.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &[u8])> {
        debug_assert!(self.is_sorted);
        self.places.iter().map(|(hash, start, end)| (*hash, &self.bytes[*start..*end]))
    }

    /// The rows with this hash.
    pub(super) fn of(&self, hash: u64) -> impl Iterator<Item = Result<RowBytes<'_>, String>> {
        debug_assert!(self.is_sorted);
        let first = self.places.partition_point(|place| place.0 < hash);
        let found = self.places[first..].iter().take_while(move |place| place.0 == hash);
        found.flat_map(|(_, start, end)| rows(&self.bytes[*start..*end]))
    }

    /// The hashes from `first` to `last`, ascending.
    pub(super) fn hashes(&self, first: u64, last: u64) -> impl Iterator<Item = u64> {
        let from = self.places.partition_point(|place| place.0 < first);
        self.places[from..].iter().map(|place| place.0).take_while(move |hash| *hash <= last)
    }
}
