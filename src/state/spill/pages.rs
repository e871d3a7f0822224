//! Pages of large maps: on their way to the working file, or there.
//!
//! A page is looked for among those that wait, then in the batch that is being written, then in the file. It is stored with a
//! checksum (xxh3-64), which is looked at whenever it is read: it is read within a call of the user's function, which must
//! not be given what is damaged.

use std::collections::BTreeMap;
use std::fmt;
use std::mem;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use millstream_actors::contract::StateError;
use xxhash_rust::xxh3::xxh3_64;

use super::batch::Batch;
use super::file::{Pages, WorkingFile};
use super::place::SpillPlace;
use crate::state::set::{PageLost, Pager, Paging};

/// As many bytes are worth a transaction.
const WAITING_BYTES: usize = if cfg!(test) { 100 } else { 1 << 20 };
/// With as many, records wait until they are on their way.
const WAITING_BYTES_MAX: usize = if cfg!(test) { 1_000 } else { 8 << 20 };

/// What becomes of pages in a transaction: their bytes, or that they are gone.
pub(super) type ChangedPages = BTreeMap<u64, Option<Vec<u8>>>;

/// The pages of all rows of a backend.
pub(super) struct PageStore {
    place: SpillPlace,
    /// Pages in memory may have so many bytes.
    held_max: usize,
    held: AtomicUsize,
    next: AtomicU64,
    waiting_bytes: AtomicUsize,
    has_failed: AtomicBool,
    inner: Mutex<Inner>,
    /// Pages read from the file, or on their way there.
    #[cfg(test)]
    pub(super) reads: AtomicUsize,
}

#[derive(Default)]
struct Inner {
    waiting: ChangedPages,
    leaving: Option<Arc<Batch>>,
    file: Option<Arc<WorkingFile>>,
    /// The state of the file of which the batch that is being written is no part, or all of it.
    reader: Option<Pages>,
    failure: Option<StateError>,
}

impl PageStore {
    /// One that may have so many bytes of pages in memory.
    pub(super) fn new(place: SpillPlace, held_max: usize) -> Self {
        Self {
            place,
            held_max,
            held: AtomicUsize::new(0),
            next: AtomicU64::new(0),
            waiting_bytes: AtomicUsize::new(0),
            has_failed: AtomicBool::new(false),
            inner: Mutex::default(),
            #[cfg(test)]
            reads: AtomicUsize::new(0),
        }
    }

    /// The pages of rows in the cache, and those of rows that are only looked at.
    pub(super) fn paging(self: &Arc<Self>) -> [Paging; 2] {
        [false, true].map(|is_copy| Paging { pager: self.clone(), is_copy })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where pages are from now on that have been written.
    pub(super) fn set_file(&self, file: &Arc<WorkingFile>) {
        self.inner().file = Some(file.clone());
    }

    /// Whether a batch should be written for the sake of pages.
    #[inline]
    pub(super) fn presses(&self) -> bool {
        self.waiting_bytes() >= WAITING_BYTES || self.held() > self.held_max
    }

    /// Whether records should wait until one is.
    #[inline]
    pub(super) fn presses_hard(&self) -> bool {
        self.has_many_waiting() || self.held() > self.held_max / 4 * 5
    }

    /// Whether those that wait must leave.
    #[inline]
    pub(super) fn has_many_waiting(&self) -> bool {
        self.waiting_bytes() >= WAITING_BYTES_MAX
    }

    /// Bytes of those that wait.
    #[inline]
    pub(super) fn waiting_bytes(&self) -> usize {
        self.waiting_bytes.load(Ordering::Relaxed)
    }

    #[inline]
    pub(super) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// Those that wait, to be written.
    pub(super) fn take_waiting(&self) -> ChangedPages {
        let mut inner = self.inner();
        self.waiting_bytes.store(0, Ordering::Relaxed);
        mem::take(&mut inner.waiting)
    }

    /// A batch is being written.
    pub(super) fn leaves(&self, batch: &Arc<Batch>) {
        self.inner().leaving = Some(batch.clone());
    }

    /// It is written.
    pub(super) fn arrived(&self) {
        let mut inner = self.inner();
        (inner.leaving, inner.reader) = (None, None);
    }

    /// Why a page could not be read, once.
    #[inline]
    pub(super) fn failure(&self) -> Option<StateError> {
        if self.has_failed.load(Ordering::Relaxed) { self.inner().failure.take() } else { None }
    }

    /// A page as it is stored, with its checksum.
    fn stored(&self, inner: &mut Inner, page: u64) -> Result<Vec<u8>, StateError> {
        let changed = inner.waiting.get(&page).or_else(|| inner.leaving.as_ref()?.pages.get(&page));
        if let Some(changed) = changed {
            return changed.clone().ok_or_else(|| self.damaged(format!("page {page} was freed")));
        }
        let missing = || self.damaged(format!("page {page} is missing"));
        let Some(file) = &inner.file else { return Err(missing()) };
        if inner.reader.is_none() {
            inner.reader = Some(file.read_pages()?);
        }
        let found = inner.reader.as_ref().expect("opened above").get(page);
        let found = found.map_err(|error| file.error("read", error.into()))?;
        found.map(|found| found.value().to_vec()).ok_or_else(missing)
    }

    fn damaged(&self, reason: String) -> StateError {
        let file = self.place.dir.clone();
        StateError::WorkingFile { operator: self.place.operator.clone(), file, action: "read", source: reason.into() }
    }

    fn fail(&self, inner: &mut Inner, error: StateError) -> PageLost {
        inner.failure.get_or_insert(error);
        self.has_failed.store(true, Ordering::Relaxed);
        PageLost::new()
    }

    fn put(&self, page: u64, changed: Option<Vec<u8>>) {
        // A page that is gone takes a place, too.
        let bytes = |changed: &Option<Vec<u8>>| changed.as_ref().map_or(0, Vec::len) + size_of::<u64>();
        let more = bytes(&changed);
        let mut inner = self.inner();
        let less = inner.waiting.insert(page, changed).as_ref().map_or(0, bytes);
        self.waiting_bytes.store((self.waiting_bytes() + more).saturating_sub(less), Ordering::Relaxed);
    }
}

impl Pager for PageStore {
    fn fresh(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    fn read(&self, page: u64) -> Result<Vec<u8>, PageLost> {
        #[cfg(test)]
        self.reads.fetch_add(1, Ordering::Relaxed);
        let mut inner = self.inner();
        let stored = match self.stored(&mut inner, page) {
            Ok(stored) => stored,
            Err(error) => return Err(self.fail(&mut inner, error)),
        };
        match stored.split_last_chunk::<8>() {
            Some((bytes, checksum)) if xxh3_64(bytes) == u64::from_le_bytes(*checksum) => {
                let len = bytes.len();
                let mut bytes = stored;
                bytes.truncate(len);
                Ok(bytes)
            }
            _ => {
                let error = match &inner.file {
                    Some(file) => file.error("read", format!("page {page} is damaged").into()),
                    None => self.damaged(format!("page {page} is damaged")),
                };
                Err(self.fail(&mut inner, error))
            }
        }
    }

    fn write(&self, page: u64, mut bytes: Vec<u8>) {
        let checksum = xxh3_64(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        self.put(page, Some(bytes));
    }

    fn free(&self, page: u64) {
        self.put(page, None);
    }

    fn unreadable(&self, reason: String) -> PageLost {
        let mut inner = self.inner();
        let file = inner.file.as_ref().map_or(&*self.place.dir, |file| file.path()).to_owned();
        let error = StateError::Unreadable { operator: self.place.operator.clone(), file, reason };
        self.fail(&mut inner, error)
    }

    fn hold(&self, bytes: usize) {
        self.held.fetch_add(bytes, Ordering::Relaxed);
    }

    fn let_go(&self, bytes: usize) {
        self.held.fetch_sub(bytes, Ordering::Relaxed);
    }

    #[inline]
    fn is_full(&self) -> bool {
        self.held() > self.held_max
    }
}

impl fmt::Debug for PageStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PageStore({} bytes in memory, {} on their way)", self.held(), self.waiting_bytes())
    }
}
