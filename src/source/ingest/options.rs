//! How an ingest log is kept.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use millstream_actors::contract::Clock;

use super::queue::Size;
use crate::time::SystemClock;

/// The largest record: what a value of the file may be.
const RECORD_BYTES_MAX: usize = 1 << 30;

/// Most splits of a log.
pub(super) const SPLITS_MAX: u32 = 1_024;

/// What a job does that cannot read on from where it stands: its position was trimmed, or is of another log or of one that was
/// longer. Kafka's `auto.offset.reset`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OffsetReset {
    /// It fails with a typed error that names the gap ([`IngestLogError`](super::IngestLogError)): Kafka's `none`.
    #[default]
    Fail,
    /// It reads on from the first record that is there. What was in the gap is lost to it, and what it had read may come
    /// again; the log has a line for each split.
    Earliest,
}

/// How the log of an [`IngestSource`](super::IngestSource) is kept, and what bounds it.
///
/// ```
/// use std::time::Duration;
///
/// use millstream::source::IngestOptions;
///
/// let options = IngestOptions::new()
///     .splits(4)
///     .buffer(4_096, 1 << 20)
///     .log_bytes_max(256 << 20)
///     .idempotency_retention(Duration::from_secs(3600));
/// ```
#[derive(Clone)]
pub struct IngestOptions {
    pub(super) splits: u32,
    pub(super) buffer_records: usize,
    pub(super) buffer_bytes: usize,
    pub(crate) record_bytes_max: usize,
    pub(super) log_bytes_max: u64,
    pub(super) retention: Duration,
    pub(super) keys_max: usize,
    pub(crate) offset_reset: OffsetReset,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Default for IngestOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl IngestOptions {
    /// The defaults, as each method names them.
    pub fn new() -> Self {
        Self {
            splits: 8,
            buffer_records: 16_384,
            buffer_bytes: 8 << 20,
            record_bytes_max: 1 << 20,
            log_bytes_max: 1 << 30,
            retention: Duration::from_secs(3600),
            keys_max: 1_000_000,
            offset_reset: OffsetReset::Fail,
            clock: Arc::new(SystemClock::new()),
        }
    }

    /// Into how many splits a new log is divided, 8 if nothing is said, from 1 to 1,024. A source is read by as many subtasks as
    /// it has splits, at most. A log that exists keeps the number that it was made with. With one, all records are read in the
    /// order in which they were taken in.
    pub fn splits(mut self, splits: u32) -> Self {
        self.splits = splits;
        self
    }

    /// How many records, and bytes of records and idempotency keys, may wait to become durable, 16,384 and 8 MiB if nothing is
    /// said: beyond either, senders wait, and [`try_send`](super::IngestHandle::try_send) fails. The newest records are kept in
    /// memory up to as many bytes once more, for the job to read.
    pub fn buffer(mut self, records: usize, bytes: usize) -> Self {
        (self.buffer_records, self.buffer_bytes) = (records, bytes);
        self
    }

    /// How large a record may be, as it is stored, with its idempotency key: 1 MiB if nothing is said, at most 1 GiB, and what
    /// the [buffer](Self::buffer) takes.
    pub fn record_bytes_max(mut self, bytes: usize) -> Self {
        self.record_bytes_max = bytes;
        self
    }

    /// How many bytes of records the log may hold, 1 GiB if nothing is said, at least two times what is in a full
    /// [buffer](Self::buffer), with 17 bytes more for each record. A log that is full takes records again once checkpoints have let
    /// it be trimmed, and senders wait for that. The file may be some two times as large.
    ///
    /// A job that was started with `restore_from` a savepoint lets nothing be trimmed that is behind that savepoint, as long as its
    /// program says so: it may still be gone back to. Leave that out at the next start, once the job has checkpoints of its own.
    pub fn log_bytes_max(mut self, bytes: u64) -> Self {
        self.log_bytes_max = bytes;
        self
    }

    /// For how long an idempotency key is known after its record is durable, an hour if nothing is said, by the
    /// [clock](Self::clock)'s wall time.
    pub fn idempotency_retention(mut self, time: Duration) -> Self {
        self.retention = time;
        self
    }

    /// How many idempotency keys may be known at a time, a million if nothing is said. They are held in memory, each with some
    /// 100 bytes more than its own. Records with new ones are refused beyond that
    /// ([`IngestError::KeysFull`](super::IngestError::KeysFull)): none is forgotten early.
    pub fn idempotency_keys_max(mut self, keys: usize) -> Self {
        self.keys_max = keys;
        self
    }

    /// What follows if the job cannot read on from where it stands: it fails if nothing is said.
    pub fn offset_reset(mut self, reset: OffsetReset) -> Self {
        self.offset_reset = reset;
        self
    }

    /// By which time idempotency keys are forgotten: the machine's if nothing is said. For tests.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// What is wrong with them.
    pub(super) fn mistake(&self) -> Option<String> {
        let Self { splits, buffer_records, buffer_bytes, record_bytes_max, log_bytes_max, keys_max, .. } = self;
        if !(1..=SPLITS_MAX).contains(splits) {
            return Some(format!("{splits} splits: it must be from 1 to {SPLITS_MAX}"));
        }
        if *buffer_records == 0 || *buffer_bytes == 0 || *record_bytes_max == 0 || *keys_max == 0 {
            return Some("a bound of 0 lets nothing pass".to_owned());
        }
        if record_bytes_max > buffer_bytes {
            return Some(format!("a record of {record_bytes_max} bytes never fits into a buffer of {buffer_bytes}"));
        }
        if *record_bytes_max > RECORD_BYTES_MAX {
            return Some(format!("records of {record_bytes_max} bytes: at most {RECORD_BYTES_MAX} can be stored"));
        }
        // One call may be as large as the buffer, and must fit into a log that is not quite empty.
        let buffer = Size { records: *buffer_records, bytes: *buffer_bytes }.stored();
        if (*log_bytes_max / 2) < buffer {
            return Some(format!(
                "a log of {log_bytes_max} bytes is not two times as large as its buffer, which may take {buffer} in it"
            ));
        }
        None
    }
}

impl fmt::Debug for IngestOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IngestOptions")
            .field("splits", &self.splits)
            .field("buffer_records", &self.buffer_records)
            .field("buffer_bytes", &self.buffer_bytes)
            .field("record_bytes_max", &self.record_bytes_max)
            .field("log_bytes_max", &self.log_bytes_max)
            .field("idempotency_retention", &self.retention)
            .field("idempotency_keys_max", &self.keys_max)
            .field("offset_reset", &self.offset_reset)
            .finish_non_exhaustive()
    }
}
