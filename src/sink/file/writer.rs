//! Writes the records of one subtask.

use std::io;
use std::mem;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use millstream_actors::contract::{Batch, Clock, PendingCommit, SinkError, SinkWriter};
use millstream_actors::protocol::CheckpointId;
use xxhash_rust::xxh3::Xxh3Default;

use super::disk::DiskFile;
use super::error::FileSinkError;
use super::format::{Encoder, encode_first};
use super::names::Naming;
use super::opening;
use super::publish::{Folder, Places, io_error, sync_error};
use super::record::{PendingFile, Record};

/// Text is handed to the file system in pieces of at least this.
const BUFFER_BYTES: usize = 64 * 1024;
/// After this many commits one record takes the place of those of earlier executions: more than a job retains checkpoints.
const COMMITS_UNTIL_EARLIER_ARE_FORGOTTEN: u32 = 64;

/// When a file is closed before the next checkpoint.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rolling {
    pub(super) bytes: u64,
    pub(super) age: Duration,
}

/// The file being written.
struct OpenFile {
    seq: u64,
    path: PathBuf,
    file: Box<dyn DiskFile>,
    opened_at: Duration,
    /// Encoded and not handed to the file system.
    text: Vec<u8>,
    /// Handed to the file system.
    written: u64,
    checksum: Xxh3Default,
}

impl OpenFile {
    fn len(&self) -> u64 {
        self.written + self.text.len() as u64
    }

    /// Hands the text on. What is left after an error is tried again the next time.
    fn write_out(&mut self) -> Result<(), SinkError> {
        let mut done = 0;
        let mut outcome = Ok(());
        while done < self.text.len() && outcome.is_ok() {
            match self.file.write(&self.text[done..]) {
                Ok(0) => outcome = Err(io::Error::from(io::ErrorKind::WriteZero)),
                Ok(len) => done += len,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => outcome = Err(error),
            }
        }
        self.checksum.update(&self.text[..done]);
        self.written += done as u64;
        self.text.drain(..done);
        outcome.map_err(io_error("write", &self.path))
    }
}

/// A file of which nothing but the checkpoint is missing.
struct ClosedFile {
    seq: u64,
    len: u64,
    checksum: u64,
}

/// One subtask's writer.
pub(super) struct FileWriter<T> {
    pub(super) folder: Folder,
    /// What it found when it was opened.
    pub(super) places: Places,
    pub(super) naming: Naming,
    pub(super) rolling: Rolling,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) encoder: Box<dyn Encoder<T>>,
    pub(super) record: Record,
    pub(super) state: WriterState,
}

/// What a writer has done since it was opened.
#[derive(Default)]
pub(super) struct WriterState {
    open: Option<OpenFile>,
    /// Durable, not prepared.
    closed: Vec<ClosedFile>,
    /// Prepared, not committed; oldest first.
    pending: Vec<PendingFile>,
    seq: u64,
    commits: u32,
    /// A sync has failed: nothing that was written since the last one may be relied on.
    sync_failed: Option<PathBuf>,
}

impl<T> FileWriter<T> {
    fn check_usable(&self) -> Result<(), SinkError> {
        match &self.state.sync_failed {
            None => Ok(()),
            Some(path) => {
                let source = io::Error::other("an earlier attempt to do so failed");
                Err(sync_error(path)(source))
            }
        }
    }

    fn note_failed_sync<V>(&mut self, outcome: Result<V, SinkError>) -> Result<V, SinkError> {
        if let Err(error) = &outcome
            && let Some(FileSinkError::Sync { path, .. }) = error.reason().downcast_ref()
        {
            self.state.sync_failed = Some(path.clone());
        }
        outcome
    }

    fn create_file(&mut self) -> Result<OpenFile, SinkError> {
        self.folder.check_fence()?;
        let seq = self.state.seq;
        let path = self.folder.own.join(self.folder.me.temporary(seq));
        let file = self.folder.disk.create_new(&path).map_err(|error| {
            // A directory that is gone tells more than a name that cannot be created.
            self.folder.check_places(self.places).err().unwrap_or_else(|| io_error("create", &path)(error))
        })?;
        self.state.seq += 1;
        self.encoder.begin_file();
        let opened_at = self.clock.now();
        Ok(OpenFile { seq, path, file, opened_at, text: Vec::new(), written: 0, checksum: Xxh3Default::new() })
    }

    fn write_record(&mut self, record: &T) -> Result<(), SinkError> {
        let mut open = match self.state.open.take() {
            Some(open) => open,
            None => self.create_file()?,
        };
        let outcome = match open.len() {
            0 => encode_first(&mut *self.encoder, record, &mut open.text),
            _ => self.encoder.encode(record, &mut open.text),
        };
        let buffered = open.text.len();
        let full = open.len() >= self.rolling.bytes;
        let open = self.state.open.insert(open);
        outcome?;
        if full {
            return self.close();
        }
        if buffered >= BUFFER_BYTES { open.write_out() } else { Ok(()) }
    }

    /// Closes the open file, durable.
    fn close(&mut self) -> Result<(), SinkError> {
        let Some(open) = &mut self.state.open else { return Ok(()) };
        open.write_out()?;
        let synced = open.file.sync().map_err(sync_error(&open.path));
        self.note_failed_sync(synced)?;
        if let Some(open) = self.state.open.take() {
            let checksum = open.checksum.digest();
            self.state.closed.push(ClosedFile { seq: open.seq, len: open.written, checksum });
        }
        Ok(())
    }
}

impl<T: Send + 'static> SinkWriter for FileWriter<T> {
    type Item = T;

    fn write(&mut self, batch: &mut Batch<T>) -> Result<(), SinkError> {
        self.check_usable()?;
        let age = self.state.open.as_ref().map(|open| self.clock.now().saturating_sub(open.opened_at));
        if age.is_some_and(|age| age >= self.rolling.age) {
            self.close()?;
        }
        for record in batch.drain() {
            self.write_record(&record)?;
        }
        batch.clear();
        Ok(())
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        self.check_usable()
    }

    fn prepare(&mut self, checkpoint: CheckpointId) -> Result<Vec<PendingCommit>, SinkError> {
        self.check_usable()?;
        self.close()?;
        if !self.state.closed.is_empty() {
            self.folder.check_places(self.places)?;
            let synced = self.folder.sync_dir(&self.folder.own);
            self.note_failed_sync(synced)?;
        }
        let writer = self.folder.me;
        for ClosedFile { seq, len, checksum } in mem::take(&mut self.state.closed) {
            let finished = self.naming.finished(writer, checkpoint, seq);
            self.state.pending.push(PendingFile { checkpoint, writer, seq, finished, len, checksum });
        }
        if !self.state.pending.is_empty() {
            self.folder.check_places(self.places)?;
        }
        Ok(self.state.pending.iter().map(PendingFile::encode).collect())
    }

    fn commit(&mut self, up_to: CheckpointId) -> Result<(), SinkError> {
        self.check_usable()?;
        let count = self.state.pending.partition_point(|file| file.checkpoint <= up_to);
        if count > 0 {
            self.folder.check_places(self.places)?;
            let me = self.folder.me;
            let files = &self.state.pending[..count];
            let proven = |record: &Record, file: &PendingFile| record.proves(me, file);
            let note = |record: &mut Record, _: &[PendingFile]| record.add_own(up_to);
            let published = self.folder.publish(files, &mut self.record, proven, note);
            self.note_failed_sync(published)?;
            self.folder.check_places(self.places)?;
            self.state.pending.drain(..count);
        }
        self.state.commits = self.state.commits.saturating_add(1);
        if self.state.commits == COMMITS_UNTIL_EARLIER_ARE_FORGOTTEN && self.folder.me.subtask == 0 {
            opening::forget_earlier(&self.folder, &mut self.record)?;
        }
        Ok(())
    }
}
