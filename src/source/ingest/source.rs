//! The source that reads an ingest log.

use std::any::Any;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::path::Path;
use std::sync::Arc;

use millstream_actors::contract::{
    Boundedness, Located, Source, SourceContext, SourceError, SourceReader, SplitPosition, Threading,
};
use redb::StorageBackend;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::log::{Holds, IngestLog};
use super::queue::Phase;
use super::reader::{IngestReader, Position, Start};
use super::{IngestHandle, IngestLogError, IngestOptions, OffsetReset};
use crate::source::decode_position;
use crate::source::position::described;
use crate::state::codec::take_packed;

/// Reads the records that the program [sends](IngestHandle::send), each durable in a log on disk before its sender is told.
///
/// The log is a file of its own, locked while it is open: from [`open`](Self::open) until the job has ended, or this source was
/// dropped without a job. Its position is the offset in each of its splits, so a restored job reads on where its checkpoint was. Records
/// wait in the log while no job reads it, and are trimmed once no retained checkpoint needs them: a job that takes no
/// checkpoints fills its log up. Unbounded: it ends with `JobHandle::finish`, and then all that was acknowledged is read first.
///
/// A subtask reads the splits that it owns side by side, on a thread of its own; with a strategy for watermarks event time waits for
/// each split, so give it an [idleness](crate::time::WatermarkStrategy::with_idleness) where some may have no records for long.
///
/// The job of this example keeps its checkpoints in memory: at a second start it would stand at the beginning of a log that was
/// trimmed, and end with [`IngestLogError::Trimmed`]. A service gives it a
/// [store on disk](crate::StreamEnvironment::snapshot_store).
///
/// ```
/// use std::time::Duration;
///
/// use millstream::prelude::*;
/// use millstream::source::IngestOptions;
///
/// # actix_rt::System::new().block_on(async {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("events.log");
/// # let sink = CollectSink::new();
/// # let events = sink.handle();
/// let (source, handle) = IngestSource::<String>::open(path, IngestOptions::new())?;
/// let env = StreamEnvironment::new("events").checkpointing(Checkpointing::every(Duration::from_millis(10)));
/// env.source("events", source).map(|event| event.to_uppercase()).sink("out", sink);
/// let job = env.start()?;
///
/// handle.send("from any task or thread".to_owned()).await?;           // durable now
/// job.finish().await?;
/// assert_eq!(events.snapshot(), ["FROM ANY TASK OR THREAD"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
pub struct IngestSource<T> {
    log: Arc<IngestLog>,
    offset_reset: OffsetReset,
    records: PhantomData<fn() -> T>,
}

impl<T: Serialize + DeserializeOwned + Send + 'static> IngestSource<T> {
    /// Opens the log in the file at `path`, or makes it there, and gives the source of a job and the handle by which records
    /// get in, which may be used at once. The directory must exist. Blocks for as long as that takes: after a crash, as long as
    /// reading the file; and where a job of this process has just ended that read the log, until that is closed.
    ///
    /// Records of a log whose type has changed are read as state is: fields are stored by their names, one with a serde default
    /// may be added, and one may be removed. What does not decode ends the job when it is read, with split and offset.
    ///
    /// # Errors
    /// [`IngestLogError::Locked`] if it is open elsewhere, in this process or another; [`IngestLogError::Options`] if a bound lets
    /// nothing pass or the log is too small for its buffer; [`IngestLogError::Foreign`] if the file is no ingest log;
    /// [`IngestLogError::NewerFormat`] if a newer version wrote it; [`IngestLogError::Damaged`] if it does not fit together;
    /// [`IngestLogError::Io`] if it cannot be read, or made.
    pub fn open(path: impl AsRef<Path>, options: IngestOptions) -> Result<(Self, IngestHandle<T>), IngestLogError> {
        let offset_reset = options.offset_reset;
        Ok(Self::of(IngestLog::open(path.as_ref(), options, Holds::Records)?, offset_reset))
    }

    /// Opens a log on storage other than a file: `backend` is called for each opening, `name` appears in messages. For tests that
    /// let the storage fail.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_on<B: StorageBackend>(
        name: impl Into<String>,
        backend: impl Fn() -> io::Result<B> + Send + Sync + 'static,
        options: IngestOptions,
    ) -> Result<(Self, IngestHandle<T>), IngestLogError> {
        let offset_reset = options.offset_reset;
        Ok(Self::of(IngestLog::open_on(name.into(), backend, options, Holds::Records)?, offset_reset))
    }

    fn of(log: Arc<IngestLog>, offset_reset: OffsetReset) -> (Self, IngestHandle<T>) {
        let handle = IngestHandle::new(log.clone());
        (Self { log, offset_reset, records: PhantomData }, handle)
    }
}

impl<T> fmt::Debug for IngestSource<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IngestSource({}, {} splits)", self.log.name, self.log.splits.len())
    }
}

impl<T> Drop for IngestSource<T> {
    fn drop(&mut self) {
        self.log.go_on_to(Phase::Ended);
    }
}

impl<T: Serialize + DeserializeOwned + Send + 'static> Source for IngestSource<T> {
    type Item = T;

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
    ) -> Result<Box<dyn SourceReader<Item = T>>, SourceError> {
        let start = Start { restored, offset_reset: self.offset_reset };
        let reader = IngestReader::open(self.log.clone(), cx, start, |bytes: &mut &[u8], _| take_packed::<T>(bytes))?;
        self.log.queue.read_on();
        Ok(Box::new(reader))
    }

    fn ends_on_finish(&self) -> bool {
        true
    }

    fn job_ended(&self) {
        self.log.go_on_to(Phase::Ended);
    }

    fn describe_position(&self, position: &[u8]) -> String {
        described(position, |Position(_, _, offset)| format!("offset {offset}"))
    }

    fn locate(&self, place: &dyn Any) -> Located {
        place.downcast_ref().map_or(Located::Elsewhere, |position| self.log.locate(position))
    }

    fn offset_of(&self, position: &[u8]) -> Option<u64> {
        let position = SplitPosition::new("", position.to_vec());
        decode_position(&position).ok().map(|Position(_, _, offset)| offset)
    }
}
