//! The source of requests.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::path::Path;
use std::sync::Arc;

use millstream_actors::contract::{
    Boundedness, Source, SourceContext, SourceError, SourceReader, SplitPosition, Threading,
};
use redb::StorageBackend;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::requests::Desk;
use super::{Request, RequestId, RequestOptions, Requests, stored};
use crate::source::ingest::{Holds, IngestLog, IngestReader, Phase, Place, Position, Start};
use crate::source::position::described;
use crate::source::{IngestLogError, OffsetReset};

/// Reads the requests that a program [asks](Requests::ask), of type `Q`, to which answers are of type `A`.
///
/// It is an [`IngestSource`](crate::source::IngestSource) whose records are requests: all that is said there of the log, its bounds
/// and its positions holds. The log has the answers as well, each for as long as the idempotency key of its request is known; a
/// plain ingest log is refused, and so is a log of requests by an `IngestSource`.
///
/// The job's checkpoints decide when answers are given, so it must take some; with a
/// [store on disk](crate::StreamEnvironment::snapshot_store) requests, state and answers outlive the process.
///
/// ```
/// use std::time::Duration;
///
/// use millstream::prelude::*;
/// use millstream::request::{Ask, RequestOptions};
///
/// # actix_rt::System::new().block_on(async {
/// # let folder = tempfile::tempdir()?;
/// # let (path, store) = (folder.path().join("requests"), folder.path().join("store"));
/// let (source, requests) = RequestSource::<u64, u64>::open(path, RequestOptions::new())?;
/// let env = StreamEnvironment::new("counter")
///     .snapshot_store(RedbStore::open(store)?)
///     .checkpointing(Checkpointing::every(Duration::from_secs(10)));
/// env.source("requests", source)
///     .key_by(|_| ())
///     .fold_map(
///         "sum",
///         (0, None),
///         |(sum, newest), add: Request<u64>| {
///             *sum += add.body();
///             *newest = Some(add);
///         },
///         |_, (sum, newest)| newest.as_ref().map(|request: &Request<u64>| request.answer(*sum)),
///     )
///     .filter_map(|answer| answer)
///     .sink("answers", requests.answers());
/// let job = env.start()?;
///
/// let add = || Ask::new(5).idempotency_key("the first five");
/// assert_eq!(requests.ask(add()).await?, 5);
/// assert_eq!(requests.ask(add()).await?, 5);                 // the stored answer
/// assert_eq!(requests.ask(3).await?, 8);
/// job.finish().await?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
pub struct RequestSource<Q, A> {
    log: Arc<IngestLog>,
    offset_reset: OffsetReset,
    types: PhantomData<fn(Q) -> A>,
}

impl<Q, A> RequestSource<Q, A>
where
    Q: Serialize + DeserializeOwned + Send + 'static,
    A: Serialize + DeserializeOwned + Send + 'static,
{
    /// Opens the log of requests in the file at `path`, or makes it there, and gives the source of a job and the handle by which
    /// requests get in, which may be used at once. As [`IngestSource::open`](crate::source::IngestSource::open) does.
    ///
    /// # Errors
    /// As there; [`IngestLogError::Foreign`] also if it is a log of records that are not requests.
    pub fn open(path: impl AsRef<Path>, options: RequestOptions) -> Result<(Self, Requests<Q, A>), IngestLogError> {
        options.check(&path.as_ref().display().to_string())?;
        let log = IngestLog::open(path.as_ref(), options.log.clone(), holds(&options))?;
        Ok(Self::of(log, options))
    }

    /// Opens a log on storage other than a file: `backend` is called for each opening, `name` appears in messages. For tests that
    /// let the storage fail.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_on<B: StorageBackend>(
        name: impl Into<String>,
        backend: impl Fn() -> io::Result<B> + Send + Sync + 'static,
        options: RequestOptions,
    ) -> Result<(Self, Requests<Q, A>), IngestLogError> {
        let name = name.into();
        options.check(&name)?;
        let log = IngestLog::open_on(name, backend, options.log.clone(), holds(&options))?;
        Ok(Self::of(log, options))
    }

    fn of(log: Arc<IngestLog>, options: RequestOptions) -> (Self, Requests<Q, A>) {
        let offset_reset = options.log.offset_reset;
        let desk = Desk {
            log: log.clone(),
            clock: options.log.clock.clone(),
            timeout: options.timeout,
            answer_bytes_max: options.answer_bytes_max,
        };
        (Self { log, offset_reset, types: PhantomData }, Requests::new(desk))
    }
}

fn holds(options: &RequestOptions) -> Holds {
    Holds::Requests { answers_at_once: options.answers_at_once }
}

impl<Q, A> fmt::Debug for RequestSource<Q, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestSource({}, {} splits)", self.log.name, self.log.splits.len())
    }
}

impl<Q, A> Drop for RequestSource<Q, A> {
    fn drop(&mut self) {
        self.log.go_on_to(Phase::Ended);
    }
}

impl<Q, A> Source for RequestSource<Q, A>
where
    Q: DeserializeOwned + Send + 'static,
    A: 'static,
{
    type Item = Request<Q>;

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
    ) -> Result<Box<dyn SourceReader<Item = Request<Q>>>, SourceError> {
        let start = Start { restored, offset_reset: self.offset_reset };
        let log = self.log.clone();
        let decode = move |bytes: &mut &[u8], place: Place| {
            let (is_keyed, body) = stored::take_request(bytes)?;
            Ok(Request { id: RequestId::new(log.life_at(place), place), is_keyed, body })
        };
        let reader = IngestReader::open(self.log.clone(), cx, start, decode)?;
        self.log.queue.read_on();
        Ok(Box::new(reader))
    }

    fn ends_on_finish(&self) -> bool {
        true
    }

    fn job_finished(&self) {
        self.log.askers.finish();
    }

    fn job_ended(&self) {
        self.log.go_on_to(Phase::Ended);
    }

    fn describe_position(&self, position: &[u8]) -> String {
        described(position, |Position(_, _, offset)| format!("offset {offset}"))
    }
}
