//! What a backend shares with the threads that load its key groups, and how large its parts may be.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use millstream_actors::contract::{StateError, StateScope};

use super::file::WorkingFile;
use super::filter::Filter;
use super::pages::PageStore;
use super::place::SpillPlace;
use super::rows::{RowBytes, SameKey};
use crate::state::StateRows;
use crate::state::set::Paging;

/// How large the cache may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct CacheLimits {
    /// Above this many rows some are evicted, while others are worked on.
    pub(super) rows: usize,
    /// Above this many, before others are worked on.
    pub(super) rows_max: usize,
    /// Bytes for the rows.
    bytes: usize,
    /// Rows of one group for which its table is made at once, when it has outgrown small ones: a table that grew by
    /// doubling would leave holes of its own size in the heap.
    pub(super) group_rows: usize,
    pub(super) filter_bytes: usize,
    /// Bytes of the pages of the file that redb keeps.
    pub(super) page_bytes: usize,
    /// Bytes of pages of large maps.
    pub(super) map_bytes: usize,
}

impl CacheLimits {
    /// The limits for `groups` tables with entries of type `T` in `bytes` all in all: an eighth for the filter, up to
    /// three quarters for the tables, as large as they can be by powers of two, the rest for pages of the file. If the rows
    /// have maps, a third of what is for the tables is for pages of large ones, and rows have so much less on the heap.
    pub(super) fn of<T>(groups: usize, bytes: usize, has_maps: bool) -> Self {
        let groups = groups.max(1);
        let for_rows = bytes / 4 * 3;
        let per_group = (for_rows / groups / (size_of::<T>() + 1)).max(8);
        let buckets = 1usize << per_group.ilog2();
        // A table of so many buckets holds seven eighths of them. Groups lose rows in turns, and have a third more than
        // the average before it is theirs.
        let group_rows = (buckets / 8 * 7).max(6);
        let rows_max = groups * group_rows / 10 * 7;
        let tables = groups * buckets * (size_of::<T>() + 1);
        let filter_bytes = bytes / 8;
        let page_bytes = bytes.saturating_sub(tables + filter_bytes).max(64 << 10);
        let map_bytes = if has_maps { tables / 3 } else { 0 };
        let bytes = tables - map_bytes;
        Self { rows: rows_max / 8 * 7, rows_max, bytes, group_rows, filter_bytes, page_bytes, map_bytes }
    }

    /// Limits for tests: so few rows that everything is evicted again and again.
    #[cfg(test)]
    pub(super) fn of_rows(rows: usize) -> Self {
        let rows_max = rows + rows / 4;
        let (filter_bytes, page_bytes, map_bytes) = (1 << 10, 64 << 10, rows * 64);
        Self { rows, rows_max, bytes: usize::MAX, group_rows: 6, filter_bytes, page_bytes, map_bytes }
    }

    /// Counts what rows hold on the heap, of which it is known only how long they are as bytes.
    pub(super) fn counting_heap<T>(self, row_bytes: usize) -> Self {
        let rows_max = self.rows_max.min(self.bytes / (size_of::<T>() * 8 / 7 + row_bytes)).max(16);
        Self { rows: self.rows.min(rows_max / 10 * 9), rows_max, ..self }
    }
}

/// What the threads that load key groups share with the backend.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) place: SpillPlace,
    pub(super) limits: CacheLimits,
    same_key: SameKey,
    filter: OnceLock<Arc<Filter>>,
    file: OnceLock<Arc<WorkingFile>>,
    creating: Mutex<()>,
    pub(super) pages: Arc<PageStore>,
    /// How rows in the cache get at their pages.
    pub(super) own_pages: Paging,
    /// How rows do that are only looked at.
    pub(super) looked_at: Paging,
}

impl Shared {
    pub(super) fn new(place: SpillPlace, limits: CacheLimits, same_key: SameKey) -> Self {
        let (filter, file) = (OnceLock::new(), OnceLock::new());
        let pages = Arc::new(PageStore::new(place.clone(), limits.map_bytes));
        let ([own_pages, looked_at], creating) = (pages.paging(), Mutex::new(()));
        Self { place, limits, same_key, filter, file, creating, pages, own_pages, looked_at }
    }

    /// The filter of what is on the disk.
    pub(super) fn filter(&self) -> &Arc<Filter> {
        self.filter.get_or_init(|| Arc::new(Filter::new(self.limits.filter_bytes)))
    }

    /// The working file, created with its first use: state that fits into the cache needs none.
    pub(super) fn file(&self) -> Result<&Arc<WorkingFile>, StateError> {
        let _one = self.creating.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = self.file.get() {
            return Ok(file);
        }
        let file = WorkingFile::create(&self.place, self.limits.page_bytes, self.same_key)?;
        let file = self.file.get_or_init(|| Arc::new(file));
        self.pages.set_file(file);
        Ok(file)
    }

    /// The error of a row that cannot be stored because of this of its states.
    pub(super) fn cannot_store(&self, states: &impl StateRows, state: usize, group: u32, reason: String) -> StateError {
        StateError::Encode {
            operator: self.place.operator.clone(),
            state: states.names()[state].clone(),
            scope: StateScope::KeyGroup(group),
            version: states.formats()[state].version,
            reason,
        }
    }

    /// The error of a row that was read from the working file and is none of what its types read.
    pub(super) fn cannot_read(&self, row: &RowBytes<'_>, reason: String) -> StateError {
        let (operator, file) = (self.place.operator.clone(), self.file_name());
        match row.is_sound() {
            true => StateError::Unreadable { operator, file, reason },
            false => StateError::WorkingFile { operator, file, action: "read", source: reason.into() },
        }
    }

    /// The working file, or the folder in which it would be.
    pub(super) fn file_name(&self) -> PathBuf {
        self.existing_file().map_or(&*self.place.dir, |file| file.path()).to_owned()
    }

    /// The working file, if there is one.
    pub(super) fn existing_file(&self) -> Option<&Arc<WorkingFile>> {
        self.file.get()
    }
}
