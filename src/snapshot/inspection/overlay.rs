//! A file that redb may open for writing and that never changes: what is written stays in memory.
//!
//! redb opens a file after a crash only if it may write to it: it marks the header, and puts its notes of free pages in
//! order. So it writes here, over the file, and reads back what it wrote. The file is opened for reading alone.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::File;
use std::io;
use std::ops::Bound;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend};

const PAGE_BYTES: u64 = 4096;

/// The file below, and the pages that were written over it.
#[derive(Debug)]
pub(super) struct Overlay {
    below: FileBackend,
    written: Mutex<Written>,
}

#[derive(Debug)]
struct Written {
    len: u64,
    /// Bytes of the file below that show through; it was cut to that at some time.
    below_len: u64,
    pages: BTreeMap<u64, Box<[u8]>>,
}

impl Overlay {
    /// Opens the file at `path` for reading. It is locked, shared with other readers, when redb asks for its lock.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let len = file.metadata()?.len();
        let below = FileBackend::new(file).map_err(io::Error::other)?;
        Ok(Self { below, written: Mutex::new(Written { len, below_len: len, pages: BTreeMap::new() }) })
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads what the file has at `offset`, and zeros from `end` on.
    fn read_below(&self, offset: u64, out: &mut [u8], end: u64) -> io::Result<()> {
        let from_file = (end.saturating_sub(offset) as usize).min(out.len());
        let (there, beyond) = out.split_at_mut(from_file);
        beyond.fill(0);
        if there.is_empty() { Ok(()) } else { self.below.read(offset, there) }
    }
}

/// The parts of `[offset, offset + len)` by page: page number, where in it, and how many bytes.
fn by_page(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, usize)> {
    let end = offset + len as u64;
    let mut at = offset;
    std::iter::from_fn(move || {
        (at < end).then(|| {
            let (page, within) = (at / PAGE_BYTES, at % PAGE_BYTES);
            let bytes = (PAGE_BYTES - within).min(end - at);
            at += bytes;
            (page, within as usize, bytes as usize)
        })
    })
}

impl StorageBackend for Overlay {
    fn len(&self) -> io::Result<u64> {
        Ok(self.written().len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let written = self.written();
        if offset + out.len() as u64 > written.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.read_below(offset, out, written.below_len)?;
        if written.pages.is_empty() {
            return Ok(());
        }
        let mut done = 0;
        for (page, within, bytes) in by_page(offset, out.len()) {
            if let Some(page) = written.pages.get(&page) {
                out[done..done + bytes].copy_from_slice(&page[within..within + bytes]);
            }
            done += bytes;
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut written = self.written();
        written.len = len;
        written.below_len = written.below_len.min(len);
        let kept = len / PAGE_BYTES;
        written.pages.retain(|page, _| *page <= kept);
        if let Some(last) = written.pages.get_mut(&kept) {
            last[(len % PAGE_BYTES) as usize..].fill(0);
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut written = self.written();
        written.len = written.len.max(offset + data.len() as u64);
        let below_len = written.below_len;
        let mut done = 0;
        for (page, within, bytes) in by_page(offset, data.len()) {
            let content = match written.pages.entry(page) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(place) => {
                    let mut content = vec![0; PAGE_BYTES as usize].into_boxed_slice();
                    self.read_below(page * PAGE_BYTES, &mut content, below_len)?;
                    place.insert(content)
                }
            };
            content[within..within + bytes].copy_from_slice(&data[done..done + bytes]);
            done += bytes;
        }
        Ok(())
    }

    fn close(&self) -> io::Result<()> {
        self.below.close()
    }

    // redb asks for a writer's lock, alone. A shared one in its place keeps writers out, and lets readers in.
    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        let is_locked = self.below.try_lock_shared_range(start, end)?;
        let mut written = self.written();
        if is_locked && written.pages.is_empty() {
            // Whoever had it open until now may have left it with another length.
            written.len = self.below.len()?;
            written.below_len = written.len;
        }
        Ok(is_locked)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.below.try_lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.below.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.below.query_lock_range(start, end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_are_those_of_a_file_and_the_file_stays() {
        const SEED: u64 = 0x0071_2026;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let original: Vec<u8> = (0..20_000_u32).map(|at| (at * 7) as u8).collect();
        std::fs::write(&path, &original).unwrap();
        let overlay = Overlay::open(&path).unwrap();
        let mut expected = original.clone();
        let mut random = SEED;
        let mut below = |limit: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % limit
        };
        for round in 0..2_000 {
            match below(8) {
                0 => {
                    let len = below(40_000);
                    overlay.set_len(len).unwrap();
                    expected.resize(len as usize, 0);
                }
                1..=4 => {
                    let (at, byte) = (below(30_000) as usize, below(256) as u8);
                    let data = vec![byte; below(9_000) as usize + 1];
                    overlay.write(at as u64, &data).unwrap();
                    if expected.len() < at + data.len() {
                        expected.resize(at + data.len(), 0);
                    }
                    expected[at..at + data.len()].copy_from_slice(&data);
                }
                _ => {
                    let at = below(expected.len() as u64 + 1) as usize;
                    let mut out = vec![0; below((expected.len() - at) as u64 + 1) as usize];
                    overlay.read(at as u64, &mut out).unwrap();
                    assert_eq!(out, expected[at..at + out.len()], "seed {SEED} round {round}");
                }
            }
            assert_eq!(overlay.len().unwrap(), expected.len() as u64);
        }
        assert!(overlay.read(expected.len() as u64, &mut [0]).is_err(), "beyond the end");
        assert_eq!(std::fs::read(&path).unwrap(), original);
    }
}
