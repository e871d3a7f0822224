//! A file to which requests are appended before they are answered, and from which the job reads.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use millstream::source::*;

use crate::transaction::Transaction;

/// Transactions, one JSON line each, in the order of their arrival. Clones are one journal.
#[derive(Clone)]
pub(crate) struct Journal(Arc<Shared>);

struct Shared {
    path: PathBuf,
    writer: Mutex<Writer>,
    /// So many bytes are on the disk, whole lines.
    durable: AtomicU64,
}

struct Writer {
    file: File,
    /// A write or a sync has failed: what is in the file behind the durable bytes is unknown until it is opened again.
    is_broken: bool,
    wakers: Vec<SourceWaker>,
}

impl Journal {
    /// Opens the journal at `path`, or begins one there. A line that was not written to its end was never answered, and is
    /// cut off.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let mut file = OpenOptions::new().create(true).read(true).append(true).open(path)?;
        let mut whole = 0;
        let mut reader = BufReader::new(&file);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line)? > 0 && line.ends_with(b"\n") {
            whole += line.len() as u64;
            line.clear();
        }
        file.set_len(whole)?;
        file.seek(SeekFrom::End(0))?;
        file.sync_all()?;
        // The name as well.
        File::open(path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new(".")))?.sync_all()?;
        let writer = Mutex::new(Writer { file, is_broken: false, wakers: Vec::new() });
        Ok(Self(Arc::new(Shared { path: path.to_owned(), writer, durable: AtomicU64::new(whole) })))
    }

    /// Appends a transaction; once this has returned it survives the machine's power. Blocks.
    pub(crate) fn append(&self, transaction: &Transaction) -> io::Result<()> {
        let line = serde_json::to_string(transaction)? + "\n";
        let mut writer = self.0.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if writer.is_broken {
            return Err(io::Error::other("an earlier write has failed: start the service again"));
        }
        if let Err(error) = writer.file.write_all(line.as_bytes()).and_then(|()| writer.file.sync_data()) {
            writer.is_broken = true;
            return Err(error);
        }
        self.0.durable.fetch_add(line.len() as u64, Ordering::Release);
        writer.wakers.iter().for_each(SourceWaker::wake);
        Ok(())
    }
}

/// The journal as a source of one split, whose position is a number of bytes.
impl Source for Journal {
    type Item = Transaction;

    fn boundedness(&self) -> Boundedness {
        Boundedness::Unbounded
    }

    fn threading(&self) -> Threading {
        Threading::Blocking
    }

    fn open(
        &self,
        cx: &SourceContext,
        restored: Option<Vec<SplitPosition>>,
    ) -> Result<Box<dyn SourceReader<Item = Transaction>>, SourceError> {
        let list = || Ok(vec![Split { id: "journal".to_owned(), position: 0 }]);
        let mut splits: SplitQueue<u64> = SplitQueue::open(cx, restored, list)?;
        let location = self.0.path.display().to_string();
        let unavailable = |error| SourceError::unavailable(&location, error);
        let mut file = File::open(&self.0.path).map_err(unavailable)?;
        if let Some(Split { id, position }) = splits.current() {
            let durable = self.0.durable.load(Ordering::Acquire);
            if *position > durable {
                return Err(SourceError::position(id, format!("{location} has {durable} bytes, {position} were read")));
            }
            file.seek(SeekFrom::Start(*position)).map_err(unavailable)?;
            // One waker for each attempt; those of ended ones do nothing.
            self.0.writer.lock().unwrap_or_else(PoisonError::into_inner).wakers.push(cx.waker.clone());
        }
        Ok(Box::new(JournalReader { journal: self.clone(), location, file: BufReader::new(file), splits }))
    }
}

struct JournalReader {
    journal: Journal,
    location: String,
    file: BufReader<File>,
    splits: SplitQueue<u64>,
}

impl SourceReader for JournalReader {
    type Item = Transaction;

    fn read(&mut self, batch: &mut Batch<Transaction>) -> Result<ReadStatus, SourceError> {
        let Some(Split { position, .. }) = self.splits.current() else {
            return Ok(ReadStatus::Idle { retry_after: None });
        };
        let durable = self.journal.0.durable.load(Ordering::Acquire);
        while *position < durable && !batch.is_full() {
            let mut line = String::new();
            let rest = self.file.by_ref().take(durable - *position);
            let read = { rest }.read_line(&mut line);
            let read = read.map_err(|error| SourceError::unavailable(&self.location, error))?;
            let transaction = serde_json::from_str(&line)
                .map_err(|error| SourceError::malformed(format!("{}, byte {position}", self.location), error))?;
            batch.push(transaction, read);
            *position += read as u64;
        }
        // What is appended from here on wakes the task, also before it has heard that there was nothing.
        Ok(if *position < durable { ReadStatus::More } else { ReadStatus::Idle { retry_after: None } })
    }

    fn report_positions(&mut self, moved: &mut Vec<SplitPosition>) {
        self.splits.report(moved);
    }
}
