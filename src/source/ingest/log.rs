//! A log that is open: what its handles, its writer and its readers share.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use millstream_actors::contract::Located;
use redb::StorageBackend;
use tokio::sync::watch;

use super::askers::Askers;
use super::batch::RecordBatch;
use super::keys::{KnownKeys, Place};
use super::lineage::Lineage;
use super::log_file::{Found, Kind, LogFile, unique_id};
use super::open_logs::{self, OpenLog};
use super::published::Published;
use super::queue::{Admission, Answer, Phase, Queue, Receipts, Room, Size};
use super::reader::Position;
use super::record::EncodedRecord;
use super::writer::Writer;
use super::{IngestError, IngestLogError, IngestOptions, IngestPosition, IngestStatus, SplitOffsets};
use crate::source::spread_split_id;

/// So many bytes of records are read from the file at a time.
const READ_BYTES: usize = 256 << 10;
/// The longest idempotency key.
const KEY_BYTES_MAX: usize = 255;

/// What is to be in a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holds {
    Records,
    Requests {
        /// With the checkpoint that covers a request, its answer is there, or none will come.
        answers_at_once: bool,
    },
}

impl Holds {
    fn kind(self) -> Kind {
        if self == Self::Records { Kind::Records } else { Kind::Requests }
    }
}

pub(crate) struct IngestLog {
    /// For messages.
    pub(crate) name: Arc<str>,
    /// No other log has it.
    pub(super) id: u64,
    /// The ids of its splits.
    pub(crate) splits: Vec<String>,
    /// With the present life.
    pub(super) lineage: Lineage,
    pub(crate) queue: Arc<Queue>,
    pub(super) file: LogFile,
    /// Of a log of requests.
    pub(crate) askers: Askers,
    pub(super) keys_max: usize,
    record_bytes_max: usize,
    published: Mutex<Published>,
    /// Under which it is open in this process.
    open_name: Option<PathBuf>,
    /// Nobody reads it any more.
    has_ended: AtomicBool,
    /// Whether the file is let go of.
    closed: watch::Sender<bool>,
}

impl IngestLog {
    /// Opens the log in the file at `path`, and starts its writer.
    pub(crate) fn open(path: &Path, options: IngestOptions, holds: Holds) -> Result<Arc<Self>, IngestLogError> {
        let name: Arc<str> = path.display().to_string().into();
        check(&name, &options)?;
        let open = OpenLog::claim(path).ok_or_else(|| IngestLogError::Locked { log: name.clone() })?;
        let opened = LogFile::open(&name, path.to_owned(), (options.splits, holds.kind()))?;
        Self::start(name, opened, (options, holds), Some(open))
    }

    /// The same on other storage.
    pub(crate) fn open_on<B: StorageBackend>(
        name: String,
        backend: impl Fn() -> io::Result<B> + Send + Sync + 'static,
        options: IngestOptions,
        holds: Holds,
    ) -> Result<Arc<Self>, IngestLogError> {
        let name: Arc<str> = name.into();
        check(&name, &options)?;
        let opened = LogFile::open_on(&name, backend, (options.splits, holds.kind()))?;
        Self::start(name, opened, (options, holds), None)
    }

    fn start(
        name: Arc<str>,
        (file, found): (LogFile, Found),
        (options, holds): (IngestOptions, Holds),
        open: Option<OpenLog>,
    ) -> Result<Arc<Self>, IngestLogError> {
        let Found { id, splits: rows, keys: stored, lineage } = found;
        let mut keys = KnownKeys::new(options.retention, options.keys_max, holds.kind() == Kind::Requests);
        let now_ms = options.clock.unix_ms();
        for (number, row) in stored {
            keys.load(number, &row, now_ms).map_err(|reason| {
                let what = format!("idempotency keys, row {number}");
                IngestLogError::Damaged { log: name.clone(), what, reason }
            })?;
        }
        keys.forget(now_ms);
        let most = Size { records: options.buffer_records, bytes: options.buffer_bytes };
        let log = Arc::new(Self {
            id,
            splits: (0..rows.len() as u64).map(|split| spread_split_id(&split.to_string(), split)).collect(),
            lineage: lineage.begin(unique_id(), &rows),
            queue: Arc::new(Queue::new(name.clone(), most)),
            file,
            askers: Askers::new(holds == Holds::Requests { answers_at_once: true }),
            keys_max: options.keys_max,
            record_bytes_max: options.record_bytes_max,
            published: Mutex::new(Published::new(&rows, options.buffer_bytes)),
            has_ended: AtomicBool::new(false),
            closed: watch::Sender::new(false),
            open_name: open.as_ref().map(|open| open.name().to_owned()),
            name,
        });
        let writer = Writer {
            log: log.clone(),
            clock: options.clock,
            rows,
            keys,
            log_bytes_max: options.log_bytes_max,
            has_begun: false,
            turn: 0,
            is_broken: false,
            failures: 0,
            in_hand: Vec::new(),
            open,
        };
        let thread = thread::Builder::new().name("ingest".to_owned()).spawn(move || writer.run());
        match thread {
            Ok(_) => Ok(log),
            Err(source) => {
                let action = "start the thread that writes it";
                Err(IngestLogError::Io { log: log.name.clone(), action, source: Box::new(source) })
            }
        }
    }

    pub(super) fn published(&self) -> MutexGuard<'_, Published> {
        self.published.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Refuses records that are never taken in, whenever they come.
    pub(crate) fn check(&self, record: &EncodedRecord) -> Result<(), IngestError> {
        let key_bytes = record.idempotency_key.as_ref().map_or(0, String::len);
        if key_bytes > KEY_BYTES_MAX {
            return Err(IngestError::KeyTooLong { bytes: key_bytes, bytes_max: KEY_BYTES_MAX });
        }
        let (bytes, bytes_max) = (record.size(), self.record_bytes_max);
        if bytes > bytes_max {
            return Err(IngestError::TooLarge { records: 1, bytes, records_max: 1, bytes_max });
        }
        Ok(())
    }

    /// Waits for room.
    pub(super) async fn admit(&self, size: Size) -> Result<Room, IngestError> {
        match self.queue.admit(size)? {
            Admission::Now(room) => Ok(room),
            Admission::Later(mut waiting) => waiting.room().await,
        }
    }

    /// Has records written, and waits until they are durable.
    pub(crate) async fn append(&self, records: Vec<EncodedRecord>) -> Result<Receipts, IngestError> {
        let answer = self.admit(Size::of(&records)).await?.fill(records)?;
        self.receipts(answer).await
    }

    /// What a call is answered.
    pub(super) async fn receipts(&self, answer: Answer) -> Result<Receipts, IngestError> {
        answer.await.unwrap_or_else(|_| Err(self.queue.left_without_answer()))
    }

    /// Lets go of the file.
    pub(super) fn close(&self, open: Option<OpenLog>) {
        self.file.close();
        drop(open);
        self.closed.send_replace(true);
    }

    /// Resolves when the file is let go of.
    pub(crate) fn closed(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut closed = self.closed.subscribe();
        async move {
            // A sender that is gone is closed, too.
            let _ = closed.wait_for(|closed| *closed).await;
        }
    }

    /// Goes on to a phase, and has readers see it.
    pub(crate) fn go_on_to(&self, phase: Phase) {
        if phase == Phase::Ended && !self.has_ended.swap(true, Ordering::SeqCst) {
            // Before the writer knows: once it has closed the file, another log may be open under the name.
            self.open_name.iter().for_each(|name| open_logs::is_closing(name));
        }
        self.queue.go_on_to(phase);
        if phase == Phase::Ended {
            self.askers.end();
        }
        self.wake_readers();
    }

    /// A reader was told that nothing more is read in its attempt. One of an attempt that is over may hear of it late, also while
    /// its successor is about to be known.
    pub(super) fn stop(&self, reader: u64) {
        let published = self.published();
        if !published.is_replaced(reader) {
            self.queue.go_on_to(Phase::Draining);
        }
        drop(published);
        self.wake_readers();
    }

    pub(super) fn wake_readers(&self) {
        let wakers = self.published().wakers();
        wakers.iter().for_each(millstream_actors::contract::SourceWaker::wake);
    }

    /// The batches of a split from the one with the record `from` on, which is there: one at least.
    pub(super) fn batches(&self, split: u32, from: u64) -> Result<Vec<Arc<RecordBatch>>, IngestLogError> {
        let (newest, end) = {
            let published = self.published();
            (published.batches(split, from, READ_BYTES), published.row(split).end)
        };
        if !newest.is_empty() {
            return Ok(newest);
        }
        self.file.batches(split, (from, end), READ_BYTES).inspect_err(|error| {
            // A database that has failed once reads nothing until it is opened again, and perhaps nobody sends.
            if error.is_retryable() {
                self.queue.suspect();
            }
        })
    }

    /// The position of a split that has been read up to this offset.
    pub(super) fn position(&self, split: u32, offset: u64) -> Position {
        Position(self.id, self.lineage.life_before(split, offset), offset)
    }

    /// Where a position lies that a sender was told of.
    pub(super) fn locate(&self, position: &IngestPosition) -> Located {
        let IngestPosition { log, split, offset, life } = *position;
        if log != self.id {
            return Located::Elsewhere;
        }
        let Some(id) = self.splits.get(split as usize) else {
            return Located::Lost { reason: format!("the log has {} splits", self.splits.len()) };
        };
        let row = self.published().row(split);
        // Whose record was at an offset that is trimmed is not known for ever; it has been read.
        let lost_from = match offset {
            offset if offset > row.end => Some(row.end),
            offset if offset < row.start => None,
            offset => self.lineage.lost_from(split, life, offset),
        };
        match lost_from {
            None => Located::At { split: id.clone(), offset },
            Some(end) => {
                let log = &self.name;
                Located::Lost { reason: format!("log {log} has lost what was in split {id} from offset {end} on") }
            }
        }
    }

    /// How full it is.
    pub(crate) fn status(&self) -> IngestStatus {
        let Size { records, bytes } = self.queue.taken();
        let rows: Vec<_> = self.published().rows().collect();
        IngestStatus {
            waiting_records: records,
            waiting_bytes: bytes,
            log_bytes: rows.iter().map(|row| row.bytes).sum(),
            splits: rows.iter().map(|row| SplitOffsets { start: row.start, end: row.end }).collect(),
        }
    }

    /// The life of the log in which the record at this place was added.
    pub(crate) fn life_at(&self, place: Place) -> u64 {
        self.lineage.life_before(place.split, place.offset + 1)
    }

    /// No record of the split before this offset is needed.
    pub(super) fn needs_from(&self, split: u32, offset: u64) {
        // Not to be told under the lock.
        let is_due = self.published().needs_from(split, offset);
        if is_due {
            self.queue.trim();
        }
    }
}

fn check(log: &Arc<str>, options: &IngestOptions) -> Result<(), IngestLogError> {
    let mistake = options.mistake();
    mistake.map_or(Ok(()), |reason| Err(IngestLogError::Options { log: log.clone(), reason }))
}
