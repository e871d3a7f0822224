//! The rows that are not in the cache: in the working file, or on their way there.

use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread;

use millstream_actors::contract::StateError;
use redb::AccessGuard;

use super::batch::Batch;
use super::file::{Rows, WorkingFile};
use super::filter::Filter;
use super::pages::PageStore;
use super::rows::{RowBytes, SameKey, rows};

/// Who writes batches to the file.
enum Writing {
    /// A thread of its own: a transaction of some thousand rows takes milliseconds.
    Thread { batches: SyncSender<Arc<Batch>>, written: Receiver<Result<(), StateError>> },
    /// The caller, when it has asked so many times whether the batch is written.
    #[cfg(test)]
    Inline { polls: u32 },
}

/// The working file, and the batch that is being written to it.
pub(super) struct Disk {
    file: Arc<WorkingFile>,
    filter: Arc<Filter>,
    pages: Arc<PageStore>,
    writing: Writing,
    /// What is being written. It counts where the file says otherwise.
    leaving: Option<Arc<Batch>>,
    /// The state of the file of which the batch that is being written is no part, or all of it.
    reader: Option<Rows>,
}

impl Disk {
    /// Starts the thread that writes.
    pub(super) fn new(file: Arc<WorkingFile>, filter: Arc<Filter>, pages: Arc<PageStore>) -> Result<Self, StateError> {
        pages.set_file(&file);
        let (batches, to_write) = sync_channel::<Arc<Batch>>(1);
        let (done, written) = sync_channel(1);
        let writer_file = file.clone();
        let write = move || {
            while let Ok(batch) = to_write.recv() {
                let outcome = writer_file.write(&batch);
                drop(batch);
                if done.send(outcome).is_err() {
                    return;
                }
            }
        };
        let started = thread::Builder::new().name("millstream-state".to_owned()).spawn(write);
        started.map_err(|error| file.error("start the writer of", error.into()))?;
        let writing = Writing::Thread { batches, written };
        Ok(Self { file, filter, pages, writing, leaving: None, reader: None })
    }

    /// One that writes a batch in the `polls`th poll after it was given, so that tests run the same every time.
    #[cfg(test)]
    pub(super) fn inline(file: Arc<WorkingFile>, filter: Arc<Filter>, pages: Arc<PageStore>) -> Self {
        pages.set_file(&file);
        Self { file, filter, pages, writing: Writing::Inline { polls: 0 }, leaving: None, reader: None }
    }

    /// Whether a batch is being written.
    pub(super) fn is_writing(&self) -> bool {
        self.leaving.is_some()
    }

    /// Takes a sorted batch to write; there must be none.
    pub(super) fn write(&mut self, batch: Batch) -> Result<(), StateError> {
        assert!(self.leaving.is_none(), "one batch is written at a time");
        batch.iter().for_each(|(hash, _)| self.filter.insert(hash));
        let batch = Arc::new(batch);
        self.leaving = Some(batch.clone());
        self.pages.leaves(&batch);
        match &mut self.writing {
            Writing::Thread { batches, .. } => batches.send(batch).map_err(|_| self.no_writer()),
            #[cfg(test)]
            Writing::Inline { polls } => {
                *polls = 3;
                Ok(())
            }
        }
    }

    /// Looks whether the batch is written; with `wait`, until it is.
    pub(super) fn poll(&mut self, wait: bool) -> Result<(), StateError> {
        if self.leaving.is_none() {
            return Ok(());
        }
        let outcome = match &mut self.writing {
            Writing::Thread { written, .. } if wait => written.recv().unwrap_or_else(|_| Err(self.no_writer())),
            Writing::Thread { written, .. } => match written.try_recv() {
                Ok(outcome) => outcome,
                Err(TryRecvError::Empty) => return Ok(()),
                Err(TryRecvError::Disconnected) => Err(self.no_writer()),
            },
            #[cfg(test)]
            Writing::Inline { polls } => {
                *polls -= 1;
                if *polls > 0 && !wait {
                    return Ok(());
                }
                self.file.write(self.leaving.as_ref().expect("looked at above"))
            }
        };
        self.leaving = None;
        self.reader = None;
        self.pages.arrived();
        outcome
    }

    /// A panic on it has been reported where it happened.
    fn no_writer(&self) -> StateError {
        self.file.error("write to", "its writer has ended".into())
    }

    /// Whether there may be a row with this hash.
    #[inline]
    pub(super) fn may_contain(&self, hash: u64) -> bool {
        self.filter.may_contain(hash)
    }

    fn reader(&mut self) -> Result<&Rows, StateError> {
        if self.reader.is_none() {
            self.reader = Some(self.file.read()?);
        }
        Ok(self.reader.as_ref().expect("opened above"))
    }

    /// The rows with this hash.
    pub(super) fn get(&mut self, hash: u64) -> Result<Found, StateError> {
        let stored = self.reader()?.get(hash);
        let stored = stored.map_err(|error| self.file.error("read", error.into()))?;
        Ok(Found { hash, stored: Stored::Guard(stored), leaving: self.leaving.clone(), same_key: self.file.same_key })
    }

    /// The rows with hashes from `first` to `last`, of some `most` hashes, ascending; and the hash from which on none was
    /// looked at, unless all were.
    pub(super) fn range(
        &mut self,
        first: u64,
        last: u64,
        most: usize,
    ) -> Result<(Vec<Found>, Option<u64>), StateError> {
        let read = |error: redb::StorageError, file: &WorkingFile| file.error("read", error.into());
        let (mut stored, mut seen_to) = (Vec::new(), last);
        self.reader()?;
        let reader = self.reader.as_ref().expect("opened above");
        let mut range = reader.range(first..=last).map_err(|error| read(error, &self.file))?;
        for row in range.by_ref().take(most) {
            let (hash, value) = row.map_err(|error| read(error, &self.file))?;
            stored.push((hash.value(), value.value().to_vec()));
        }
        if stored.len() == most {
            seen_to = stored.last().map_or(last, |(hash, _)| *hash);
        }
        let mut found = Vec::with_capacity(stored.len());
        let mut stored = stored.into_iter().peekable();
        let leaving = self.leaving.clone();
        let mut hashes = leaving.iter().flat_map(|batch| batch.hashes(first, seen_to)).peekable();
        loop {
            let next = match (stored.peek(), hashes.peek()) {
                (None, None) => break,
                (Some((hash, _)), None) => *hash,
                (None, Some(hash)) => *hash,
                (Some((one, _)), Some(other)) => *one.min(other),
            };
            let value = stored.next_if(|(hash, _)| *hash == next).map(|(_, value)| value);
            while hashes.next_if_eq(&next).is_some() {}
            let (leaving, same_key) = (self.leaving.clone(), self.file.same_key);
            found.push(Found { hash: next, stored: Stored::Bytes(value), leaving, same_key });
        }
        Ok((found, seen_to.checked_add(1).filter(|next| *next <= last)))
    }

    /// An error in what was read.
    pub(super) fn damaged(&self, reason: String) -> StateError {
        self.file.error("read", reason.into())
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Disk({})", self.file.path().display())
    }
}

/// The rows with one hash.
pub(super) struct Found {
    pub(super) hash: u64,
    stored: Stored,
    leaving: Option<Arc<Batch>>,
    same_key: SameKey,
}

enum Stored {
    Guard(Option<AccessGuard<'static, &'static [u8]>>),
    Bytes(Option<Vec<u8>>),
}

impl Found {
    /// Each row as it counts; those that say that their key is gone are left out.
    pub(super) fn rows(&self) -> impl Iterator<Item = Result<RowBytes<'_>, String>> {
        let stored = match &self.stored {
            Stored::Guard(guard) => guard.as_ref().map_or(&[][..], |guard| guard.value()),
            Stored::Bytes(bytes) => bytes.as_deref().unwrap_or_default(),
        };
        let leaving = self.leaving.as_deref();
        let of_leaving = move || leaving.into_iter().flat_map(|batch| batch.of(self.hash));
        let is_replaced = move |key: &[u8]| {
            let mut same = of_leaving().map(|row| (self.same_key)(row?.key, key));
            same.find(|same| !matches!(same, Ok(false))).unwrap_or(Ok(false))
        };
        let newer = of_leaving().filter(|row| !row.as_ref().is_ok_and(RowBytes::is_gone));
        let older = rows(stored).filter_map(move |row| match row.and_then(|row| Ok((row, is_replaced(row.key)?))) {
            Ok((_, true)) => None,
            Ok((row, false)) => Some(Ok(row)),
            Err(reason) => Some(Err(reason)),
        });
        newer.chain(older)
    }
}
